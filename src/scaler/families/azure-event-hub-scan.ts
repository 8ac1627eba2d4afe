import { deadline } from '../../base/deadline.ts';
import { Fault } from '../../base/errors.ts';
import type { AmqpMessage } from './azure-amqp-frames.ts';
import type { Asking } from './azure-amqp-session.ts';
import type { EventHubClient } from './azure-event-hub.ts';
import type { EventFilter } from './azure-event-hub-filter.ts';
import type { PartitionState } from './azure-event-hub-lag.ts';

/** Which events a trigger counts, and how they are looked at. */
export interface FilterPlan {
  /** Tells whose checkpoints and which expression it is about, apart from all others. */
  key: string;
  matches: EventFilter;
  /** The consumer group in which events are looked at. */
  group: string;
  /** How many events of a partition are looked at in one reading. */
  lookAhead: number;
}

/** What is known of a partition: looked at from after `from` up to `upTo`, with the matches among them. */
interface Scan {
  from: bigint;
  upTo: bigint;
  matches: bigint[];
  usedAt: number;
}

/** How much of a reading's time goes into looking at events, in milliseconds. */
const scanMs = 1000;
/** What nobody has asked for so long is forgotten, in milliseconds. */
const unusedMs = 600_000;

/** What was found out about events, so that each is looked at once, however long it waits. */
export class EventScans {
  readonly #scans = new Map<string, Scan>();

  /**
   * How many events after `after` match; those that were not looked at yet count, too, since they might.
   *
   * @throws Fault of the source
   */
  async count(
    client: EventHubClient,
    { hub, filter, state, after }: { hub: string; filter: FilterPlan; state: PartitionState; after: bigint },
    asking: Asking,
  ): Promise<bigint> {
    const key = JSON.stringify([hub, state.id, filter.key]);
    // What has expired is neither there to be looked at nor to be processed.
    const from = after < state.first ? state.first - 1n : after;
    const scan = this.#scanFrom(key, from, state.last);
    scan.usedAt = asking.now;
    this.#forget(asking.now);
    if (scan.upTo < state.last && scan.matches.length < filter.lookAhead) {
      await this.#lookAt(client, { hub, filter, scan, state }, asking);
    }
    const matched = scan.matches.filter(each => each > from).length;
    return BigInt(matched) + (state.last > scan.upTo ? state.last - scan.upTo : 0n);
  }

  #scanFrom(key: string, from: bigint, last: bigint): Scan {
    const held = this.#scans.get(key);
    // Back where it was before, or numbers that begin anew: what is known is of no use.
    if (held === undefined || from < held.from || last < held.upTo) {
      const scan: Scan = { from, upTo: from, matches: [], usedAt: 0 };
      this.#scans.set(key, scan);
      return scan;
    }
    held.from = from;
    if (held.upTo < from) held.upTo = from;
    held.matches = held.matches.filter(each => each > from);
    return held;
  }

  async #lookAt(
    client: EventHubClient,
    { hub, filter, scan, state }: { hub: string; filter: FilterPlan; scan: Scan; state: PartitionState },
    asking: Asking,
  ): Promise<void> {
    // What there was time for is kept, and the next reading goes on from there.
    using limit = deadline(asking.signal, scanMs);
    const where = { hub, group: filter.group, partition: state.id, after: scan.upTo, enough: limit.signal };
    let left = filter.lookAhead;
    const take = (event: AmqpMessage) => {
      const sequence = event.annotations.get('x-opt-sequence-number');
      if (typeof sequence !== 'bigint') {
        throw new Fault('SOURCE_ANSWER_INVALID', `sent an event of ${hub} without a sequence number`);
      }
      left -= 1;
      // Another reading may have looked at it in the meantime.
      if (sequence > scan.upTo) {
        scan.upTo = sequence;
        if (filter.matches(event)) scan.matches.push(sequence);
      }
      return left <= 0 || sequence >= state.last || scan.matches.length >= filter.lookAhead;
    };
    await client.peek(where, take, asking);
  }

  #forget(now: number): void {
    for (const [key, { usedAt }] of this.#scans) if (now - usedAt > unusedMs) this.#scans.delete(key);
  }
}
