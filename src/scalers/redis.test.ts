import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority, clientCertificate, clientKey } from '../../test/certificates.ts';
import { closedPort } from '../../test/misbehaving-http.ts';
import { eventually, type RedisServer, redisInstalled, sayingRedis, startRedis } from '../../test/redis.ts';
import {
  bind,
  faultFrom,
  mustBind,
  openContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { RedisClient } from '../scaler/families/redis.ts';
import type { RedisList } from '../scaler/families/redis-lists.ts';
import scaler from './redis.ts';

const { signal } = new AbortController();

let redis: RedisServer;

describe.skipIf(!redisInstalled)('redis, against a real server', () => {
  beforeAll(async () => {
    redis = await startRedis();
  });

  afterAll(() => redis[Symbol.asyncDispose]());

  const listAt = (address: string, listName: string, auth: Record<string, string> = {}) =>
    mustBind(scaler, { params: { address, listName }, auth });

  async function opened(address: string, auth: Record<string, string> = {}) {
    const bound = listAt(address, 'any', auth);
    const conn = await scaler.open(bound.params as RedisList, openContext(signal));
    const context: ReadContext<RedisClient> = {
      conn,
      signal,
      now: 0,
      namespace: 'shop',
      cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
    };
    const named = (listName: string) => listAt(address, listName, auth).params as RedisList;
    return { conn, context, named, [Symbol.asyncDispose]: () => scaler.close(conn) };
  }

  scalerContract(scaler, {
    async serve() {
      const server = await startRedis({ password: 'hunter2-hunter2', config: ['appendonly yes'] });
      return {
        params: { address: server.address },
        async fill(count) {
          for (let index = 0; index < count; index += 1) await server.send('LPUSH', 'orders', 'entry');
        },
        stop: () => server.stop(),
        restart: () => server.restart(),
        clients: () => server.clients(),
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      };
    },
    protocol: 'tcp',
    params: { listName: 'orders' },
    auth: { password: 'hunter2-hunter2' },
    alsoRequired: ['address'],
    expect: 3,
    wrong: () => ({ auth: { password: 'quite wrong' } }),
    missing: () => ({ params: { listName: 'nowhere' } }),
    // As in KEDA: what nobody has written to yet is not there.
    outcomes: { missing: 0 },
    async saying(number) {
      const server = await sayingRedis(number);
      return { ...server, params: { address: server.address } };
    },
    at: ({ url, host, port }) => ({
      params: { address: `${host}:${port}`, ...(url.startsWith('https') ? { enableTLS: 'true' } : {}) },
    }),
  });

  describe('counting', () => {
    it.each([
      ['a list', [['RPUSH', 'k', 'a', 'b', 'c', 'a']], 4],
      ['a set', [['SADD', 'k', 'a', 'b', 'a']], 2],
      ['a sorted set', [['ZADD', 'k', '1', 'a', '2', 'b', '3', 'c']], 3],
      ['a hash', [['HSET', 'k', 'a', '1', 'b', '2']], 2],
      ['a list that is missing', [], 0],
    ])('counts %s', async (_title, commands, count) => {
      await redis.send('DEL', 'k');
      for (const command of commands) await redis.send(...command);

      expect(await readOnce(listAt(redis.address, 'k'))).toBe(count);
    });

    it.each([
      ['a text', ['SET', 'odd', 'x'], 'is a string'],
      ['a stream', ['XADD', 'odd', '*', 'a', 'b'], 'the streams types count it'],
    ])('refuses to count %s', async (_title, command, sentence) => {
      await redis.send('DEL', 'odd');
      await redis.send(...command);

      const fault = await faultFrom(readOnce(listAt(redis.address, 'odd')));

      expect(fault.code).toBe('SOURCE_FAILED');
      expect(fault.message).toContain(sentence);
    });

    it('counts many at once, each by itself', async () => {
      await redis.send('RPUSH', 'many-a', '1', '2');
      await redis.send('SET', 'many-b', 'x');
      await redis.send('SADD', 'many-c', '1');
      await using open = await opened(redis.address);
      const all = ['many-a', 'many-b', 'many-c', 'many-d'].map(open.named);

      const counts = await scaler.readMany?.(all, open.context);

      expect(counts).toEqual([2, expect.any(Fault), 1, 0]);
      expect(await scaler.readMany?.([], open.context)).toEqual([]);
    });

    it('counts in the database it was given', async () => {
      await redis.send('RPUSH', 'only-in-zero', 'a');
      const read = (databaseIndex: string) =>
        readOnce(
          mustBind(scaler, { params: { address: redis.address, listName: 'only-in-zero', databaseIndex } }),
        );

      expect([await read('0'), await read('3'), await read('-1')]).toEqual([1, 0, 1]);
    });

    it('does not count in another database where the one it was given is not there', async () => {
      await redis.send('RPUSH', 'in-zero', 'a');

      const bound = mustBind(scaler, {
        params: { address: redis.address, listName: 'in-zero', databaseIndex: '99' },
      });

      expect(await faultFrom(readOnce(bound))).toMatchObject({ code: 'SOURCE_FAILED' });
    });
  });

  describe('coming in', () => {
    it('logs in with a password alone, and says whose the connection is', async () => {
      await using server = await startRedis({ password: 'the right one' });
      await using open = await opened(server.address, { password: 'the right one' });

      expect(await scaler.read(open.named('k'), open.context)).toBe(0);
      expect(await server.clients()).toEqual(['eventide-for-default/app']);
    });

    it.each([
      ['no password', {}],
      ['a wrong password', { password: 'quite wrong' }],
      ['an unknown user', { username: 'nobody', password: 'the right one' }],
    ])('is refused with %s, and shows none', async (_title, auth) => {
      await using server = await startRedis({ password: 'the right one' });

      const fault = await faultFrom(readOnce(listAt(server.address, 'k', auth)));

      expect(fault.code).toBe('SOURCE_REFUSED');
      expect(fault.message).not.toMatch(/quite wrong|the right one/);
    });

    it('looks at the first address alone', async () => {
      expect(await readOnce(listAt(`${redis.address},no address`, 'not-there'))).toBe(0);
    });

    it('comes in with a password where none is asked for', async () => {
      await redis.send('RPUSH', 'open-to-all', 'a');

      expect(await readOnce(listAt(redis.address, 'open-to-all', { password: 'not asked for' }))).toBe(1);
    });

    it('needs no more than to ask for types and lengths of its own keys', async () => {
      await using server = await startRedis();
      await server.send('ACL', 'SETUSER', 'counter', 'on', '>pass', '~orders*', '+type', '+llen');
      await server.send('RPUSH', 'orders', 'a');
      await using open = await opened(server.address, { username: 'counter', password: 'pass' });

      const counts = await scaler.readMany?.(['orders', 'secrets'].map(open.named), open.context);

      expect(counts).toEqual([1, expect.objectContaining({ code: 'SOURCE_REFUSED' })]);
    });

    const tls = (metadata: Record<string, string>, auth: Record<string, string>, address: string) =>
      mustBind(scaler, { params: { address, listName: 'k', ...metadata }, auth });

    it('speaks TLS, and verifies whom it speaks to unless told not to', async () => {
      await using server = await startRedis({ tls: true });
      await server.send('RPUSH', 'k', 'a');
      const { address } = server;

      const trusting = await readOnce(tls({ enableTLS: 'true' }, { ca: authority }, address));
      const unsafe = await readOnce(tls({ enableTLS: 'true', unsafeSsl: 'true' }, {}, address));
      const enabled = await readOnce(tls({}, { tls: 'enable', ca: authority }, address));
      const wary = await faultFrom(readOnce(tls({ enableTLS: 'true' }, {}, address)));
      const plain = await faultFrom(readOnce(tls({}, {}, address)));

      expect([trusting, unsafe, enabled]).toEqual([1, 1, 1]);
      expect(wary).toMatchObject({ code: 'SOURCE_UNREACHABLE', message: expect.stringContaining('TLS') });
      expect(plain.code).toBe('SOURCE_UNREACHABLE');
    });

    it('shows its own certificate where the server asks for one', async () => {
      await using server = await startRedis({ tls: 'mutual' });
      const auth = { tls: 'enable', ca: authority };

      const known = await readOnce(
        tls({}, { ...auth, cert: clientCertificate, key: clientKey }, server.address),
      );
      const unknown = await faultFrom(readOnce(tls({}, auth, server.address)));

      expect(known).toBe(0);
      expect(unknown.code).toBe('SOURCE_UNREACHABLE');
    });

    it.each([
      ['certificate', { cert: 'nonsense', key: 'nonsense' }],
      ['authority', { ca: 'nonsense' }],
    ])('says that the %s cannot be used', async (_what, auth) => {
      const bound = tls({ enableTLS: 'true', unsafeSsl: 'true' }, auth, redis.address);

      expect(await faultFrom(readOnce(bound))).toMatchObject({ code: 'PARAM_INVALID' });
    });
  });

  describe('the connection', () => {
    it('is made anew, without a failure, where an idle one was closed by the server', async () => {
      await using server = await startRedis();
      await using open = await opened(server.address);
      await scaler.read(open.named('k'), open.context);

      await server.send('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await eventually(async () => open.conn.links === 0);

      expect(await scaler.read(open.named('k'), open.context)).toBe(0);
    });

    it('leaves a server alone that is loading or has no room', async () => {
      await using server = await startRedis({ config: ['maxclients 1'] });
      await server.send('PING');

      const fault = await faultFrom(readOnce(listAt(server.address, 'k')));

      expect(fault.code).toBe('SOURCE_BUSY');
    });

    it('keeps its answers apart after one was given up on', async () => {
      await using open = await opened(redis.address);
      await redis.send('DEL', 'k');
      await redis.send('RPUSH', 'k', 'a', 'b', 'c');
      await redis.send('CLIENT', 'PAUSE', '150');

      const given = await faultFrom(
        scaler.read(open.named('missing'), { ...open.context, signal: AbortSignal.timeout(20) }),
      );

      expect(given.code).toBe('SOURCE_TIMEOUT');
      expect(await scaler.read(open.named('k'), open.context)).toBe(3);
    });

    it('is one for a thousand lists', async () => {
      await using server = await startRedis();
      await using open = await opened(server.address);
      const names = Array.from({ length: 1_000 }, (_, index) => `list-${index}`);
      for (const name of names) await server.send('RPUSH', name, 'a');

      const counts = await scaler.readMany?.(names.map(open.named), open.context);

      expect(counts).toEqual(names.map(() => 1));
      expect(await server.clients()).toEqual(['eventide-for-default/app']);
    });
  });
});

describe('parameters of redis', () => {
  it.each([
    ['hosts without ports', { host: 'a' }, '"port" is missing'],
    ['ports without hosts', { port: '1' }, '"host" is missing'],
    ['more hosts than ports', { hosts: 'a,b', ports: '1' }, '2 hosts and 1 ports'],
    ['TLS twice', { address: 'a:1', enableTLS: 'true' }, 'both given'],
  ])('refuses %s', (_title, params, problem) => {
    const auth: Record<string, string> = 'enableTLS' in params ? { tls: 'enable' } : {};

    const binding = bind(scaler, { params: { listName: 'k', ...params }, auth });

    expect(binding).toMatchObject({ ok: false, problems: [{ problem: expect.stringContaining(problem) }] });
  });

  it.each(['a b:1', 'host:port', 'a:99999', '[::1'])('refuses to connect to "%s"', async address => {
    const bound = mustBind(scaler, { params: { address, listName: 'k' } });

    expect(await faultFrom(readOnce(bound))).toMatchObject({ code: 'PARAM_INVALID' });
  });

  it.each([
    ['localhost', 'of this machine where none is given', (port: number) => `:${port}`],
    ['[::1]', 'in brackets', (port: number) => `[::1]:${port}`],
  ])('reads a host %s %s', async (name, _title, address) => {
    const port = await closedPort();

    const fault = await faultFrom(
      readOnce(mustBind(scaler, { params: { address: address(port), listName: 'k' } })),
    );

    expect(fault.message).toContain(`${name}:${port}`);
  });

  it('shares a connection by place and identity, and shows no secret in what it is shared by', () => {
    const key = (params: Record<string, string>, auth: Record<string, string> = {}) =>
      mustBind(scaler, { params: { address: 'a:1', listName: 'k', ...params }, auth }).connectionKey;

    const keys = [
      key({}),
      key({ listName: 'other' }),
      key({ databaseIndex: '1' }),
      key({}, { password: 'secret-1' }),
      key({}, { password: 'secret-2' }),
      key({}, { password: 'secret-2', username: 'me' }),
      key({ enableTLS: 'true' }),
      key({ enableTLS: 'true', unsafeSsl: 'true' }),
    ];

    expect(keys[0]).toBe(keys[1]);
    expect(new Set(keys).size).toBe(7);
    expect(keys.join()).not.toContain('secret');
  });

  it('has KEDA’s metric name and targets', () => {
    const params = { address: 'a:1', listName: 'a.b', listLength: '7', activationListLength: '3' };

    expect(mustBind(scaler, { params })).toMatchObject({
      metricName: 's0-redis-a-b',
      target: { type: 'AverageValue', value: 7 },
      activation: 3,
    });
  });
});
