import type { Clock } from '../base/clock.ts';
import type { KubeObject } from './objects.ts';

/** A record as client-go writes it. Times have microseconds. */
export interface Lease extends KubeObject {
  spec?: LeaseSpec;
}

export interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}

/** Empty where nobody holds it. */
export const holderOf = (lease: Lease | undefined): string => lease?.spec?.holderIdentity ?? '';

/**
 * What the holder writes, to take a lease and to renew it.
 *
 * @param now epoch milliseconds
 */
export function heldBy(
  identity: string,
  { previous, durationMs, now }: { previous: Lease | undefined; durationMs: number; now: number },
): LeaseSpec {
  const renewTime = microTime(now);
  const ours = previous !== undefined && holderOf(previous) === identity;
  const transitions = previous?.spec?.leaseTransitions ?? 0;
  return {
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(durationMs / 1000),
    acquireTime: (ours ? previous.spec?.acquireTime : undefined) ?? renewTime,
    renewTime,
    leaseTransitions: transitions + (ours || previous === undefined ? 0 : 1),
  };
}

/**
 * What a holder leaves behind that hands over, as client-go writes it: no name, and a duration too short for
 * anybody to wait for.
 *
 * @param now epoch milliseconds
 */
export function handedOver(now: number): LeaseSpec {
  const time = microTime(now);
  return { holderIdentity: '', leaseDurationSeconds: 1, acquireTime: time, renewTime: time };
}

const microTime = (now: number) => new Date(now).toISOString().replace('Z', '000Z');

/** The lease as it was last seen, and since when it has been so. */
export interface SeenLease {
  readonly lease: Lease | undefined;
  /** How long others than the holder have to wait for it still, in milliseconds. */
  readonly leftMs: number;
  observe(lease: Lease): void;
}

/**
 * The times in a record are for people, because clocks differ and jump: a holder is alive for the duration after
 * we saw its record change, on our monotonic clock.
 */
export function seenLease(clock: Clock): SeenLease {
  let lease: Lease | undefined;
  let changedAt = 0;
  return {
    get lease() {
      return lease;
    },
    get leftMs() {
      if (holderOf(lease) === '') return 0;
      return Math.max(0, changedAt + (lease?.spec?.leaseDurationSeconds ?? 0) * 1000 - clock.elapsed());
    },
    observe(next) {
      // Not the version of the object, which anybody's label changes.
      if (lease === undefined || !isSame(lease.spec, next.spec)) changedAt = clock.elapsed();
      lease = next;
    },
  };
}

function isSame(a: LeaseSpec = {}, b: LeaseSpec = {}): boolean {
  return (
    a.holderIdentity === b.holderIdentity &&
    a.renewTime === b.renewTime &&
    a.acquireTime === b.acquireTime &&
    a.leaseTransitions === b.leaseTransitions
  );
}
