import type { AddressInfo } from 'node:net';
import { connect as connectTcp, createServer } from 'node:net';
import { Long } from 'mongodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority, clientCertificate, clientKey } from '../../test/certificates.ts';
import { hasGo } from '../../test/cluster/binaries.ts';
import { type FerretServer, startFerretdb } from '../../test/ferretdb.ts';
import { tcpServer } from '../../test/misbehaving-http.ts';
import { countingMongo } from '../../test/mongo-peer.ts';
import {
  bind,
  faultFrom,
  type Given,
  mustBind,
  openContext,
  readContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import type { MongoSource } from '../scaler/families/mongo.ts';
import { parseMongoUri } from '../scaler/families/mongo-connection-string.ts';
import mongodb from './mongodb.ts';

const what = { dbName: 'shop', collection: 'orders', query: '{"state":"waiting"}', queryValue: '5' };
const password = 'hunter2@hunter2/hunter2';
const login = { username: 'app', password };

describe('the parameters of mongodb', () => {
  const parts = { host: 'db', port: '27017', ...login };
  const problemsOf = (given: Given) => {
    const binding = bind(mongodb, { ...given, params: { ...what, ...given.params } });
    return binding.ok ? [] : binding.problems.map(({ problem }) => problem);
  };

  it.each([
    ['a connection string', { auth: { connectionString: 'mongodb://db:27017' } }],
    ['its parts', { auth: parts }],
    ['parts without a port, which the DNS knows', { auth: { ...login, host: 'db', scheme: 'mongodb+srv' } }],
  ])('takes %s', (_title, given: Given) => {
    const bound = mustBind(mongodb, { ...given, params: what });

    expect(bound).toMatchObject({ metricName: 's0-mongodb-orders', target: { value: 5 }, timeoutMs: 10_000 });
    expect(bound.connectionKey).not.toContain('hunter2');
  });

  it.each([
    ['{}', 'the query is empty'],
    ['[]', 'the query is not a JSON object'],
    ['{state: "waiting"}', 'the query is not JSON'],
    ['{"$or":[{"a":1,"b":2,"a":3}]}', 'the query has a key twice'],
  ])('refuses the query %s', (query, problem) => {
    expect(problemsOf({ params: { query }, auth: parts })).toEqual([problem]);
  });

  it.each([
    [{ tls: 'enable' }, ['there is no "ca", "cert" or "key" to encrypt with']],
    [{ tls: 'enable', cert: 'c' }, ['one of "cert" and "key" is missing']],
    [{ tls: 'enable', key: 'k' }, ['one of "cert" and "key" is missing']],
    [{ tls: 'enable', ca: 'a' }, []],
    [{ tls: 'disable', cert: 'c' }, []],
  ])('with %j finds %j', (auth, problems) => {
    expect(problemsOf({ auth: { ...parts, ...auth } })).toEqual(problems);
  });
});

describe('what a connection string may not lead to', () => {
  it.each([
    ['a file of ours', 'mongodb://db/?tls=true&tlsCAFile=/etc/passwd', 'PARAM_INVALID'],
    ['a file of ours, in capitals', 'mongodb://db/?TLSCERTIFICATEKEYFILE=/etc/passwd', 'PARAM_INVALID'],
    ['a socket of ours', 'mongodb://%2Ftmp%2Fmongodb.sock/', 'PARAM_INVALID'],
    ['a proxy', 'mongodb://db/?proxyHost=inside', 'PARAM_INVALID'],
    ['our identity in AWS', 'mongodb://db/?authMechanism=MONGODB-AWS', 'NOT_SUPPORTED'],
    [
      'our identity in Azure',
      'mongodb://db/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:azure',
      'NOT_SUPPORTED',
    ],
    ['another protocol', 'http://hunter2:hunter2@db/', 'PARAM_INVALID'],
    ['a password with signs that are not escaped', 'mongodb://app:hunter2/hunter2@db/', 'PARAM_INVALID'],
    ['a choice that is none', 'mongodb://app:hunter2@db/?readPreference=whoever', 'PARAM_INVALID'],
  ])('is %s', async (_title, connectionString, code) => {
    const fault = await faultFrom(readOnce(mustBind(mongodb, { params: what, auth: { connectionString } })));

    expect(fault.code).toBe(code);
    expect(fault.message).not.toContain('hunter2');
  });
});

describe('the options of a connection string', () => {
  it.each([
    ['?connect=direct', '/?directConnection=true'],
    ['/shop?connect=automatic&TLS=true', '/shop?directConnection=false&TLS=true'],
    ['/?maxStaleness=90;readPreference=secondary', '/?maxStalenessSeconds=90&readPreference=secondary'],
    ['/?sslInsecure=true&heartbeatIntervalMS=900', '/?tlsInsecure=true&heartbeatFrequencyMS=900'],
    ['/?authMechanismProperties=a:b%2Cc', '/?authMechanismProperties=a%3Ab%2Cc'],
    ['/?mongodbLogPath=stdout&localAddress=127.0.0.1&uuidRepresentation=standard&w=2', '/'],
  ])('%s are for our client %s', (given, known) => {
    expect(parseMongoUri(`mongodb://app:p%40ss@db:1,db2${given}`).known.reveal()).toBe(
      `mongodb://app:p%40ss@db:1,db2${known}`,
    );
  });
});

describe.skipIf(!(await hasGo()))('mongodb, against FerretDB', () => {
  let server: FerretServer;
  let secured: FerretServer;

  beforeAll(async () => {
    server = await startFerretdb({ password });
    secured = await startFerretdb({ password, tls: true });
    await server.client
      .db('shop')
      .collection('orders')
      .insertMany([
        { state: 'waiting', weight: 1, at: new Date('2026-01-01') },
        { state: 'waiting', weight: 2.5, at: new Date('2026-02-01') },
        { state: 'done', weight: 9_007_199_254_740_991, tags: ['a', 'b'] },
      ]);
  }, 240_000);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await secured[Symbol.asyncDispose]();
  });

  const at = ({ host, port }: { host: string; port: number }) => ({ host, port: String(port) });
  /** Users of FerretDB are known in one database, which need not be the one that is counted in. */
  const uri = ({ host, port }: { host: string; port: number }, options = '') =>
    `mongodb://app:${encodeURIComponent(password)}@${host}:${port}/${options}`;
  const asking = (query: string, options = '') =>
    mustBind(mongodb, {
      params: { ...what, query },
      auth: { connectionString: uri(server, options) },
    });

  scalerContract(mongodb, {
    async serve() {
      const own = await startFerretdb({ password });
      return {
        params: at(own),
        fill: async count => {
          const orders = Array.from({ length: count }, () => ({ state: 'waiting' }));
          await own.client.db('admin').collection('orders').insertMany(orders);
        },
        stop: () => own.stop(),
        restart: () => own.start(),
        [Symbol.asyncDispose]: () => own[Symbol.asyncDispose](),
      };
    },
    protocol: 'tcp',
    params: { ...what, dbName: 'admin' },
    auth: login,
    alsoRequired: ['host', 'port', 'username', 'password'],
    expect: 3,
    wrong: () => ({ auth: { password: 'quite wrong' } }),
    missing: () => ({ params: { collection: 'nowhere' } }),
    // As MongoDB itself has it.
    outcomes: { missing: 0 },
    async saying(number) {
      const server = await countingMongo(Number(number));
      return Object.assign(server, {
        auth: { connectionString: `mongodb://${server.host}:${server.port}/?directConnection=true` },
      });
    },
    at: ({ host, port }) => ({ params: { host, port: String(port) } }),
    cannot: {
      garbage: 'the client library drops what it cannot read and says nothing of it; tried below',
      notHttp: 'the client library drops what it cannot read and says nothing of it; tried below',
      tlsFailure: 'tried below',
    },
  });

  describe('counting', () => {
    it.each([
      ['{"state":"waiting"}', 2],
      ['{"state":"nothing of the kind"}', 0],
      ['{"_id":{"$exists":true}}', 3],
      ['{"weight":{"$gt":1.5}}', 2],
      ['{"weight":{"$numberLong":"9007199254740991"}}', 1],
      ['{"at":{"$gte":{"$date":"2026-01-15T00:00:00Z"}}}', 1],
      ['{"at":{"$lt":{"$date":{"$numberLong":"1768435200000"}}}}', 1],
      ['{"$or":[{"state":"done"},{"weight":1}]}', 2],
      ['{"tags":{"$all":["a","b"]}}', 1],
      ['{"state":{"$regularExpression":{"pattern":"^wait","options":""}}}', 2],
    ])('finds with %s %d', async (query, count) => {
      expect(await readOnce(asking(query))).toBe(count);
    });

    it.each([
      ['{"$nothing":1}', 'SOURCE_FAILED'],
      ['{"_id":{"$oid":"not an id"}}', 'PARAM_INVALID'],
    ])('says so where the query is %s', async (query, code) => {
      expect(await faultFrom(readOnce(asking(query)))).toMatchObject({ code });
    });

    it('finds by numbers that JavaScript would round, and with options it does not know', async () => {
      const texts = ['9007199254740993', '9007199254740993', '9007199254740992'];
      const numbers = texts.map(text => ({ big: Long.fromString(text) }));
      await server.client.db('shop').collection('numbers').insertMany(numbers);
      const params = { ...what, collection: 'numbers', query: '{"big": 9007199254740993}' };
      const auth = { connectionString: uri(server, '?connect=direct&uuidRepresentation=standard') };

      expect(await readOnce(mustBind(mongodb, { params, auth }))).toBe(2);
    });

    it('takes a collection that is not there for an empty one', async () => {
      const auth = { connectionString: uri(server) };

      expect(await readOnce(mustBind(mongodb, { params: { ...what, collection: 'nowhere' }, auth }))).toBe(0);
    });
  });

  describe('coming in', () => {
    it.each([
      ['a wrong password', `mongodb://app:not-the-password@`, 'SOURCE_REFUSED'],
      ['no password', 'mongodb://', 'SOURCE_REFUSED'],
    ])('says so for %s', async (_title, start, code) => {
      const auth = { connectionString: `${start}127.0.0.1:${server.port}/` };

      const fault = await faultFrom(readOnce(mustBind(mongodb, { params: what, auth })));

      expect(fault.code).toBe(code);
      expect(fault.message).not.toContain('not-the-password');
    });

    const own = { cert: clientCertificate, key: clientKey };
    it.each([
      ['with our certificate and the right authority', { tls: 'enable', ca: authority, ...own }, 0],
      ['without the authority', { tls: 'enable', ...own }, 'SOURCE_UNREACHABLE'],
      ['without our certificate', { tls: 'enable', ca: authority }, 'SOURCE_UNREACHABLE'],
      ['without TLS', {}, 'SOURCE_UNREACHABLE'],
      ['with a certificate that is none', { tls: 'enable', cert: 'none', key: 'none' }, 'PARAM_INVALID'],
    ])('with TLS: %s', async (_title, auth: Record<string, string>, outcome) => {
      const bound = mustBind(mongodb, { params: what, auth: { ...auth, connectionString: uri(secured) } });

      const reading = readOnce(bound);

      if (outcome === 0) expect(await reading).toBe(0);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });

    it.each([
      ['tls=false', { ca: authority }, 0],
      ['tls=true&tlsInsecure=true', {}, 'SOURCE_UNREACHABLE'],
    ])('with TLS of its own, whatever the connection string says: %s', async (options, auth, outcome) => {
      const connectionString = uri(secured, `?${options}`);
      const bound = mustBind(mongodb, {
        params: what,
        auth: { tls: 'enable', ...own, ...auth, connectionString },
      });

      const reading = readOnce(bound);

      if (outcome === 0) expect(await reading).toBe(0);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });

    it('with TLS: trusts the authorities of the process where only the connection string asks for it', async () => {
      const connectionString = uri(secured, '?tls=true');
      const bound = mustBind(mongodb, { params: what, auth: { connectionString } });

      const known = await faultFrom(readOnce(bound, { open: { http: { roots: [authority] } } }));
      const unknown = await faultFrom(readOnce(bound));

      // The server goes on to ask for a certificate of ours.
      expect(known.message).not.toBe(unknown.message);
      expect(unknown.message).toContain('unable to verify');
    });

    it.each([
      ['another protocol', '220 mail.example.com ESMTP\r\n'],
      ['garbage', 'A'.repeat(64)],
    ])('finds no server where one answers with %s', async (_title, said) => {
      await using broken = await tcpServer(socket => socket.end(said));
      const auth = { connectionString: `mongodb://127.0.0.1:${broken.port}` };

      const fault = await faultFrom(readOnce(mustBind(mongodb, { params: what, auth })));

      expect(fault).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
    });

    it('says so when the TLS handshake fails', async () => {
      await using broken = await tcpServer(socket => socket.once('data', () => socket.end('no TLS here')));
      const auth = { tls: 'enable', ca: authority, connectionString: `mongodb://127.0.0.1:${broken.port}` };

      const fault = await faultFrom(readOnce(mustBind(mongodb, { params: what, auth })));

      expect(fault).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
    });
  });

  describe('the client', () => {
    async function opened(bound = asking('{"state":"waiting"}')) {
      const open = openContext(AbortSignal.timeout(10_000), { connectionName: () => 'eventide of the shop' });
      const conn = (await bound.scaler.open(bound.params, open)) as MongoSource;
      const ask = (signal = AbortSignal.timeout(10_000)) =>
        bound.scaler.read(bound.params, readContext(conn, signal));
      return { ask, [Symbol.asyncDispose]: () => bound.scaler.close(conn) };
    }
    const through = ({ host, port }: { host: string; port: number }) =>
      mustBind(mongodb, { params: what, auth: { connectionString: uri({ host, port }) } });

    it('says whose it is and how long the server may count, over few connections', async () => {
      await using relay = await startRelay(server.port);
      await using shared = await opened(through(relay));

      await Promise.all(Array.from({ length: 200 }, () => shared.ask()));

      expect(relay.seen()).toContain('eventide of the shop');
      expect(relay.seen()).toContain('maxTimeMS');
      // Five for questions, one that watches the server.
      expect(relay.connections()).toBeLessThanOrEqual(6);
    });

    it('gives up at the deadline where the server is frozen', async () => {
      await using own = await startFerretdb({ password });
      await using shared = await opened(through(own));
      await shared.ask();

      own.process().freeze();
      const fault = await faultFrom(shared.ask(AbortSignal.timeout(150)));
      own.process().thaw();

      expect(fault.code).toBe('SOURCE_TIMEOUT');
      expect(await shared.ask()).toBe(0);
    });
  });
});

/** Passes bytes on to a server, and remembers those of the client. */
async function startRelay(port: number) {
  const seen: Buffer[] = [];
  let connections = 0;
  const relay = createServer(socket => {
    connections += 1;
    const on = connectTcp(port, '127.0.0.1');
    socket.on('data', chunk => seen.push(chunk));
    socket.pipe(on).pipe(socket);
    for (const each of [socket, on]) each.on('error', () => {});
  });
  await new Promise<void>(resolve => relay.listen(0, '127.0.0.1', resolve));
  return {
    host: '127.0.0.1',
    port: (relay.address() as AddressInfo).port,
    seen: () => Buffer.concat(seen).toString('latin1'),
    connections: () => connections,
    [Symbol.asyncDispose]: () => new Promise<void>(resolve => relay.close(() => resolve())),
  };
}
