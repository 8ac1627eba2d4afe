import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority } from '../../test/certificates.ts';
import { type MariadbServer, mariadbInstalled, startMariadb } from '../../test/mariadb.ts';
import { tcpServer } from '../../test/misbehaving-http.ts';
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
import type { SqlPool } from '../scaler/families/sql.ts';
import mysql from './mysql.ts';

const one = { query: 'SELECT 1', queryValue: '5' };

describe('the parameters of mysql', () => {
  const boundTo = (given: Given) => mustBind(mysql, { ...given, params: { ...one, ...given.params } });

  it.each([
    ['its parts', { params: { host: 'db', dbName: 'stats.db' } }, 's0-mysql-stats-db'],
    ['a connection string', { auth: { connectionString: 'app:a/b@tcp(db)/shop' } }, 's0-mysql-shop'],
    // As KEDA names it.
    ['its settings', { auth: { connectionString: 'app@/shop?tls=true' } }, 's0-mysql-shop?tls=true'],
    ['nothing', { auth: { connectionString: 'app@tcp(db)/' } }, 's0-mysql-'],
  ])('makes the name of the metric of %s', (_title, given: Given, name) => {
    expect(boundTo(given).metricName).toBe(name);
  });

  it('refuses a connection string without a slash, and does not show it', () => {
    const binding = bind(mysql, { params: one, auth: { connectionString: 'app:hunter2@tcp(db)' } });

    expect(binding).toMatchObject({ ok: false, problems: [{ problem: expect.stringContaining('slash') }] });
    expect(JSON.stringify(binding)).not.toContain('hunter2');
  });

  it('shares a connection among different ways to write the same thing, and keeps secrets out of its name', () => {
    const whole = boundTo({ auth: { connectionString: 'app:hunter2@hunter3@tcp(db)/shop' } }).connectionKey;
    const params = { host: 'db', port: '3306', username: 'app', dbName: 'shop' };
    const inParts = boundTo({ params, auth: { password: 'hunter2@hunter3' } }).connectionKey;
    const other = boundTo({ params, auth: { password: 'hunter2' } }).connectionKey;

    expect(inParts).toBe(whole);
    expect(other).not.toBe(whole);
    expect(whole).toContain('app@db:3306/shop');
    expect(whole).not.toContain('hunter');
  });

  it.each([
    ['readTimeout=45s', 45_000],
    ['readTimeout=0', 10_000],
    ['tls=true', 10_000],
  ])('with %s gives a reading %d ms', (settings, ms) => {
    expect(boundTo({ auth: { connectionString: `app@/shop?${settings}` } }).timeoutMs).toBe(ms);
  });
});

