import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { DeadMessage, Delivery } from '../delivery.ts';
import type { AskAt, KafkaClient } from './kafka.ts';
import { kafkaPlace } from './kafka-access.ts';
import { createTopicCall, produceCall } from './kafka-delivery-messages.ts';
import { faultOfCode, isPassing, noError, topicExists, topicNotFound } from './kafka-errors.ts';
import { GroupQueue, patiently } from './kafka-group-queue.ts';
import type { KafkaTrigger } from './kafka-lag-reading.ts';
import type { KafkaLink } from './kafka-link.ts';
import { type Broker, metadataCall } from './kafka-metadata-messages.ts';
import { paused } from './kafka-offsets.ts';
import { placeOf, type RecordPlace } from './kafka-record-claims.ts';
import { type KafkaRecord, writeBatch } from './kafka-records.ts';
import { windowedDelivery } from './windowed-delivery.ts';

type Context = ReadContext<KafkaClient>;

/** Nobody but us knows of a claim, so it only has to outlast the pauses between extensions. */
const lockMs = 60_000;
const pauseMs = 100;

/** The queues of each cluster that is open, by group and topics. */
const queues = new WeakMap<KafkaClient, Map<string, GroupQueue>>();

function queueOf(trigger: KafkaTrigger, { conn }: Context): GroupQueue {
  const { ask, rules } = trigger;
  if (ask.topics.length === 0) {
    throw new Fault('NOT_SUPPORTED', 'messages can be delivered of topics that are named only: give topic');
  }
  const known = queues.get(conn) ?? new Map<string, GroupQueue>();
  queues.set(conn, known);
  const key = JSON.stringify([ask.group, ask.topics, [...(ask.partitions ?? [])]]);
  const queue = known.get(key) ?? new GroupQueue(conn, ask, rules.offsetResetPolicy);
  known.set(key, queue);
  return queue;
}

/**
 * Messages of topics, each as a Job. Kafka knows no claims: who holds what is ours to remember, and what is done is
 * committed for the group, of which we are all there is.
 */
export const kafkaDelivery: Delivery<KafkaTrigger, KafkaClient> = {
  promise: [
    'The group must be for this ScaledJob alone. It has no members: while it has one, nothing is claimed and Kafka',
    'refuses our commits. Two Eventides on one group would each run every message.',
    '',
    'Each message of the named topics becomes one Job: committed ones only, where there are transactions. No order is',
    'promised, within a partition either: Jobs run side by side. A message is acknowledged by a commit: the offset',
    'before which all is done, and beside it, as the text of the offset, which ones beyond it are done already. One',
    'message that takes long, or is tried again, holds up only those that are 10,000 offsets or more ahead of it in its',
    'partition. The lag counts from the first message that is not done.',
    '',
    'What Kafka keeps as acknowledged never runs again. A crash forgets who holds what: a message without a Job, or that',
    'waits for another attempt, is handed out again at once; one whose Job runs is not; and one whose Job has succeeded is',
    'acknowledged then, unless that Job was deleted meanwhile. Who sets the offsets of the group back has the messages',
    'again, unless the Jobs they had are still there.',
    '',
    'Where nothing is committed, the group begins where `offsetResetPolicy` says at the first claim, and that is committed',
    'at once; a partition that is added while Eventide runs begins with its oldest message. Kafka forgets what a group',
    'without members committed more than `offsets.retention.minutes` ago (7 days), so it is committed again each hour: only',
    'after a longer absence of Eventide does the group begin anew. Messages that Kafka deletes before they were claimed are',
    'skipped. A topic that is made anew begins with its oldest message; before Kafka 2.8 it takes what Jobs of the old one',
    'acknowledge for its own messages with the same offsets.',
    '',
    'The body is the value of the message; key and headers are not handed on. Messages that cannot be processed are sent to',
    '`<topic>-dlt` with key, value and headers, or the value alone where Kafka has deleted them, and with where they came',
    'from; it is made with one partition where it is missing. A crash, or a broker that fails, just after that may have one',
    'sent twice. Gzip, Snappy and LZ4 are read by every Node, Zstandard by 22.15 and later.',
  ].join('\n'),
  ...windowedDelivery({ lockMs, queueOf, placeOf }),
  queueId: ({ access, ask }) => `${kafkaPlace(access)}/${ask.group}/${ask.topics.join(',')}`,

  async deadLetter(trigger, context, message) {
    const queue = queueOf(trigger, context);
    const place = placeOf(message.receipt);
    // Whoever comes again after a crash finds it sent.
    if (await queue.isDone(place, context)) return;
    const record = (await queue.record(place, context)) ?? remembered(message);
    // Where Kafka has deleted it and we do not have it either, there is nothing left to keep.
    if (record !== undefined) await sendDead(context.conn, { place, record, message }, context);
    await queue.finish(place, context);
  },
};

type Sendable = Pick<KafkaRecord, 'key' | 'value' | 'headers'>;

function remembered({ body }: DeadMessage): Sendable | undefined {
  return body === undefined ? undefined : { key: null, value: Buffer.from(body), headers: [] };
}

interface Dead {
  place: RecordPlace;
  record: Sendable;
  message: DeadMessage;
}

async function sendDead(client: KafkaClient, { place, record, message }: Dead, at: AskAt): Promise<void> {
  const topic = `${place.topic}-dlt`;
  const { leader, partition } = await leaderFor(client, topic, { partition: place.partition, at });
  const told = {
    'original-topic': place.topic,
    'original-partition': String(place.partition),
    'original-offset': String(place.offset),
    attempts: String(message.attempts),
    reason: message.why,
  };
  const more = Object.entries(told).map(([name, text]) => ({
    name: `eventide-${name}`,
    value: Buffer.from(text),
  }));
  const batch = writeBatch({ ...record, headers: [...record.headers, ...more] }, at.now);
  const link = await client.to(leader, at);
  const { error } = await patiently(() => link.ask(produceCall({ topic, partition }, batch), at.signal), at);
  if (error !== noError) throw faultOfCode(error, `sending to "${topic}"`);
}

/** Of a topic that is made where it is missing, which takes the brokers a moment. */
async function leaderFor(
  client: KafkaClient,
  topic: string,
  { partition, at }: { partition: number; at: AskAt },
): Promise<{ leader: Broker; partition: number }> {
  for (;;) {
    const link = await client.any(at);
    const { brokers, topics, controller } = await link.ask(metadataCall([topic]), at.signal);
    const { error, partitions } = topics.get(topic) ?? { error: -1, partitions: new Map() };
    const chosen = partition % Math.max(1, partitions.size);
    const leader = brokers.find(({ id }) => id === partitions.get(chosen)?.leader);
    if (error === noError && leader !== undefined) return { leader, partition: chosen };
    if (error === topicNotFound) {
      const maker = brokers.find(({ id }) => id === controller);
      await makeTopic(maker === undefined ? link : await client.to(maker, at), topic, at);
    } else if (error !== noError && !isPassing(error)) {
      throw faultOfCode(error, `the topic "${topic}"`);
    }
    if (!(await paused(pauseMs, at.signal))) throw new Fault('SOURCE_BUSY', `"${topic}" has no leader now`);
  }
}

async function makeTopic(link: KafkaLink, topic: string, at: AskAt): Promise<void> {
  const { error, said } = await link.ask(createTopicCall(topic), at.signal);
  if (error !== noError && error !== topicExists)
    throw faultOfCode(error, `making the topic "${topic}"`, said);
}
