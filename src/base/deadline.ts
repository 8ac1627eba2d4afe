import { Fault } from './errors.ts';

/** A signal with an end; disposing it frees its timer and its listener on the parent. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
}

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
    ms,
  );
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      parent?.removeEventListener('abort', follow);
    },
  };
}
