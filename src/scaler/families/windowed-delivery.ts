import type { ReadContext } from '../context.ts';
import type { Claim, Delivery, Receipt } from '../delivery.ts';

/** A queue that knows by itself who holds what, because its source does not. All throw the source's Faults. */
export interface WindowedQueue<Place, At> {
  /** @param wish how many at most, and until when they are held, in epoch milliseconds */
  claim(wish: { most: number; until: number }, at: At): Promise<Claim[]>;
  hold(place: Place, until: number, at: At): Promise<void>;
  release(place: Place, notBefore: number, at: At): Promise<void>;
  finish(place: Place, at: At): Promise<void>;
}

/**
 * What delivery does with such a queue, but for dead letters, which each source keeps in its own way.
 *
 * @param placeOf reads a receipt. @throws Fault MESSAGE_LOST where it is none
 */
export function windowedDelivery<P, C, Place>({
  lockMs,
  queueOf,
  placeOf,
}: {
  lockMs: number;
  queueOf(params: P, context: ReadContext<C>): WindowedQueue<Place, ReadContext<C>>;
  placeOf(receipt: Receipt): Place;
}): Pick<Delivery<P, C>, 'lockMs' | 'claim' | 'extend' | 'acknowledge' | 'release'> {
  return {
    lockMs,
    async claim(params, context, most) {
      if (most <= 0) return [];
      return await queueOf(params, context).claim({ most, until: context.now + lockMs }, context);
    },
    async extend(params, context, receipt) {
      const lockedUntil = context.now + lockMs;
      await queueOf(params, context).hold(placeOf(receipt), lockedUntil, context);
      return { receipt, lockedUntil };
    },
    async acknowledge(params, context, receipt) {
      await queueOf(params, context).finish(placeOf(receipt), context);
    },
    async release(params, context, receipt, delayMs) {
      await queueOf(params, context).release(placeOf(receipt), context.now + delayMs, context);
    },
  };
}
