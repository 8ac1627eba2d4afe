import type { Clock } from '../../base/clock.ts';
import { type Due, DueHeap } from '../due-heap.ts';

/** Things to do later, however many, on one timer. */
export interface Agenda extends Disposable {
  /** Runs `run` once after `ms`; disposing the result cancels it at once and leaves nothing behind. */
  after(ms: number, run: () => void): Disposable;
  readonly size: number;
}

interface Item extends Due {
  run: () => void;
}

/** An empty agenda. After it was disposed nothing runs any more, whatever is added. */
export function agenda(clock: Clock): Agenda {
  const heap = new DueHeap<Item>();
  let timer: { due: number; handle: Disposable } | undefined;
  let closed = false;

  function arm(): void {
    const due = heap.first()?.due;
    // A timer that is early is left: it looks again, which is cheaper than a new timer for every cancellation.
    if (due === undefined || closed || (timer !== undefined && timer.due <= due)) return;
    timer?.handle[Symbol.dispose]();
    timer = { due, handle: clock.after(due - clock.elapsed(), fire) };
  }

  function fire(): void {
    timer = undefined;
    const now = clock.elapsed();
    for (let item = heap.first(); item !== undefined && item.due <= now && !closed; item = heap.first()) {
      heap.delete(item);
      item.run();
    }
    arm();
  }

  return {
    after(ms, run) {
      const item: Item = { due: 0, place: -1, run };
      if (!closed) heap.set(item, clock.elapsed() + ms);
      arm();
      return { [Symbol.dispose]: () => heap.delete(item) };
    },
    get size() {
      return heap.size;
    },
    [Symbol.dispose]() {
      closed = true;
      timer?.handle[Symbol.dispose]();
      timer = undefined;
    },
  };
}
