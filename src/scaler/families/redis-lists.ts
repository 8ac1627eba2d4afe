import { Fault } from '../../base/errors.ts';
import type { Problem } from '../../spec/problem.ts';
import type { ReadContext } from '../context.ts';
import { defineScaler, type Scaler } from '../define.ts';
import { normalizeMetricName } from '../metric-name.ts';
import { p } from '../params.ts';
import { countOf, faultOf, nameOf, type Outcome, type RedisClient } from './redis.ts';
import {
  type Deployment,
  openRedis,
  type RedisAccess,
  redisAccess,
  redisAccessParams,
  redisIdentity,
} from './redis-access.ts';
import { listDelivery } from './redis-list-delivery.ts';

/** What counts the members of a key, by the type that the server says it has. A key that is missing is an empty list. */
const counters: Readonly<Record<string, string>> = {
  list: 'LLEN',
  none: 'LLEN',
  set: 'SCARD',
  zset: 'ZCARD',
  hash: 'HLEN',
};

/** A trigger on a list, or on whatever else has members. */
export interface RedisList extends RedisAccess {
  listName: string;
}

/** The scaler for lists in one kind of deployment. */
export function redisLists(
  type: string,
  deployment: Deployment,
  doc: string,
): Scaler<RedisList, RedisClient> {
  return defineScaler({
    type,
    doc,
    testedWith: { kind: 'real', with: 'Redis 7.0' },
    params: {
      listName: p.text({ doc: 'The list; a set, sorted set or hash is counted too.' }),
      listLength: p.integer({ doc: 'Entries per replica.', unit: 'entries', default: '5' }),
      activationListLength: p.integer({
        doc: 'Active above this many entries.',
        unit: 'entries',
        default: '0',
      }),
      ...redisAccessParams,
    },
    target: 'listLength',
    activation: 'activationListLength',
    resolve(values): RedisList | { problems: Problem[] } {
      const access = redisAccess(deployment, values);
      return 'problems' in access ? access : { ...access, listName: values.listName };
    },
    metricName: ({ listName }) => normalizeMetricName(`redis-${listName}`),
    family: 'redis',
    endpoint: list => redisIdentity(list),
    query: ({ listName }) => listName,
    open: (list, context) => openRedis(list, context),
    async read({ listName }, { conn, signal }) {
      const [count] = await countMembers(conn, [listName], signal);
      if (typeof count === 'number') return count;
      throw count ?? new Fault('INTERNAL', 'nothing was counted');
    },
    readMany: async (lists, { conn, signal }: ReadContext<RedisClient>) =>
      await countMembers(
        conn,
        lists.map(({ listName }) => listName),
        signal,
      ),
    deliver: listDelivery,
  });
}

/** Asks for all types, then for all counts: two requests, however many keys. Needs no scripts, unlike KEDA. */
async function countMembers(
  client: RedisClient,
  keys: readonly string[],
  signal: AbortSignal,
): Promise<(number | Fault)[]> {
  const types = await client.run(
    keys.map(key => ({ key, command: ['TYPE', key] })),
    { signal },
  );
  const counts = keys.map((key, index) => counterOf(types[index] ?? null, nameOf(client, key)));
  const commands = counts.flatMap((counter, index) => {
    const key = keys[index] ?? '';
    return typeof counter === 'string' ? [{ key, command: [counter, key] }] : [];
  });
  const answers = (await client.run(commands, { signal }))[Symbol.iterator]();
  return counts.map((counter, index) => {
    if (typeof counter !== 'string') return counter;
    return countOf(answers.next().value ?? null, nameOf(client, keys[index]));
  });
}

function counterOf(type: Outcome, what: string): string | Fault {
  if (typeof type !== 'string') return faultOf(type, what);
  const hint = type === 'stream' ? ': the streams types count it' : '';
  return (
    counters[type] ??
    new Fault('SOURCE_FAILED', `${what} is a ${type}, not a list, set, sorted set or hash${hint}`)
  );
}
