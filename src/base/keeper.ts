import type { Clock } from './clock.ts';
import { deadline } from './deadline.ts';
import { Fault, type FaultCode, faultOf } from './errors.ts';
import { networkFault } from './http.ts';
import { backoffMs } from './retry.ts';

/** Something that somebody else gave us for a time. Times in epoch milliseconds. */
export interface Lent<T> {
  value: T;
  /** From then on a new one is asked for. */
  renewAt: number;
  /** From then on it is of no use; Infinity for what does not end by itself. */
  endsAt: number;
}

export interface Ask<T> {
  /**
   * Gets a new one.
   *
   * @param old what is held so far, where something is
   */
  fetch(signal: AbortSignal, old: Lent<T> | undefined): Promise<Lent<T>>;
  /** Who is asked, as a person would name it. */
  host: string;
  /** Lets this asker go; the others, and what is under way for them, are not affected. */
  signal: AbortSignal;
  /** Whether the asker waits for a renewal; otherwise the old one is handed out while it runs. */
  wait?: boolean;
  /** What was handed out last was refused where it was used: it is renewed before its time. */
  doubt?: boolean;
}

/** The pauses after failures in a row, where the other side does not say how long to leave it alone. */
const failureBackoff = { firstMs: 2_000, maxMs: 30_000 };
const longestPauseMs = 10 * 60_000;
/** What is this close to its end might be over when it arrives, so a renewal is waited for. */
const marginMs = 10_000;
/** What nobody has asked for in this time is forgotten. */
const unusedMs = 60 * 60_000;
const tidyEveryMs = 60_000;
/** What is younger than this was renewed because of the same refusal. */
const youngMs = 5_000;
/** That what was had is not there any more, or may not be had by anybody: it is not held on to. */
const takenAway: ReadonlySet<FaultCode> = new Set(['AUTH_MISSING', 'NOT_SUPPORTED', 'MANIFEST_INVALID']);

interface Entry<T> {
  lent: Lent<T> | undefined;
  fetchedAt: number;
  usedAt: number;
  flight: Promise<Lent<T>> | undefined;
  fault: Fault | undefined;
  failures: number;
  /** What is held was refused where it was used. */
  refused: boolean;
  /** After a failure nobody is asked until then. */
  notBefore: number;
}

/**
 * Holds what was lent, by key: tokens, credentials and secrets. However many ask, one request is made; the old one
 * is handed out while its renewal fails, as long as it holds; and who fails is left alone for growing pauses.
 */
export class Keeper<T> implements Disposable {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #answerWithinMs: number;
  readonly #patienceMs: number;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #stop = new AbortController();
  #tidyAt = 0;

  /**
   * @param answerWithinMs how long one fetch may take; 10 s unless told
   * @param patienceMs how long a renewal is waited for while there is something to go on with; 3 s unless told
   */
  constructor(clock: Pick<Clock, 'now'>, answerWithinMs = 10_000, patienceMs = 3_000) {
    this.#clock = clock;
    this.#answerWithinMs = answerWithinMs;
    this.#patienceMs = patienceMs;
  }

  /** @throws Fault AUTH_FAILED, what `fetch` throws, or the reason of the asker's signal */
  async get(key: string, ask: Ask<T>): Promise<Lent<T>> {
    const now = this.#clock.now();
    const entry = this.#entry(key, now);
    const { lent } = entry;
    if (lent === undefined || now >= lent.endsAt) return await withSignal(this.#fly(key, entry, ask), ask);
    const doubted = (ask.doubt === true || entry.refused) && now - entry.fetchedAt > youngMs;
    if (now < lent.renewAt && !doubted) return lent;
    if (this.#isLeftAlone(entry)) return lent;
    const renewal = this.#fly(key, entry, ask).catch(thrown => {
      if (thrown instanceof Fault && takenAway.has(thrown.code)) throw thrown;
      return lent;
    });
    if (ask.wait === true || doubted || now >= lent.endsAt - marginMs) {
      return await this.#awaited(renewal, lent, ask);
    }
    // Nobody waits for a renewal that is early.
    renewal.catch(() => undefined);
    return lent;
  }

  /** Forgets what is held, because it turned out to be of no use; not what has come since. */
  drop(key: string, lent: Lent<T>): void {
    const entry = this.#entries.get(key);
    if (entry?.lent === lent) entry.lent = undefined;
  }

