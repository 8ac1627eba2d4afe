import { createHash, randomBytes } from 'node:crypto';
import { orAborted } from '../../base/deadline.ts';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import type { KnownMessage, Receipt } from '../delivery.ts';
import type { AmqpChannel, Answer } from './rabbitmq-channel.ts';
import { methods, numberIn, type Properties } from './rabbitmq-wire.ts';

/** A message that the broker gave us and waits to be told of. */
export interface Held {
  readonly tag: number;
  readonly messageId: string;
  readonly properties: Properties;
  /** Those of the same id that came while this one was held: they are settled together. */
  readonly alike: number[];
  /** On the monotonic clock: goes back then, unless extended. */
  until: number;
}

export interface Taken {
  messageId: string;
  properties: Properties;
  body: Buffer;
  receipt: Receipt;
  deliveryCount: number;
}

type FindKnown = (idPrefix: string) => readonly KnownMessage[];

/** How long a message is kept for somebody who has stopped asking for it, in milliseconds. */
export const holdMs = 180_000;
/** The longest a message is kept back: as long as a timer can wait. */
const longestMs = 2 ** 31 - 2;

/** What one claim brings is at most this and one window more, in bytes. */
const mostBytes = 16 * 1024 * 1024;
const widestWindow = 16;
/** Those that others took instead of us stay among the returned ones; so many are remembered. */
const mostReturned = 10_000;

/**
 * The messages we hold of one queue, on a channel of its own: what closes a channel, such as a queue that was
 * deleted or the broker's `consumer_timeout`, gives back the messages of that queue and of no other.
 */
export class QueueSession implements Disposable {
  readonly #channel: AmqpChannel;
  readonly #queue: string;
  readonly #what: string;
  readonly #held = new Map<number, Held>();
  /** Tags of messages that we gave back. Others that we hold no more are done with, whatever their Job's state. */
  readonly #returned = new Set<number>();
  /** No two sessions have the same, in whatever process. */
  readonly #id = randomBytes(9).toString('base64url');
  /** Claims under way: they share the channel. */
  #taking = 0;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer goes off, on the monotonic clock. */
  #due = Number.POSITIVE_INFINITY;

  constructor(channel: AmqpChannel, { queue, broker }: { queue: string; broker: string }) {
    this.#channel = channel;
    this.#queue = queue;
    this.#what = `${broker}, queue "${queue}"`;
  }

  get open(): boolean {
    return this.#channel.open;
  }

