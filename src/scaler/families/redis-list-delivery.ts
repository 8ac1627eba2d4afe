import { randomBytes } from 'node:crypto';
import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, Delivery, Receipt } from '../delivery.ts';
import { ask, nameOf, type RedisClient } from './redis.ts';
import { redisPlace } from './redis-access.ts';
import type { RedisList } from './redis-lists.ts';
import { siblingKey } from './redis-slots.ts';
import type { Reply } from './resp.ts';

type Context = ReadContext<RedisClient>;

/** Long enough to outlast half a minute without the source, short enough to hand on after a crash. */
const lockMs = 60_000;

/** No text in Redis is larger; all that one claim brings is at most this and one text more. */
const mostClaimBytes = 16 * 1024 * 1024;
const mostAnswerBytes = 2 ** 30;

/** The server's clock counts: those who claim need not agree on the time. */
const nowMs = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** Entries whose claim has ended come first, under the id they have; then new ones from the right end of the list. */
const claimScript = `${nowMs}
local list, entries, untils = KEYS[1], KEYS[2], KEYS[3]
local most, lock, prefix, room = tonumber(ARGV[1]), now + ARGV[2], ARGV[3], tonumber(ARGV[4])
local claims = {}
local function hold(id, body, count)
  redis.call('ZADD', untils, lock, id)
  claims[#claims + 1] = { id, body, count }
  room = room - #body
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', untils, '-inf', now, 'LIMIT', 0, most)) do
  if room <= 0 then break end
  local body = redis.call('HGET', entries, id)
  if body then
    hold(id, body, redis.call('HINCRBY', entries, id .. ':again', 1) + 1)
  else
    redis.call('ZREM', untils, id)
  end
end
while #claims < most and room > 0 do
  local body = redis.call('RPOP', list)
  if not body then break end
  local id = prefix .. #claims
  redis.call('HSET', entries, id, body)
  hold(id, body, 1)
end
return claims`;

/** Every settlement begins with this: the claim is the one that the receipt is of, or it is lost. */
const checked = `${nowMs}
local entries, untils, id = KEYS[1], KEYS[2], ARGV[1]
local count = 1 + (redis.call('HGET', entries, id .. ':again') or 0)
if not redis.call('ZSCORE', untils, id) or count ~= tonumber(ARGV[2]) then return false end
`;

const holdScript = `${checked}
redis.call('ZADD', untils, now + ARGV[3], id)
return 1`;

const forget = `redis.call('HDEL', entries, id, id .. ':again')
redis.call('ZREM', untils, id)
return 1`;

/** An id is given once and never comes back: what is not there any more was acknowledged, and its answer was lost. */
const acknowledgeScript = `if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 1 end
${checked}${forget}`;

const deadLetterScript = `${checked}
local body = redis.call('HGET', entries, id)
if body then redis.call('LPUSH', KEYS[3], body) end
${forget}`;

/**
 * Entries of a list have no identity, so an entry gets one when it is first claimed. From then on it lies in a hash
 * beside the list, with the time until which it is claimed in a sorted set; both are touched by scripts only, so
 * that there is no moment at which an entry is nowhere or in two places.
 */
