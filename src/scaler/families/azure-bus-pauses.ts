import { deadline } from '../../base/deadline.ts';
import { faultOf } from '../../base/errors.ts';
import type { Asking } from './azure-amqp-session.ts';
import type { BusMessages, MessageLock } from './azure-bus-messages.ts';

interface Pause {
  path: string;
  lock: MessageLock;
  /** When to give the message back, and when to lock it again before that; on the monotonic clock. */
  endsAt: number;
  renewAt: number;
}

/** How long one call may take, and after which time one that failed is tried again; milliseconds. */
const callMs = 10_000;
const againMs = 2_000;
const closingMs = 2_000;

/**
 * Keeps messages locked that are to be handed out again later: Service Bus gives back at once what is abandoned. A
 * pause ends early where we end, since then nobody renews the lock: what is paused is given back.
 */
export class BusPauses implements AsyncDisposable {
  readonly #messages: BusMessages;
  readonly #pauses = new Set<Pause>();
  #timer: NodeJS.Timeout | undefined;
  #busy = false;
  /** What time it is, less what the monotonic clock says. */
  #epoch = 0;
  #closed = false;

  constructor(messages: BusMessages) {
    this.#messages = messages;
  }

  /** @throws Fault MESSAGE_LOST where the lock is over, and those of the source */
  async start(path: string, lock: MessageLock, ms: number, asking: Asking): Promise<void> {
    const lockedUntil = await this.#messages.renew(path, lock, asking);
    const now = performance.now();
    this.#epoch = asking.now - now;
    this.#pauses.add({ path, lock, endsAt: now + ms, renewAt: now + (lockedUntil - asking.now) / 2 });
    this.#schedule();
  }

  /** Gives back what is paused, as far as that can be done in a moment; the rest comes again when its lock ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const paused = [...this.#pauses];
    this.#pauses.clear();
    using limit = deadline(undefined, closingMs);
    const asking = { now: this.#epoch + performance.now(), signal: limit.signal };
    await Promise.allSettled(
      paused.map(({ path, lock }) => this.#messages.settle(path, lock, { status: 'abandoned' }, asking)),
    );
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#closed || this.#busy || this.#pauses.size === 0) return;
    let next = Number.POSITIVE_INFINITY;
    for (const pause of this.#pauses) next = Math.min(next, dueAt(pause));
    this.#timer = setTimeout(() => void this.#turn(), Math.max(0, next - performance.now()));
    this.#timer.unref();
  }

  async #turn(): Promise<void> {
    this.#busy = true;
    const due = [...this.#pauses].filter(pause => dueAt(pause) <= performance.now());
    await Promise.all(due.map(pause => this.#move(pause)));
    this.#busy = false;
    this.#schedule();
  }

  async #move(pause: Pause): Promise<void> {
    const { path, lock } = pause;
    using limit = deadline(undefined, callMs);
    const asking = { now: this.#epoch + performance.now(), signal: limit.signal };
    try {
      if (pause.endsAt <= performance.now()) {
        await this.#messages.settle(path, lock, { status: 'abandoned' }, asking);
        this.#pauses.delete(pause);
      } else {
        const lockedUntil = await this.#messages.renew(path, lock, asking);
        pause.renewAt = performance.now() + Math.max(againMs, (lockedUntil - asking.now) / 2);
      }
    } catch (thrown) {
      if (faultOf(thrown).code === 'MESSAGE_LOST') {
        this.#pauses.delete(pause);
        return;
      }
      const again = performance.now() + againMs;
      pause.renewAt = again;
      pause.endsAt = Math.max(pause.endsAt, again);
    }
  }
}

const dueAt = ({ endsAt, renewAt }: Pause) => Math.min(endsAt, renewAt);
