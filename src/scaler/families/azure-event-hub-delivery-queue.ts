import { setMaxListeners } from 'node:events';
import { deadline } from '../../base/deadline.ts';
import { Fault, faultOf } from '../../base/errors.ts';
import type { Claim } from '../delivery.ts';
import type { AmqpMessage } from './azure-amqp-frames.ts';
import type { Asking } from './azure-amqp-session.ts';
import type { EventHubClient } from './azure-event-hub.ts';
import {
  beforeAllEvents,
  type DeliveryCheckpoint,
  readDeliveryCheckpoint,
  writeDeliveryCheckpoint,
} from './azure-event-hub-delivery-checkpoint.ts';
import {
  type EventPlace,
  exact,
  nothing,
  placeText,
  positionIn,
  sequenceOf,
  type TakenFrom,
  Taker,
} from './azure-event-hub-delivery-events.ts';
import { isUntouched, type PartitionState } from './azure-event-hub-lag.ts';
import type { EventHubTrigger } from './azure-event-hub-reading.ts';
import { PartitionWindow } from './partition-window.ts';

interface Part extends TakenFrom {
  /** The blob as it was last read or written. */
  blob: Pick<DeliveryCheckpoint, 'name' | 'etag'> | undefined;
  /** More is done than the blob says. */
  dirty: boolean;
  /** What the hub said of it last, and when (epoch milliseconds). */
  state: PartitionState | undefined;
  stateAt: number;
}

/** How long events are waited for that the hub says are there, in milliseconds. */
const claimMs = 2000;
const eventMs = 5000;
/** Event Hubs answers 50 questions about partitions a second in a namespace; so many of them are ours, one each. */
const questionMs = 50;
/** How long it is good enough to know that a partition has more, and which partitions there are, in milliseconds. */
const moreMs = 10_000;
const idsMs = 60_000;
const mostAtOnce = 64;
/** So many partitions are looked at at once, even where a single event is wanted. */
const fewestPartitions = 4;
const mostTries = 5;
const advice = 'delivery needs a consumerGroup for itself';

/**
 * The events that wait for a consumer group, for one process that is all of the group. What is held is known here
 * alone; what is done is in the blob of the partition before anybody is told so.
 */
export class HubQueue {
  /** As it is now: its filter and the credentials of its storage may change. */
  trigger: EventHubTrigger;
  readonly #client: EventHubClient;
  readonly #parts = new Map<string, Part>();
  /** What is read of a blob and what is written to it never overlap. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #claims = 0;
  #ids: { ids: readonly string[]; at: number } | undefined;

  constructor(client: EventHubClient, trigger: EventHubTrigger) {
    this.trigger = trigger;
    this.#client = client;
  }

  async claim(wish: { most: number; until: number }, at: Asking): Promise<Claim[]> {
    setMaxListeners(0, at.signal);
    const ids = await this.#partitions(at);
    const taker = new Taker(this.trigger, wish, at.now);
    this.#claims += 1;
    // Begins with another partition each time, so that none waits for the others to be empty.
    const first = this.#claims % ids.length;
    const inOrder = [...ids.slice(first), ...ids.slice(0, first)];
    while (inOrder.length > 0 && taker.hasRoom) {
      const some = inOrder.splice(0, Math.max(fewestPartitions, taker.room));
      await Promise.all(
        some.map(id =>
          this.#claimFrom(id, { taker, among: ids.length }, at).catch(thrown => {
            taker.fault ??= faultOf(thrown);
          }),
        ),
      );
    }
    if (taker.claims.length === 0 && taker.fault !== undefined) throw taker.fault;
    // What was done in the meantime, by who settles what an earlier process left, is not handed out again.
    return taker.claims.filter(({ place }) => !this.#knownDone(place)).map(({ claim }) => claim);
  }

  /** @throws Fault MESSAGE_LOST where it is done already */
  async hold({ partition, sequence }: EventPlace, until: number, at: Asking): Promise<void> {
    const { window } = await this.#partOf(partition, at);
    if (!window.hold(sequence, until)) throw lost({ partition, sequence });
  }

  /** @throws Fault MESSAGE_LOST where it is done already */
  async release({ partition, sequence }: EventPlace, notBefore: number, at: Asking): Promise<void> {
    const { window } = await this.#partOf(partition, at);
    if (!window.release(sequence, notBefore)) throw lost({ partition, sequence });
  }

