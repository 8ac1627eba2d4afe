import type { Clock } from '../../base/clock.ts';

interface Item {
  /** On the monotonic clock. */
  due: number;
  run: () => void;
  /** Where it is in the heap; -1 once it is not. */
  place: number;
}

/** Things to do later, however many, on one timer. */
export interface Agenda extends Disposable {
  /** Runs `run` once after `ms`; disposing the result cancels it at once and leaves nothing behind. */
  after(ms: number, run: () => void): Disposable;
  readonly size: number;
}

/** A binary heap by due time. After it was disposed nothing runs any more. */
export function agenda(clock: Clock): Agenda {
  const heap: Item[] = [];
  let timer: { due: number; handle: Disposable } | undefined;
  let closed = false;

  const put = (item: Item, place: number) => {
    heap[place] = item;
    item.place = place;
  };

  function rise(item: Item): void {
    let place = item.place;
    while (place > 0) {
      const above = heap[(place - 1) >> 1] as Item;
      if (above.due <= item.due) break;
      put(above, place);
      place = (place - 1) >> 1;
    }
    put(item, place);
  }

  function sink(item: Item): void {
    let place = item.place;
    for (;;) {
      const left = heap[2 * place + 1];
      const right = heap[2 * place + 2];
      const below = right !== undefined && left !== undefined && right.due < left.due ? right : left;
      if (below === undefined || below.due >= item.due) break;
      const next = below.place;
      put(below, place);
      place = next;
    }
    put(item, place);
  }

  function remove(item: Item): void {
    if (item.place < 0) return;
    const place = item.place;
    item.place = -1;
    const last = heap.pop();
    if (last === undefined || last === item) return;
    put(last, place);
    rise(last);
    sink(last);
  }

  function arm(): void {
    const due = heap[0]?.due;
    // A timer that is early is left: it looks again, which is cheaper than a new timer for every cancellation.
    if (due === undefined || closed || (timer !== undefined && timer.due <= due)) return;
    timer?.handle[Symbol.dispose]();
    timer = { due, handle: clock.after(due - clock.elapsed(), fire) };
  }

  function fire(): void {
    timer = undefined;
    const now = clock.elapsed();
    for (let item = heap[0]; item !== undefined && item.due <= now && !closed; item = heap[0]) {
      remove(item);
      item.run();
    }
    arm();
  }

  return {
    after(ms, run) {
      const item: Item = { due: clock.elapsed() + ms, run, place: heap.length };
      if (!closed) {
        heap.push(item);
        rise(item);
        arm();
      }
      return { [Symbol.dispose]: () => remove(item) };
    },
    get size() {
      return heap.length;
    },
    [Symbol.dispose]() {
      closed = true;
      heap.length = 0;
      timer?.handle[Symbol.dispose]();
      timer = undefined;
    },
  };
}
