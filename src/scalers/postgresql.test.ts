import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority, clientCertificate, clientKey } from '../../test/certificates.ts';
import { freeze } from '../../test/freeze.ts';
import { tcpServer } from '../../test/misbehaving-http.ts';
import { noTokens } from '../../test/no-tokens.ts';
import { type PostgresServer, postgresInstalled, startPostgres } from '../../test/postgres.ts';
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
import { Secret } from '../base/secret.ts';
import type { OpenContext } from '../scaler/context.ts';
import type { SqlPool } from '../scaler/families/sql.ts';
import { noIdentity, type PodIdentity } from '../spec/pod-identity.ts';
import postgresql from './postgresql.ts';

const azure: PodIdentity = { provider: 'azure-workload' };
const one = { query: 'SELECT 1', targetQueryValue: '5' };
const parts = { host: 'db', port: '5432', userName: 'app', dbName: 'shop', sslmode: 'require' };

describe('the parameters of postgresql', () => {
  const identityOf = (given: Given, podIdentity: PodIdentity = noIdentity) =>
    mustBind(postgresql, { ...given, params: { ...one, ...given.params } }, { podIdentity }).connectionKey;

  it.each([
    ['a whole connection string', { auth: { connection: 'postgres://app@db/shop' } }],
    [
      'its parts',
      { params: { host: 'db', port: '5432', userName: 'app', dbName: 'shop', sslmode: 'prefer' } },
    ],
  ])('takes %s', (_title, given: Given) => {
    const bound = mustBind(postgresql, { ...given, params: { ...one, ...given.params } });

    expect(bound).toMatchObject({ metricName: 's0-postgresql', target: { value: 5 }, activation: 0 });
  });

  it.each([
    ['0', false, false],
    [undefined, false, false],
    [undefined, true, true],
    ['0.5', false, true],
  ])('with a target of %s, as a metric source: %s, is accepted: %s', (target, asMetricSource, ok) => {
    const params = { query: 'SELECT 1', ...(target === undefined ? {} : { targetQueryValue: target }) };

    const binding = bind(postgresql, { params, auth: { connection: 'postgres://a@b' } }, { asMetricSource });

    expect(binding.ok).toBe(ok);
  });

  it('needs the parts where a token is the password, whatever connection string there is', () => {
    const given = { params: one, auth: { connection: 'postgres://app@db/shop' } };

    const binding = bind(postgresql, given, { podIdentity: azure });

    expect(binding.ok ? [] : binding.problems.map(({ problem }) => problem)).toContain('"host" is missing');
  });

  it('shares a connection among different ways to write the same thing, and keeps secrets out of its name', () => {
    const written = [
      'postgresql://app:hunter2-hunter2@db:5432/shop?sslmode=require',
      "user=app password='hunter2-hunter2' host=db dbname=shop sslmode=require",
    ].map(connection => identityOf({ auth: { connection } }));
    const inParts = identityOf({ params: parts, auth: { password: 'hunter2-hunter2' } });
    const other = identityOf({ params: parts, auth: { password: 'hunter3-hunter3' } });

    expect(new Set([...written, inParts]).size).toBe(1);
    expect(other).not.toBe(inParts);
    expect(inParts).not.toContain('hunter2');
  });

  it('cannot be led to another host by what stands in a part', () => {
    const plain = identityOf({ params: parts, auth: { password: "x' host=evil" } });

    expect(plain).toContain('app@db:5432/shop');
  });
});

