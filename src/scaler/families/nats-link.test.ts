import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority, clientCertificate, clientKey } from '../../../test/certificates.ts';
import { closedPort, tcpServer } from '../../../test/misbehaving-http.ts';
import { type NatsServer, natsInstalled, startNats } from '../../../test/nats.ts';
import { faultFrom, until } from '../../../test/scaler-contract.ts';
import { Secret } from '../../base/secret.ts';
import { connectNats, type NatsEntry } from './nats-link.ts';

const soon = () => AbortSignal.timeout(5_000);
const us: NatsEntry = { connectionName: 'eventide of shop' };
const echo = { subject: '$JS.API.INFO', data: '' };

describe.skipIf(!natsInstalled)('a connection to a real server', () => {
  let nats: NatsServer;

  beforeAll(async () => {
    nats = await startNats();
  });

  afterAll(() => nats[Symbol.asyncDispose]());

  it('asks many things at once, and knows whose answer is whose', async () => {
    await using link = await connectNats(nats, us, soon());

    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const subject = index % 2 === 0 ? '$JS.API.INFO' : '$JS.API.STREAM.NAMES';
        const { data } = await link.request({ subject, data: '' }, soon());
        return (JSON.parse(data.toString()) as { type: string }).type.includes('names');
      }),
    );

    expect(answers).toEqual(Array.from({ length: 200 }, (_, index) => index % 2 === 1));
  });

  it('says whose it is, and that nobody is there to answer', async () => {
    await using link = await connectNats(nats, us, soon());

    const answer = await link.request({ subject: 'nobody.listens', data: 'x' }, soon());

    expect(answer.status).toBe(503);
    expect(await nats.clients()).toEqual(['eventide of shop']);
  });

  it('leaves nothing behind, however often it is opened and closed', async () => {
    for (let round = 0; round < 40; round += 1) {
      const links = await Promise.all(Array.from({ length: 50 }, () => connectNats(nats, us, soon())));
      for (const link of links) await link[Symbol.asyncDispose]();
      await links[0]?.[Symbol.asyncDispose]();
      expect(links[0]?.open).toBe(false);
    }

    while ((await nats.clients()).length > 0);
    expect(await nats.clients()).toEqual([]);
  }, 60_000);

  it('ends what waits when it is closed, and at its deadline alone what is not answered', async () => {
    const link = await connectNats(nats, us, soon());
    const unanswered = { subject: '$JS.API.CONSUMER.MSG.NEXT.NONE.none', data: '' };

    const late = await faultFrom(link.request(unanswered, AbortSignal.timeout(50)));
    const other = await link.request(echo, soon());
    const closed = faultFrom(link.request(unanswered, soon()));
    await link[Symbol.asyncDispose]();

    expect([late.code, other.status, (await closed).code]).toEqual([
      'SOURCE_TIMEOUT',
      undefined,
      'CANCELLED',
    ]);
  });

  it('takes a server that says nothing at all for gone', async () => {
    await using server = await startNats();
    const link = await connectNats(server, us, soon());
    server.freeze();

    const fault = await faultFrom(link.request(echo, AbortSignal.timeout(100)));
    server.thaw();

    expect([fault.code, link.open]).toEqual(['SOURCE_TIMEOUT', false]);
  });

  it('notices that the server has ended', async () => {
    const server = await startNats();
    const link = await connectNats(server, us, soon());

    await server[Symbol.asyncDispose]();
    await until(() => !link.open);

    expect((await faultFrom(link.request(echo, soon()))).code).toBe('SOURCE_UNREACHABLE');
  });

  it('is refused what it may not do, and goes on with what it may', async () => {
    const permissions = '{ publish: { deny: "$JS.API.STREAM.>" } }';
    const entry = { username: 'a', password: new Secret('b') };
    await using server = await startNats({
      config: [`authorization { users: [ { user: a, password: b, permissions: ${permissions} } ] }`],
      entry,
    });
    await using link = await connectNats(server, { ...us, ...entry }, soon());

    const fault = await faultFrom(link.request({ subject: '$JS.API.STREAM.NAMES', data: '' }, soon()));

    expect(fault.code).toBe('SOURCE_REFUSED');
    expect(fault.message).toContain('Permissions Violation for Publish to "$JS.API.STREAM.NAMES"');
    expect((await link.request(echo, soon())).status).toBeUndefined();
  });

  it.each([
    ['trusts the authority that it is told of', { ca: authority }, undefined],
    ['trusts nobody else', {}, 'SOURCE_UNREACHABLE'],
    ['trusts anybody where it is told to', { unsafeSsl: true }, undefined],
  ] as const)('%s, where the server insists on TLS', async (_title, trust, code) => {
    await using server = await startNats({ tls: true });

    const outcome = await connectNats(server, { ...us, trust }, soon()).then(
      async link => {
        const { status } = await link.request(echo, soon());
        await link[Symbol.asyncDispose]();
        return status;
      },
      thrown => thrown.code,
    );

    expect(outcome).toBe(code);
  });

  it('insists on TLS itself where it is told to', async () => {
    const fault = await faultFrom(connectNats(nats, { ...us, tls: {} }, soon()));

    expect(fault).toMatchObject({ code: 'SOURCE_REFUSED', message: `127.0.0.1:${nats.port} offers no TLS` });
  });
});

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The names and seeds of NATS for keys, as its own tools write them. */
function nkey(kind: number, bytes: Buffer, seed = false): string {
  const head = seed ? [(18 << 3) | (kind >> 5), (kind & 31) << 3] : [kind];
  const body = Buffer.concat([Buffer.from(head), bytes]);
  let crc = 0;
  for (const byte of body) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
  }
  const all = Buffer.concat([body, Buffer.from([crc & 0xff, crc >> 8])]);
  const bits = [...all].map(byte => byte.toString(2).padStart(8, '0')).join('');
  return (bits.match(/.{1,5}/g) ?? [])
    .map(five => alphabet[Number.parseInt(five.padEnd(5, '0'), 2)])
    .join('');
}