  /** Resolves once the blob says that the event is done. */
  async finish({ partition, sequence }: EventPlace, at: Asking): Promise<void> {
    const part = await this.#partOf(partition, at);
    if (part.window.finish(sequence)) part.dirty = true;
    // Whoever comes first writes for all who wait.
    await this.#inTurn(partition, async () => {
      if (part.dirty) await this.#write(part, at);
    });
  }

  /** Whether the blob says that the event is done. */
  async isDone({ partition, sequence }: EventPlace, at: Asking): Promise<boolean> {
    const part = await this.#partOf(partition, at);
    return await this.#inTurn(partition, async () => part.window.isDone(sequence) && !part.dirty);
  }

  /**
   * The event at a place; undefined where Event Hubs does not have it any more.
   *
   * @throws Fault of the source; SOURCE_TIMEOUT where it is there and is not shown
   */
  async event({ partition, sequence }: EventPlace, at: Asking): Promise<AmqpMessage | undefined> {
    const { place, plan } = this.trigger;
    const { hub } = place;
    const { first, last, isEmpty } = await this.#client.partition(hub, partition, at);
    if (isEmpty || sequence < first || sequence > last) return undefined;
    let found: AmqpMessage | undefined;
    let answered = false;
    const take = (event: AmqpMessage) => {
      answered = true;
      if (sequenceOf(event, hub) === sequence) found = event;
      return true;
    };
    using limit = deadline(at.signal, eventMs);
    const where = { hub, group: plan.group, partition, after: BigInt(sequence - 1) };
    await this.#client.peek({ ...where, enough: limit.signal, atOnce: 1, advice }, take, at);
    if (answered) return found;
    const what = `event ${sequence} of partition ${partition} of ${this.#client.nameOf(hub)}`;
    throw new Fault('SOURCE_TIMEOUT', `${what} was not shown within ${eventMs} ms`);
  }

  #knownDone({ partition, sequence }: EventPlace): boolean {
    return this.#parts.get(partition)?.window.isDone(sequence) ?? false;
  }

  #inTurn<T>(partition: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.#turns.get(partition) ?? Promise.resolve()).then(work);
    this.#turns.set(
      partition,
      mine.catch(() => undefined),
    );
    return mine;
  }

  async #partOf(partition: string, at: Asking): Promise<Part> {
    return (
      this.#parts.get(partition) ?? (await this.#inTurn(partition, () => this.#takeInBlob(partition, at)))
    );
  }

  async #partitions(at: Asking): Promise<readonly string[]> {
    if (this.#ids !== undefined && isSince(this.#ids.at, idsMs, at.now)) return this.#ids.ids;
    const ids = await this.#client.partitions(this.trigger.place.hub, at);
    this.#ids = { ids, at: at.now };
    return ids;
  }

  /** A partition with its checkpoint and state, as they are now or were a moment ago. */
  async #lookedAt(id: string, among: number, at: Asking): Promise<{ part: Part; state: PartitionState }> {
    const known = this.#parts.get(id);
    if (known?.state !== undefined) {
      const hasMore = known.window.fetchFrom(at.now) <= known.state.last;
      if (isSince(known.stateAt, hasMore ? moreMs : among * questionMs, at.now))
        return { part: known, state: known.state };
    }
    const part = await this.#inTurn(id, () => this.#takeInBlob(id, at));
    // Asked for after the checkpoint, which can only be ahead of it then where the hub was made anew.
    const state = await this.#client.partition(this.trigger.place.hub, id, at);
    part.state = state;
    part.stateAt = at.now;
    return { part, state };
  }

  async #claimFrom(id: string, { taker, among }: { taker: Taker; among: number }, at: Asking): Promise<void> {
    const { place, plan } = this.trigger;
    const { hub } = place;
    const { part, state } = await this.#lookedAt(id, among, at);
    if (isUntouched(state)) return;
    const from = beginOf(part, state, at.now);
    // A checkpoint that cannot be written is found out before there are Jobs that it would be needed for.
    if (part.blob === undefined) await this.#inTurn(id, () => this.#write(part, at));
    if (from > state.last + 1n && part.window.committed.offset > state.last + 1n) {
      const sentence = `the checkpoint of partition ${id} of ${this.#client.nameOf(hub)} is beyond its end`;
      throw new Fault('SOURCE_FAILED', `${sentence}; where the hub was made anew, delete the checkpoints`);
    }
    if (from <= state.last && taker.hasRoom) {
      using limit = deadline(at.signal, claimMs);
      const where = { hub, group: plan.group, partition: id, after: from - 1n, enough: limit.signal };
      const take = taker.from(part, { begin: Number(from), last: Number(state.last) });
      await this.#client.peek({ ...where, atOnce: Math.min(mostAtOnce, taker.room), advice }, take, at);
    }
    // It can wait; what was claimed is ours all the same.
    if (part.window.isBehind) await this.#inTurn(id, () => this.#write(part, at)).catch(() => undefined);
  }

  /** Takes in what the blob of a partition says now. */
  async #takeInBlob(id: string, at: Asking): Promise<Part> {
    const { place, plan } = this.trigger;
    const read = await this.#client.withStorage(
      place.storage,
      storage => readDeliveryCheckpoint(storage, { plan, partition: id }, at),
      at,
    );
    const known = this.#parts.get(id);
    if (known !== undefined && read === undefined && known.blob === undefined) return known;
    if (known !== undefined && read !== undefined && read.etag === known.blob?.etag) return known;
    const committed = read ?? { offset: await this.#beginning(id, at), done: new Set<number>() };
    const part = known ?? {
      id,
      window: new PartitionWindow(committed),
      blob: undefined,
      positions: new Map(),
      dirty: false,
      state: undefined,
      stateAt: 0,
    };
    this.#parts.set(id, part);
    if (known !== undefined) part.window.merge(committed);
    part.blob = read;
    if (read?.position !== undefined) part.positions.set(read.offset - 1, read.position);
    return part;
  }

  /** Where a group begins that has no checkpoint: with all that is there, which is also what is counted. */
  async #beginning(id: string, at: Asking): Promise<number> {
    const { first } = await this.#client.partition(this.trigger.place.hub, id, at);
    return exact(first);
  }

  /** Writes what is done, on top of what the blob has, should another process be at work. */
  async #write(part: Part, at: Asking): Promise<void> {
    const { place, plan } = this.trigger;
    for (let tries = 0; tries < mostTries; tries += 1) {
      const { offset, done } = part.window.committed;
      part.dirty = false;
      try {
        const position = await this.#positionOf(part, offset - 1, at);
        const update = { offset, done, position, replaces: part.blob };
        const written = await this.#client.withStorage(
          place.storage,
          storage => writeDeliveryCheckpoint(storage, { plan, partition: part.id, update }, at),
          at,
        );
        if (written !== undefined) {
          part.blob = written;
          part.window.wrote(offset);
          for (const each of part.positions.keys()) if (each < offset - 1) part.positions.delete(each);
          return;
        }
        part.dirty = true;
        await this.#takeInBlob(part.id, at);
      } catch (thrown) {
        part.dirty = true;
        throw thrown;
      }
    }
    const what = `the checkpoint of partition ${part.id} of ${this.#client.nameOf(place.hub)}`;
    throw new Fault('SOURCE_BUSY', `${what} is written by somebody else all the time; ${advice}`);
  }

  async #positionOf(part: Part, sequence: number, at: Asking): Promise<string> {
    const known = part.positions.get(sequence);
    if (known !== undefined) return known;
    const event = sequence < 0 ? undefined : await this.event({ partition: part.id, sequence }, at);
    // Where it has expired, all before it has, too.
    const position = event === undefined ? beforeAllEvents : positionIn(event);
    part.positions.set(sequence, position);
    return position;
  }
}

/** Where to look from: what has expired is passed over. */
function beginOf({ window }: Part, { first, last, isEmpty }: PartitionState, now: number): bigint {
  window.expire(now);
  const from = window.fetchFrom(now);
  const there = isEmpty ? last + 1n : first;
  if (from >= there) return BigInt(from);
  window.passed(from, exact(there), nothing);
  return BigInt(window.fetchFrom(now));
}

const isSince = (then: number, ms: number, now: number) => now >= then && now - then < ms;

const lost = (place: EventPlace) =>
  new Fault('MESSAGE_LOST', `event ${placeText(place)} was settled already`);