describe.skipIf(!postgresInstalled)('postgresql, against a real server', () => {
  let server: PostgresServer;
  let secured: PostgresServer;

  beforeAll(async () => {
    server = await startPostgres();
    secured = await startPostgres({
      tls: true,
      access: [
        'hostssl all plain 127.0.0.0/8 password',
        'hostssl all digest 127.0.0.0/8 md5',
        'hostnossl all bare 127.0.0.0/8 scram-sha-256',
        'hostssl all client 127.0.0.0/8 cert',
        'hostssl all scram 127.0.0.0/8 scram-sha-256',
      ],
      // The second address is not in the certificate.
      settings: { listen_addresses: '127.0.0.1,127.0.0.2' },
    });
    await secured.sql(
      `CREATE ROLE scram LOGIN PASSWORD 'pässword'; CREATE ROLE plain LOGIN PASSWORD 'pässword';
       CREATE ROLE bare LOGIN PASSWORD 'pässword'; CREATE ROLE client LOGIN; SET password_encryption = md5;
       CREATE ROLE digest LOGIN PASSWORD 'pässword'`,
    );
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await secured[Symbol.asyncDispose]();
  });

  const at = ({ host, port }: { host: string; port: number }, over: Record<string, string> = {}) => ({
    ...one,
    host,
    port: String(port),
    userName: 'postgres',
    dbName: 'shop',
    sslmode: 'disable',
    ...over,
  });
  const asking = (query: string, over: Record<string, string> = {}) =>
    mustBind(postgresql, { params: at(server, { query, ...over }) });
  const read = (query: string) => readOnce(asking(query));

  scalerContract(postgresql, {
    async serve() {
      const own = await startPostgres({ access: ['host all all 127.0.0.1/32 scram-sha-256'] });
      await own.sql("CREATE TABLE tasks (n int); CREATE ROLE app LOGIN PASSWORD 'hunter2-hunter2'");
      await own.sql('GRANT SELECT ON tasks TO app');
      return {
        params: { host: own.host, port: String(own.port) },
        fill: async count => void (await own.sql(`INSERT INTO tasks SELECT generate_series(1, ${count})`)),
        stop: () => own.stop(),
        restart: () => own.start(),
        clients: () => own.sessions(),
        [Symbol.asyncDispose]: () => own[Symbol.asyncDispose](),
      };
    },
    protocol: 'tcp',
    params: {
      query: 'SELECT count(*) FROM tasks',
      targetQueryValue: '5',
      userName: 'app',
      dbName: 'shop',
      sslmode: 'prefer',
    },
    auth: { password: 'hunter2-hunter2' },
    alsoRequired: ['targetQueryValue', 'host', 'port', 'userName', 'dbName', 'sslmode'],
    expect: 4,
    wrong: () => ({ auth: { password: 'quite wrong' } }),
    missing: () => ({ params: { query: 'SELECT count(*) FROM nowhere' } }),
    saying: async number => ({
      params: { ...at(server), query: `SELECT '${number}'` },
      async [Symbol.asyncDispose]() {},
    }),
    measures: true,
    at: ({ host, port }) => ({ params: { host, port: String(port) } }),
    cannot: { tlsFailure: 'TLS starts within the protocol; tried below' },
  });

  describe('what a query gives', () => {
    it.each([
      ['SELECT 3', 3],
      ['SELECT -3;', -3],
      ["SELECT ceil(COUNT(*)::decimal / 16) FROM pg_class WHERE relname = 'pg_class'", 1],
      ['SELECT 1.25::numeric', 1.25],
      ['SELECT 1e-3::float8', 0.001],
      ['SELECT 9007199254740993::bigint', 9_007_199_254_740_992],
      ["SELECT '12'::text", 12],
      ["SELECT '-1_000.5e1'::text", -10_005],
      ['SELECT n FROM generate_series(1, 100000) AS n ORDER BY n DESC', 100_000],
      ['WITH t AS (SELECT 2 AS n) SELECT n FROM t -- and nothing else', 2],
      ['SHOW max_connections', 100],
    ])('takes %s for %d', async (query, value) => {
      expect(await read(query)).toBe(value);
    });

    it.each([
      ['SELECT NULL', 'SOURCE_ANSWER_INVALID', 'COALESCE'],
      ['SELECT 1 WHERE false', 'SOURCE_ANSWER_INVALID', 'no row'],
      ['SELECT 1, 2', 'SOURCE_ANSWER_INVALID', '2 columns'],
      ['SELECT true', 'SOURCE_ANSWER_INVALID', 'no number'],
      ["SELECT 'the secret of somebody'", 'SOURCE_ANSWER_INVALID', 'no number'],
      ["SELECT 'NaN'::float8", 'SOURCE_ANSWER_INVALID', 'no number'],
      ['SELECT 10::numeric ^ 400', 'SOURCE_ANSWER_INVALID', 'too large'],
      ["SELECT repeat('1', 2000000)", 'SOURCE_ANSWER_TOO_LARGE', '1 MiB'],
      ['SELECT 1; SELECT 2', 'SOURCE_FAILED', 'multiple commands'],
      ['SELEC 1', 'SOURCE_FAILED', 'syntax error'],
      ['SELECT count(*) FROM nowhere', 'SOURCE_NOT_FOUND', 'nowhere'],
      ['CREATE TABLE made (n int)', 'SOURCE_FAILED', 'read-only transaction'],
      ['COPY pg_class FROM STDIN', 'SOURCE_FAILED', 'read-only transaction'],
    ])('does not take %s for a number: %s', async (query, code, sentence) => {
      const fault = await faultFrom(read(query));

      expect(fault.code).toBe(code);
      expect(fault.message).toContain(sentence);
      expect(fault.message).not.toContain('somebody');
    });

    it('may write where the connection string says so, and only what is committed counts', async () => {
      await server.sql('CREATE SEQUENCE asked');
      const bound = (options: string) =>
        mustBind(postgresql, {
          params: { ...one, query: "SELECT nextval('asked')" },
          auth: { connection: `postgresql://postgres@127.0.0.1:${server.port}/shop${options}` },
        });

      const refused = await faultFrom(readOnce(bound('')));

      expect(refused.message).toContain('read-only');
      expect(await readOnce(bound('?default_transaction_read_only=off'))).toBe(1);
      expect(await readOnce(bound('?default_transaction_read_only=off'))).toBe(2);
    });
  });

  describe('coming in', () => {
    const securely = (userName: string, sslmode: string, more: Record<string, string> = {}) =>
      mustBind(postgresql, {
        params: at(secured, { userName, sslmode, ...more }),
        auth: { password: 'pässword' },
      });
    const trusting = { http: { roots: [authority] } };

    it.each([
      ['scram', 'prefer'],
      ['scram', 'require'],
      ['scram', 'allow'],
      ['plain', 'require'],
      ['digest', 'require'],
      ['bare', 'disable'],
      ['bare', 'prefer'],
      ['bare', 'allow'],
    ])('lets %s in with sslmode %s, as libpq would', async (userName, sslmode) => {
      expect(await readOnce(securely(userName, sslmode))).toBe(1);
    });

    it.each([
      ['scram', 'disable', 'no encryption'],
      ['bare', 'require', 'SSL encryption'],
    ])('does not let %s in with sslmode %s', async (userName, sslmode, sentence) => {
      const fault = await faultFrom(readOnce(securely(userName, sslmode)));

      expect(fault).toMatchObject({ code: 'SOURCE_REFUSED' });
      expect(fault.message).toContain(sentence);
    });

    it('encrypts in fact', async () => {
      const query = 'SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl';

      expect(await readOnce(securely('scram', 'prefer', { query }))).toBe(1);
      expect(await readOnce(securely('bare', 'prefer', { query }))).toBe(0);
    });

    it.each([
      ['verify-full', 'an unknown authority', {}, 'SOURCE_UNREACHABLE'],
      ['verify-ca', 'an unknown authority', {}, 'SOURCE_UNREACHABLE'],
      ['verify-full', 'a trusted authority', trusting, 1],
      ['verify-ca', 'a trusted authority', trusting, 1],
    ])('with sslmode %s takes %s for what it is', async (sslmode, _title, open, outcome) => {
      const reading = readOnce(securely('scram', sslmode), { open });

      if (outcome === 1) expect(await reading).toBe(1);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });

    it.each([
      ['verify-full', 'localhost', 1],
      ['verify-full', '127.0.0.2', 'SOURCE_UNREACHABLE'],
      ['verify-ca', '127.0.0.2', 1],
    ])('with sslmode %s takes the certificate for %s: %s', async (sslmode, host, outcome) => {
      const reading = readOnce(securely('scram', sslmode, { host }), { open: trusting });

      if (outcome === 1) expect(await reading).toBe(1);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });

    it.each([
      ['require', 'the authority itself in sslrootcert verifies', authority, 1],
      ['require', 'another authority in sslrootcert refuses', clientCertificate, 'SOURCE_UNREACHABLE'],
    ])('with sslmode %s %s', async (sslmode, _title, ca, outcome) => {
      const connection = `host=127.0.0.1 port=${secured.port} user=scram password=pässword dbname=shop sslmode=${sslmode} sslrootcert='${ca}'`;

      const reading = readOnce(mustBind(postgresql, { params: one, auth: { connection } }));

      if (outcome === 1) expect(await reading).toBe(1);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });

    it('shows a certificate of its own where the connection string has one', async () => {
      const pairs = `host=127.0.0.1 port=${secured.port} user=client dbname=shop sslmode=require`;
      const connection = `${pairs} sslcert='${clientCertificate}' sslkey='${clientKey}'`;
      const bound = (text: string) => mustBind(postgresql, { params: one, auth: { connection: text } });

      expect(await readOnce(bound(connection))).toBe(1);
      expect(await faultFrom(readOnce(bound(pairs)))).toMatchObject({ code: 'SOURCE_REFUSED' });
    });

    it('binds the login to the encryption where that is required', async () => {
      const connection = (sslmode: string, port: number) =>
        `postgresql://scram:p%C3%A4ssword@127.0.0.1:${port}/shop?sslmode=${sslmode}&channel_binding=require`;
      const bound = (text: string) => mustBind(postgresql, { params: one, auth: { connection: text } });

      expect(await readOnce(bound(connection('require', secured.port)))).toBe(1);
      expect(await faultFrom(readOnce(bound(connection('disable', secured.port))))).toMatchObject({
        code: 'SOURCE_REFUSED',
      });
    });

    it.each([
      ['scram', 'scram-sha-256', 1],
      ['scram', 'md5, password', 'SOURCE_REFUSED'],
      ['plain', 'password', 1],
      ['plain', '!password', 'SOURCE_REFUSED'],
      ['digest', '!password,!scram-sha-256', 1],
      ['digest', 'scram-sha-256', 'SOURCE_REFUSED'],
      ['postgres', 'none,md5', 1],
      ['postgres', '!none', 'SOURCE_REFUSED'],
    ])('comes in as %s only where require_auth allows it: %s', async (user, ways, outcome) => {
      const [{ port }, sslmode] = user === 'postgres' ? [server, 'disable'] : [secured, 'require'];
      const pairs = `host=127.0.0.1 port=${port} user=${user} password=pässword dbname=shop sslmode=${sslmode}`;
      const connection = `${pairs} require_auth='${ways}'`;

      const reading = readOnce(mustBind(postgresql, { params: one, auth: { connection } }));

      if (outcome === 1) expect(await reading).toBe(1);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });

    it.each([
      ['a wrong password', { auth: { password: 'not-the-password' } }, 'SOURCE_REFUSED'],
      ['no password', {}, 'SOURCE_REFUSED'],
      ['a user that is not there', { params: { userName: 'nobody-known' } }, 'SOURCE_REFUSED'],
      [
        'a database that is not there',
        { auth: { password: 'pässword' }, params: { dbName: 'nowhere' } },
        'SOURCE_NOT_FOUND',
      ],
      ['an sslmode that is none', { params: { sslmode: 'required' } }, 'PARAM_INVALID'],
      ['a port that is none', { params: { port: 'test_port' } }, 'PARAM_INVALID'],
    ])('says so for %s', async (_title, { params = {}, auth = {} }: Given, code) => {
      const given = { params: at(secured, { userName: 'scram', sslmode: 'require', ...params }), auth };

      const fault = await faultFrom(readOnce(mustBind(postgresql, given)));

      expect(fault.code).toBe(code);
      expect(fault.message).not.toContain('not-the-password');
    });

    it('says so when the server does not encrypt, or fails to', async () => {
      await using broken = await tcpServer(socket =>
        socket.once('data', () => socket.write('S no TLS here')),
      );

      const plain = await faultFrom(readOnce(asking('SELECT 1', { sslmode: 'require' })));
      const failed = await faultFrom(
        readOnce(mustBind(postgresql, { params: at(broken, { sslmode: 'require' }) })),
      );

      expect(plain).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
      expect(plain.message).toContain('does not encrypt');
      expect(failed).toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
    });

    it('takes a token of the pod identity for the password, a new one for each session and after a refusal', async () => {
      const scopes: string[] = [];
      let token = new Secret('revoked');
      const open: Partial<OpenContext> = {
        identity: azure,
        tokens: {
          ...noTokens,
          async accessToken(identity, scope) {
            scopes.push(`${identity.provider} ${scope}`);
            return token;
          },
          refused(given) {
            expect(given).toBe(token);
            token = new Secret('pässword');
          },
        },
      };
      const bound = mustBind(
        postgresql,
        { params: at(secured, { userName: 'scram', sslmode: 'require' }), auth: { password: 'not this' } },
        { podIdentity: azure },
      );

      const fault = await faultFrom(readOnce(bound, { open }));

      expect(fault.code).toBe('SOURCE_REFUSED');
      expect(await readOnce(bound, { open })).toBe(1);
      expect(await readOnce(bound, { open })).toBe(1);
      expect(scopes).toEqual(
        Array(3).fill('azure-workload https://ossrdbms-aad.database.windows.net/.default'),
      );
    });

    it.each([
      ['any', 1],
      ['read-write', 1],
      ['primary', 1],
      ['prefer-standby', 1],
      ['standby', 'SOURCE_NOT_FOUND'],
      ['read-only', 'SOURCE_NOT_FOUND'],
    ])('tries one server after the other for one that is %s', async (kind, outcome) => {
      const ports = `1,${server.port}`;
      const connection = `host=127.0.0.1,127.0.0.1 port=${ports} user=postgres dbname=shop target_session_attrs=${kind}`;

      const reading = readOnce(mustBind(postgresql, { params: one, auth: { connection } }));

      if (outcome === 1) expect(await reading).toBe(1);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });
  });

  describe('the sessions', () => {
    async function opened(of: PostgresServer, name = 'eventide') {
      const bound = mustBind(postgresql, { params: at(of) });
      const conn = (await bound.scaler.open(
        bound.params,
        openContext(AbortSignal.timeout(10_000), { connectionName: () => name }),
      )) as SqlPool;
      const ask = (query: string, signal = AbortSignal.timeout(10_000)) =>
        bound.scaler.read(
          mustBind(postgresql, { params: at(of, { query }) }).params,
          readContext(conn, signal),
        );
      return { conn, ask, [Symbol.asyncDispose]: () => bound.scaler.close(conn) };
    }

    it('say whose they are, and are one where nobody is in a hurry and five for a thousand at once', async () => {
      await using shared = await opened(server, 'eventide of the shop');

      await shared.ask('SELECT 1');
      const calm = await server.sessions();
      await Promise.all(Array.from({ length: 1000 }, (_, index) => shared.ask(`SELECT ${index}`)));
      const hurried = await server.sessions();

      expect(calm).toEqual(['eventide of the shop: idle']);
      expect(hurried).toEqual(Array(5).fill('eventide of the shop: idle'));
    });

    it('hold no transaction between queries, also after one that failed', async () => {
      await using shared = await opened(server);

      await faultFrom(shared.ask('SELECT 1/0'));

      expect(await shared.ask('SELECT 7')).toBe(7);
      expect(await server.sessions()).toEqual(['eventide: idle']);
    });

    it('stop a query on the server when nobody waits for it any more, and answer the next one', async () => {
      await using shared = await opened(server);

      const fault = await faultFrom(shared.ask('SELECT pg_sleep(60)', AbortSignal.timeout(100)));
      const running = async () => (await server.sessions()).filter(each => each.endsWith('active'));
      while ((await running()).length > 0) await new Promise(setImmediate);

      expect(fault.code).toBe('SOURCE_TIMEOUT');
      expect(await shared.ask('SELECT 7')).toBe(7);
      expect(await server.sessions()).toEqual(['eventide: idle']);
    });

    it('stop on the server what is under way when they are closed', async () => {
      const fault = await faultFrom(readOnce(asking('SELECT pg_sleep(60)'), { timeoutMs: 100 }));
      while ((await server.sessions()).length > 0) await new Promise(setImmediate);

      expect(fault.code).toBe('SOURCE_TIMEOUT');
    });

    it('never have a query stopped in the place of the one before it', async () => {
      await using shared = await opened(server);

      for (let round = 0; round < 100; round += 1) {
        const nearly = shared.ask('SELECT pg_sleep(0.005)', AbortSignal.timeout(6)).catch(() => 0);
        await nearly;
        expect(await shared.ask('SELECT pg_backend_pid() / pg_backend_pid()')).toBe(1);
      }
    });

    it('are given back when the hurry is over', async () => {
      await using shared = await opened(server);
      await Promise.all(Array.from({ length: 9 }, () => shared.ask('SELECT 1')));
      const busy = shared.conn.links;

      const { signal } = new AbortController();
      const now = Date.UTC(2026, 0, 15, 13);
      for (let round = 0; round < 9; round += 1) await shared.conn.number('SELECT 1', { signal, now });

      expect([busy, shared.conn.links]).toEqual([5, 1]);
    });

    it('have the server end by itself what it is not told to end', async () => {
      await using shared = await opened(server);

      expect(
        await shared.ask("SELECT extract(epoch FROM current_setting('statement_timeout')::interval)"),
      ).toBe(10);
    });

    it('are given up at the deadline where the server is frozen', async () => {
      await using own = await startPostgres();
      await using shared = await opened(own);
      const [pid] = await own.sql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'eventide%'");

      freeze(Number(pid));
      const fault = await faultFrom(shared.ask('SELECT 1', AbortSignal.timeout(150)));
      const other = await shared.ask('SELECT 2');
      process.kill(Number(pid), 'SIGCONT');

      expect(fault.code).toBe('SOURCE_TIMEOUT');
      expect(other).toBe(2);
    });
  });
});
