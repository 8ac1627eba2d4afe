import { Fault } from '../../base/errors.ts';
import type { Claim } from '../delivery.ts';
import type { AskAt, KafkaClient } from './kafka.ts';
import {
  type CommittedPartition,
  commitCall,
  committedCall,
  edgeCall,
  fetchCall,
} from './kafka-delivery-messages.ts';
import { faultOfCode, groupNotFound, isPassing, noError, offsetOutOfRange } from './kafka-errors.ts';
import type { KafkaLink } from './kafka-link.ts';
import { apis, consumerGroupDescribeCall, describeGroupsCall } from './kafka-messages.ts';
import {
  type Broker,
  findCoordinatorCall,
  type IdentifiedTopic,
  identifiedMetadataCall,
  metadataCall,
} from './kafka-metadata-messages.ts';
import { type OffsetsAsk, paused } from './kafka-offsets.ts';
import {
  mostClaimBytes,
  placeOf,
  placeText,
  type RecordPlace,
  Taker,
  type WatchedPart,
} from './kafka-record-claims.ts';
import { type KafkaRecord, readBatches } from './kafka-records.ts';
import { PartitionWindow, readDone, writeDone } from './partition-window.ts';

/** One partition of the queue. */
interface Part extends WatchedPart {
  leader: Broker | undefined;
  /** When we last committed in it, in epoch milliseconds. */
  committedAt: number;
}

/** What a topic is now: its id, and who leads its partitions. */
interface Standing {
  error: number;
  topicId: string;
  leaders: ReadonlyMap<number, Broker | undefined>;
}

/** Where a partition is led from, and where it begins if nothing is committed in it. */
interface Origin {
  topicId: string;
  leader: Broker | undefined;
  reset: 'latest' | 'earliest';
}

export interface ClaimWish {
  most: number;
  /** Epoch milliseconds. */
  until: number;
}

const mostRounds = 50;
const mostTries = 5;
const pauseMs = 200;
/** Kafka forgets what a group without members committed longer ago than `offsets.retention.minutes`. */
const freshMs = 3_600_000;
const mostFetchBytes = 1024 * 1024;
/** What a message is thought to have at most, so that a small claim fetches little. */
const messageBytes = 16 * 1024;

/**
 * The messages that wait for a group, for one process that is all of the group. What is held is known here alone;
 * what is done is committed before anybody is told so: the offset before which all is done, and beside it, as text,
 * what is done beyond.
 */
