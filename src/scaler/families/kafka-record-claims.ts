import { Fault } from '../../base/errors.ts';
import type { Claim, Receipt } from '../delivery.ts';
import type { FetchedPartition } from './kafka-delivery-messages.ts';
import { faultOfCode, noError } from './kafka-errors.ts';
import { type KafkaRecord, readBatches } from './kafka-records.ts';
import type { PartitionWindow } from './partition-window.ts';

/** A message by its place. */
export interface RecordPlace {
  topic: string;
  partition: number;
  offset: number;
  /** Which of all topics that ever had the name; empty where a broker before 2.8 does not say. */
  topicId: string;
}

/** For sentences and names. */
export const placeText = ({ topic, partition, offset }: RecordPlace) => `${topic}/${partition}/${offset}`;

/** Reads a receipt. @throws Fault MESSAGE_LOST where it is none */
export function placeOf(receipt: Receipt): RecordPlace {
  const [topic = '', partition, offset, topicId = ''] = receipt.split('/');
  if (!/^\d+$/.test(partition ?? '') || !/^\d+$/.test(offset ?? '')) {
    throw new Fault('MESSAGE_LOST', `"${receipt}" is no receipt of Kafka`);
  }
  return { topic, partition: Number(partition), offset: Number(offset), topicId };
}

/** A partition with what is known of its messages. */
export interface WatchedPart {
  topic: string;
  partition: number;
  topicId: string;
  window: PartitionWindow;
}

/** How large the messages of one claim may be together, in bytes. */
export const mostClaimBytes = 16 * 1024 * 1024;

/** Takes messages until there are enough. */
export class Taker {
  readonly claims: Claim[] = [];
  fault: Fault | undefined;
  readonly #most: number;
  readonly #time: { now: number; until: number };
  #bytes = 0;

  constructor(most: number, time: { now: number; until: number }) {
    this.#most = most;
    this.#time = time;
  }

  get room(): number {
    return this.#most - this.claims.length;
  }

  get hasRoom(): boolean {
    return this.room > 0 && this.#bytes < mostClaimBytes;
  }

  /** @returns where to go on, or undefined where there is nothing more for now */
  take(part: WatchedPart, begin: number, fetched: FetchedPartition): number | undefined {
    const { topic, partition, window } = part;
    if (fetched.error !== noError) {
      this.fault = faultOfCode(fetched.error, `"${topic}" ${partition}`);
      return undefined;
    }
    const { records, next } = readBatches(fetched.batches, fetched.aborted);
    const found = new Set<number>();
    for (const record of records) {
      if (record.offset < begin) continue;
      if (!this.hasRoom || !window.hasRoom(record.offset)) {
        window.passed(begin, record.offset, found);
        return undefined;
      }
      found.add(record.offset);
      const deliveryCount = window.offer(record.offset, this.#time);
      if (deliveryCount !== undefined)
        this.#add({ topic, partition, offset: record.offset, topicId: part.topicId }, record, deliveryCount);
    }
    if (next === undefined || next <= begin) return undefined;
    window.passed(begin, next, found);
    return next < fetched.stable ? next : undefined;
  }

  #add(place: RecordPlace, { timestamp, value }: KafkaRecord, deliveryCount: number): void {
    const body = value ?? Buffer.alloc(0);
    this.#bytes += body.length;
    this.claims.push({
      // Offsets begin anew with a topic that was deleted and made again.
      messageId: `${placeText(place)}/${timestamp}`,
      body,
      receipt: `${placeText(place)}/${place.topicId}`,
      deliveryCount,
      lockedUntil: this.#time.until,
      ...(timestamp >= 0 ? { sentAt: timestamp } : {}),
    });
  }
}
