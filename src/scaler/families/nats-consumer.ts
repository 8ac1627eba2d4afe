import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { NatsConnection } from './nats-access.ts';
import type { NatsClient } from './nats-client.ts';
import { type JetStreamConsumer, nameOf } from './nats-lag.ts';
import { objectOf } from './nats-monitoring.ts';

/** What is set for a consumer, as far as delivery goes by it. */
export interface ConsumerFacts {
  /** How long it waits for an acknowledgement, in milliseconds. */
  ackWaitMs: number;
  /** The same for each delivery, where that is set; the last one for all that follow. */
  backoffMs: readonly number[];
  /** How often it hands a message out; -1 for as often as it takes. */
  maxDeliver: number;
  /** How many messages and bytes may be asked for at once, and for how many milliseconds. */
  maxBatch: number;
  maxBytes: number;
  maxExpiresMs: number;
}

type Consumer = Pick<JetStreamConsumer, 'stream' | 'consumer'>;
type Context = Pick<ReadContext<NatsConnection>, 'conn' | 'now' | 'signal'>;

/** Settings change rarely, and are asked for with every message otherwise. */
const keptMs = 60_000;

/** Extensions go out when less than half of a claim has passed, and the engine needs two seconds for one. */
const shortestWaitMs = 5_000;

const known = new WeakMap<NatsClient, Map<string, { facts: ConsumerFacts; at: number }>>();

const keyOf = ({ stream, consumer }: Consumer) => `${stream} ${consumer}`;

/**
 * What is set for a consumer, as it was at most a minute ago.
 *
 * @throws Fault SOURCE_NOT_FOUND, or NOT_SUPPORTED where its messages cannot be claimed one by one
 */
export async function consumerFacts(
  wanted: Consumer,
  { conn, now, signal }: Context,
): Promise<ConsumerFacts> {
  const kept = known.get(conn.client)?.get(keyOf(wanted));
  if (kept !== undefined && Math.abs(now - kept.at) < keptMs) return kept.facts;
  requireName('stream', wanted.stream);
  requireName('consumer', wanted.consumer);
  const what = nameOf(wanted);
  const path = `CONSUMER.INFO.${wanted.stream}.${wanted.consumer}`;
  const info = await conn.client.api(path, undefined, { what, now, signal });
  const config = objectOf(info['config']) ?? {};
  const facts = readFacts(config, what);
  const ofClient = known.get(conn.client) ?? new Map<string, { facts: ConsumerFacts; at: number }>();
  known.set(conn.client, ofClient.set(keyOf(wanted), { facts, at: now }));
  return facts;
}

/** Has it asked for again. */
export function forgetConsumer(wanted: Consumer, { conn }: Pick<Context, 'conn'>): void {
  known.get(conn.client)?.delete(keyOf(wanted));
}

function readFacts(config: Readonly<Record<string, unknown>>, what: string): ConsumerFacts {
  const refuse = (problem: string) =>
    new Fault('NOT_SUPPORTED', `messages of ${what} cannot be delivered: ${problem}`);
  if (config['ack_policy'] !== 'explicit') {
    throw refuse(`its ack_policy is ${String(config['ack_policy'])}, and must be explicit`);
  }
  if (config['deliver_subject'] !== undefined)
    throw refuse('it is a push consumer, and must be a pull consumer');
  const backoffMs = (Array.isArray(config['backoff']) ? config['backoff'] : []).map(ms);
  const ackWaitMs = ms(config['ack_wait']);
  if (![ackWaitMs, ...backoffMs].every(wait => wait >= shortestWaitMs)) {
    throw refuse('its ack_wait and each backoff must be at least 5 s');
  }
  const maxDeliver = config['max_deliver'];
  const limit = (value: unknown) =>
    typeof value === 'number' && value > 0 ? value : Number.POSITIVE_INFINITY;
  return {
    ackWaitMs,
    backoffMs,
    maxDeliver: typeof maxDeliver === 'number' ? maxDeliver : -1,
    maxBatch: limit(config['max_batch']),
    maxBytes: limit(config['max_bytes']),
    maxExpiresMs: limit(config['max_expires']) / 1_000_000,
  };
}

/** JetStream gives spans in nanoseconds. */
const ms = (value: unknown) => (typeof value === 'number' ? Math.floor(value / 1_000_000) : 0);

/** Names become part of subjects, where a dot or a wildcard would lead elsewhere. */
export function requireName(kind: string, name: string): void {
  if (/^[^\s.*>/\\]+$/.test(name)) return;
  throw new Fault('PARAM_INVALID', `"${name}" is not the name of a ${kind} in JetStream`);
}
