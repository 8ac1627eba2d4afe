import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type TestServer, tcpServer } from '../../../test/misbehaving-http.ts';
import { faultFrom, until } from '../../../test/scaler-contract.ts';
import { Secret } from '../../base/secret.ts';
import { type AmqpEntry, connectAmqp } from './rabbitmq-link.ts';
import { encodeFrame, encodeMethod, FrameReader, methods, Reader, Writer } from './rabbitmq-wire.ts';

/** What a broker answers to a method: frames, or nothing. */
type Script = Partial<Record<number, (channel: number, args: Reader) => Buffer[]>>;

const say = (channel: number, method: number, args: (writer: Writer) => void = () => {}) =>
  encodeMethod(channel, method, args);

const close = (code: number, text: string) => (channel: number) => [
  say(channel, channel === 0 ? methods.connectionClose : methods.channelClose, writer => {
    writer.u16(code);
    writer.short(text);
    writer.u32(0);
  }),
];

const start = (mechanisms: string) =>
  say(0, methods.connectionStart, writer => {
    writer.u8(0);
    writer.u8(9);
    writer.table([]);
    writer.long(Buffer.from(mechanisms));
    writer.long(Buffer.from('en_US'));
  });

const tune = (channels: number, heartbeat: number) =>
  say(0, methods.connectionTune, writer => {
    writer.u16(channels);
    writer.u32(131_072);
    writer.u16(heartbeat);
  });

/** How a broker behaves where nothing is wrong. */
const polite: Script = {
  [methods.connectionStartOk]: () => [tune(2, 0)],
  [methods.connectionOpen]: () => [say(0, methods.connectionOpenOk, writer => writer.short(''))],
  [methods.connectionClose]: () => [say(0, methods.connectionCloseOk)],
  [methods.channelOpen]: channel => [say(channel, methods.channelOpenOk, writer => writer.u32(0))],
  [methods.channelClose]: channel => [say(channel, methods.channelCloseOk)],
};

/** A broker that does what a script says, and says what it was told. */
async function scripted(
  script: Script = {},
  mechanisms = 'PLAIN AMQPLAIN',
): Promise<TestServer & { heard: number[] }> {
  const heard: number[] = [];
  const server = await tcpServer((socket: Socket) => {
    const reader = new FrameReader();
    let greeted = false;
    socket.on('data', chunk => {
      const bytes = greeted ? chunk : chunk.subarray(8);
      if (!greeted) socket.write(start(mechanisms));
      greeted = true;
      for (const { type, channel, payload } of reader.push(bytes)) {
        if (type === 8) heard.push(8);
        if (type !== 1) continue;
        const args = new Reader(payload);
        const method = args.u32();
        heard.push(method);
        const answer = script[method] ?? polite[method];
        for (const frame of answer?.(channel, args) ?? []) socket.write(frame);
      }
    });
  });
  return Object.assign(server, { heard });
}

const entry: AmqpEntry = {
  vhost: '/',
  login: { username: 'me', password: new Secret('hunter2-hunter2') },
  connectionName: 'test',
};
const { signal } = new AbortController();
const connect = (server: TestServer, over: Partial<AmqpEntry> = {}) =>
  connectAmqp({ host: server.host, port: server.port }, { ...entry, ...over }, signal);

