import { Fault, faultOf } from '../../base/errors.ts';
import {
  type Asking,
  type JetStreamState,
  type NatsMonitoring,
  type NatsNode,
  objectOf,
  objectsOf,
} from './nats-monitoring.ts';

/** Which consumer is counted. */
export interface JetStreamConsumer {
  /** Name of the account. */
  account: string | undefined;
  /** Id of the account; it is asked for by this. */
  accountID: string;
  stream: string;
  consumer: string;
}

/** One account in the middle of being read. */
interface Reading {
  monitoring: NatsMonitoring;
  account: string;
  asking: Asking;
  /** What is not known yet, with what was learned of it. */
  open: Map<number, Search>;
  outcomes: (number | Fault)[];
}

interface Search {
  wanted: JetStreamConsumer;
  /** Where it is not clear who knows: what was found last. */
  seen: 'nothing' | 'account' | 'stream' | 'consumer';
  /** Name of the server that leads the consumer. */
  leader: string | undefined;
}

/**
 * How far each consumer is behind: messages it was not handed yet, and those it was handed and has not acknowledged.
 * In a cluster only the server that leads a consumer knows. One answer serves all consumers of an account.
 *
 * @returns for each its number, or the Fault of it alone
 * @throws Fault of the source where nothing could be read
 */
export async function readLags(
  monitoring: NatsMonitoring,
  consumers: readonly JetStreamConsumer[],
  asking: Asking,
): Promise<(number | Fault)[]> {
  const outcomes: (number | Fault)[] = [];
  const accounts = new Map<string, Map<number, Search>>();
  for (const [index, wanted] of consumers.entries()) {
    const open = accounts.get(wanted.accountID) ?? new Map<number, Search>();
    accounts.set(wanted.accountID, open.set(index, { wanted, seen: 'nothing', leader: undefined }));
  }
  await Promise.all(
    [...accounts].map(([account, open]) => readAccount({ monitoring, account, asking, open, outcomes })),
  );
  return outcomes;
}

async function readAccount(reading: Reading): Promise<void> {
  const { monitoring, account, asking, open } = reading;
  const [base, state] = await askFirst(reading);
  if (state.clusterSize <= 1) {
    take(reading, state, undefined);
    for (const [index, search] of open) reading.outcomes[index] = notFound(search);
    return;
  }
  let nodes = await monitoring.nodes(asking);
  // A server that was started again, or has joined, has an id that nobody has heard of.
  if (!nodes.some(({ id }) => id === state.serverId)) nodes = await monitoring.nodes(asking, nodes);
  const first = nodes.find(({ id }) => id === state.serverId);
  take(reading, state, first?.name);
  const asked = new Map<string, Fault | undefined>(first === undefined ? [] : [[first.name, undefined]]);
  if (first !== undefined && open.size === 0) monitoring.setHint(account, first.base);
  await askOthers(reading, nodes, asked);
  for (const [index, search] of open) reading.outcomes[index] = unknown(search, asked, base);
}

/** The server that knew best the last time, or an endpoint. */
async function askFirst({ monitoring, account, asking }: Reading): Promise<[string, JetStreamState]> {
  const hint = monitoring.hint(account);
  if (hint !== undefined) {
    try {
      return [hint, await monitoring.state(hint, account, asking)];
    } catch (thrown) {
      monitoring.setHint(account, undefined);
      if (asking.signal.aborted) throw thrown;
    }
  }
  return await monitoring.entry((base, at) => monitoring.state(base, account, at), asking);
}

/** Asks the servers that lead what is not known yet, and all of them for what nobody has heard of. Each once. */
async function askOthers(
  reading: Reading,
  known: readonly NatsNode[],
  asked: Map<string, Fault | undefined>,
): Promise<void> {
  const { monitoring, account, asking, open } = reading;
  let nodes = known;
  for (let refreshed = false; open.size > 0; ) {
    const leaders = new Set([...open.values()].map(({ leader }) => leader));
    const strangers = [...leaders].some(
      leader => leader !== undefined && !nodes.some(n => n.name === leader),
    );
    if (strangers && !refreshed) {
      refreshed = true;
      nodes = await monitoring.nodes(asking, nodes);
    }
    const next = nodes.filter(
      ({ name }) => !asked.has(name) && (leaders.has(undefined) || leaders.has(name)),
    );
    if (next.length === 0) return;
    await Promise.all(
      next.map(async ({ name, base }) => {
        asked.set(name, undefined);
        try {
          const before = open.size;
          take(reading, await monitoring.state(base, account, asking), name);
          if (open.size < before) monitoring.setHint(account, base);
        } catch (thrown) {
          asked.set(name, faultOf(thrown));
        }
      }),
    );
  }
}

/** @param server the name of who says so; undefined for a server that is not of a cluster */
function take(reading: Reading, state: JetStreamState, server: string | undefined): void {
  for (const [index, search] of reading.open) {
    const { account, accountID, stream, consumer } = search.wanted;
    for (const details of state.accounts) {
      if (details['id'] !== accountID && (account === undefined || details['name'] !== account)) continue;
      if (search.seen === 'nothing') search.seen = 'account';
      const found = objectsOf(details['stream_detail']).find(({ name }) => name === stream);
      if (found === undefined) continue;
      if (search.seen === 'account') search.seen = 'stream';
      const counted = objectsOf(found['consumer_detail']).find(({ name }) => name === consumer);
      if (counted === undefined) continue;
      search.seen = 'consumer';
      const leader = objectOf(counted['cluster'])?.['leader'];
      search.leader = typeof leader === 'string' && leader !== '' ? leader : undefined;
      if (state.clusterSize > 1 && (server === undefined || search.leader !== server)) continue;
      reading.outcomes[index] = lagOf(counted, search.wanted);
      reading.open.delete(index);
      break;
    }
  }
}

function lagOf(
  { num_pending: waiting, num_ack_pending: unacknowledged }: Readonly<Record<string, unknown>>,
  wanted: JetStreamConsumer,
): number | Fault {
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  if (isCount(waiting) && isCount(unacknowledged)) return waiting + unacknowledged;
  return new Fault('SOURCE_ANSWER_INVALID', `NATS gave no number for ${nameOf(wanted)}`);
}

export const nameOf = ({ stream, consumer }: Pick<JetStreamConsumer, 'stream' | 'consumer'>) =>
  `consumer "${consumer}" of stream "${stream}"`;

function notFound({ wanted, seen }: Search): Fault {
  const { account = '', accountID, stream, consumer } = wanted;
  const sentences = {
    nothing: `there is no account "${account || accountID}"`,
    account: `there is no stream "${stream}" in account "${account || accountID}"`,
    stream: `stream "${stream}" has no consumer "${consumer}"`,
    consumer: `${nameOf(wanted)} cannot be counted`,
  };
  return new Fault('SOURCE_NOT_FOUND', sentences[seen]);
}

/** Why nobody could say. A server that did not answer may be the one that knows. */
function unknown(search: Search, asked: ReadonlyMap<string, Fault | undefined>, base: string): Fault {
  const { wanted, seen, leader } = search;
  const failed = leader === undefined ? undefined : asked.get(leader);
  const anyFailed = [...asked.values()].find(fault => fault !== undefined);
  const fault = failed ?? (seen === 'consumer' ? undefined : anyFailed);
  if (fault !== undefined) return fault;
  if (seen !== 'consumer') return notFound(search);
  const why =
    leader === undefined
      ? 'has no leader at the moment'
      : `is led by server "${leader}", which was not found from ${new URL(base).host}`;
  return new Fault('SOURCE_FAILED', `${nameOf(wanted)} ${why}`);
}
