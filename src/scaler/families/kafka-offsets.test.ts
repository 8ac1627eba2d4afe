import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Kafka, kafkaInstalled, startKafka, startSecond } from '../../../test/kafka/server.ts';
import { Fault } from '../../base/errors.ts';
import { type KafkaClient, kafkaClient } from './kafka.ts';
import { topicNotFound } from './kafka-errors.ts';
import type { KafkaLink } from './kafka-link.ts';
import { apis, type endOffsetsCall } from './kafka-messages.ts';
import type { metadataCall } from './kafka-metadata-messages.ts';
import { type OffsetsAsk, readPositions } from './kafka-offsets.ts';

const { signal } = new AbortController();
const at = { now: 0, signal };

const name = (what: string) => `${what}-${randomUUID().slice(0, 8)}`;

function clientOf(address: string): KafkaClient {
  const [host = '', port] = address.split(':');
  return kafkaClient([{ host, port: Number(port) }], { connectionName: 'test' });
}

/** The same brokers, with something about them changed. */
function changed(client: KafkaClient, over: (link: KafkaLink) => Partial<KafkaLink>): KafkaClient {
  const other = (link: KafkaLink): KafkaLink => ({
    name: link.name,
    open: true,
    supports: (api, version) => link.supports(api, version),
    ask: (call, stop) => link.ask(call, stop),
    [Symbol.asyncDispose]: () => link[Symbol.asyncDispose](),
    ...over(link),
  });
  return {
    name: client.name,
    links: 0,
    any: async asked => other(await client.any(asked)),
    to: async (broker, asked) => other(await client.to(broker, asked)),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

/** As if they knew only what those before Kafka 3.0 know. */
const before30 = (client: KafkaClient) =>
  changed(client, link => ({
    supports: (api, version) =>
      version < 4 && api !== apis.consumerGroupDescribe && link.supports(api, version),
  }));

/**
 * As Event Hubs do now and then: so many answers about the ends of partitions lack one.
 *
 * @param end said in place of it, where one is
 */
function forgetful(client: KafkaClient, partition: number, times: number, end?: number): KafkaClient {
  let left = times;
  return changed(client, link => ({
    async ask(call, stop) {
      const answer = await link.ask(call, stop);
      if (call.api !== apis.listOffsets || left === 0) return answer;
      left -= 1;
      const topics = answer as ReturnType<ReturnType<typeof endOffsetsCall>['read']>;
      for (const { offsets } of topics.values()) {
        offsets.delete(partition);
        if (end !== undefined) offsets.set(partition, end);
      }
      return answer;
    },
  }));
}

const ask = (group: string, ...topics: string[]): OffsetsAsk => ({ group, topics, partitions: undefined });

/** As brokers are that were away for a moment: so many answers know nothing of a topic. */
function unaware(client: KafkaClient, topic: string, times: number): KafkaClient {
  let left = times;
  return changed(client, link => ({
    async ask(call, stop) {
      const answer = await link.ask(call, stop);
      if (call.api !== apis.metadata || left === 0) return answer;
      const { topics } = answer as ReturnType<ReturnType<typeof metadataCall>['read']>;
      if (!topics.has(topic)) return answer;
      left -= 1;
      (topics as Map<string, unknown>).set(topic, { error: topicNotFound, partitions: new Map() });
      return answer;
    },
  }));
}

describe.skipIf(!kafkaInstalled)('positions, in a cluster of two brokers', () => {
  let kafka: Kafka;
  let second: Awaited<ReturnType<typeof startSecond>>;

  beforeAll(async () => {
    kafka = await startKafka();
    second = await startSecond(kafka);
  }, 90_000);

  afterAll(async () => {
    await second[Symbol.asyncDispose]();
    await kafka[Symbol.asyncDispose]();
  });

  it('are read of every leader and coordinator, over one connection to each', async () => {
    const topic = name('topic');
    await kafka.tool('place', topic, 1, 2, 2, 1);
    const groups = Array.from({ length: 12 }, () => name('group'));
    for (const [partition, count] of [3, 5, 0, 7].entries()) {
      if (count > 0) await kafka.tool('produce', topic, partition, count, 'a message');
    }
    await kafka.tool('commit', groups.join(','), topic, '0=1', '1=2', '3=7');
    await using client = clientOf(kafka.address.plaintext);

    const found = await readPositions(
      client,
      groups.map(group => ask(group, topic)),
      at,
    );

    const wanted = [
      { topic, partition: 0, committed: 1, end: 3 },
      { topic, partition: 1, committed: 2, end: 5 },
      { topic, partition: 2, committed: -1, end: 0 },
      { topic, partition: 3, committed: 7, end: 7 },
    ];
    const sorted = found.map(each =>
      each instanceof Fault ? each : each.sort((a, b) => a.partition - b.partition),
    );
    expect(sorted).toEqual(groups.map(() => wanted));
    expect(client.links).toBe(2);
  });

  it('are the same by the requests of older brokers', async () => {
    const topic = name('topic');
    const groups = Array.from({ length: 5 }, () => name('group'));
    await kafka.tool('place', topic, 1, 2);
    await kafka.tool('produce', topic, 1, 4, 'a message');
    await kafka.tool('commit', groups.join(','), topic, '0=0', '1=3');
    await kafka.tool('join', groups[0] ?? '', topic, 'classic');
    const asks = groups.flatMap(group => [ask(group, topic), ask(group)]);
    await using client = clientOf(kafka.address.plaintext);

    const today = await readPositions(client, asks, at);
    const then = await readPositions(before30(client), asks, at);
    await kafka.tool('leave', groups[0] ?? '');

    expect(today).toHaveLength(10);
    expect(today).not.toContainEqual(expect.any(Fault));
    expect(then).toEqual(today);
  });

  it('are asked for again where a broker has not heard of a topic, and not known where it never does', async () => {
    const [here, there] = [name('here'), name('there')];
    const group = name('group');
    for (const topic of [here, there]) {
      await kafka.tool('place', topic, 1);
      await kafka.tool('commit', group, topic, '0=0');
    }
    await using client = clientOf(kafka.address.plaintext);
    const read = (times: number) => readPositions(unaware(client, there, times), [ask(group)], at);

    const [once] = await read(1);
    const [never] = await read(Number.POSITIVE_INFINITY);

    expect(once).toHaveLength(2);
    expect(never).toMatchObject({ code: 'SOURCE_NOT_FOUND', message: expect.stringContaining(there) });
  });

  it('are not known where none of the topics is there that members wait for', async () => {
    const [topic, group] = [name('topic'), name('group')];
    await kafka.tool('place', topic, 1);
    await kafka.tool('join', group, topic, 'classic');
    await using client = clientOf(kafka.address.plaintext);

    const [found] = await readPositions(unaware(client, topic, Number.POSITIVE_INFINITY), [ask(group)], at);
    await kafka.tool('leave', group);

    expect(found).toMatchObject({
      code: 'SOURCE_NOT_FOUND',
      message: expect.stringContaining('none of the topics is there'),
    });
  });

  it('are asked for again where an answer lacks a partition, and not known where it is never there', async () => {
    const topic = name('topic');
    const group = name('group');
    await kafka.tool('place', topic, 1, 1);
    await kafka.tool('commit', group, topic, '0=0', '1=0');
    await using client = clientOf(kafka.address.plaintext);
    const read = (times: number) => readPositions(forgetful(client, 1, times), [ask(group, topic)], at);

    const [once] = await read(1);
    const [never] = await read(Number.POSITIVE_INFINITY);
    const [negative] = await readPositions(forgetful(client, 1, 3, -5), [ask(group, topic)], at);

    expect(negative).toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
    expect(once).toHaveLength(2);
    expect(never).toMatchObject({
      code: 'SOURCE_ANSWER_INVALID',
      message: expect.stringContaining(`the end of "${topic}" 1`),
    });
  });

  it('are known of one broker while the other is gone, and of both when it is back', async () => {
    const [here, there] = [name('here'), name('there')];
    await kafka.tool('place', here, 1);
    await kafka.tool('place', there, 2);
    const groups = Array.from({ length: 12 }, () => name('group'));
    await kafka.tool('commit', groups.join(','), here, '0=0');
    await kafka.tool('commit', groups.join(','), there, '0=0');
    await using client = clientOf(kafka.address.plaintext);
    const asks = groups.flatMap(group => [ask(group, here), ask(group, there)]);
    const read = async () => {
      const found = await readPositions(client, asks, at);
      return found.map(each => (each instanceof Fault ? each.code : each[0]?.topic));
    };

    const before = await read();
    await second.stop();
    const during = await read();
    await second.start();
    let after = await read();
    // An election takes a moment.
    while (after.some(each => each?.startsWith('SOURCE_'))) after = await read();

    const all = groups.flatMap(() => [here, there]);
    expect(before).toEqual(all);
    expect(after).toEqual(all);
    // Some groups have their offsets at the broker that stayed, some at the one that went.
    expect(during).toContain(here);
    expect(during).not.toContain(there);
    expect(during.filter(each => each !== here)).toEqual(
      expect.arrayContaining([expect.stringMatching(/^SOURCE_(BUSY|UNREACHABLE)$/)]),
    );
  }, 60_000);
});