  /** Whoever asks next for what this was waits for a new one: it was not accepted where it was used. */
  refused(value: T): void {
    for (const entry of this.#entries.values()) if (entry.lent?.value === value) entry.refused = true;
  }

  /** Ends what is under way. */
  [Symbol.dispose](): void {
    this.#stop.abort(new Fault('CANCELLED', 'the identities were closed'));
    this.#entries.clear();
  }

  #entry(key: string, now: number): Entry<T> {
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.usedAt = now;
      return known;
    }
    this.#tidy(now);
    const entry: Entry<T> = {
      lent: undefined,
      fetchedAt: 0,
      usedAt: now,
      flight: undefined,
      fault: undefined,
      failures: 0,
      refused: false,
      notBefore: 0,
    };
    this.#entries.set(key, entry);
    return entry;
  }

  /** A renewal, or what is held where it takes long. */
  async #awaited(renewal: Promise<Lent<T>>, lent: Lent<T>, ask: Ask<T>): Promise<Lent<T>> {
    using patience = deadline(ask.signal, this.#patienceMs);
    try {
      return await withSignal(renewal, { host: ask.host, signal: patience.signal });
    } catch (thrown) {
      const isLate = patience.signal.aborted && !ask.signal.aborted && this.#clock.now() < lent.endsAt;
      if (isLate) return lent;
      throw thrown;
    }
  }

  #tidy(now: number): void {
    if (now < this.#tidyAt) return;
    this.#tidyAt = now + tidyEveryMs;
    for (const [key, { usedAt, flight }] of this.#entries)
      if (flight === undefined && now - usedAt > unusedMs) this.#entries.delete(key);
  }

  #isLeftAlone(entry: Entry<T>): boolean {
    return entry.fault !== undefined && this.#clock.now() < entry.notBefore;
  }

  #fly(key: string, entry: Entry<T>, ask: Ask<T>): Promise<Lent<T>> {
    if (entry.flight !== undefined) return entry.flight;
    if (entry.fault !== undefined && this.#isLeftAlone(entry)) return Promise.reject(entry.fault);
    entry.flight = this.#renew(key, entry, ask).finally(() => {
      entry.flight = undefined;
    });
    return entry.flight;
  }

  async #renew(key: string, entry: Entry<T>, { fetch }: Ask<T>): Promise<Lent<T>> {
    const { lent } = entry;
    try {
      using limit = deadline(this.#stop.signal, this.#answerWithinMs);
      const fresh = await fetch(limit.signal, lent);
      entry.lent = fresh;
      entry.fetchedAt = this.#clock.now();
      entry.fault = undefined;
      entry.failures = 0;
      entry.refused = false;
      return fresh;
    } catch (thrown) {
      const fault = refusal(thrown);
      if (takenAway.has(fault.code)) {
        // It may be mended at any moment, and asking costs no more than it did to learn this.
        this.#entries.delete(key);
        throw fault;
      }
      entry.failures += 1;
      entry.fault = fault;
      const pause = fault.retryAfterMs ?? backoffMs(failureBackoff, entry.failures);
      entry.notBefore = this.#clock.now() + Math.min(pause, longestPauseMs);
      throw fault;
    }
  }
}

/** What a provider of credentials does wrong is no fault of the source that they are for. */
function refusal(thrown: unknown): Fault {
  const fault = faultOf(thrown, 'AUTH_FAILED');
  if (!fault.code.startsWith('SOURCE_')) return fault;
  const { retryAfterMs } = fault;
  return new Fault('AUTH_FAILED', fault.message, {
    cause: fault,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** Waits for work that others share: giving up alone does not end it. */
function withSignal<T>(
  work: Promise<T>,
  { host, signal }: { host: string; signal: AbortSignal },
): Promise<T> {
  return new Promise((resolve, reject) => {
    const give = () => reject(networkFault(signal.reason, host, signal));
    if (signal.aborted) give();
    signal.addEventListener('abort', give, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', give));
  });
}

/** Renewed this long before the end, or at three quarters of its life where that is later. */
const renewBeforeMs = 5 * 60_000;

/**
 * The times of something that was asked for at `askedAt` (epoch milliseconds) and lives for `lifeMs`: renewed five
 * minutes before the end, or at three quarters of its life where that is later.
 */
export function lentFor<T>(value: T, askedAt: number, lifeMs: number): Lent<T> {
  return {
    value,
    renewAt: askedAt + Math.max(lifeMs - renewBeforeMs, lifeMs * 0.75),
    endsAt: askedAt + lifeMs,
  };
}
