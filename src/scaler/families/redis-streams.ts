import { Fault } from '../../base/errors.ts';
import type { Problem } from '../../spec/problem.ts';
import { defineScaler, type Scaler } from '../define.ts';
import { normalizeMetricName } from '../metric-name.ts';
import { p } from '../params.ts';
import { countOf, faultOf, type KeyedCommand, nameOf, type Outcome, type RedisClient } from './redis.ts';
import {
  type Deployment,
  openRedis,
  type RedisAccess,
  redisAccess,
  redisAccessParams,
  redisIdentity,
} from './redis-access.ts';
import { streamDelivery } from './redis-stream-delivery.ts';
import { type Reply, ReplyError } from './resp.ts';

/** What is counted: entries handed out and not acknowledged, those not handed out yet, or all there are. */
type Measure = 'pending' | 'lag' | 'length';

/** A trigger on a stream, or on what one group has to do with it. */
export interface RedisStream extends RedisAccess {
  stream: string;
  consumerGroup: string | undefined;
  measure: Measure;
  /** Of the three targets those that do not count are 0, as in KEDA. */
  pendingEntriesCount: number;
  streamLength: number;
  lagCount: number;
}

const targets = {
  pending: 'pendingEntriesCount',
  lag: 'lagCount',
  length: 'streamLength',
} as const satisfies Record<Measure, string>;

/** The most entries that are counted one by one where the server has not kept count. */
const mostCounted = 10_000;

const countScript = `return #redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ${mostCounted})`;

/** The scaler for streams in one kind of deployment. */
export function redisStreams(
  type: string,
  deployment: Deployment,
  doc: string,
): Scaler<RedisStream, RedisClient> {
  return defineScaler({
    type,
    doc,
    testedWith: { kind: 'real', with: 'Redis 7.0' },
    params: {
      stream: p.text({ doc: 'The stream.' }),
      consumerGroup: p.text({
        doc: 'The group whose entries count; without one, all entries of the stream.',
        optional: true,
      }),
      lagCount: p.integer({
        doc: 'Entries not handed to the group yet, per replica; needs Redis 7. The target where it and `consumerGroup` are given.',
        optional: true,
      }),
      pendingEntriesCount: p.integer({
        doc: 'Entries handed out and not acknowledged, per replica. The target where `consumerGroup` is given without `lagCount`.',
        default: '5',
      }),
      streamLength: p.integer({
        doc: 'Entries of the stream per replica. The target without `consumerGroup`.',
        default: '5',
      }),
      activationLagCount: p.integer({
        doc: 'Active above this many entries, whatever is counted.',
        unit: 'entries',
        default: '0',
      }),
      ...redisAccessParams,
    },
    target: 'pendingEntriesCount',
    targetFor: {
      words:
        'what is counted per replica: `lagCount` where it and `consumerGroup` are given, `pendingEntriesCount` with `consumerGroup` alone, else `streamLength`',
      of: ({ measure }) => targets[measure],
    },
    activation: 'activationLagCount',
    countsFor: {
      words:
        'what waits and what is being processed; with `consumerGroup` and `lagCount` for what waits alone',
      of: ({ measure }) => (measure === 'lag' ? 'waiting' : 'waiting and in flight'),
    },
    resolve(values): RedisStream | { problems: Problem[] } {
      const access = redisAccess(deployment, values);
      if ('problems' in access) return access;
      const { stream, consumerGroup, lagCount = 0, pendingEntriesCount, streamLength } = values;
      const measure = consumerGroup === undefined ? 'length' : lagCount === 0 ? 'pending' : 'lag';
      return {
        ...access,
        stream,
        consumerGroup,
        measure,
        pendingEntriesCount: measure === 'pending' ? pendingEntriesCount : 0,
        streamLength: measure === 'length' ? streamLength : 0,
        lagCount,
      };
    },
    metricName: ({ stream }) => normalizeMetricName(`redis-streams-${stream}`),
    family: 'redis',
    endpoint: stream => redisIdentity(stream),
    query: ({ stream, consumerGroup = '', measure }) => JSON.stringify([measure, stream, consumerGroup]),
    open: (stream, context) => openRedis(stream, context),
    async read(params, { conn, signal }) {
      const [count] = await countEntries(conn, [params], signal);
      if (typeof count === 'number') return count;
      throw count ?? new Fault('INTERNAL', 'nothing was counted');
    },
    readMany: async (all, { conn, signal }) => await countEntries(conn, all, signal),
    deliver: streamDelivery,
  });
}

/** Asks for all at once; once more for groups that are missing or whose lag the server has lost. */
async function countEntries(
  client: RedisClient,
  all: readonly RedisStream[],
  signal: AbortSignal,
): Promise<(number | Fault)[]> {
  const outcomes = await client.run(all.map(question), { signal });
  const counts = all.map((trigger, index) =>
    answer(trigger, outcomes[index] ?? null, nameOf(client, trigger.stream)),
  );
  const more = counts.flatMap(count => (isQuestion(count) ? [count] : []));
  if (more.length === 0) return counts as (number | Fault)[];
  const answers = (await client.run(more, { signal }))[Symbol.iterator]();
  return counts.map((count, index) =>
    isQuestion(count) ? countOf(answers.next().value ?? null, nameOf(client, all[index]?.stream)) : count,
  );
}

function question({ stream, consumerGroup = '', measure }: RedisStream): KeyedCommand {
  switch (measure) {
    case 'length':
      return { key: stream, command: ['XLEN', stream] };
    case 'pending':
      return { key: stream, command: ['XPENDING', stream, consumerGroup] };
    case 'lag':
      return { key: stream, command: ['XINFO', 'GROUPS', stream] };
  }
}

const isQuestion = (count: number | Fault | KeyedCommand): count is KeyedCommand =>
  typeof count === 'object' && 'command' in count;

function answer(trigger: RedisStream, outcome: Outcome, what: string): number | Fault | KeyedCommand {
  switch (trigger.measure) {
    case 'length':
      return countOf(outcome, what);
    case 'pending':
      return Array.isArray(outcome) ? countOf(outcome[0] ?? null, what) : faultOf(outcome, what);
    case 'lag':
      return lagOf(trigger, outcome, what);
  }
}

/** A stream that is missing has no lag; a group that is missing has the whole stream before it. As in KEDA. */
function lagOf(
  { stream, consumerGroup }: RedisStream,
  outcome: Outcome,
  what: string,
): number | Fault | KeyedCommand {
  if (outcome instanceof ReplyError && outcome.message === 'ERR no such key') return 0;
  if (!Array.isArray(outcome)) return faultOf(outcome, what);
  const group = outcome.map(fieldsOf).find(fields => String(fields.get('name')) === consumerGroup);
  if (group === undefined) return { key: stream, command: ['XLEN', stream] };
  const lag = group.get('lag');
  if (lag === undefined) {
    return new Fault('NOT_SUPPORTED', `${what}: the server does not know the lag of groups, Redis 7 does`);
  }
  if (lag !== null) return countOf(lag, what);
  // Entries were deleted, or the group began in the middle: then the server has lost count.
  const last = group.get('last-delivered-id');
  if (!Buffer.isBuffer(last)) return faultOf(null, what);
  return { key: stream, command: ['EVAL', countScript, '1', stream, `(${last.toString()}`] };
}

function fieldsOf(reply: Reply): Map<string, Reply> {
  const fields = new Map<string, Reply>();
  if (!Array.isArray(reply)) return fields;
  for (let at = 0; at + 1 < reply.length; at += 2) fields.set(String(reply[at]), reply[at + 1] ?? null);
  return fields;
}
