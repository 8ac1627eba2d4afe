import { setMaxListeners } from 'node:events';
import { Fault, faultOf } from '../../base/errors.ts';
import type { AskAt, KafkaClient } from './kafka.ts';
import { faultOfCode, groupNotFound, isPassing, noError, topicNotFound } from './kafka-errors.ts';
import {
  apis,
  consumerGroupDescribeCall,
  describeGroupsCall,
  endOffsetsCall,
  type GroupOffsets,
  type GroupWanted,
  offsetFetchCall,
  offsetFetchManyCall,
  type Subscriptions,
  type TopicOffsets,
} from './kafka-messages.ts';
import {
  type Broker,
  findCoordinatorCall,
  findCoordinatorsCall,
  metadataCall,
  type TopicMetadata,
} from './kafka-metadata-messages.ts';

/** Whose offsets are asked for. */
export interface OffsetsAsk {
  group: string;
  /** None stands for all that the group has committed in or subscribes to. */
  topics: readonly string[];
  /** Only these partitions; all unless given. */
  partitions: ReadonlySet<number> | undefined;
}

/** Where a group is in a partition. */
export interface Position {
  topic: string;
  partition: number;
  /** -1 where nothing is committed. */
  committed: number;
  /** The offset that the next message will have. */
  end: number;
}

/** So many partitions go into one request; an answer then has a few megabytes at most. */
const mostPartitions = 20_000;
const mostGroups = 2_000;
/** Pauses before what is only passing is asked for again, in milliseconds. */
const pausesMs = [100, 300];

/**
 * Where many groups are, asked in one pass: metadata of the topics asked for, the committed offsets of all groups
 * of a coordinator together, the end offsets of all partitions of a leader together. The committed offsets come
 * before the end offsets, so that no group seems to be ahead of its topic.
 *
 * @returns in the order asked, a Fault where that group alone could not be read
 * @throws Fault of the source where nothing could be read
 */
export async function readPositions(
  client: KafkaClient,
  asks: readonly OffsetsAsk[],
  at: AskAt,
): Promise<(Position[] | Fault)[]> {
  // Hundreds of requests may wait at the same time, more than another's signal expects to have listeners.
  const own = new AbortController();
  setMaxListeners(0, own.signal);
  const stop = () => own.abort(at.signal.reason);
  if (at.signal.aborted) stop();
  at.signal.addEventListener('abort', stop, { once: true });
  try {
    return await readPatiently(client, asks, { ...at, signal: own.signal });
  } finally {
    at.signal.removeEventListener('abort', stop);
  }
}

async function readPatiently(
  client: KafkaClient,
  asks: readonly OffsetsAsk[],
  at: AskAt,
): Promise<(Position[] | Fault)[]> {
  const outcomes = await new Pass(client, at).read(asks);
  for (const pause of pausesMs) {
    const again = [...outcomes.keys()].filter(index => outcomes[index] instanceof Passing);
    if (again.length === 0) break;
    if (!(await paused(pause, at.signal))) break;
    const later = await new Pass(client, at).read(again.flatMap(index => asks[index] ?? []));
    for (const [place, outcome] of later.entries()) outcomes[again[place] ?? -1] = outcome;
  }
  return outcomes.map(outcome => (outcome instanceof Passing ? outcome.fault : outcome));
}

