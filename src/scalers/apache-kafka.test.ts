import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authority } from '../../test/certificates.ts';
import { type Kafka, kafkaInstalled, startKafka, user } from '../../test/kafka/server.ts';
import {
  bind,
  faultFrom,
  measureOnce,
  mustBind,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import scaler from './apache-kafka.ts';

let kafka: Kafka;

const name = (what: string) => `${what}-${randomUUID().slice(0, 8)}`;

async function topicOf(...messages: number[]): Promise<string> {
  const topic = name('topic');
  await kafka.tool('create', topic, messages.length);
  for (const [partition, count] of messages.entries()) {
    if (count > 0) await kafka.tool('produce', topic, partition, count, 'a message');
  }
  return topic;
}

const triggerOf = (params: Record<string, string>, auth: Record<string, string> = {}) =>
  mustBind(scaler, { params: { bootstrapServers: kafka.address.plaintext, ...params }, auth });

describe.skipIf(!kafkaInstalled)('apache-kafka, against a real broker', () => {
  beforeAll(async () => {
    kafka = await startKafka();
  }, 60_000);

  afterAll(() => kafka[Symbol.asyncDispose]());

  scalerContract(scaler, {
    async serve() {
      const topic = await topicOf(0, 0);
      await kafka.tool('commit', topic, topic, '0=0', '1=0');
      return {
        params: { bootstrapServers: kafka.address.saslssl, topic, consumerGroup: topic },
        fill: count => kafka.tool('produce', topic, 1, count, 'a message').then(() => undefined),
        stop: () => kafka.stop(),
        restart: () => kafka.restart(),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    protocol: 'tcp',
    params: { consumerGroup: 'group', topic: 'orders', sasl: 'scram_sha512', tls: 'enable' },
    auth: { ...user, ca: authority },
    expect: 3,
    // A login by SCRAM over TLS takes the broker 20 ms.
    readEvery: 10,
    alsoRequired: ['username', 'password'],
    wrong: () => ({ auth: { password: 'quite wrong' } }),
    missing: () => ({ params: { topic: 'nowhere' } }),
    cannot: { numbers: 'a broker says where a group is, not how far behind: tried with its offsets' },
    at: ({ url, host, port }) => ({
      params: { bootstrapServers: `${host}:${port}`, tls: url.startsWith('https') ? 'enable' : 'disable' },
    }),
  });

  it('adds up the lag of several topics', async () => {
    const [one, other] = [await topicOf(5, 2), await topicOf(4)];
    const consumerGroup = name('group');
    await kafka.tool('commit', consumerGroup, one, '0=1', '1=0');
    await kafka.tool('commit', consumerGroup, other, '0=2');
    const topic = `${one}, ${other}`;

    expect(await readOnce(triggerOf({ consumerGroup, topic }))).toBe(8);
    expect(await readOnce(triggerOf({ consumerGroup, topic, partitionLimitation: '0' }))).toBe(6);
    expect(await readOnce(triggerOf({ consumerGroup, topic, partitionLimitation: '1-0' }))).toBe(8);
  });

  it('shares no more messages than there are partitions of all topics to share them', async () => {
    const [one, other] = [await topicOf(50, 0), await topicOf(50)];
    const params = { consumerGroup: name('group'), topic: `${one},${other}`, offsetResetPolicy: 'earliest' };
    const limited = { ...params, limitToPartitionsWithLag: 'true' };
    const idle = { ...params, allowIdleConsumers: 'true' };

    expect(await measureOnce(triggerOf(params))).toEqual({ value: 30, active: true });
    expect(await measureOnce(triggerOf(limited))).toEqual({ value: 20, active: true });
    expect(await measureOnce(triggerOf(idle))).toEqual({ value: 100, active: true });
  });

  it('knows no lag where one of the topics is not there', async () => {
    const topic = `${await topicOf(1)},no-such-topic`;

    const fault = await faultFrom(readOnce(triggerOf({ consumerGroup: name('group'), topic })));

    expect(fault).toMatchObject({
      code: 'SOURCE_NOT_FOUND',
      message: expect.stringContaining('no-such-topic'),
    });
  });

  it('counts all topics that the group has committed in, with or without members', async () => {
    const [one, other] = [await topicOf(5), await topicOf(4)];
    const consumerGroup = name('group');
    await kafka.tool('commit', consumerGroup, one, '0=1');
    const trigger = triggerOf({ consumerGroup, offsetResetPolicy: 'earliest' });

    const without = await readOnce(trigger);
    await kafka.tool('join', consumerGroup, other, 'classic');
    const joined = await readOnce(trigger);
    await kafka.tool('leave', consumerGroup);

    expect([without, joined]).toEqual([4, 8]);
  });
});

describe('apache-kafka', () => {
  const given = (params: Record<string, string>, auth: Record<string, string> = {}) => ({
    params: { bootstrapServers: 'broker:9092', consumerGroup: 'group', topic: 'orders', ...params },
    auth,
  });

  it('names its metric after all topics', () => {
    expect(mustBind(scaler, given({ topic: 'a, b.c' })).metricName).toBe('s0-kafka-a,b-c');
  });

  it('refuses Kerberos by name when the connection is made', async () => {
    const fault = await faultFrom(readOnce(mustBind(scaler, given({ sasl: 'gssapi' }))));

    expect([fault.code, fault.message]).toEqual(['NOT_SUPPORTED', expect.stringContaining('Kerberos')]);
  });

  it('takes the pod identity for MSK', () => {
    const msk = { sasl: 'aws_msk_iam', tls: 'enable', awsRegion: 'eu-west-1' };

    const binding = bind(scaler, given(msk), { podIdentity: { provider: 'aws' } });

    expect(binding).toMatchObject({
      ok: true,
      bound: { params: { access: { msk: { region: 'eu-west-1' } } } },
    });
  });

  it.each([
    ['without a region', { tls: 'enable' }, { awsAccessKeyID: 'a', awsSecretAccessKey: 'b' }, '"awsRegion"'],
    ['without TLS', { awsRegion: 'r' }, { awsAccessKeyID: 'a', awsSecretAccessKey: 'b' }, 'needs TLS'],
    ['without keys', { awsRegion: 'r', tls: 'enable' }, {}, '"awsAccessKeyID"'],
    [
      'without the secret',
      { awsRegion: 'r', tls: 'enable' },
      { awsAccessKeyID: 'a' },
      '"awsSecretAccessKey"',
    ],
  ])('refuses MSK %s', (_title, params, auth, sentence) => {
    const binding = bind(scaler, given({ sasl: 'aws_msk_iam', ...params }, auth));

    const problems = binding.ok ? 'accepted' : binding.problems.map(({ problem }) => problem).join('\n');
    expect(problems).toContain(sentence);
  });
});