describe.skipIf(!mariadbInstalled)('mysql, against a real server', () => {
  let server: MariadbServer;
  let secured: MariadbServer;

  beforeAll(async () => {
    [server, secured] = await Promise.all([startMariadb(), startMariadb({ tls: true })]);
    await server.sql(
      `CREATE USER app@'%' IDENTIFIED BY 'pässword'; GRANT ALL ON shop.* TO app@'%';
       CREATE USER few@'%' IDENTIFIED BY 'pässword'; GRANT EXECUTE ON shop.* TO few@'%';
       CREATE USER free@'%';
       CREATE TABLE shop.tasks (n int, amount decimal(10, 2), text varchar(20), bits bit(8));
       INSERT INTO shop.tasks VALUES (1, 1.25, '12', b'1'), (2, -3.5, 'x', b'10'), (NULL, NULL, NULL, NULL);
       CREATE PROCEDURE shop.waiting() SELECT COUNT(*) FROM shop.tasks;
       
DELIMITER //
CREATE FUNCTION shop.note() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO shop.tasks (n) VALUES (9); RETURN 1; END//`,
    );
    await secured.sql(
      `CREATE USER app@'%' IDENTIFIED BY 'pässword' REQUIRE SSL; CREATE USER plain@'%' IDENTIFIED BY 'pässword'`,
    );
  }, 60_000);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await secured[Symbol.asyncDispose]();
  });

  const dsn = ({ host, port }: { host: string; port: number }, user: string, settings = '') =>
    `${user}:pässword@tcp(${host}:${port})/${user === 'app' || user === 'few' ? 'shop' : ''}${settings}`;
  const asking = (query: string, settings = '', user = 'app') =>
    mustBind(mysql, {
      params: { ...one, query },
      auth: { connectionString: dsn(server, user, settings) },
    });

  scalerContract(mysql, {
    async serve() {
      const own = await startMariadb();
      await own.sql(
        "CREATE TABLE shop.tasks (n int); CREATE USER app@'%' IDENTIFIED BY 'hunter2-hunter2'; GRANT SELECT ON shop.* TO app@'%'",
      );
      return {
        params: { host: own.host, port: String(own.port) },
        fill: async count =>
          void (await own.sql(`INSERT INTO shop.tasks VALUES ${Array(count).fill('(1)').join()}`)),
        stop: () => own.stop(),
        restart: () => own.start(),
        clients: () => own.sessions(),
        [Symbol.asyncDispose]: () => own[Symbol.asyncDispose](),
      };
    },
    protocol: 'tcp',
    params: { query: 'SELECT COUNT(*) FROM tasks', queryValue: '5', username: 'app', dbName: 'shop' },
    auth: { password: 'hunter2-hunter2' },
    alsoRequired: ['host'],
    expect: 4,
    wrong: () => ({ auth: { password: 'quite wrong' } }),
    missing: () => ({ params: { query: 'SELECT COUNT(*) FROM nowhere' } }),
    saying: async number => ({
      params: { host: server.host, port: String(server.port), query: `SELECT '${number}'` },
      auth: { password: 'pässword' },
      async [Symbol.asyncDispose]() {},
    }),
    measures: true,
    at: ({ host, port }) => ({ params: { host, port: String(port) } }),
    cannot: {
      hangsUp: 'the server speaks first; tried below',
      leaks: 'the server speaks first; tried below',
      tlsFailure: 'TLS starts within the protocol; tried below',
    },
  });

  describe('what a query gives', () => {
    it.each([
      ['SELECT 3', 3],
      ['SELECT -3;', -3],
      ['SELECT CEIL(COUNT(*) / 6) FROM tasks', 1],
      ['SELECT SUM(amount) FROM tasks', -2.25],
      ['SELECT 1e-3', 0.001],
      ['SELECT 18446744073709551615', 18_446_744_073_709_552_000],
      ['SELECT text FROM tasks WHERE n = 1', 12],
      ['SELECT true', 1],
      ['SELECT n FROM tasks WHERE n IS NOT NULL ORDER BY n DESC', 2],
      ['SELECT a.n FROM tasks a, seq_1_to_5000 ORDER BY a.n DESC', 2],
      ['CALL waiting()', 3],
      ['/* ä */ SELECT COUNT(*) FROM tasks WHERE text = "x" -- and nothing else', 1],
    ])('takes %s for %d', async (query, value) => {
      expect(await readOnce(asking(query))).toBe(value);
    });

    it.each([
      ['SELECT NULL', 'SOURCE_ANSWER_INVALID', 'COALESCE'],
      ['SELECT n FROM tasks WHERE n = 77', 'SOURCE_ANSWER_INVALID', 'no row'],
      ['DO 1', 'SOURCE_ANSWER_INVALID', 'no row'],
      ['SELECT 1, 2', 'SOURCE_ANSWER_INVALID', '2 columns'],
      ["SELECT 'the secret of somebody'", 'SOURCE_ANSWER_INVALID', 'no number'],
      ['SELECT bits FROM tasks WHERE n = 1', 'SOURCE_ANSWER_INVALID', 'no number'],
      ["SELECT REPEAT('1', 2000000)", 'SOURCE_ANSWER_TOO_LARGE', '1 MiB'],
      ['SELECT 1; SELECT 2', 'SOURCE_FAILED', 'error in your SQL syntax'],
      ['SELEC 1', 'SOURCE_FAILED', 'error in your SQL syntax'],
      ['SELECT COUNT(*) FROM nowhere', 'SOURCE_NOT_FOUND', 'nowhere'],
      ['DELETE FROM tasks', 'SOURCE_FAILED', 'READ ONLY transaction'],
      ["LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE tasks", 'SOURCE_FAILED', ''],
    ])('does not take %s for a number: %s', async (query, code, sentence) => {
      const fault = await faultFrom(readOnce(asking(query)));

      expect(fault.code).toBe(code);
      expect(fault.message).toContain(sentence);
      expect(fault.message).not.toContain('somebody');
    });

    it.each([
      ['a variable of the session', 'SELECT @@max_sort_length', '?max_sort_length=77', 77],
      [
        'several statements, of which the first with rows counts',
        'SET @a = 4; SELECT @a; SELECT 5',
        '?multiStatements=true',
        4,
      ],
      [
        'a charset, the first that the server knows',
        "SELECT @@character_set_client = 'latin1'",
        '?charset=nosuch,latin1,utf8',
        1,
      ],
      ['a collation', "SELECT @@collation_connection = 'utf8mb4_bin'", '?collation=utf8mb4_bin', 1],
      ['a collation that only other servers have', 'SELECT 1', '?collation=utf8mb4_0900_ai_ci', 1],
      ['the right to write', 'SELECT note()', '?tx_read_only=0', 1],
    ])('takes from the connection string %s', async (_title, query, settings, value) => {
      expect(await readOnce(asking(query, settings))).toBe(value);
    });

    it('may not write unless told', async () => {
      const before = await server.sql('SELECT COUNT(*) FROM shop.tasks WHERE n = 9');

      expect(await faultFrom(readOnce(asking('SELECT note()')))).toMatchObject({ code: 'SOURCE_FAILED' });
      expect(await server.sql('SELECT COUNT(*) FROM shop.tasks WHERE n = 9')).toEqual(before);
    });
  });

  describe('coming in', () => {
    const trusting = { http: { roots: [authority] } };

    it.each([
      ['app', '?tls=preferred', {}, 'yes'],
      ['app', '?tls=skip-verify', {}, 'yes'],
      ['app', '?tls=true', trusting, 'yes'],
      ['app', '?tls=true', {}, 'SOURCE_UNREACHABLE'],
      ['app', '?tls=false', {}, 'SOURCE_REFUSED'],
      ['app', '', {}, 'SOURCE_REFUSED'],
      ['plain', '', {}, 'no'],
      ['plain', '?allowNativePasswords=false', {}, 'SOURCE_REFUSED'],
      ['plain', '?tls=skip-verify', {}, 'yes'],
    ])('as %s with "%s" (%#) is encrypted: %s', async (user, settings, open, outcome) => {
      const query =
        "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'ssl_cipher'";
      const connectionString = dsn(secured, user, settings).replace('/shop', '/');
      const reading = readOnce(mustBind(mysql, { params: { ...one, query }, auth: { connectionString } }), {
        open,
      });

      if (outcome.startsWith('SOURCE')) expect(await faultFrom(reading)).toMatchObject({ code: outcome });
      else expect(await reading).toBe(outcome === 'yes' ? 1 : 0);
    });

    it.each([
      ['?tls=true', 'SOURCE_UNREACHABLE'],
      ['?tls=skip-verify', 'SOURCE_UNREACHABLE'],
      ['?tls=preferred', 1],
      ['?tls=skip-verify&allowFallbackToPlaintext=true', 1],
      ['?tls=custom', 'PARAM_INVALID'],
    ])('with "%s" comes to %s where the server does not encrypt', async (settings, outcome) => {
      const reading = readOnce(asking('SELECT 1', settings));

      if (outcome === 1) expect(await reading).toBe(1);
      else expect(await faultFrom(reading)).toMatchObject({ code: outcome });
    });

    it('needs no password where there is none', async () => {
      const params = { ...one, host: server.host, port: String(server.port), username: 'free' };

      expect(await readOnce(mustBind(mysql, { params }))).toBe(1);
    });

    it.each([
      ['a wrong password', { auth: { password: 'not-the-password' } }, 'SOURCE_REFUSED'],
      ['no password', {}, 'SOURCE_REFUSED'],
      ['a user that is not there', { params: { username: 'unknown' } }, 'SOURCE_REFUSED'],
      [
        'a database of others',
        { params: { dbName: 'mysql' }, auth: { password: 'pässword' } },
        'SOURCE_REFUSED',
      ],
      [
        'a database that is not there',
        { params: { username: 'root', dbName: 'nowhere' } },
        'SOURCE_NOT_FOUND',
      ],
      ['a port that is none', { params: { port: 'test_port' } }, 'PARAM_INVALID'],
    ])('says so for %s', async (_title, { params = {}, auth = {} }: Given, code) => {
      const way = { host: server.host, port: String(server.port), username: 'app', dbName: 'shop' };

      const fault = await faultFrom(
        readOnce(mustBind(mysql, { params: { ...one, ...way, ...params }, auth })),
      );

      expect(fault.code).toBe(code);
      expect(fault.message).not.toContain('not-the-password');
    });

    it('does not take a table that may not be read for wrong credentials', async () => {
      const fault = await faultFrom(readOnce(asking('SELECT COUNT(*) FROM tasks', '', 'few')));

      expect(fault.code).toBe('SOURCE_FAILED');
      expect(fault.message).toContain('denied');
    });

    it.each([
      ['hangs up at once', '', 'SOURCE_UNREACHABLE'],
      ['hangs up in the middle', '4a0000000a', 'SOURCE_UNREACHABLE'],
      ['is full', '17000000ff1004546f6f206d616e7920636f6e6e656374696f6e73', 'SOURCE_BUSY'],
      ['speaks an older protocol', '0500000939393900', 'SOURCE_ANSWER_INVALID'],
      ['cuts its greeting off', '030000000a3500', 'SOURCE_ANSWER_INVALID'],
    ])('leaves nothing behind at a server that %s', async (_title, greeting, code) => {
      await using broken = await tcpServer(socket => socket.end(Buffer.from(greeting, 'hex')));
      const connectionString = `app@tcp(127.0.0.1:${broken.port})/shop`;
      const bound = mustBind(mysql, { params: one, auth: { connectionString } });

      const fault = await faultFrom(readOnce(bound));
      while (broken.openSockets() > 0) await new Promise(setImmediate);

      expect(fault.code).toBe(code);
    });
  });

  describe('the sessions', () => {
    async function opened(of: MariadbServer, name = 'eventide') {
      const params = { ...one, host: of.host, port: String(of.port), username: 'root' };
      const bound = mustBind(mysql, { params });
      const open = openContext(AbortSignal.timeout(10_000), { connectionName: () => name });
      const conn = (await bound.scaler.open(bound.params, open)) as SqlPool;
      const ask = (query: string, signal = AbortSignal.timeout(10_000)) =>
        bound.scaler.read(
          mustBind(mysql, { params: { ...params, query } }).params,
          readContext(conn, signal),
        );
      return { conn, ask, [Symbol.asyncDispose]: () => bound.scaler.close(conn) };
    }
    const gone = async (of: MariadbServer) => {
      while ((await of.sessions()).length > 0) await new Promise(setImmediate);
    };

    it('say whose they are, and are one where nobody is in a hurry and five for a thousand at once', async () => {
      await gone(server);
      await using shared = await opened(server, 'eventide of the shop');

      await shared.ask('SELECT 1');
      const calm = await server.sessions();
      await Promise.all(Array.from({ length: 1000 }, (_, index) => shared.ask(`SELECT ${index}`)));
      const hurried = await server.sessions();

      expect(calm).toEqual(['eventide of the shop: Sleep']);
      expect(hurried).toEqual(Array(5).fill('eventide of the shop: Sleep'));
    });

    it('stop a query on the server when nobody waits for it any more, and answer the next one', async () => {
      await gone(server);
      await using shared = await opened(server);

      const fault = await faultFrom(shared.ask('SELECT SLEEP(60)', AbortSignal.timeout(100)));
      while ((await server.sessions()).join() !== 'eventide: Sleep') await new Promise(setImmediate);

      expect(fault.code).toBe('SOURCE_TIMEOUT');
      expect(await shared.ask('SELECT 7')).toBe(7);
      expect(await server.sessions()).toEqual(['eventide: Sleep']);
    });

    it('stop on the server what is under way when they are closed', async () => {
      const fault = await faultFrom(readOnce(asking('SELECT SLEEP(60)'), { timeoutMs: 100 }));
      await gone(server);

      expect(fault.code).toBe('SOURCE_TIMEOUT');
    });

    it('never have a query stopped in the place of the one before it', async () => {
      await using shared = await opened(server);

      for (let round = 0; round < 100; round += 1) {
        await shared.ask('SELECT SLEEP(0.005)', AbortSignal.timeout(6)).catch(() => 0);
        expect(await shared.ask('SELECT SLEEP(0) + 1')).toBe(1);
      }
    });

    it('have the server end by itself what it is not told to end', async () => {
      await using shared = await opened(server);

      expect(await shared.ask('SELECT @@max_statement_time')).toBe(10);
    });

    it('are given up at the deadline where the server is frozen', async () => {
      await using own = await startMariadb();
      await using shared = await opened(own);

      own.process().freeze();
      const fault = await faultFrom(shared.ask('SELECT 1', AbortSignal.timeout(150)));
      own.process().thaw();

      expect(fault.code).toBe('SOURCE_TIMEOUT');
      expect(await shared.ask('SELECT 2')).toBe(2);
    });
  });
});