/** Waits, unless the signal is aborted. @returns false where it was */
export function paused(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise(resolve => {
    const over = (ended: boolean) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      resolve(ended);
    };
    const stop = () => over(false);
    const timer = setTimeout(() => over(true), ms);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

/** A fault that ends by itself soon, such as an election. */
class Passing {
  readonly fault: Fault;

  constructor(fault: Fault) {
    this.fault = fault;
  }
}

type Trouble = Fault | Passing;
type Outcome = Position[] | Trouble;

function troubleOf(error: number, what: string, said?: string | null): Trouble {
  const fault = faultOfCode(error, what, said);
  return isPassing(error) ? new Passing(fault) : fault;
}

const isTrouble = (found: unknown): found is Trouble => found instanceof Fault || found instanceof Passing;

/** One pass over everything that is asked together. */
class Pass {
  readonly #client: KafkaClient;
  readonly #at: AskAt;
  readonly #brokers = new Map<number, Broker>();
  readonly #topics = new Map<string, TopicMetadata>();
  readonly #coordinators = new Map<string, Broker | Trouble>();
  /** By group: the offsets in the topics asked for, and those in all topics. */
  readonly #committed = new Map<string, GroupOffsets | Trouble>();
  readonly #allCommitted = new Map<string, GroupOffsets | Trouble>();
  readonly #subscribed = new Map<string, ReadonlySet<string>>();
  readonly #ends = new Map<string, TopicOffsets>();
  /** Why a broker's share of the end offsets is missing. */
  readonly #leaderTroubles = new Map<number, Trouble>();

  constructor(client: KafkaClient, at: AskAt) {
    this.#client = client;
    this.#at = at;
  }

  async read(asks: readonly OffsetsAsk[]): Promise<Outcome[]> {
    const named = new Set(asks.flatMap(({ topics }) => topics));
    const groups = new Set(asks.map(({ group }) => group));
    await Promise.all([this.#learnTopics(named), this.#findCoordinators([...groups])]);
    await this.#fetchCommitted(asks);
    const found = new Set<string>();
    for (const { group, topics } of asks) if (topics.length === 0) this.#addTopicsOf(group, found);
    await this.#learnTopics(found);
    const partitions = asks.map(ask => this.#partitionsOf(ask));
    await this.#fetchEnds(partitions);
    return asks.map((ask, index) => this.#positions(ask, partitions[index] ?? []));
  }

  async #learnTopics(wanted: ReadonlySet<string>): Promise<void> {
    const unknown = [...wanted].filter(topic => !this.#topics.has(topic));
    if (unknown.length === 0) return;
    const link = await this.#client.any(this.#at);
    const { brokers, topics } = await link.ask(metadataCall(unknown), this.#at.signal);
    for (const broker of brokers) this.#brokers.set(broker.id, broker);
    for (const [topic, metadata] of topics) this.#topics.set(topic, metadata);
  }

  async #findCoordinators(groups: readonly string[]): Promise<void> {
    const { signal } = this.#at;
    const link = await this.#client.any(this.#at);
    const calls = link.supports(apis.findCoordinator, 4)
      ? pieces(groups, mostGroups).map(findCoordinatorsCall)
      : groups.map(findCoordinatorCall);
    const answers = await Promise.all(calls.map(call => link.ask(call, signal)));
    for (const { group, broker, error, said } of answers.flat()) {
      const what = `the coordinator of the group "${group}"`;
      this.#coordinators.set(group, error === noError ? broker : troubleOf(error, what, said));
    }
  }

  async #fetchCommitted(asks: readonly OffsetsAsk[]): Promise<void> {
    const named = new Map<string, Map<string, Set<number>>>();
    const all = new Set<string>();
    for (const ask of asks) {
      if (ask.topics.length === 0) all.add(ask.group);
      else this.#addWanted(ask, named);
    }
    const wanted = [...named].map(([group, topics]): GroupWanted => ({ group, wanted: topics }));
    const whole = [...all].map((group): GroupWanted => ({ group, wanted: null }));
    await Promise.all([
      ...this.#byCoordinator(wanted, (broker, groups) => this.#fetch(broker, groups, this.#committed)),
      ...this.#byCoordinator(whole, (broker, groups) => this.#fetch(broker, groups, this.#allCommitted)),
      ...this.#byCoordinator(whole, (broker, groups) => this.#describe(broker, groups)),
    ]);
  }

  #addWanted(ask: OffsetsAsk, named: Map<string, Map<string, Set<number>>>): void {
    const partitions = this.#partitionsOf(ask);
    if (isTrouble(partitions)) return;
    const topics = named.get(ask.group) ?? new Map<string, Set<number>>();
    named.set(ask.group, topics);
    for (const { topic, partition } of partitions) {
      const known = topics.get(topic) ?? new Set();
      topics.set(topic, known.add(partition));
    }
  }

  #byCoordinator(
    wanted: readonly GroupWanted[],
    ask: (broker: Broker, groups: GroupWanted[]) => Promise<void>,
  ): Promise<void>[] {
    const shares = new Map<string, { broker: Broker; groups: GroupWanted[] }>();
    for (const each of wanted) {
      const broker = this.#coordinators.get(each.group);
      if (broker === undefined || isTrouble(broker)) continue;
      const key = `${broker.host} ${broker.port}`;
      const share = shares.get(key) ?? { broker, groups: [] };
      shares.set(key, share);
      share.groups.push(each);
    }
    return [...shares.values()].map(({ broker, groups }) => ask(broker, groups));
  }

  async #fetch(
    broker: Broker,
    groups: readonly GroupWanted[],
    into: Map<string, GroupOffsets | Trouble>,
  ): Promise<void> {
    try {
      const link = await this.#client.to(broker, this.#at);
      const calls = link.supports(apis.offsetFetch, 8)
        ? bySize(groups).map(offsetFetchManyCall)
        : groups.map(offsetFetchCall);
      const answers = await Promise.all(calls.map(call => link.ask(call, this.#at.signal)));
      for (const answer of answers) {
        for (const [group, offsets] of answer) {
          const what = `the offsets of the group "${group}"`;
          into.set(group, offsets.error === noError ? offsets : troubleOf(offsets.error, what));
        }
      }
    } catch (thrown) {
      for (const { group } of groups) into.set(group, this.#own(thrown));
    }
  }

  async #describe(broker: Broker, groups: readonly GroupWanted[]): Promise<void> {
    const names = groups.map(({ group }) => group);
    try {
      const link = await this.#client.to(broker, this.#at);
      const calls = [describeGroupsCall(names)];
      if (link.supports(apis.consumerGroupDescribe, 0)) calls.push(consumerGroupDescribeCall(names));
      const answers = await Promise.all(calls.map(call => link.ask(call, this.#at.signal)));
      for (const answer of answers.flat()) this.#take(answer);
    } catch (thrown) {
      for (const group of names) this.#allCommitted.set(group, this.#own(thrown));
    }
  }

  #take({ group, error, topics }: Subscriptions): void {
    if (error === noError) {
      const known = this.#subscribed.get(group) ?? [];
      this.#subscribed.set(group, new Set([...known, ...topics]));
      return;
    }
    if (error === groupNotFound) return;
    this.#allCommitted.set(group, troubleOf(error, `the members of the group "${group}"`));
  }

  /** A fault of one broker stands for its share, unless our own time is over. */
  #own(thrown: unknown): Fault {
    if (this.#at.signal.aborted) throw thrown;
    return faultOf(thrown);
  }

  #addTopicsOf(group: string, to: Set<string>): void {
    const offsets = this.#allCommitted.get(group);
    if (offsets === undefined || isTrouble(offsets)) return;
    for (const topic of [...offsets.topics.keys(), ...(this.#subscribed.get(group) ?? [])]) to.add(topic);
  }

  #isCommitted(group: string, topic: string): boolean {
    const offsets = this.#allCommitted.get(group);
    return offsets !== undefined && !isTrouble(offsets) && offsets.topics.has(topic);
  }

  /** The partitions that count, or why that cannot be told. */
  #partitionsOf({ group, topics, partitions }: OffsetsAsk): Place[] | Trouble {
    const isOpen = topics.length === 0;
    const trouble = isOpen ? this.#allCommitted.get(group) : this.#coordinators.get(group);
    if (trouble === undefined || isTrouble(trouble)) {
      const found = this.#coordinators.get(group);
      return trouble ?? (isTrouble(found) ? found : missing(`the coordinator of the group "${group}"`));
    }
    const names = new Set(topics);
    if (isOpen) this.#addTopicsOf(group, names);
    if (names.size === 0) {
      const message = `the group "${group}" has committed nothing and has no members: which topics it will read is not known`;
      return new Fault('SOURCE_NOT_FOUND', message);
    }
    const places: Place[] = [];
    for (const topic of names) {
      const metadata = this.#topics.get(topic);
      if (metadata === undefined) return missing(`the topic "${topic}"`);
      // In a topic that members wait for, and that nobody has made yet, nothing waits. One that the group has committed
      // in is there: brokers forget the offsets of a topic together with it.
      if (isOpen && metadata.error === topicNotFound && !this.#isCommitted(group, topic)) continue;
      if (metadata.error !== noError) return troubleOf(metadata.error, `the topic "${topic}"`);
      const counted = [...metadata.partitions.keys()].filter(
        partition => isOpen || (partitions?.has(partition) ?? true),
      );
      if (counted.length === 0) {
        return new Fault('SOURCE_NOT_FOUND', `the topic "${topic}" has none of the partitions that count`);
      }
      for (const partition of counted) places.push({ topic, partition });
    }
    if (places.length > 0) return places;
    const message = `none of the topics is there that the members of the group "${group}" subscribe to`;
    return new Fault('SOURCE_NOT_FOUND', message);
  }

  async #fetchEnds(wanted: readonly (Place[] | Trouble)[]): Promise<void> {
    const shares = new Map<number, Map<string, Set<number>>>();
    for (const places of wanted) {
      if (isTrouble(places)) continue;
      for (const { topic, partition } of places) {
        const leader = this.#leaderOf(topic, partition);
        const topics = shares.get(leader) ?? new Map<string, Set<number>>();
        shares.set(leader, topics);
        const known = topics.get(topic) ?? new Set();
        topics.set(topic, known.add(partition));
      }
    }
    await Promise.all([...shares].map(([leader, topics]) => this.#fetchEndsAt(leader, topics)));
  }

  #leaderOf(topic: string, partition: number): number {
    return this.#topics.get(topic)?.partitions.get(partition)?.leader ?? -1;
  }

  async #fetchEndsAt(leader: number, wanted: ReadonlyMap<string, Set<number>>): Promise<void> {
    const broker = this.#brokers.get(leader);
    if (broker === undefined) return;
    try {
      const link = await this.#client.to(broker, this.#at);
      const asked = piecesOf(wanted).map(piece => link.ask(endOffsetsCall(piece), this.#at.signal));
      for (const topics of await Promise.all(asked)) {
        for (const [topic, { offsets, errors }] of topics) {
          const known = this.#ends.get(topic) ?? { offsets: new Map(), errors: new Map() };
          for (const [partition, offset] of offsets) known.offsets.set(partition, offset);
          for (const [partition, error] of errors) known.errors.set(partition, error);
          this.#ends.set(topic, known);
        }
      }
    } catch (thrown) {
      this.#leaderTroubles.set(leader, this.#own(thrown));
    }
  }

  #positions({ group, topics }: OffsetsAsk, places: Place[] | Trouble): Outcome {
    if (isTrouble(places)) return places;
    const isOpen = topics.length === 0;
    const committed = (isOpen ? this.#allCommitted : this.#committed).get(group);
    if (committed === undefined) return missing(`the offsets of the group "${group}"`);
    if (isTrouble(committed)) return committed;
    const positions: Position[] = [];
    for (const { topic, partition } of places) {
      const offsets = committed.topics.get(topic);
      const error = offsets?.errors.get(partition);
      if (error !== undefined) return troubleOf(error, `the offset of "${group}" in "${topic}" ${partition}`);
      // Asked for everything, a broker leaves out where nothing is committed; asked for one, it says so.
      const offset = offsets?.offsets.get(partition) ?? (isOpen ? -1 : undefined);
      if (offset === undefined) return missing(`the offset of "${group}" in "${topic}" ${partition}`);
      const end = this.#endOf(topic, partition);
      if (isTrouble(end)) return end;
      positions.push({ topic, partition, committed: offset, end });
    }
    return positions;
  }

  #endOf(topic: string, partition: number): number | Trouble {
    const what = `the end of "${topic}" ${partition}`;
    const ends = this.#ends.get(topic);
    const end = ends?.offsets.get(partition);
    if (end !== undefined && end >= 0) return end;
    const trouble = this.#leaderTroubles.get(this.#leaderOf(topic, partition));
    if (trouble !== undefined) return trouble;
    const error = ends?.errors.get(partition) ?? this.#topics.get(topic)?.partitions.get(partition)?.error;
    if (error !== undefined && error !== noError) return troubleOf(error, what);
    return missing(what);
  }
}

interface Place {
  topic: string;
  partition: number;
}

const missing = (what: string) =>
  new Passing(new Fault('SOURCE_ANSWER_INVALID', `the broker said nothing of ${what}`));

function pieces<T>(items: readonly T[], most: number): T[][] {
  const found: T[][] = [];
  for (let from = 0; from < items.length; from += most) found.push(items.slice(from, from + most));
  return found;
}

/** Groups in portions that one request can hold. */
function bySize(groups: readonly GroupWanted[]): GroupWanted[][] {
  const portions: GroupWanted[][] = [];
  let left = 0;
  for (const each of groups) {
    let size = 1;
    for (const partitions of each.wanted?.values() ?? []) size += [...partitions].length;
    if (left < size || (portions.at(-1)?.length ?? 0) >= mostGroups) {
      portions.push([]);
      left = mostPartitions;
    }
    left -= size;
    portions.at(-1)?.push(each);
  }
  return portions;
}

function piecesOf(wanted: ReadonlyMap<string, Set<number>>): Map<string, number[]>[] {
  const all = [...wanted].flatMap(([topic, partitions]) =>
    [...partitions].map(partition => ({ topic, partition })),
  );
  return pieces(all, mostPartitions).map(piece => {
    const topics = new Map<string, number[]>();
    for (const { topic, partition } of piece) {
      const known = topics.get(topic);
      if (known === undefined) topics.set(topic, [partition]);
      else known.push(partition);
    }
    return topics;
  });
}