describe('a connection to a broker', () => {
  it.each([
    [
      'the login is refused',
      methods.connectionStartOk,
      403,
      'no login for hunter2-hunter2',
      'SOURCE_REFUSED',
    ],
    [
      'there is no such virtual host',
      methods.connectionOpen,
      530,
      'NOT_ALLOWED - vhost x not found',
      'SOURCE_NOT_FOUND',
    ],
    [
      'the virtual host is closed to the user',
      methods.connectionOpen,
      530,
      'NOT_ALLOWED - access refused',
      'SOURCE_REFUSED',
    ],
    [
      'there are too many connections',
      methods.connectionOpen,
      530,
      'NOT_ALLOWED - connection limit (5)',
      'SOURCE_BUSY',
    ],
    ['the broker is going down', methods.connectionOpen, 320, 'CONNECTION_FORCED', 'SOURCE_UNREACHABLE'],
    ['the broker fails', methods.connectionOpen, 541, 'INTERNAL_ERROR', 'SOURCE_FAILED'],
  ])('says when %s', async (_title, at, code, text, fault) => {
    await using server = await scripted({ [at]: () => close(code, text)(0) });

    const found = await faultFrom(connect(server));

    expect(found.code).toBe(fault);
    expect(found.message).not.toContain('hunter2');
    await until(() => server.openSockets() === 0);
  });

  it('says when the broker offers no way in that it has', async () => {
    await using server = await scripted({}, 'EXTERNAL');
    await using other = await scripted();

    expect(await faultFrom(connect(server))).toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('no login by PLAIN, only EXTERNAL'),
    });
    expect((await faultFrom(connect(other, { login: undefined }))).message).toContain('no login by EXTERNAL');
  });

  it('takes no answer for another', async () => {
    await using server = await scripted({
      [methods.connectionStartOk]: () => [say(0, methods.connectionOpenOk, writer => writer.short(''))],
    });

    expect((await faultFrom(connect(server))).code).toBe('SOURCE_ANSWER_INVALID');
  });

  it('says goodbye, and waits no longer than a moment for the answer', async () => {
    await using server = await scripted();
    await using silent = await scripted({ [methods.connectionClose]: () => [] });

    for (const broker of [server, silent]) {
      const link = await connect(broker);
      await link[Symbol.asyncDispose]();
      await link[Symbol.asyncDispose]();
      await until(() => broker.openSockets() === 0);
      expect(broker.heard.at(-1)).toBe(methods.connectionClose);
    }
  });

  it('notices a broker that has vanished, and shows that it is there itself', async () => {
    await using server = await scripted({ [methods.connectionStartOk]: () => [tune(0, 1)] });
    const link = await connect(server);

    await until(() => !link.open);

    expect(server.heard).toContain(8);
    expect(await faultFrom(link.channel(signal))).toMatchObject({
      code: 'SOURCE_UNREACHABLE',
      message: expect.stringContaining('has said nothing for 2 s'),
    });
  }, 15_000);

  it('opens no more channels than the broker allows, and uses a number again', async () => {
    await using server = await scripted();
    await using link = await connect(server);
    const [first] = [await link.channel(signal), await link.channel(signal)];

    const third = await faultFrom(link.channel(signal));
    first.close();
    await until(() => first.fault !== undefined);

    expect(third.code).toBe('SOURCE_BUSY');
    expect((await link.channel(signal)).open).toBe(true);
  });

  it('tells why the broker takes nothing', async () => {
    await using server = await scripted({
      [methods.channelOpen]: channel => [
        say(0, methods.connectionBlocked, writer => writer.short('low on memory')),
        say(channel, methods.channelOpenOk, writer => writer.u32(0)),
      ],
    });
    await using link = await connect(server);

    await link.channel(signal);

    expect(link.blocked).toBe('low on memory');
  });

  it('fails the call that was at fault, and lets those behind it be asked again', async () => {
    await using server = await scripted({
      [methods.queueDeclare]: channel => [
        say(channel, methods.channelClose, writer => {
          writer.u16(404);
          writer.short('NOT_FOUND');
          writer.u32(methods.queueDeclare);
        }),
      ],
    });
    await using link = await connect(server);
    const channel = await link.channel(signal);
    const ask = () => channel.call(methods.queueDeclare, writer => writer.u16(0));

    const [first, second] = await Promise.all([faultFrom(ask()), faultFrom(ask())]);

    expect(first).toBe(channel.fault);
    expect([first?.code, second?.code]).toEqual(['SOURCE_NOT_FOUND', 'CANCELLED']);
    expect(link.open).toBe(true);
  });

  it.each([
    ['an answer to nothing', (channel: number) => [say(channel, methods.queueDeclareOk)]],
    ['a message out of place', (channel: number) => [encodeFrame(3, channel, Buffer.from('x'))]],
    ['half a method', (channel: number) => [encodeFrame(1, channel, Buffer.from([0, 60]))]],
  ])('ends at %s', async (_title, nonsense) => {
    await using server = await scripted({ [methods.basicAck]: nonsense });
    await using link = await connect(server);
    const channel = await link.channel(signal);

    channel.tell(methods.basicAck, writer => writer.u64(1));
    await until(() => !link.open);

    expect((await faultFrom(link.channel(signal))).code).toBe('SOURCE_ANSWER_INVALID');
  });

  it('takes no message beyond all measure', async () => {
    await using server = await scripted({
      [methods.basicGet]: channel => {
        const header = new Writer();
        header.u32(60 * 65_536);
        header.u64(2 ** 40);
        header.u16(0);
        return [say(channel, methods.basicGetOk), encodeFrame(2, channel, header.bytes())];
      },
    });
    await using link = await connect(server);
    const channel = await link.channel(signal);

    const fault = await faultFrom(channel.call(methods.basicGet, writer => writer.u16(0)));

    expect(fault.code).toBe('SOURCE_ANSWER_TOO_LARGE');
  });
});
