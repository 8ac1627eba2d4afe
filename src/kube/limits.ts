import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';

/** A signal of our own that follows the caller's; disposing it frees its timer and its listener. */
export interface Limit extends Disposable {
  readonly signal: AbortSignal;
}

interface LimitOptions {
  signal: AbortSignal;
  /** What is being done, for people: `patch Deployment shop/web`. */
  doing: string;
}

/** Ends a call that has taken `ms`, with KUBE_UNREACHABLE. */
export function callDeadline(clock: Clock, options: LimitOptions & { ms: number }): Limit {
  const { controller, unfollow } = following(options.signal);
  const timer = clock.after(options.ms, () =>
    controller.abort(
      new Fault(
        'KUBE_UNREACHABLE',
        `cannot ${options.doing}: no answer within ${Math.round(options.ms / 100) / 10} s`,
      ),
    ),
  );
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      timer[Symbol.dispose]();
      unfollow();
    },
  };
}

/**
 * The API server sends a bookmark about once a minute on a watch where nothing happens. After one and a half of
 * them nobody is there any more, or this kind has no bookmarks, and then beginning anew costs one request.
 */
const longestSilenceMs = 90_000;

/** Ends a watch on which nothing was heard for too long, with KUBE_UNREACHABLE. */
export function silenceGuard(clock: Clock, options: LimitOptions): Limit & { heard(): void } {
  const { controller, unfollow } = following(options.signal);
  let heardAt = clock.elapsed();
  let timer: Disposable;
  // One timer that looks when something was last heard, rather than a new one with each chunk.
  const look = () => {
    const left = heardAt + longestSilenceMs - clock.elapsed();
    if (left > 0) {
      timer = clock.after(left, look);
      return;
    }
    const silence = `nothing came for ${longestSilenceMs / 1000} s`;
    controller.abort(new Fault('KUBE_UNREACHABLE', `cannot ${options.doing}: ${silence}`));
  };
  timer = clock.after(longestSilenceMs, look);
  return {
    signal: controller.signal,
    heard() {
      heardAt = clock.elapsed();
    },
    [Symbol.dispose]() {
      timer[Symbol.dispose]();
      unfollow();
    },
  };
}

function following(parent: AbortSignal) {
  const controller = new AbortController();
  const follow = () => controller.abort(parent.reason);
  if (parent.aborted) follow();
  else parent.addEventListener('abort', follow, { once: true });
  return { controller, unfollow: () => parent.removeEventListener('abort', follow) };
}
