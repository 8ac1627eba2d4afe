import { isUtf8 } from 'node:buffer';
import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, DeadMessage, Delivery, Receipt } from '../delivery.ts';
import { answerOf, ask, nameOf, type RedisClient } from './redis.ts';
import { redisPlace } from './redis-access.ts';
import { siblingKey } from './redis-slots.ts';
import type { RedisStream } from './redis-streams.ts';
import { type Reply, ReplyError } from './resp.ts';

type Context = ReadContext<RedisClient>;

/** Long enough to outlast half a minute without the source, short enough to hand on after a crash. */
const lockMs = 60_000;

/** The consumer of the group that claims are made by: one for all of us, so that none is left behind. */
const consumer = 'eventide';

/** A claim brings at most this many entries: their texts come in one answer. */
const mostAtOnce = 100;
const mostAnswerBytes = 2 ** 30;

const nowMs = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/**
 * Entries whose claim has ended come first, then new ones. The group keeps since when an entry is held, and can be
 * told a time in the past but none in the future: pauses longer than a claim are kept in a sorted set.
 */
const claimScript = `${nowMs}
local stream, pauses = KEYS[1], KEYS[2]
local group, consumer, lock, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local claims = {}
for _, held in ipairs(redis.call('XPENDING', stream, group, 'IDLE', lock, '-', '+', most, consumer)) do
  local id, count = held[1], held[4]
  local pause = tonumber(redis.call('ZSCORE', pauses, id) or 0)
  if pause > now then
    local idle = math.max(0, math.floor(lock - (pause - now)))
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'IDLE', idle, 'JUSTID')
  else
    redis.call('ZREM', pauses, id)
    local entry = redis.call('XCLAIM', stream, group, consumer, 0, id)[1]
    if entry and entry[2] then
      claims[#claims + 1] = { id, entry[2], count + 1 }
    else
      redis.call('XACK', stream, group, id)
    end
  end
end
if #claims < most then
  local fresh = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', most - #claims, 'STREAMS', stream, '>')
  for _, entry in ipairs(fresh and fresh[1][2] or {}) do
    claims[#claims + 1] = { entry[1], entry[2], 1 }
  end
end
return claims`;

/** Every settlement begins with this: the claim is the one that the receipt is of, or it is lost. */
const checked = `${nowMs}
local stream, pauses, group, consumer, id = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('XPENDING', stream, group, id, id, 1)[1]
if not held or held[2] ~= consumer or held[4] ~= tonumber(ARGV[4]) then return false end
`;

const holdScript = `${checked}
local lock, ms = tonumber(ARGV[5]), tonumber(ARGV[6])
redis.call('XCLAIM', stream, group, consumer, 0, id, 'IDLE', math.max(0, lock - ms), 'JUSTID')
if ms > lock then
  redis.call('ZADD', pauses, now + ms, id)
else
  redis.call('ZREM', pauses, id)
end
return 1`;

/** What the group does not hold was acknowledged, and the answer was lost. Should it come back, it is acknowledged again. */
const acknowledgeScript = `if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1) == 0 then return 1 end
${checked}
redis.call('ZREM', pauses, id)
return redis.call('XACK', stream, group, id)`;

const deadLetterScript = `${checked}
local entry = redis.call('XRANGE', stream, id, id)[1]
local fields = entry and entry[2] or {}
for at = 5, #ARGV do fields[#fields + 1] = ARGV[at] end
redis.call('XADD', KEYS[3], '*', unpack(fields))
redis.call('ZREM', pauses, id)
return redis.call('XACK', stream, group, id)`;

