import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority, clientCertificate, clientKey } from '../../test/certificates.ts';
import { type Kafka, kafkaInstalled, startKafka, user } from '../../test/kafka/server.ts';
import { closedPort, httpServer, tcpMisbehaviours, tcpServer } from '../../test/misbehaving-http.ts';
import {
  bind,
  faultFrom,
  type Given,
  measureOnce,
  mustBind,
  openContext,
  readOnce,
  scalerContract,
  until,
} from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { KafkaClient } from '../scaler/families/kafka.ts';
import type { KafkaTrigger } from '../scaler/families/kafka-lag-reading.ts';
import scaler from './kafka.ts';

const { signal } = new AbortController();
const reason = 'needs a topic';

let kafka: Kafka;

const name = (what: string) => `${what}-${randomUUID().slice(0, 8)}`;

/** A topic with as many partitions as it is given numbers of messages. */
async function topicOf(...messages: number[]): Promise<string> {
  const topic = name('topic');
  await kafka.tool('create', topic, messages.length);
  for (const [partition, count] of messages.entries()) {
    if (count > 0) await kafka.tool('produce', topic, partition, count, 'a message');
  }
  return topic;
}

/** A group that has committed these offsets. */
async function groupAt(topic: string, offsets: Record<number, number>): Promise<string> {
  const group = name('group');
  const pairs = Object.entries(offsets).map(([partition, offset]) => `${partition}=${offset}`);
  await kafka.tool('commit', group, topic, ...pairs);
  return group;
}

const triggerOf = (params: Record<string, string>, given: Given = {}) =>
  mustBind(scaler, {
    ...given,
    params: { bootstrapServers: kafka.address.plaintext, ...given.params, ...params },
  });

async function opened(params: Record<string, string> = {}, auth: Record<string, string> = {}) {
  const any = triggerOf({ consumerGroup: 'any', ...params }, { auth });
  const conn = await scaler.open(any.params as KafkaTrigger, openContext(signal));
  const context: ReadContext<KafkaClient> = {
    conn,
    signal,
    now: Date.now(),
    namespace: 'shop',
    cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) },
  };
  const bound = (more: Record<string, string>) =>
    triggerOf({ ...params, ...more }, { auth }).params as KafkaTrigger;
  return { conn, context, bound, [Symbol.asyncDispose]: () => scaler.close(conn) };
}

