import type { Clock } from '../base/clock.ts';

/** Wakes one who waits before its time. */
export interface Alarm {
  /** Nobody waiting: the next one does not. */
  ring(): void;
  /** Ends after `ms`, when it rings, or when the signal is aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

/** For a single loop that waits for a time or for news, whichever comes first. */
export function alarm(clock: Clock): Alarm {
  let wake: (() => void) | undefined;
  let rung = false;
  return {
    ring() {
      if (wake === undefined) rung = true;
      else wake();
    },
    wait(ms, signal) {
      return new Promise(resolve => {
        const over = () => {
          wake = undefined;
          rung = false;
          timer?.[Symbol.dispose]();
          signal.removeEventListener('abort', over);
          resolve();
        };
        let timer: Disposable | undefined;
        if (rung || signal.aborted) return over();
        wake = over;
        timer = clock.after(ms, over);
        signal.addEventListener('abort', over, { once: true });
      });
    },
  };
}
