import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Urgency } from './client.ts';

/** Lets a bounded number of requests be under way, and the rest wait in order of urgency. */
export interface Lanes {
  /**
   * Waits for a turn; disposing what is returned gives it back.
   *
   * @throws the signal's reason; Fault KUBE_UNREACHABLE where the turn does not come in time
   */
  enter(urgency: Urgency, signal: AbortSignal): Promise<Disposable>;
}

interface Waiting {
  start(): void;
}

const order: readonly Urgency[] = ['lease', 'scale', 'job', 'autoscaler', 'object', 'status', 'event'];

/** Turns that only scaling may use, so that no replica waits behind a webhook that takes its time. */
const keptForScaling = 2;

/**
 * Longer than any burst takes, short enough that nothing is written long after it was decided: a server that
 * answers nothing holds each turn until its deadline.
 */
const longestWaitMs = 60_000;

/**
 * @param width how many may be under way at once. Lease writes do not count and never wait: a renewal that is late
 * costs the leadership.
 */
export function writeLanes(width: number, clock: Clock): Lanes {
  const queues = new Map<Urgency, Set<Waiting>>(order.map(urgency => [urgency, new Set<Waiting>()]));
  let busy = 0;
  const hasRoom = (urgency: Urgency) => busy < (urgency === 'scale' ? width : width - keptForScaling);

  const turn = (): Disposable => {
    busy += 1;
    let over = false;
    return {
      [Symbol.dispose]() {
        if (over) return;
        over = true;
        busy -= 1;
        startNext();
      },
    };
  };

  const startNext = () => {
    for (const urgency of order) {
      for (const waiting of queues.get(urgency) ?? []) {
        if (!hasRoom(urgency)) return;
        waiting.start();
      }
    }
  };

  return {
    async enter(urgency, signal) {
      if (signal.aborted) throw signal.reason;
      if (urgency === 'lease') return { [Symbol.dispose]() {} };
      const queue = queues.get(urgency) ?? new Set();
      if (queue.size === 0 && hasRoom(urgency)) return turn();
      return await waitForTurn(queue, { turn, clock, signal });
    },
  };
}

/** Reads wait in the order they came. */
export function readLanes(width: number, clock: Clock): Pick<Lanes, 'enter'> {
  const lanes = writeLanes(width + keptForScaling, clock);
  return { enter: (urgency, signal) => lanes.enter(urgency === 'lease' ? 'lease' : 'object', signal) };
}

function waitForTurn(
  queue: Set<Waiting>,
  { turn, clock, signal }: { turn: () => Disposable; clock: Clock; signal: AbortSignal },
): Promise<Disposable> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      queue.delete(waiting);
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', stop);
    };
    const stop = () => {
      leave();
      reject(signal.reason);
    };
    const timer = clock.after(longestWaitMs, () => {
      leave();
      reject(
        new Fault(
          'KUBE_UNREACHABLE',
          `the API server has been too slow: a request waited ${longestWaitMs / 1000} s for its turn`,
        ),
      );
    });
    const waiting: Waiting = {
      start() {
        leave();
        resolve(turn());
      },
    };
    queue.add(waiting);
    signal.addEventListener('abort', stop, { once: true });
  });
}