export const listDelivery: Delivery<RedisList, RedisClient> = {
  promise: [
    'Entries are taken from the right end of the list, as `RPOP` does; no order is promised. An entry gets an id when',
    'it is first claimed and keeps it: equal texts are different messages, and an entry that comes back is the same',
    'message. Until it is acknowledged it lies in the hash `<list>:eventide`, with the time its claim ends in the',
    'sorted set `<list>:eventide-until`. A claim that nobody extends, as after a crash, ends after a minute. Then the',
    'entry is handed out again, is found to have a Job that runs, or has succeeded, and gets no second one as long as',
    'that Job is there. An Eventide that does not see that Job, in another cluster say, would make one: let only one',
    'deliver from a list. Entries do not go back to the list by themselves, so whoever reads the list with something',
    'else does not see them. Entries that cannot be processed are put at the left end of `<list>-poison`.',
    '',
    'Each entry becomes one Job as long as Redis keeps what it has confirmed. A fail-over, or a restart from an older',
    'snapshot, may undo the last claims: then those entries are in the list again and get a second Job under another',
    'name. It may undo the last acknowledgements: those entries come back and are acknowledged once more, unless their',
    'Jobs were deleted meanwhile. Needs Redis 5 and scripts (`EVAL`), for the list and the three other keys. In a cluster',
    'these are named `{<list>}…`, unless the name of the list has a hash tag, so that they lie beside the list.',
  ].join('\n'),
  lockMs,
  queueId: list => `${redisPlace(list)}/${list.listName}`,

  async claim(list, context, most) {
    if (most <= 0) return [];
    const { entries, untils } = keysOf(list);
    const prefix = `${randomBytes(9).toString('base64url')}.`;
    const reply = await run(list, context, {
      script: claimScript,
      keys: [list.listName, entries, untils],
      args: [String(most), String(lockMs), prefix, String(mostClaimBytes)],
    });
    if (!Array.isArray(reply)) throw strange(list, context);
    return reply.map(each => readClaim(each, list, context));
  },

  async extend(list, context, receipt) {
    await hold(list, context, { receipt, ms: lockMs });
    return { receipt, lockedUntil: context.now + lockMs };
  },

  async acknowledge(list, context, receipt) {
    await settle(list, context, { receipt, script: acknowledgeScript });
  },

  async release(list, context, receipt, delayMs) {
    await hold(list, context, { receipt, ms: Math.max(0, Math.ceil(delayMs)) });
  },

  async deadLetter(list, context, { receipt }) {
    await settle(list, context, { receipt, script: deadLetterScript, more: [keysOf(list).poison] });
  },
};

/** @throws Fault PARAM_INVALID where no key can lie beside the list */
function keysOf({ listName, deployment }: RedisList) {
  const beside = (suffix: string) => {
    const key = siblingKey(listName, suffix, deployment === 'cluster');
    if (key !== undefined) return key;
    const message = `no key can lie beside "${listName}" in a cluster: give the list a name with a hash tag`;
    throw new Fault('PARAM_INVALID', message);
  };
  return {
    entries: beside(':eventide'),
    untils: beside(':eventide-until'),
    poison: beside('-poison'),
  };
}

interface Script {
  script: string;
  keys: readonly string[];
  args: readonly string[];
}

async function run(list: RedisList, { conn, signal }: Context, { script, keys, args }: Script) {
  const command = ['EVAL', script, String(keys.length), ...keys, ...args];
  return await ask(conn, { key: list.listName, command }, { signal, mostBytes: mostAnswerBytes });
}

function readClaim(reply: Reply, list: RedisList, context: Context): Claim {
  const [id, body, count] = Array.isArray(reply) ? reply : [];
  if (!Buffer.isBuffer(id) || !Buffer.isBuffer(body) || typeof count !== 'number')
    throw strange(list, context);
  const messageId = id.toString();
  const lockedUntil = context.now + lockMs;
  return { messageId, body, receipt: `${messageId} ${count}`, deliveryCount: count, lockedUntil };
}

/** Makes the claim end after so long from now on. */
async function hold(
  list: RedisList,
  context: Context,
  { receipt, ms }: { receipt: Receipt; ms: number },
): Promise<void> {
  await settle(list, context, { receipt, script: holdScript, args: [String(ms)] });
}

interface Settlement {
  receipt: Receipt;
  script: string;
  /** Keys beyond the two that every script needs. */
  more?: readonly string[];
  args?: readonly string[];
}

/** @throws Fault MESSAGE_LOST */
async function settle(list: RedisList, context: Context, settlement: Settlement): Promise<void> {
  const { receipt, script, more = [], args = [] } = settlement;
  const { entries, untils } = keysOf(list);
  const [id, count] = readReceipt(receipt);
  const reply = await run(list, context, {
    script,
    keys: [entries, untils, ...more],
    args: [id, count, ...args],
  });
  if (reply === 1) return;
  if (reply !== null) throw strange(list, context);
  const message = `message ${id} of ${nameOf(context.conn, list.listName)} is not ours any more`;
  throw new Fault('MESSAGE_LOST', message);
}

/** A receipt is the id of the message and how often it had been handed out: no two claims have both alike. */
function readReceipt(receipt: Receipt): [string, string] {
  const [, id, count] = /^(\S+) (\d+)$/.exec(receipt) ?? [];
  if (id !== undefined && count !== undefined) return [id, count];
  throw new Fault('INTERNAL', `"${receipt}" is not a receipt of a list`);
}

function strange({ listName }: RedisList, { conn }: Context): Fault {
  const message = `${nameOf(conn, listName)} answered with something else than was asked for`;
  return new Fault('SOURCE_ANSWER_INVALID', message);
}
