import { Fault } from './errors.ts';

/** A signal with an end; disposing it frees its timer and its listener on the parent. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
}

/** Longer ones Node would let end at once. */
const longestMs = 2 ** 31 - 1;

/**
 * A signal that is aborted when `parent` is, or after `ms`, whichever comes first. Unlike `AbortSignal.any`
 * it leaves nothing behind on a parent that outlives ten thousand reads.
 */
export function deadline(parent: AbortSignal | undefined, ms: number): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(parent?.reason);
  if (parent?.aborted) follow();
  parent?.addEventListener('abort', follow, { once: true });
  const timer = setTimeout(
    () => controller.abort(new Fault('SOURCE_TIMEOUT', `no answer within ${ms} ms`)),
    Math.min(ms, longestMs),
  );
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      parent?.removeEventListener('abort', follow);
    },
  };
}

/** How long work may take to end by itself after its signal was aborted, in milliseconds. */
const graceMs = 100;

/**
 * What `work` comes to, or the signal's reason soon after it was aborted: a client that does not listen to its
 * signal holds up nobody, and one that does may say in its own words what it was waiting for.
 */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    let grace: NodeJS.Timeout | undefined;
    const late = () => {
      grace = setTimeout(() => reject(signal.reason), graceMs);
    };
    const over = () => {
      signal.removeEventListener('abort', late);
      clearTimeout(grace);
    };
    if (signal.aborted) late();
    else signal.addEventListener('abort', late, { once: true });
    work.then(
      value => {
        over();
        resolve(value);
      },
      thrown => {
        over();
        reject(thrown);
      },
    );
  });
}