export class GroupQueue {
  readonly #client: KafkaClient;
  readonly #ask: OffsetsAsk;
  readonly #reset: 'latest' | 'earliest';
  readonly #parts = new Map<string, Part>();
  readonly #dirty = new Set<Part>();
  /** What is read of the broker and what is written to it never overlap: one would undo the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #claims = 0;

  constructor(client: KafkaClient, ask: OffsetsAsk, reset: 'latest' | 'earliest') {
    this.#client = client;
    this.#ask = ask;
    this.#reset = reset;
  }

  async claim({ most, until }: ClaimWish, at: AskAt): Promise<Claim[]> {
    await this.#inTurn(() => this.#load(at, { alone: true }));
    const taker = new Taker(most, { now: at.now, until });
    const parts = this.#inOrder();
    for (const { window } of parts) window.expire(at.now);
    let from = new Map(parts.map(part => [part, part.window.fetchFrom(at.now)]));
    for (let round = 0; round < mostRounds && from.size > 0 && taker.hasRoom; round += 1) {
      from = await this.#fetchRound(from, taker, at);
    }
    await this.#catchUp(parts, at);
    if (taker.claims.length === 0 && taker.fault !== undefined) throw taker.fault;
    // What was done while the rest was fetched, by who settles what an earlier process left, is not handed out again.
    return taker.claims.filter(({ receipt }) => !this.#isDone(receipt));
  }

  #isDone(receipt: string): boolean {
    const place = placeOf(receipt);
    return this.#parts.get(keyOf(place))?.window.isDone(place.offset) ?? false;
  }

  /** Commits what was passed over without a message to be done: marks of transactions, and what was done before. */
  async #catchUp(parts: readonly Part[], at: AskAt): Promise<void> {
    const behind = parts.filter(({ window }) => window.isBehind);
    if (behind.length === 0) return;
    for (const part of behind) this.#dirty.add(part);
    // It can wait; what was claimed is ours all the same.
    await this.#inTurn(() => this.#commit(at)).catch(() => undefined);
  }

  /** @throws Fault MESSAGE_LOST where it is done already */
  async hold(place: RecordPlace, until: number, at: AskAt): Promise<void> {
    const { window } = await this.#partOf(place, at);
    if (!window.hold(place.offset, until)) throw lost(place);
  }

  async release(place: RecordPlace, notBefore: number, at: AskAt): Promise<void> {
    const { window } = await this.#partOf(place, at);
    if (!window.release(place.offset, notBefore)) throw lost(place);
  }

  /** Resolves once the broker keeps that the message is done. */
  async finish(place: RecordPlace, at: AskAt): Promise<void> {
    const part = await this.#partOf(place, at);
    if (part.window.finish(place.offset)) this.#dirty.add(part);
    // Whoever comes first commits for all who wait.
    await this.#inTurn(async () => {
      if (this.#dirty.has(part)) await this.#commit(at);
    });
    if (this.#parts.get(keyOf(place)) !== part) throw lost(place);
  }

  /** Whether the broker keeps that the message is done. */
  async isDone(place: RecordPlace, at: AskAt): Promise<boolean> {
    const part = await this.#partOf(place, at);
    return part.window.isDone(place.offset) && !this.#dirty.has(part);
  }

  /** The message at a place, where it is still there. */
  async record(place: RecordPlace, at: AskAt): Promise<KafkaRecord | undefined> {
    const { leader } = await this.#partOf(place, at);
    const link = await this.#client.to(requireLeader(leader, place), at);
    const size = { mostBytes: mostFetchBytes, mostPartitionBytes: 1 };
    const [found] = await link.ask(fetchCall([place], size), at.signal);
    if (found === undefined || found.error === offsetOutOfRange) return undefined;
    if (found.error !== noError) throw faultOfCode(found.error, placeText(place));
    const { records } = readBatches(found.batches, found.aborted);
    return records.find(({ offset }) => offset === place.offset);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  /** Begins with another partition each time, so that none waits for the others to be empty. */
  #inOrder(): Part[] {
    const parts = [...this.#parts.values()];
    this.#claims += 1;
    const first = parts.length === 0 ? 0 : this.#claims % parts.length;
    return [...parts.slice(first), ...parts.slice(0, first)];
  }

  async #partOf({ topic, partition, topicId }: RecordPlace, at: AskAt): Promise<Part> {
    const key = partKey(topic, partition);
    if (!this.#parts.has(key)) await this.#inTurn(() => this.#load(at, { alone: false }));
    const part = this.#parts.get(key);
    if (part === undefined)
      throw new Fault('MESSAGE_LOST', `"${topic}" ${partition} does not count any more`);
    if (isAnother(part.topicId, topicId))
      throw new Fault('MESSAGE_LOST', `the topic "${topic}" was made anew, and its message is gone`);
    return part;
  }

  /** Takes in which partitions there are and what is committed in them. @param alone insists on it */
  async #load(at: AskAt, { alone }: { alone: boolean }): Promise<void> {
    const { group, topics, partitions } = this.#ask;
    const link = await this.#client.any(at);
    const [standings, coordinator] = await Promise.all([
      this.#standings(link, topics, at),
      this.#coordinator(link, at),
    ]);
    const places = new Map(
      [...standings].map(([topic, { error, leaders }]) => {
        if (error !== noError) throw faultOfCode(error, `the topic "${topic}"`);
        const counted = [...leaders.keys()].filter(partition => partitions?.has(partition) ?? true);
        return [topic, counted] as const;
      }),
    );
    const [{ error, partitions: committed }] = await Promise.all([
      coordinator.ask(committedCall(group, places), at.signal),
      alone ? this.#insistOnBeingAlone(coordinator, at) : undefined,
    ]);
    if (error !== noError) throw faultOfCode(error, `the offsets of the group "${group}"`);
    const watched = new Set([...this.#parts.values()].map(({ topic }) => topic));
    this.#forgetOthers(standings);
    for (const each of committed) {
      const { topicId = '', leaders } = standings.get(each.topic) ?? {};
      // One that was added while we were looking has nothing but messages that wait.
      const reset = watched.has(each.topic) ? 'earliest' : this.#reset;
      await this.#take(each, { topicId, leader: leaders?.get(each.partition), reset }, at);
      const part = this.#parts.get(keyOf(each));
      if (alone && part !== undefined && (await this.#fades(part, each, at))) this.#dirty.add(part);
    }
    // Where the group begins is settled now, or it would begin somewhere else after a crash.
    if (this.#dirty.size > 0) await this.#commit(at);
  }

  async #standings(
    link: KafkaLink,
    topics: readonly string[],
    at: AskAt,
  ): Promise<ReadonlyMap<string, Standing>> {
    const identified = link.supports(apis.metadata, 10);
    const metadata = await link.ask(
      identified ? identifiedMetadataCall(topics) : metadataCall(topics),
      at.signal,
    );
    const brokers = new Map(metadata.brokers.map(broker => [broker.id, broker]));
    return new Map(
      topics.map(topic => {
        const found: Partial<IdentifiedTopic> = metadata.topics.get(topic) ?? {};
        const { error = -1, partitions = [], id: topicId = '' } = found;
        const leaders = [...partitions].map(
          ([partition, { leader }]) => [partition, brokers.get(leader)] as const,
        );
        return [topic, { error, topicId, leaders: new Map(leaders) }];
      }),
    );
  }

  /** Lets go of partitions of topics that were made anew: nothing that is known of them is true any more. */
  #forgetOthers(standings: ReadonlyMap<string, Standing>): void {
    for (const [key, part] of this.#parts) {
      const standing = standings.get(part.topic);
      if (standing?.error !== noError || !isAnother(part.topicId, standing.topicId)) continue;
      this.#parts.delete(key);
      this.#dirty.delete(part);
    }
  }

  async #coordinator(link: KafkaLink, at: AskAt): Promise<KafkaLink> {
    const { group } = this.#ask;
    // The very first group of a cluster has to wait for the topic that offsets are kept in.
    const found = await patiently(async () => {
      const [first] = await link.ask(findCoordinatorCall(group), at.signal);
      return first ?? { error: -1, said: null, broker: undefined };
    }, at);
    if (found.error === noError && found.broker !== undefined) return await this.#client.to(found.broker, at);
    throw faultOfCode(found.error, `the coordinator of the group "${group}"`, found.said);
  }

  async #insistOnBeingAlone(coordinator: KafkaLink, at: AskAt): Promise<void> {
    const { group } = this.#ask;
    const calls = [describeGroupsCall([group])];
    if (coordinator.supports(apis.consumerGroupDescribe, 0)) calls.push(consumerGroupDescribeCall([group]));
    const found = await Promise.all(calls.map(call => coordinator.ask(call, at.signal)));
    for (const { error, members } of found.flat()) {
      if (error !== noError && error !== groupNotFound) throw faultOfCode(error, `the group "${group}"`);
      if (members === 0) continue;
      const message = `the group "${group}" has members of its own, and delivery needs a group for itself`;
      throw new Fault('SOURCE_REFUSED', message);
    }
  }

  /** Whether what was committed has to be committed again: before Kafka forgets it, or because it has. */
  async #fades(part: Part, { offset }: CommittedPartition, at: AskAt): Promise<boolean> {
    if (offset >= 0) return Math.abs(at.now - part.committedAt) >= freshMs;
    if (part.leader === undefined || this.#dirty.has(part)) return false;
    // It forgets that with a topic as well, and in one that was made anew it would be wrong.
    return part.window.committed.offset <= (await this.#edge(part, 'latest', at));
  }

  async #take(committed: CommittedPartition, { topicId, leader, reset }: Origin, at: AskAt): Promise<void> {
    const { topic, partition, offset, text, error } = committed;
    if (error !== noError) throw faultOfCode(error, `the offset in "${topic}" ${partition}`);
    const key = partKey(topic, partition);
    const known = this.#parts.get(key);
    if (known !== undefined) {
      known.leader = leader;
      if (offset >= 0) known.window.merge({ offset, done: readDone(offset, text) });
      return;
    }
    const begin = offset >= 0 ? offset : await this.#edge({ topic, partition, leader }, reset, at);
    const window = new PartitionWindow({ offset: begin, done: readDone(begin, text) });
    const part = { topic, partition, topicId, window, leader, committedAt: 0 };
    this.#parts.set(key, part);
    if (offset < 0) this.#dirty.add(part);
  }

  async #edge(
    place: Pick<Part, 'topic' | 'partition' | 'leader'>,
    edge: 'latest' | 'earliest',
    at: AskAt,
  ): Promise<number> {
    const link = await this.#client.to(requireLeader(place.leader, place), at);
    const { error, offset } = await patiently(() => link.ask(edgeCall(place, edge), at.signal), at);
    if (error !== noError || offset < 0)
      throw faultOfCode(error, `where "${place.topic}" ${place.partition} begins`);
    return offset;
  }

  /** Commits what was done since the last time, on top of what the broker has, should another process be at work. */
  async #commit(at: AskAt): Promise<void> {
    const { group } = this.#ask;
    const link = await this.#client.any(at);
    const topics = new Set([...this.#dirty].map(({ topic }) => topic));
    const [standings, coordinator] = await Promise.all([
      this.#standings(link, [...topics], at),
      this.#coordinator(link, at),
    ]);
    this.#forgetOthers(standings);
    const parts = [...this.#dirty];
    if (parts.length === 0) return;
    const places = new Map<string, number[]>();
    for (const { topic, partition } of parts) places.set(topic, [...(places.get(topic) ?? []), partition]);
    const { error, partitions } = await coordinator.ask(committedCall(group, places), at.signal);
    if (error !== noError) throw faultOfCode(error, `the offsets of the group "${group}"`);
    for (const each of partitions) {
      const { topicId = '', leader } = this.#parts.get(keyOf(each)) ?? {};
      await this.#take(each, { topicId, leader, reset: this.#reset }, at);
    }
    const commits = parts.map(part => {
      this.#dirty.delete(part);
      const { committed } = part.window;
      return { ...part, offset: committed.offset, text: writeDone(committed) };
    });
    try {
      const answers = await coordinator.ask(commitCall(group, commits), at.signal);
      const failed = answers.find(answer => answer.error !== noError);
      if (failed !== undefined) throw faultOfCode(failed.error, `the commit of the group "${group}"`);
      for (const { window, offset } of commits) window.wrote(offset);
      for (const part of parts) part.committedAt = at.now;
    } catch (thrown) {
      for (const part of parts) this.#dirty.add(part);
      throw thrown;
    }
  }

  /** @returns where to go on, for the partitions that may have more */
  async #fetchRound(from: ReadonlyMap<Part, number>, taker: Taker, at: AskAt): Promise<Map<Part, number>> {
    const shares = new Map<Broker, Part[]>();
    for (const part of from.keys()) {
      if (part.leader === undefined) taker.fault = noLeader(part);
      else shares.set(part.leader, [...(shares.get(part.leader) ?? []), part]);
    }
    const size = Math.min(mostFetchBytes, taker.room * messageBytes);
    const answers = await Promise.all(
      [...shares].map(async ([leader, parts]) => {
        const places = parts.map(part => ({ ...part, offset: from.get(part) ?? 0 }));
        const link = await this.#client.to(leader, at);
        const sizes = { mostBytes: mostClaimBytes, mostPartitionBytes: size };
        return await link.ask(fetchCall(places, sizes), at.signal);
      }),
    );
    const further = new Map<Part, number>();
    for (const fetched of answers.flat()) {
      const part = this.#parts.get(keyOf(fetched));
      const begin = part === undefined ? undefined : from.get(part);
      if (part === undefined || begin === undefined) continue;
      const next =
        fetched.error === offsetOutOfRange
          ? await this.#skipLost(part, begin, at)
          : taker.take(part, begin, fetched);
      if (next !== undefined) further.set(part, part.window.fetchFrom(at.now, next));
    }
    return further;
  }

  /** What the group had not got to may be gone, by age or size; then it goes on where the partition begins now. */
  async #skipLost(part: Part, begin: number, at: AskAt): Promise<number | undefined> {
    const earliest = await this.#edge(part, 'earliest', at);
    if (earliest <= begin) {
      const message = `the group is at ${begin} in "${part.topic}" ${part.partition}, beyond its end`;
      throw new Fault('SOURCE_FAILED', `${message}: reset its offsets`);
    }
    part.window.passed(begin, earliest, new Set());
    return earliest;
  }
}

/** Asks again while an error is only passing, as in the first moments of a topic. */
export async function patiently<T extends { error: number }>(ask: () => Promise<T>, at: AskAt): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const answer = await ask();
    if (!isPassing(answer.error) || tries === mostTries) return answer;
    if (!(await paused(pauseMs, at.signal))) return answer;
  }
}

const partKey = (topic: string, partition: number) => `${topic}/${partition}`;
const keyOf = ({ topic, partition }: { topic: string; partition: number }) => partKey(topic, partition);

const isAnother = (one: string, other: string) => one !== other && one !== '' && other !== '';

const lost = (place: RecordPlace) => new Fault('MESSAGE_LOST', `${placeText(place)} was settled already`);

const noLeader = ({ topic, partition }: { topic: string; partition: number }) =>
  new Fault('SOURCE_BUSY', `"${topic}" ${partition}: the partition has no leader now`);

function requireLeader(leader: Broker | undefined, place: { topic: string; partition: number }): Broker {
  if (leader === undefined) throw noLeader(place);
  return leader;
}