const kinds = { operator: 14 << 3, account: 0, user: 20 << 3 };

function identity(kind: number) {
  const { privateKey } = generateKeyPairSync('ed25519');
  const raw = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32);
  const open = createPublicKey(privateKey as unknown as KeyObject).export({ format: 'der', type: 'spki' });
  return { privateKey, name: nkey(kind, open.subarray(-32)), seed: nkey(kind, raw, true) };
}

type Identity = ReturnType<typeof identity>;

function jwt(issuer: Identity, subject: string, nats: Record<string, unknown>): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { jti: 'x', iat: 1_700_000_000, iss: issuer.name, sub: subject, name: 'test' };
  const head = part({ typ: 'JWT', alg: 'ed25519-nkey' });
  const text = `${head}.${part({ ...claims, nats: { version: 2, ...nats } })}`;
  const key = createPrivateKey(issuer.privateKey.export({ format: 'pem', type: 'pkcs8' }));
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}

describe.skipIf(!natsInstalled)('whoever logs in', () => {
  const user = identity(kinds.user);
  const operator = identity(kinds.operator);
  const account = identity(kinds.account);
  const system = identity(kinds.account);
  const creds = (holder: Identity) =>
    [
      '-----BEGIN NATS USER JWT-----',
      jwt(account, user.name, { type: 'user', pub: {}, sub: {}, subs: -1, data: -1, payload: -1 }),
      '------END NATS USER JWT------',
      '',
      '-----BEGIN USER NKEY SEED-----',
      holder.seed,
      '------END USER NKEY SEED------',
    ].join('\n');
  const limits = {
    subs: -1,
    data: -1,
    payload: -1,
    imports: -1,
    exports: -1,
    wildcards: true,
    conn: -1,
    leaf: -1,
  };
  const storage = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
  const operated = [
    `operator: ${jwt(operator, operator.name, { type: 'operator' })}`,
    'resolver: MEMORY',
    `system_account: ${system.name}`,
    'resolver_preload: {',
    `  ${account.name}: ${jwt(operator, account.name, { type: 'account', limits: { ...limits, ...storage } })}`,
    `  ${system.name}: ${jwt(operator, system.name, { type: 'account', limits })}`,
    '}',
  ];

  const ways: [string, readonly string[], Partial<NatsEntry>, Partial<NatsEntry>][] = [
    [
      'by user and password',
      ['authorization { user: shop, password: "s3cret word" }'],
      { username: 'shop', password: new Secret('s3cret word') },
      { username: 'shop', password: new Secret('a wrong word') },
    ],
    [
      'by token',
      ['authorization { token: "a long token" }'],
      { token: new Secret('a long token') },
      { token: new Secret('another token') },
    ],
    [
      'by nkey',
      [`authorization { users: [ { nkey: ${user.name} } ] }`],
      { credentials: new Secret(user.seed) },
      { credentials: new Secret(identity(kinds.user).seed) },
    ],
    [
      'by a JWT of an operator',
      operated,
      { credentials: new Secret(creds(user)) },
      { credentials: new Secret(creds(identity(kinds.user))) },
    ],
  ];

  it.each(ways)('%s comes in, and nobody else', async (_title, config, right, wrong) => {
    await using server = await startNats({ config, entry: right });

    await using link = await connectNats(server, { ...us, ...right }, soon());
    const fault = await faultFrom(connectNats(server, { ...us, ...wrong }, soon()));
    const nobody = await faultFrom(connectNats(server, us, soon()));

    expect((await link.request(echo, soon())).status).toBeUndefined();
    expect([fault.code, nobody.code]).toEqual(['SOURCE_REFUSED', 'SOURCE_REFUSED']);
    const secrets = [wrong.password, wrong.token, wrong.credentials].map(
      secret => secret?.reveal() ?? 'none',
    );
    for (const secret of secrets) expect(fault.message).not.toContain(secret);
  });

  it('comes in by a certificate', async () => {
    await using server = await startNats({
      tls: 'mutual',
      entry: { tls: { ca: authority, cert: clientCertificate, key: new Secret(clientKey) } },
    });
    const tls = { ca: authority, cert: clientCertificate, key: new Secret(clientKey) };

    await using link = await connectNats(server, { ...us, tls }, soon());

    expect((await link.request(echo, soon())).status).toBeUndefined();
    const fault = await faultFrom(
      connectNats(server, { ...us, tls: { ca: authority } }, soon()).then(other =>
        other.request(echo, soon()),
      ),
    );
    expect(fault.code).toBe('SOURCE_UNREACHABLE');
  });

  const mistyped = user.seed.replace(/^(.{20})(.)/, (_all, head, char) => head + (char === 'A' ? 'B' : 'A'));

  it.each([
    ['an empty text', ''],
    ['half a seed', user.seed.slice(0, 30)],
    ['the seed of an account', account.seed],
    ['a seed with a typing error', mistyped],
    ['something else', 'no credentials at all'],
  ])('is refused with %s for credentials, which is not shown', async (_title, credentials) => {
    await using server = await tcpServer(socket => socket.write('INFO {"nonce":"abc"}\r\n'));

    const fault = await faultFrom(
      connectNats(server, { ...us, credentials: new Secret(credentials) }, soon()),
    );

    expect(fault).toMatchObject({
      code: 'PARAM_INVALID',
      message: 'the credentials hold no seed of a user of NATS (SU…)',
    });
  });
});