/** A consumer group does what delivery needs; scripts keep each step whole. */
export const streamDelivery: Delivery<RedisStream, RedisClient> = {
  promise: [
    'Entries are read by the consumer `eventide` of `consumerGroup`, without which nothing is delivered; a group that',
    'is missing is made, from the beginning of the stream. The message is a JSON object of the fields of the entry: a',
    'field that occurs more than once is a list, and a value that is not UTF-8 is `{ "base64": … }`. An entry is handed',
    'out in the order of the stream at first; that no order is kept afterwards is the nature of Jobs that run side by',
    'side. A claim that nobody extends, as after a crash, ends after a minute. Then the entry is handed out again, is',
    'found to have a Job that runs, or has succeeded, and gets no second one as long as that Job is there. An Eventide',
    'that does not see that Job, in another cluster say, would make one: let only one deliver from a group. Entries that',
    'other consumers of the group hold are left to them. Entries that cannot be processed are added to',
    '`<stream>-poison`, with the fields `eventide-id`, `eventide-attempts` and `eventide-why` beside their own.',
    '',
    'Acknowledged entries stay in the stream: trim it, but not what is still to be done. An entry that is trimmed or',
    'deleted before it was claimed is never delivered, and afterwards it cannot come back, for another attempt or after',
    'a crash. A group that was deleted and is made again has all entries once more that are in the stream, unless the',
    'Jobs they had are still there.',
    '',
    'Each entry becomes one Job as long as Redis keeps what it has confirmed. A fail-over, or a restart from an older',
    'snapshot, may undo the last claims or acknowledgements, but an entry keeps its id, so it is found to have its Job',
    'already, unless that Job was deleted meanwhile. Needs Redis 6.2 and scripts (`EVAL`), for the stream,',
    '`<stream>-poison` and `<stream>:eventide`, a sorted set of pauses of more than a minute. In a cluster the last two',
    'are named `{<stream>}…`, unless the name of the stream has a hash tag.',
  ].join('\n'),
  lockMs,
  queueId: stream => `${redisPlace(stream)}/${stream.stream}/${groupOf(stream)}`,

  async claim(stream, context, most) {
    if (most <= 0) return [];
    const claim = () =>
      run(stream, context, {
        script: claimScript,
        args: [consumer, String(lockMs), String(Math.min(most, mostAtOnce))],
      });
    let reply: Reply;
    try {
      reply = await claim();
    } catch (thrown) {
      if (!(thrown instanceof Fault) || thrown.code !== 'SOURCE_NOT_FOUND') throw thrown;
      if (!(await makeGroup(stream, context))) return [];
      reply = await claim();
    }
    if (!Array.isArray(reply)) throw strange(stream, context);
    return reply.map(each => readClaim(each, stream, context));
  },

  async extend(stream, context, receipt) {
    await hold(stream, context, { receipt, ms: lockMs });
    return { receipt, lockedUntil: context.now + lockMs };
  },

  async acknowledge(stream, context, receipt) {
    await settle(stream, context, { receipt, script: acknowledgeScript });
  },

  async release(stream, context, receipt, delayMs) {
    await hold(stream, context, { receipt, ms: Math.max(0, Math.ceil(delayMs)) });
  },

  async deadLetter(stream, context, { receipt, messageId, attempts, why }: DeadMessage) {
    const notes = [
      ['eventide-id', messageId],
      ['eventide-attempts', String(attempts)],
      ['eventide-why', why],
    ];
    await settle(stream, context, {
      receipt,
      script: deadLetterScript,
      more: [beside(stream, '-poison')],
      args: notes.flat(),
    });
  },
};

/** @throws Fault NOT_SUPPORTED */
function groupOf({ consumerGroup }: RedisStream): string {
  if (consumerGroup !== undefined) return consumerGroup;
  throw new Fault('NOT_SUPPORTED', 'messages of a stream cannot be delivered without a consumerGroup');
}

/** @throws Fault PARAM_INVALID where no key can lie beside the stream */
function beside({ stream, deployment }: RedisStream, suffix: string): string {
  const key = siblingKey(stream, suffix, deployment === 'cluster');
  if (key !== undefined) return key;
  const message = `no key can lie beside "${stream}" in a cluster: give the stream a name with a hash tag`;
  throw new Fault('PARAM_INVALID', message);
}

