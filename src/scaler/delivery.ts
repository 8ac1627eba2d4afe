import type { ReadContext } from './context.ts';

/** What proves a claim to the source: opaque, printable, kept with the Job so that a later process can settle. */
export type Receipt = string;

/** A message that a source handed to us alone, for a while. */
export interface Claim {
  /** The source's own id: the same message has the same id at every delivery. */
  messageId: string;
  body: Uint8Array;
  receipt: Receipt;
  /** How often the source has handed it out, this time included; 1 at first. */
  deliveryCount: number;
  /** When it was sent, epoch milliseconds, where the source says. */
  sentAt?: number;
  /** When the claim ends unless extended, epoch milliseconds. */
  lockedUntil: number;
}

/** A message that was claimed before and may come back: its source has not been told for good what became of it. */
export interface KnownMessage {
  messageId: string;
  receipt: Receipt;
}

/**
 * How messages of a source are claimed and settled. Every function may throw Faults of the source; a receipt
 * that no longer holds is MESSAGE_LOST: the message went back and will be handed out again.
 */
export interface Delivery<P, C> {
  /** What is promised to those whose messages are delivered, in sentences for the docs page. */
  promise: string;
  /** How long a claim holds, in milliseconds; it is extended well before. */
  lockMs: number;
  /** What identifies the queue among all queues, the same across restarts; part of every Job's name. */
  queueId(params: P): string;
  /**
   * At most `most` messages; fewer or none when there are not so many. Does not wait for messages.
   *
   * @param known finds messages that may come back by how their id begins, for sources whose messages have none
   */
  claim(
    params: P,
    context: ReadContext<C>,
    most: number,
    known?: (idPrefix: string) => readonly KnownMessage[],
  ): Promise<Claim[]>;
  /** Holds the message longer; the receipt may change. */
  extend(
    params: P,
    context: ReadContext<C>,
    receipt: Receipt,
  ): Promise<{ receipt: Receipt; lockedUntil: number }>;
  /** Done: the source forgets the message. */
  acknowledge(params: P, context: ReadContext<C>, receipt: Receipt): Promise<void>;
  /** Gives it back for another try, not before `delayMs`. */
  release(params: P, context: ReadContext<C>, receipt: Receipt, delayMs: number): Promise<void>;
  /** Puts it where the source's users look for messages that cannot be processed. */
  deadLetter(params: P, context: ReadContext<C>, message: DeadMessage): Promise<void>;
}

export interface DeadMessage {
  receipt: Receipt;
  /** Undefined after a restart; a source that must copy the body reads it again or keeps what it was given. */
  body: Uint8Array | undefined;
  messageId: string;
  attempts: number;
  why: string;
}
