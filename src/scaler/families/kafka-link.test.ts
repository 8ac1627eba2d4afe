import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { tcpServer } from '../../../test/misbehaving-http.ts';
import { faultFrom } from '../../../test/scaler-contract.ts';
import { deadline } from '../../base/deadline.ts';
import { kafkaClient } from './kafka.ts';
import { connectKafka, type KafkaLink } from './kafka-link.ts';
import { apis } from './kafka-messages.ts';
import { metadataCall } from './kafka-metadata-messages.ts';
import { WireWriter } from './kafka-wire.ts';

const { signal } = new AbortController();

/** What brokers know at least. */
const versions = [
  [apis.listOffsets, 1, 11],
  [apis.metadata, 0, 13],
] as const;

const greeting =
  (known: readonly (readonly [number, number, number])[] = versions) =>
  (out: WireWriter) =>
    void out.int16(0).array(known, ([api, min, max]) => out.int16(api).int16(min).int16(max));

/** Answers requests with these, one after the other; undefined stays silent. */
async function broker(...answers: (((out: WireWriter, id: number) => void) | undefined)[]) {
  const asked: Buffer[] = [];
  const server = await tcpServer((socket: Socket) => {
    const left = [...answers];
    socket.on('data', (request: Buffer) => {
      asked.push(request);
      const answer = left.shift();
      const id = request.readInt32BE(8);
      const out = new WireWriter().int32(id);
      answer?.(out, id);
      if (answer !== undefined) socket.write(out.frame());
    });
  });
  return { ...server, asked };
}

const linkTo = ({ host, port }: { host: string; port: number }) =>
  connectKafka({ host, port }, { connectionName: 'eventide' }, { now: 0, signal });

const ask = (link: KafkaLink, stop = signal) => link.ask(metadataCall(['orders']), stop);

describe('a connection to a broker', () => {
  it('says whose it is with every request', async () => {
    await using server = await broker(greeting());
    await using link = await linkTo(server);

    expect(link.open).toBe(true);
    expect(server.asked[0]?.subarray(14).toString()).toBe('eventide');
  });

  it('is not made to a broker that knows too little', async () => {
    await using server = await broker(greeting([[apis.metadata, 0, 3]]));

    expect(await faultFrom(linkTo(server))).toMatchObject({ code: 'NOT_SUPPORTED' });
  });

  it.each([
    ['of an answer that nobody asked for', (out: WireWriter) => void out.int32(0), 'SOURCE_ANSWER_INVALID'],
    [
      'of an answer that ends too early',
      (out: WireWriter) => void out.int32(0).int32(9),
      'SOURCE_ANSWER_INVALID',
    ],
  ])('is the end %s', async (title, answer, code) => {
    const wrongId = title.includes('nobody');
    await using server = await tcpServer((socket: Socket) => {
      let first = true;
      socket.on('data', (request: Buffer) => {
        const out = new WireWriter().int32(request.readInt32BE(8) + (wrongId && !first ? 1 : 0));
        if (first) greeting()(out);
        else answer(out);
        first = false;
        socket.write(out.frame());
      });
    });
    await using link = await linkTo(server);

    expect(await faultFrom(ask(link))).toMatchObject({ code });
    expect(link.open).toBe(false);
  });

  it('does not wait for more than can be of use', async () => {
    await using server = await tcpServer((socket: Socket) => {
      socket.once('data', (request: Buffer) => {
        const out = new WireWriter().int32(request.readInt32BE(8));
        greeting()(out);
        socket.write(out.frame());
        socket.once('data', () => socket.write(Buffer.from('7fffffff', 'hex')));
      });
    });
    await using link = await linkTo(server);

    expect(await faultFrom(ask(link))).toMatchObject({ code: 'SOURCE_ANSWER_TOO_LARGE' });
  });

  it('is given up with everything that waits on it once an answer is overdue, and made anew', async () => {
    await using server = await broker(greeting());
    await using client = kafkaClient([server], { connectionName: 'eventide' });
    const link = await client.any({ now: 0, signal });
    using limit = deadline(signal, 50);

    const [overdue, other] = [faultFrom(ask(link, limit.signal)), faultFrom(ask(link))];

    expect([(await overdue).code, (await other).code]).toEqual(['SOURCE_TIMEOUT', 'SOURCE_TIMEOUT']);
    expect(link.open).toBe(false);
    expect(await client.any({ now: 0, signal })).not.toBe(link);
    expect(client.links).toBe(1);
  });

  it('is kept where one who asks has only changed his mind', async () => {
    await using server = await broker(greeting(), undefined);
    await using link = await linkTo(server);
    const mind = new AbortController();

    const fault = faultFrom(ask(link, mind.signal));
    mind.abort();

    expect((await fault).code).toBe('CANCELLED');
    expect(link.open).toBe(true);
  });

  it('is shared by all who want it at the same moment', async () => {
    await using server = await broker(greeting());
    await using client = kafkaClient([server], { connectionName: 'eventide' });

    const links = await Promise.all(Array.from({ length: 20 }, () => client.any({ now: 0, signal })));

    expect(new Set(links).size).toBe(1);
    expect(server.seen().connections).toBe(1);
  });

  it('is not opened any more once the client is closed', async () => {
    await using server = await broker(greeting());
    const client = kafkaClient([server], { connectionName: 'eventide' });

    const opening = client.any({ now: 0, signal });
    await client[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();

    const link = await opening;
    expect(link.open).toBe(false);
    expect(await faultFrom(client.any({ now: 0, signal }))).toMatchObject({ code: 'CANCELLED' });
  });
});