/** Whether there is a stream for the group to be of; a group that somebody else has just made is fine. */
async function makeGroup(stream: RedisStream, { conn, signal }: Context): Promise<boolean> {
  const command = ['XGROUP', 'CREATE', stream.stream, groupOf(stream), '0'];
  const [reply = null] = await conn.run([{ key: stream.stream, command }], { signal });
  if (reply instanceof ReplyError && reply.code === 'BUSYGROUP') return true;
  if (reply instanceof ReplyError && reply.message.includes('requires the key to exist')) return false;
  answerOf(reply, nameOf(conn, stream.stream));
  return true;
}

interface Script {
  script: string;
  /** Keys beyond the two that every script needs. */
  more?: readonly string[];
  /** Arguments after the group. */
  args: readonly string[];
}

async function run(stream: RedisStream, { conn, signal }: Context, { script, more = [], args }: Script) {
  const keys = [stream.stream, beside(stream, ':eventide'), ...more];
  const command = ['EVAL', script, String(keys.length), ...keys, groupOf(stream), ...args];
  return await ask(conn, { key: stream.stream, command }, { signal, mostBytes: mostAnswerBytes });
}

async function hold(
  stream: RedisStream,
  context: Context,
  { receipt, ms }: { receipt: Receipt; ms: number },
): Promise<void> {
  const args = [String(lockMs), String(ms)];
  await settle(stream, context, { receipt, script: holdScript, args });
}

/** @throws Fault MESSAGE_LOST */
async function settle(
  stream: RedisStream,
  context: Context,
  { receipt, script, more = [], args = [] }: Omit<Script, 'args'> & { receipt: Receipt; args?: string[] },
): Promise<void> {
  const [id, count] = readReceipt(receipt);
  const reply = await run(stream, context, { script, more, args: [consumer, id, count, ...args] });
  if (reply === 1) return;
  if (reply !== null && reply !== 0) throw strange(stream, context);
  const message = `message ${id} of ${nameOf(context.conn, stream.stream)} is not ours any more`;
  throw new Fault('MESSAGE_LOST', message);
}

/** A receipt is the id of the entry and how often it had been handed out: no two claims have both alike. */
function readReceipt(receipt: Receipt): [string, string] {
  const [, id, count] = /^(\d+-\d+) (\d+)$/.exec(receipt) ?? [];
  if (id !== undefined && count !== undefined) return [id, count];
  throw new Fault('INTERNAL', `"${receipt}" is not a receipt of a stream`);
}

function readClaim(reply: Reply, stream: RedisStream, context: Context): Claim {
  const [id, fields, count] = Array.isArray(reply) ? reply : [];
  if (!Buffer.isBuffer(id) || !Array.isArray(fields) || typeof count !== 'number')
    throw strange(stream, context);
  const messageId = id.toString();
  const sentAt = Number(messageId.split('-')[0]);
  return {
    messageId,
    body: Buffer.from(JSON.stringify(bodyOf(fields))),
    receipt: `${messageId} ${count}`,
    deliveryCount: count,
    // Senders may number their entries as they like; a time has this many digits.
    ...(sentAt > 1e12 ? { sentAt } : {}),
    lockedUntil: context.now + lockMs,
  };
}

type Value = string | { base64: string };

function bodyOf(fields: readonly Reply[]): Record<string, Value | Value[]> {
  const values = new Map<string, Value[]>();
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = String(fields[at]);
    const value = textOf(fields[at + 1] ?? null);
    const known = values.get(name);
    if (known === undefined) values.set(name, [value]);
    else known.push(value);
  }
  return Object.fromEntries(
    [...values].map(([name, all]) => [name, all.length === 1 ? (all[0] ?? '') : all]),
  );
}

function textOf(reply: Reply): Value {
  if (!Buffer.isBuffer(reply)) return String(reply);
  return isUtf8(reply) ? reply.toString() : { base64: reply.toString('base64') };
}

function strange({ stream }: RedisStream, { conn }: Context): Fault {
  const message = `${nameOf(conn, stream)} answered with something else than was asked for`;
  return new Fault('SOURCE_ANSWER_INVALID', message);
}