describe.skipIf(!kafkaInstalled)('kafka, against a real broker', () => {
  beforeAll(async () => {
    kafka = await startKafka();
  }, 60_000);

  afterAll(() => kafka[Symbol.asyncDispose]());

  scalerContract(scaler, {
    async serve() {
      const topic = await topicOf(0, 0);
      const group = await groupAt(topic, { 0: 0, 1: 0 });
      return {
        params: { bootstrapServers: kafka.address.sasl, topic, consumerGroup: group },
        fill: count => kafka.tool('produce', topic, 1, count, 'a message').then(() => undefined),
        stop: () => kafka.stop(),
        restart: () => kafka.restart(),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    protocol: 'tcp',
    params: { consumerGroup: 'group', topic: 'orders', sasl: 'plaintext' },
    auth: user,
    expect: 3,
    alsoRequired: ['username', 'password'],
    wrong: () => ({ auth: { password: 'quite wrong' } }),
    missing: () => ({ params: { topic: 'nowhere' } }),
    cannot: { numbers: 'a broker says where a group is, not how far behind: tried with its offsets' },
    at: ({ url, host, port }) => ({
      params: { bootstrapServers: `${host}:${port}`, tls: url.startsWith('https') ? 'enable' : 'disable' },
    }),
  });

  describe('counting', () => {
    it('adds up how far the group is behind in all partitions', async () => {
      const topic = await topicOf(5, 3, 0);
      const consumerGroup = await groupAt(topic, { 0: 1, 1: 3, 2: 0 });

      expect(await readOnce(triggerOf({ consumerGroup, topic }))).toBe(4);
    });

    it('counts in the partitions it is limited to', async () => {
      const topic = await topicOf(5, 4, 3, 2);
      const consumerGroup = await groupAt(topic, { 0: 0, 1: 0, 2: 0, 3: 0 });
      const partitionLimitation = '00, 02 - 3';

      expect(await readOnce(triggerOf({ consumerGroup, topic, partitionLimitation }))).toBe(10);
    });

    it.each([
      ['1 in each partition where nothing is committed', {}, 2],
      ['nothing there with scaleToZeroOnInvalidOffset', { scaleToZeroOnInvalidOffset: 'true' }, 0],
      ['all of the partition for consumers that begin at the earliest', { offsetResetPolicy: 'earliest' }, 7],
      [
        'nothing there either with scaleToZeroOnInvalidOffset',
        { offsetResetPolicy: 'earliest', scaleToZeroOnInvalidOffset: 'true' },
        0,
      ],
    ])('counts %s, in a group that is not there', async (_title, params, lag) => {
      const topic = await topicOf(7, 0);

      const trigger = triggerOf({ consumerGroup: name('nobody'), topic, ...params });

      expect(await measureOnce(trigger)).toEqual({ value: lag, active: lag > 0 });
    });

    it('counts a partition that the group has not begun beside those it has', async () => {
      const topic = await topicOf(7, 6);
      const consumerGroup = await groupAt(topic, { 0: 5 });

      expect(await readOnce(triggerOf({ consumerGroup, topic }))).toBe(3);
      expect(await readOnce(triggerOf({ consumerGroup, topic, offsetResetPolicy: 'earliest' }))).toBe(8);
    });

    it('takes nothing off where the group is ahead of its topic', async () => {
      const topic = await topicOf(5, 5);
      const consumerGroup = await groupAt(topic, { 0: 0, 1: 100 });

      expect(await readOnce(triggerOf({ consumerGroup, topic }))).toBe(5);
    });

    it('sees partitions that are added while it runs', async () => {
      const topic = await topicOf(1);
      const consumerGroup = await groupAt(topic, { 0: 0 });
      await using open = await opened();
      const params = open.bound({ consumerGroup, topic });

      const before = await scaler.read(params, open.context);
      await kafka.tool('grow', topic, 2);
      await kafka.tool('produce', topic, 1, 4, 'a message');
      await kafka.tool('commit', consumerGroup, topic, '1=1');

      expect(before).toMatchObject({ value: 1 });
      expect(await scaler.read(params, open.context)).toMatchObject({ value: 4 });
    });

    it('is not active up to the activation threshold, and by all of the lag, not the part that has consumers', async () => {
      const topic = await topicOf(50);
      const consumerGroup = await groupAt(topic, { 0: 0 });
      const at = (activationLagThreshold: string) =>
        measureOnce(triggerOf({ consumerGroup, topic, activationLagThreshold }));

      expect(await at('50')).toEqual({ value: 10, active: false });
      expect(await at('49')).toEqual({ value: 10, active: true });
    });
  });

  describe('all topics of a group', () => {
    it('are those it has committed in, with all their partitions', async () => {
      const [one, other] = [await topicOf(5, 3), await topicOf(2)];
      const consumerGroup = await groupAt(one, { 0: 1 });
      await kafka.tool('commit', consumerGroup, other, '0=0');

      const trigger = triggerOf({ consumerGroup, partitionLimitation: '99' });

      // 4 and 2 behind, and one for the partition that nothing is committed in.
      expect(await readOnce(trigger)).toBe(7);
    });

    it.each(['classic', 'consumer'])('are also those its members subscribe to (%s)', async protocol => {
      const [one, other] = [await topicOf(3), await topicOf(4, 0)];
      const consumerGroup = name('group');
      await kafka.tool('join', consumerGroup, `${one},${other}`, protocol);

      const value = await readOnce(triggerOf({ consumerGroup, offsetResetPolicy: 'earliest' }));
      await kafka.tool('leave', consumerGroup);

      expect(value).toBe(7);
    });

    it('do without one that was deleted, and one that members wait for', async () => {
      const [one, other] = [await topicOf(3), await topicOf(4)];
      const consumerGroup = await groupAt(one, { 0: 1 });
      await kafka.tool('commit', consumerGroup, other, '0=0');
      const trigger = triggerOf({ consumerGroup });

      const before = await readOnce(trigger);
      await kafka.tool('delete', other);
      const deleted = await readOnce(trigger);
      await kafka.tool('join', consumerGroup, `${one},${name('nothing')}`, 'classic');
      const joined = await readOnce(trigger);
      await kafka.tool('leave', consumerGroup);

      expect([before, deleted, joined]).toEqual([6, 2, 2]);
    });

    it('are not known of a group that has no members and has committed nothing', async () => {
      const fault = await faultFrom(readOnce(triggerOf({ consumerGroup: name('nobody') })));

      expect(fault.code).toBe('SOURCE_NOT_FOUND');
      expect(fault.message).toContain('has committed nothing and has no members');
    });

    it('are read together with single topics of the same group', async () => {
      const [one, other] = [await topicOf(5), await topicOf(2)];
      const consumerGroup = await groupAt(one, { 0: 0 });
      await kafka.tool('commit', consumerGroup, other, '0=0');
      await using open = await opened();
      const all = [open.bound({ consumerGroup }), open.bound({ consumerGroup, topic: one })];

      expect(await scaler.readMany?.(all, open.context)).toMatchObject([{ value: 7 }, { value: 5 }]);
    });
  });

  describe('many at once', () => {
    it('are each read by themselves, over one connection', async () => {
      const topics = [await topicOf(1, 1), await topicOf(9)];
      const groups = await Promise.all(topics.map(topic => groupAt(topic, { 0: 0 })));
      await using open = await opened();
      const triggers = [
        open.bound({ consumerGroup: groups[0] ?? '', topic: topics[0] ?? '' }),
        open.bound({ consumerGroup: groups[1] ?? '', topic: topics[1] ?? '' }),
        open.bound({ consumerGroup: groups[1] ?? '', topic: 'no-such-topic' }),
        open.bound({ consumerGroup: groups[1] ?? '', topic: topics[0] ?? '', partitionLimitation: '7' }),
        open.bound({ consumerGroup: groups[0] ?? '', topic: topics[1] ?? '', offsetResetPolicy: 'earliest' }),
      ];

      const measures = await scaler.readMany?.(triggers, open.context);

      expect(measures).toMatchObject([
        { value: 2 },
        { value: 9 },
        { code: 'SOURCE_NOT_FOUND', message: expect.stringContaining('"no-such-topic"') },
        { code: 'SOURCE_NOT_FOUND', message: expect.stringContaining('partitions') },
        { value: 9 },
      ]);
      expect(open.conn.links).toBe(1);
      expect(await scaler.readMany?.([], open.context)).toEqual([]);
    });
  });

  describe('excludePersistentLag', () => {
    it('leaves out where the group has not moved, which still keeps the workload awake', async () => {
      const topic = await topicOf(5, 6);
      const consumerGroup = await groupAt(topic, { 0: 0, 1: 0 });
      await using open = await opened();
      const params = open.bound({ consumerGroup, topic, excludePersistentLag: 'true' });
      const read = () => scaler.read(params, open.context);

      const first = await read();
      const stuck = await read();
      await kafka.tool('commit', consumerGroup, topic, '1=2');
      const moved = await read();

      expect(first).toEqual({ value: 11, active: true });
      expect(stuck).toEqual({ value: 0, active: true });
      expect(moved).toEqual({ value: 4, active: true });
    });

    it('remembers for each trigger by itself', async () => {
      const topic = await topicOf(5);
      const consumerGroup = await groupAt(topic, { 0: 0 });
      await using open = await opened();
      const both = ['a', 'b'].map(() => open.bound({ consumerGroup, topic, excludePersistentLag: 'true' }));
      const [one, other] = both;
      if (one === undefined || other === undefined) throw new Error('there are two');

      expect(await scaler.read(one, open.context)).toMatchObject({ value: 5 });
      expect(await scaler.read(other, open.context)).toMatchObject({ value: 5 });
      expect(await scaler.read(one, open.context)).toMatchObject({ value: 0 });
    });
  });

  describe('coming in', () => {
    const at = async (listener: keyof Kafka['address'], metadata: Record<string, string>, auth = {}) => {
      const topic = await topicOf(3);
      const consumerGroup = await groupAt(topic, { 0: 1 });
      const params = { bootstrapServers: kafka.address[listener], topic, consumerGroup, ...metadata };
      return mustBind(scaler, { params, auth });
    };

    it.each([
      ['PLAIN', 'sasl', { sasl: 'plaintext' }, user],
      ['SCRAM-SHA-256', 'sasl', { sasl: 'scram_sha256' }, user],
      ['SCRAM-SHA-512', 'sasl', {}, { ...user, sasl: 'scram_sha512' }],
      ['SCRAM within TLS', 'saslssl', { sasl: 'scram_sha512', tls: 'enable' }, { ...user, ca: authority }],
      ['PLAIN within TLS', 'saslssl', { sasl: 'plaintext', tls: 'enable' }, { ...user, ca: authority }],
      ['TLS', 'ssl', { tls: 'enable' }, { ca: authority }],
      ['TLS whose certificate nobody vouches for', 'ssl', { tls: 'enable', unsafeSsl: 'true' }, {}],
      [
        'a client certificate',
        'mtls',
        {},
        { tls: 'enable', ca: authority, cert: clientCertificate, key: clientKey },
      ],
      ['nothing', 'plaintext', { sasl: 'none' }, {}],
    ] as const)('works with %s', async (_title, listener, metadata, auth) => {
      expect(await readOnce(await at(listener, metadata, auth))).toBe(2);
    });

    const wrong = { username: user.username, password: 'quite wrong' };

    it.each([
      ['a wrong password', 'sasl', { sasl: 'plaintext' }, wrong, 'SOURCE_REFUSED', 'credentials'],
      ['a wrong password (SCRAM)', 'sasl', { sasl: 'scram_sha256' }, wrong, 'SOURCE_REFUSED', 'credentials'],
      [
        'an unknown user',
        'sasl',
        { sasl: 'scram_sha512' },
        { ...wrong, username: 'bob' },
        'SOURCE_REFUSED',
        '',
      ],
      [
        'SASL where nobody logs in',
        'plaintext',
        { sasl: 'plaintext' },
        user,
        'SOURCE_REFUSED',
        'nobody logs in',
      ],
      [
        'a mechanism that is not offered',
        'oauth',
        { sasl: 'plaintext' },
        user,
        'SOURCE_REFUSED',
        'OAUTHBEARER',
      ],
      ['nothing where one must log in', 'sasl', {}, {}, 'SOURCE_UNREACHABLE', 'tls or sasl'],
      ['no TLS where there must be', 'ssl', {}, {}, 'SOURCE_ANSWER_INVALID', 'wants TLS'],
      [
        'TLS where there is none',
        'plaintext',
        { tls: 'enable' },
        { ca: authority },
        'SOURCE_UNREACHABLE',
        '',
      ],
      ['TLS that nobody vouches for', 'ssl', { tls: 'enable' }, {}, 'SOURCE_UNREACHABLE', 'TLS'],
      [
        'no certificate where one is wanted',
        'mtls',
        { tls: 'enable' },
        { ca: authority },
        'SOURCE_UNREACHABLE',
        '',
      ],
      [
        'a certificate that is none',
        'ssl',
        { tls: 'enable' },
        { ca: 'x', cert: 'x', key: 'x' },
        'PARAM_INVALID',
        '',
      ],
    ] as const)('fails with %s', async (_title, listener, metadata, auth, code, sentence) => {
      const fault = await faultFrom(readOnce(await at(listener, metadata, auth)));

      expect([fault.code, fault.message]).toEqual([code, expect.stringContaining(sentence)]);
      expect(fault.message).not.toContain(wrong.password);
    });

    it('refuses Kerberos by name', async () => {
      const auth = { username: 'u', password: 'p', realm: 'r', kerberosConfig: 'c', sasl: 'gssapi' };

      const fault = await faultFrom(readOnce(await at('sasl', {}, auth)));

      expect([fault.code, fault.message]).toEqual(['NOT_SUPPORTED', expect.stringContaining('Kerberos')]);
    });

    it('says so when the user may not see the topic or the group', async () => {
      const [topic, consumerGroup] = [await topicOf(1), name('group')];
      await kafka.tool('guard', 'topic', topic);
      await kafka.tool('guard', 'group', consumerGroup);
      const params = { bootstrapServers: kafka.address.sasl, sasl: 'plaintext' };
      const trigger = (more: Record<string, string>) =>
        mustBind(scaler, { params: { ...params, ...more }, auth: user });

      const faults = [
        await faultFrom(readOnce(trigger({ topic, consumerGroup: 'any' }))),
        await faultFrom(readOnce(trigger({ topic: await topicOf(1), consumerGroup }))),
      ];

      expect(faults.map(({ code }) => code)).toEqual(['SOURCE_REFUSED', 'SOURCE_REFUSED']);
      expect(faults.map(({ message }) => message)).toEqual([
        expect.stringContaining(topic),
        expect.stringContaining(consumerGroup),
      ]);
    });
  });

  describe('bearer tokens', () => {
    const encoded = (claims: object) => Buffer.from(JSON.stringify(claims)).toString('base64url');
    const tokenFor = (sub: string, seconds: number) => {
      const now = Date.now() / 1000;
      return `${encoded({ alg: 'none' })}.${encoded({ sub, iat: now, exp: now + seconds, scope: 'kafka' })}.`;
    };

    async function tokens(seconds: number, token = () => tokenFor('alice', seconds)) {
      const asked: string[] = [];
      const server = await httpServer((req, res) => {
        req.setEncoding('utf8').on('data', body => asked.push(`${req.headers.authorization} ${body}`));
        req.on('end', () => res.end(JSON.stringify({ access_token: token(), expires_in: seconds })));
      });
      const auth = {
        username: 'client',
        password: 'client-secret',
        oauthTokenEndpointUri: `${server.url}/token`,
        scopes: 'kafka, more',
        oauthExtensions: 'traceId=7,logicalCluster=lkc-1',
      };
      return { asked, auth, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
    }

    const params = () => ({ bootstrapServers: kafka.address.oauth, sasl: 'oauthbearer' });

    it('are asked for with client id, secret and scopes, once for as long as they last', async () => {
      await using endpoint = await tokens(3600);
      const topic = await topicOf(2);
      await using open = await opened(params(), endpoint.auth);
      const trigger = open.bound({ topic, consumerGroup: await groupAt(topic, { 0: 0 }) });

      const first = await scaler.read(trigger, open.context);
      const second = await scaler.read(trigger, open.context);

      expect([first, second]).toMatchObject([{ value: 2 }, { value: 2 }]);
      const basic = Buffer.from('client:client-secret').toString('base64');
      expect(endpoint.asked).toEqual([`Basic ${basic} grant_type=client_credentials&scope=kafka+more`]);
    });

    it('are renewed before the broker hangs up on an old one', async () => {
      await using endpoint = await tokens(2);
      const topic = await topicOf(2);
      await using open = await opened(params(), endpoint.auth);
      const trigger = open.bound({ topic, consumerGroup: await groupAt(topic, { 0: 0 }) });

      await scaler.read(trigger, open.context);
      await until(() => open.conn.links === 0);
      const measure = await scaler.read(trigger, { ...open.context, now: Date.now() });

      expect(measure).toMatchObject({ value: 2 });
      expect(endpoint.asked).toHaveLength(2);
    });

    it.each([
      ['has expired', () => tokenFor('alice', -100), 'SOURCE_REFUSED'],
      ['is no token', () => 'nonsense', 'SOURCE_REFUSED'],
    ])('say so when one %s', async (_title, token, code) => {
      await using endpoint = await tokens(3600, token);
      const given = { params: { ...params(), consumerGroup: 'g', topic: 't' }, auth: endpoint.auth };

      const fault = await faultFrom(readOnce(mustBind(scaler, given)));

      expect(fault.code).toBe(code);
      expect(fault.message).not.toMatch(/client-secret|nonsense/);
    });

    it('say so when the endpoint issues none', async () => {
      const oauthTokenEndpointUri = `http://127.0.0.1:${await closedPort()}`;
      const auth = { username: 'client', password: 'secret', oauthTokenEndpointUri };
      const given = { params: { ...params(), consumerGroup: 'g', topic: 't' }, auth };

      expect(await faultFrom(readOnce(mustBind(scaler, given)))).toMatchObject({ code: 'AUTH_FAILED' });
    });
  });

  describe('the way there', () => {
    it('goes round a bootstrap server that is gone, and one that is silent', async () => {
      await using silent = await tcpServer(tcpMisbehaviours.silent);
      const topic = await topicOf(2);
      const consumerGroup = await groupAt(topic, { 0: 0 });
      const gone = `127.0.0.1:${await closedPort()}`;
      const bootstrapServers = `${gone}, ${silent.host}:${silent.port},, ${kafka.address.plaintext},`;

      expect(await readOnce(triggerOf({ consumerGroup, topic, bootstrapServers }))).toBe(2);
    });
  });
});

describe('kafka', () => {
  const given = (params: Record<string, string>, auth: Record<string, string> = {}) => ({
    params: { bootstrapServers: 'broker:9092', consumerGroup: 'group', topic: 'orders', ...params },
    auth,
  });

  it.each([
    ['no lag threshold', { lagThreshold: '0' }, {}, 'lagThreshold is 0'],
    ['a negative activation', { activationLagThreshold: '-1' }, {}, 'activationLagThreshold is -1'],
    [
      'idle consumers with a limit',
      { allowIdleConsumers: 'true', limitToPartitionsWithLag: 'true' },
      {},
      'both true',
    ],
    ['a limit without a topic', { topic: '', limitToPartitionsWithLag: 'true' }, {}, reason],
    ['even shares without a topic', { topic: '', ensureEvenDistributionOfPartitions: 'true' }, {}, reason],
    [
      'even shares with a limit',
      { ensureEvenDistributionOfPartitions: 'true', limitToPartitionsWithLag: 'true' },
      {},
      'both true',
    ],
    ['little metadata without a topic', { topic: '', fullMetadata: 'false' }, {}, 'needs a topic'],
    ['partitions that are no numbers', { partitionLimitation: '1,x' }, {}, 'not a list of partitions'],
    ['a version that is none', { version: '1.2.3.4' }, {}, 'not a version'],
    ['a key alone', { tls: 'enable' }, { key: 'x' }, 'without cert'],
    ['a password without a user', { sasl: 'plaintext' }, { password: 'x' }, '"username" is missing'],
    [
      'a token endpoint that is none',
      { sasl: 'oauthbearer' },
      { username: 'u', password: 'p', oauthTokenEndpointUri: 'nowhere' },
      'not a URL',
    ],
    [
      'MSK without TLS',
      { sasl: 'oauthbearer', saslTokenProvider: 'aws_msk_iam', awsRegion: 'eu-west-1' },
      {},
      'TLS',
    ],
  ])('refuses %s', (_title, params, auth, sentence) => {
    const binding = bind(scaler, given(params, auth));

    const problems = binding.ok ? 'accepted' : binding.problems.map(({ problem }) => problem).join('\n');
    expect(problems).toContain(sentence);
  });

  it.each([
    ['the topic', {}, 's0-kafka-orders'],
    ['the group, for all of its topics', { topic: '' }, 's0-kafka-group-topics'],
    ['the topic without what a metric cannot have', { topic: 'a.b' }, 's0-kafka-a-b'],
  ])('names its metric after %s', (_title, params, metric) => {
    expect(mustBind(scaler, given(params)).metricName).toBe(metric);
  });

  it('shares a connection among triggers that come to the same cluster as the same user', () => {
    const key = (params: Record<string, string>, auth: Record<string, string> = {}) =>
      mustBind(scaler, given(params, auth)).connectionKey;
    const plain = { sasl: 'plaintext' };
    const alice = { username: 'alice', password: 'one' };

    expect(key({ topic: 'a', consumerGroup: 'b' })).toBe(key({}));
    expect(key(plain, alice)).not.toBe(key({}));
    expect(key(plain, alice)).not.toBe(key(plain, { ...alice, password: 'other' }));
    expect(key({ bootstrapServers: 'a:1,b:2' })).toBe(key({ bootstrapServers: 'b:2,a:1' }));
    expect(key({ tls: 'enable' })).not.toBe(key({}));
    expect(key(plain, alice)).not.toMatch(/one|alice/);
  });
});