  /**
   * Takes at most so many messages, without waiting for any.
   *
   * @param known messages that may come back, where they have no id of their own
   * @throws Fault of the source, where nothing was taken
   */
  async take(most: number, known: FindKnown, signal: AbortSignal): Promise<Taken[]> {
    this.#taking += 1;
    try {
      return await this.#take(most, known, signal);
    } finally {
      this.#taking -= 1;
      // A queue that nothing is held of needs no channel.
      if (this.#held.size === 0 && this.#taking === 0) this.#channel.close();
    }
  }

  async #take(most: number, known: FindKnown, signal: AbortSignal): Promise<Taken[]> {
    const taken: Taken[] = [];
    let bytes = 0;
    for (let width = 1; taken.length < most && bytes < mostBytes; width = Math.min(2 * width, widestWindow)) {
      const count = Math.min(width, most - taken.length);
      const gets = Array.from({ length: count }, () => this.#get());
      let answers: PromiseSettledResult<Answer>[];
      try {
        answers = await orAborted(Promise.allSettled(gets), signal);
      } catch (thrown) {
        // What comes after all goes back: nobody is there to have it.
        for (const get of gets) get.then(answer => this.#refuse(answer)).catch(() => undefined);
        if (taken.length > 0) break;
        throw networkFault(thrown, this.#what, signal);
      }
      const messages = answers.flatMap(answer => (answer.status === 'fulfilled' ? [answer.value] : []));
      if (!this.open) throw this.#lost(this.#channel.fault);
      for (const answer of messages) {
        if (answer.message === undefined) continue;
        bytes += answer.message.body.length;
        const one = this.#hold(answer, taken, known);
        if (one !== undefined) taken.push(one);
      }
      if (messages.some(({ message }) => message === undefined)) break;
    }
    return taken;
  }

  /** @throws Fault MESSAGE_LOST */
  held(receipt: Receipt): Held {
    const tag = this.#tagOf(receipt);
    const held = tag === undefined ? undefined : this.#held.get(tag);
    if (held !== undefined && this.open) return held;
    throw lostMessage(this.#what, this.#channel.fault);
  }

  /** Keeps a message for so long from now on, then it goes back to the queue. */
  keep(held: Held, ms: number): void {
    held.until = performance.now() + Math.min(ms, longestMs);
    this.#arm(held.until);
  }

  /** Gives a message back at once. */
  requeue(held: Held): void {
    this.#settle(held, tag => this.#nack(tag));
    this.#returned.add(held.tag);
    const [oldest = 0] = this.#returned;
    if (this.#returned.size > mostReturned) this.#returned.delete(oldest);
  }

  /** @throws Fault MESSAGE_LOST where the broker may not have heard it */
  async acknowledge(held: Held, signal: AbortSignal): Promise<void> {
    this.#settle(held, tag =>
      this.#channel.tell(methods.basicAck, writer => {
        writer.u64(tag);
        writer.u8(0);
      }),
    );
    await this.#heard(signal);
  }

  /** To the dead-letter exchange of the queue. @throws Fault MESSAGE_LOST where the broker may not have heard it */
  async reject(held: Held, signal: AbortSignal): Promise<void> {
    this.#settle(held, tag =>
      this.#channel.tell(methods.basicReject, writer => {
        writer.u64(tag);
        writer.u8(0);
      }),
    );
    await this.#heard(signal);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#held.clear();
    this.#channel.close();
  }

  #get(): Promise<Answer> {
    return this.#channel.call(methods.basicGet, writer => {
      writer.u16(0);
      writer.short(this.#queue);
      writer.u8(0);
    });
  }

  #nack(tag: number): void {
    this.#channel.tell(methods.basicNack, writer => {
      writer.u64(tag);
      writer.u8(2);
    });
  }

  #refuse({ args, message }: Answer): void {
    if (message !== undefined) this.#nack(args.u64());
  }

  #settle(held: Held, tell: (tag: number) => void): void {
    this.#held.delete(held.tag);
    for (const tag of [held.tag, ...held.alike]) tell(tag);
  }

  /** Nothing answers a settlement, but what is asked after it on the same channel is answered after it. */
  async #heard(signal: AbortSignal): Promise<void> {
    const asked = this.#channel.call(methods.basicQos, writer => {
      writer.u32(0);
      writer.u16(0);
      writer.u8(0);
    });
    try {
      await orAborted(asked, signal);
    } catch (thrown) {
      if (signal.aborted) throw networkFault(thrown, this.#what, signal);
      throw lostMessage(this.#what, this.#channel.fault);
    }
  }

  /** @returns undefined where a message with this id is held already: then both are one */
  #hold({ args, message }: Answer, taken: readonly Taken[], known: FindKnown): Taken | undefined {
    const tag = args.u64();
    const redelivered = args.u8() !== 0;
    const origin = [args.short(), args.short()];
    const { properties = {}, body = Buffer.alloc(0) } = message ?? {};
    const own = properties.messageId === '' ? undefined : properties.messageId;
    const twin = own === undefined ? undefined : this.#heldAs(own);
    if (twin !== undefined) {
      twin.alike.push(tag);
      return undefined;
    }
    const messageId = own ?? this.#nameless({ properties, body, origin, redelivered }, taken, known);
    const held: Held = { tag, messageId, properties, alike: [], until: performance.now() + holdMs };
    this.#held.set(tag, held);
    this.#arm(held.until);
    const failures = numberIn(properties.headers?.get('x-delivery-count'));
    const deliveryCount = failures === undefined ? (redelivered ? 2 : 1) : failures + 1;
    return { messageId, properties, body, receipt: `${this.#id}.${tag}`, deliveryCount };
  }

  #heldAs(messageId: string): Held | undefined {
    for (const held of this.#held.values()) if (held.messageId === messageId) return held;
    return undefined;
  }

  /**
   * An id for a message without one: a new one, so that equal messages are different ones. One that was handed out
   * before gets the id of a known message that looks the same and that we do not hold any more.
   */
  #nameless(
    { properties, body, origin, redelivered }: Nameless,
    taken: readonly Taken[],
    known: FindKnown,
  ): string {
    const { contentType, contentEncoding, correlationId, type, timestamp, appId } = properties;
    const looks = [...origin, contentType, contentEncoding, correlationId, type, timestamp, appId];
    const hash = createHash('sha256').update(JSON.stringify(looks)).update(body).digest('hex').slice(0, 32);
    const prefix = `~${hash}.`;
    const before = redelivered ? known(prefix) : [];
    const again = before.find(
      ({ messageId, receipt }) =>
        this.#mayReturn(receipt) && !taken.some(each => each.messageId === messageId),
    );
    if (again !== undefined) this.#returned.delete(this.#tagOf(again.receipt) ?? 0);
    return again?.messageId ?? `${prefix}${randomBytes(9).toString('base64url')}`;
  }

  /** Whether the message may come to us again: we gave it back, or it was held by a channel before this one. */
  #mayReturn(receipt: Receipt): boolean {
    const tag = this.#tagOf(receipt);
    return tag === undefined || this.#returned.has(tag);
  }

  #tagOf(receipt: Receipt): number | undefined {
    const [id, tag] = receipt.split('.');
    return id === this.#id && /^\d+$/.test(tag ?? '') ? Number(tag) : undefined;
  }

  #lost(fault: Fault | undefined): Fault {
    // A refusal would close the connection that the messages of other queues are held by.
    const code = fault === undefined || fault.code === 'SOURCE_REFUSED' ? 'SOURCE_FAILED' : fault.code;
    return new Fault(code, fault?.message ?? `${this.#what} cannot be read`, { cause: fault });
  }

  /** One timer for whatever is due first; it may go off for one that was extended since. */
  #arm(until: number): void {
    if (until >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = until;
    this.#timer = setTimeout(() => this.#giveBack(), Math.max(0, until - performance.now()) + 1);
    this.#timer.unref();
  }

  #giveBack(): void {
    const now = performance.now();
    this.#due = Number.POSITIVE_INFINITY;
    let first = Number.POSITIVE_INFINITY;
    for (const held of [...this.#held.values()]) {
      if (held.until <= now) this.requeue(held);
      else first = Math.min(first, held.until);
    }
    if (first < Number.POSITIVE_INFINITY) this.#arm(first);
  }
}

interface Nameless {
  properties: Properties;
  body: Buffer;
  origin: readonly string[];
  redelivered: boolean;
}

/** @param fault why the channel was closed */
export function lostMessage(what: string, fault?: Fault): Fault {
  const why = fault === undefined || fault.code === 'CANCELLED' ? '' : `: ${fault.message}`;
  return new Fault('MESSAGE_LOST', `a message of ${what} is not ours any more${why}`);
}
