/**
 * Where time comes from. `now` is wall-clock time in epoch milliseconds and may jump; `elapsed` is monotonic
 * milliseconds since an arbitrary start and never does: schedule by `elapsed`, record and compare by `now`.
 */
export interface Clock {
  now(): number;
  elapsed(): number;
  /** Runs `fire` once after `ms`; disposing the result cancels it. */
  after(ms: number, fire: () => void): Disposable;
}

const longestTimerMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(ms, fire) {
    const timer = setTimeout(fire, Math.min(Math.max(0, ms), longestTimerMs));
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** Resolves after `ms`, or rejects with the signal's reason as soon as it is aborted. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      timer[Symbol.dispose]();
      reject(signal?.reason);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', stop);
      resolve();
    });
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** A clock that moves only when told to. Timers fire in order of their due time while it advances. */
export interface ManualClock extends Clock {
  /** Moves time forward, firing what falls due, and lets promises settle between timers. */
  advance(ms: number): Promise<void>;
  /** Moves the wall clock alone, as an administrator or a time server would. */
  jump(ms: number): void;
}

/** @param start the wall-clock time to begin at, in epoch milliseconds */
export function manualClock(start = Date.UTC(2026, 0, 1)): ManualClock {
  let passed = 0;
  let wall = start;
  const timers = new Set<{ due: number; fire: () => void }>();
  const settle = () => new Promise<void>(resolve => setImmediate(resolve));
  return {
    now: () => wall + passed,
    elapsed: () => passed,
    after(ms, fire) {
      const timer = { due: passed + Math.max(0, ms), fire };
      timers.add(timer);
      return { [Symbol.dispose]: () => void timers.delete(timer) };
    },
    jump(ms) {
      wall += ms;
    },
    async advance(ms) {
      const end = passed + ms;
      await settle();
      for (;;) {
        const next = [...timers].filter(t => t.due <= end).sort((a, b) => a.due - b.due)[0];
        if (next === undefined) break;
        timers.delete(next);
        passed = Math.max(passed, next.due);
        next.fire();
        await settle();
      }
      passed = end;
      await settle();
    },
  };
}