describe('a connection to something else', () => {
  it.each([
    ['says nothing', () => {}, 'SOURCE_TIMEOUT'],
    [
      'speaks another language',
      (socket: { end(text: string): void }) => socket.end('HTTP/1.1 400 Bad\r\n\r\n'),
      'SOURCE_ANSWER_INVALID',
    ],
    ['hangs up', (socket: { destroy(): void }) => socket.destroy(), 'SOURCE_UNREACHABLE'],
    [
      'sends bytes before it is encrypted',
      (socket: { write(text: string): void }) => socket.write('INFO {"tls_required":true}\r\nPI'),
      'SOURCE_ANSWER_INVALID',
    ],
    [
      'is full',
      (socket: { write(text: string): void }) =>
        socket.write("INFO {}\r\n-ERR 'maximum connections exceeded'\r\n"),
      'SOURCE_BUSY',
    ],
  ])('that %s is given up', async (_title, talk, code) => {
    await using server = await tcpServer(talk);

    const fault = await faultFrom(connectNats(server, us, AbortSignal.timeout(200)));
    await until(() => server.openSockets() === 0);

    expect(fault.code).toBe(code);
  });

  it('that is not there is given up', async () => {
    const fault = await faultFrom(connectNats({ host: '127.0.0.1', port: await closedPort() }, us, soon()));

    expect(fault.code).toBe('SOURCE_UNREACHABLE');
  });
});

describe('many answers to one request', () => {
  const request = { subject: 'next', data: '' };

  /** A server that hands a message out at the last moment: when it hears that nobody waits for one any more. */
  async function lateServer() {
    const lines: string[] = [];
    const server = await tcpServer(socket => {
      socket.write('INFO {}\r\n');
      let rest = '';
      socket.on('data', chunk => {
        const heard = `${rest}${chunk}`.split('\r\n');
        rest = heard.pop() ?? '';
        lines.push(...heard);
        for (const line of heard) {
          if (line === 'UNSUB 2') socket.write('MSG tasks 2 the.ack 4\r\nlate\r\n');
          if (line === 'PING') socket.write('PONG\r\n');
        }
      });
    });
    const link = await connectNats(server, us, soon());
    const taken: string[] = [];
    const take = ({ data }: { data: Buffer }) => taken.push(data.toString()) > 9;
    return { server, link, lines, taken, answers: { take, endMs: 5, refusal: '-NAK' } };
  }

  it('end by themselves, and none is lost that was on its way then', async () => {
    const { server, link, taken, answers } = await lateServer();
    await using _server = server;
    await using _link = link;

    await link.collect(request, answers, soon());

    expect(taken).toEqual(['late']);
  });

  it('are given back that come after whoever asked was out of time', async () => {
    const { server, link, lines, taken, answers } = await lateServer();
    await using _server = server;
    await using _link = link;
    const asking = new AbortController();

    const fault = faultFrom(link.collect(request, { ...answers, endMs: 60_000 }, asking.signal));
    await until(() => lines.some(line => line.startsWith('PUB next ')));
    asking.abort(new Error('out of time'));
    await until(() => lines.includes('PUB the.ack 4'));

    expect((await fault).code).toBe('CANCELLED');
    expect(taken).toEqual([]);
    expect(lines[lines.indexOf('PUB the.ack 4') + 1]).toBe('-NAK');
  });
});
