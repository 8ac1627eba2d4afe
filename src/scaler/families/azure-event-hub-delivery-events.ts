import { Fault } from '../../base/errors.ts';
import type { Claim } from '../delivery.ts';
import { bodyBytes } from './azure-amqp-body.ts';
import type { AmqpMessage } from './azure-amqp-frames.ts';
import { beforeAllEvents } from './azure-event-hub-delivery-checkpoint.ts';
import type { EventHubTrigger } from './azure-event-hub-reading.ts';
import type { PartitionWindow } from './partition-window.ts';

/** An event by its place. */
export interface EventPlace {
  partition: string;
  sequence: number;
}

/** What is remembered of a partition whose events are taken. */
export interface TakenFrom {
  id: string;
  window: PartitionWindow;
  /** What Event Hubs calls the position of events from the last one before the checkpoint on, by their numbers. */
  positions: Map<number, string>;
}

const mostClaimBytes = 16 * 1024 * 1024;
/** For what is passed over without anything having been found. */
export const nothing: ReadonlySet<number> = new Set();

/** Takes events of all partitions of a hub until there are enough. */
export class Taker {
  readonly claims: { place: EventPlace; claim: Claim }[] = [];
  fault: Fault | undefined;
  readonly #trigger: EventHubTrigger;
  readonly #most: number;
  readonly #time: { now: number; until: number };
  #bytes = 0;

  constructor(trigger: EventHubTrigger, wish: { most: number; until: number }, now: number) {
    this.#trigger = trigger;
    this.#most = wish.most;
    this.#time = { now, until: wish.until };
  }

  get room(): number {
    return this.#most - this.claims.length;
  }

  get hasRoom(): boolean {
    return this.room > 0 && this.#bytes < mostClaimBytes;
  }

  /** Takes the events of a partition in order; the answer is whether no more are wanted. */
  from(part: TakenFrom, { begin, last }: { begin: number; last: number }): (event: AmqpMessage) => boolean {
    const { window } = part;
    const { place, filter } = this.#trigger;
    let cursor = begin;
    return event => {
      const sequence = sequenceOf(event, place.hub);
      if (sequence < cursor) return false;
      window.passed(cursor, sequence, nothing);
      if (!this.hasRoom || !window.hasRoom(sequence)) return true;
      cursor = sequence + 1;
      part.positions.set(sequence, positionIn(event));
      if (filter?.matches(event) ?? true) {
        const deliveryCount = window.offer(sequence, this.#time);
        if (deliveryCount !== undefined) this.#add({ partition: part.id, sequence }, event, deliveryCount);
      } else {
        window.passed(sequence, cursor, nothing);
      }
      return sequence >= last || !this.hasRoom;
    };
  }

  #add(place: EventPlace, event: AmqpMessage, deliveryCount: number): void {
    const body = bodyBytes(event.body);
    this.#bytes += body.length;
    const enqueued = event.annotations.get('x-opt-enqueued-time');
    const claim: Claim = {
      messageId: eventId(place, event),
      body,
      receipt: placeText(place),
      deliveryCount,
      lockedUntil: this.#time.until,
      ...(enqueued instanceof Date ? { sentAt: enqueued.getTime() } : {}),
    };
    this.claims.push({ place, claim });
  }
}

/** Numbers begin anew in a hub that is made anew; with the time they are one event's. */
export function eventId(place: EventPlace, { annotations }: AmqpMessage): string {
  const enqueued = annotations.get('x-opt-enqueued-time');
  return enqueued instanceof Date ? `${placeText(place)}-${enqueued.getTime()}` : placeText(place);
}

/** A place as receipts have it. */
export const placeText = ({ partition, sequence }: EventPlace) => `${partition}/${sequence}`;

/** @throws Fault SOURCE_ANSWER_INVALID where it has none */
export function sequenceOf({ annotations }: AmqpMessage, hub: string): number {
  const sequence = annotations.get('x-opt-sequence-number');
  if (typeof sequence === 'bigint') return exact(sequence);
  throw new Fault('SOURCE_ANSWER_INVALID', `sent an event of ${hub} without a sequence number`);
}

/** What Azure's SDKs go on from after this event. */
export function positionIn({ annotations }: AmqpMessage): string {
  const position = annotations.get('x-opt-offset');
  return typeof position === 'string' || typeof position === 'bigint' ? String(position) : beforeAllEvents;
}

/** @throws Fault SOURCE_ANSWER_INVALID for a number that a number cannot hold */
export function exact(sequence: bigint): number {
  if (sequence >= 0n && sequence <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(sequence);
  throw new Fault(
    'SOURCE_ANSWER_INVALID',
    `has events with the number ${sequence}, which cannot be counted on`,
  );
}
