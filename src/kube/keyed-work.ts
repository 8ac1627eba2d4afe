import { setMaxListeners } from 'node:events';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { type Backoff, backoffMs } from '../base/retry.ts';

export interface KeyedWorkOptions {
  clock: Clock;
  /** Does what is to be done for a key; whatever it finds then, older wishes are forgotten. What it throws is tried again. */
  work(key: string, signal: AbortSignal): Promise<void>;
  /** Told of every failure; `failures` is how many there were in a row. */
  onFault?(key: string, fault: Fault, failures: number): void;
  /** The least time between the beginnings of two works for one key, in milliseconds; none unless given. */
  spacingMs?: number;
  backoff?: Backoff;
  random?: () => number;
}

/** Work by key: one at a time for each, made one where it was asked for many times meanwhile, tried until it is done. */
export interface KeyedWork extends AsyncDisposable {
  /** Has the key worked on, at once or as soon as that is possible. */
  ask(key: string): void;
  /** Forgets what was asked for; what is under way goes on. */
  drop(key: string): void;
  /** Begins what waits for its time now. @returns once nothing is under way or waits; failures are not tried again */
  flush(): Promise<void>;
}

interface Slot {
  /** Monotonic. */
  begunAt: number;
  running: Promise<void> | undefined;
  again: boolean;
  failures: number;
  /** When to begin, monotonic; undefined where nothing waits. */
  due: number | undefined;
}

const usual: Backoff = { firstMs: 500, maxMs: 30_000 };
/** What falls due within this time is begun together, in milliseconds. */
const togetherMs = 20;

/** Starts without anything to do. Disposing it waits for what is under way, whose signal is aborted. */
export function keyedWork(options: KeyedWorkOptions): KeyedWork {
  const { clock, work, onFault, spacingMs = 0, backoff = usual, random = Math.random } = options;
  const stop = new AbortController();
  // Every call under way listens to it.
  setMaxListeners(0, stop.signal);
  const slots = new Map<string, Slot>();
  /** Those that have a due time. */
  const waiting = new Map<string, Slot>();
  let timer: Disposable | undefined;
  let timerDue = Number.POSITIVE_INFINITY;
  let flushing = false;

  function begin(key: string, slot: Slot): void {
    waiting.delete(key);
    slot.due = undefined;
    slot.again = false;
    slot.begunAt = clock.elapsed();
    slot.running = work(key, stop.signal)
      .then(
        () => {
          slot.failures = 0;
        },
        thrown => {
          slot.failures += 1;
          if (stop.signal.aborted) return;
          onFault?.(key, faultOf(thrown), slot.failures);
          if (!flushing) wait(key, slot, backoffMs(backoff, slot.failures, random));
        },
      )
      .then(() => {
        slot.running = undefined;
        if (stop.signal.aborted) return;
        if (slot.again && slot.due === undefined) askFor(key, slot);
        else if (slot.due === undefined) rest(key, slot);
      });
  }

  /** A key that nothing happens to needs no slot, once its spacing is over. */
  function rest(key: string, slot: Slot): void {
    if (spacingMs === 0) slots.delete(key);
    else wait(key, slot, spacingMs);
  }

  function askFor(key: string, slot: Slot): void {
    const pause = flushing ? 0 : slot.begunAt + spacingMs - clock.elapsed();
    if (pause <= 0) begin(key, slot);
    else {
      slot.again = true;
      wait(key, slot, pause);
    }
  }

  function wait(key: string, slot: Slot, ms: number): void {
    const due = clock.elapsed() + ms;
    slot.due = due;
    waiting.set(key, slot);
    if (due < timerDue) arm(due);
  }

  function arm(due: number): void {
    timer?.[Symbol.dispose]();
    timerDue = due;
    timer = due === Number.POSITIVE_INFINITY ? undefined : clock.after(due - clock.elapsed(), fire);
  }

  function fire(): void {
    const until = clock.elapsed() + togetherMs;
    let next = Number.POSITIVE_INFINITY;
    timerDue = next;
    for (const [key, slot] of [...waiting]) {
      const { due = until } = slot;
      if (due > until) next = Math.min(next, due);
      else if (slot.again || slot.failures > 0) begin(key, slot);
      else {
        waiting.delete(key);
        slots.delete(key);
      }
    }
    arm(Math.min(next, timerDue));
  }

  return {
    ask(key) {
      if (stop.signal.aborted) return;
      const known = slots.get(key);
      const slot = known ?? {
        begunAt: Number.NEGATIVE_INFINITY,
        running: undefined,
        again: false,
        failures: 0,
        due: undefined,
      };
      slots.set(key, slot);
      if (slot.running !== undefined) slot.again = true;
      // A failure is tried again in its own time, which asking does not shorten.
      else if (slot.failures > 0 && slot.due !== undefined) slot.again = true;
      else askFor(key, slot);
    },
    drop(key) {
      const slot = slots.get(key);
      if (slot === undefined) return;
      waiting.delete(key);
      slot.again = false;
      slot.due = undefined;
      slot.failures = 0;
      if (slot.running === undefined) slots.delete(key);
    },
    async flush() {
      flushing = true;
      try {
        for (const [key, slot] of [...waiting]) {
          if (slot.running === undefined && (slot.again || slot.failures > 0)) begin(key, slot);
        }
        for (;;) {
          const running = [...slots.values()].flatMap(slot => slot.running ?? []);
          if (running.length === 0) return;
          await Promise.all(running);
        }
      } finally {
        flushing = false;
      }
    },
    async [Symbol.asyncDispose]() {
      timer?.[Symbol.dispose]();
      stop.abort(new Fault('CANCELLED', 'the work was stopped'));
      waiting.clear();
      await Promise.all([...slots.values()].map(slot => slot.running));
      slots.clear();
    },
  };
}
