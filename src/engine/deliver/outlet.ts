import type { Clock } from '../../base/clock.ts';
import { deadline } from '../../base/deadline.ts';
import { Fault } from '../../base/errors.ts';
import type { BoundRead } from '../../scaler/bind.ts';
import type { ReadContext } from '../../scaler/context.ts';
import type { Claim, DeadMessage, KnownMessage, Receipt } from '../../scaler/delivery.ts';
import type { DeliverySource } from './source.ts';

/** The delivery of one trigger, with its parameters and connection filled in. */
export interface Outlet {
  readonly trigger: BoundRead;
  readonly type: string;
  readonly queueId: string;
  readonly lockMs: number;
  claim(most: number, known: (idPrefix: string) => readonly KnownMessage[]): Promise<Claim[]>;
  extend(receipt: Receipt): Promise<{ receipt: Receipt; lockedUntil: number }>;
  acknowledge(receipt: Receipt): Promise<void>;
  release(receipt: Receipt, delayMs: number): Promise<void>;
  deadLetter(message: DeadMessage): Promise<void>;
}

/** How long one call to a source or to the world may take, in milliseconds. */
export const callMs = 15_000;

/**
 * @param stop aborts every call
 * @throws Fault NOT_SUPPORTED where messages of this trigger type cannot be claimed
 */
export function openOutlet(source: DeliverySource, stop: AbortSignal): Outlet {
  const { trigger } = source;
  const { deliver } = trigger.scaler;
  const type = trigger.trigger.type;
  if (deliver === undefined) {
    throw new Fault('NOT_SUPPORTED', `messages of ${type} cannot be delivered: the source has no claims`);
  }
  type Work<T> = (params: unknown, context: ReadContext<unknown>) => Promise<T>;
  async function call<T>(work: Work<T>): Promise<T> {
    using limit = deadline(stop, callMs);
    // The parameters are asked for anew: credentials may have changed since.
    return await source.use(context => work(source.trigger.params, context), limit.signal);
  }
  return {
    trigger,
    type,
    queueId: deliver.queueId(trigger.params),
    lockMs: deliver.lockMs,
    claim: (most, known) => call((params, context) => deliver.claim(params, context, most, known)),
    extend: receipt => call((params, context) => deliver.extend(params, context, receipt)),
    acknowledge: receipt => call((params, context) => deliver.acknowledge(params, context, receipt)),
    release: (receipt, delayMs) =>
      call((params, context) => deliver.release(params, context, receipt, delayMs)),
    deadLetter: message => call((params, context) => deliver.deadLetter(params, context, message)),
  };
}

/** Time at the source may be set differently from ours: a claim is never taken to end sooner than this. */
const shortestClaimMs = 2000;

/** How much of a claim is left, in milliseconds, by our clock and never more than the source's own period. */
export function claimLeft(outlet: Outlet, lockedUntil: number, clock: Clock): number {
  return Math.min(outlet.lockMs, Math.max(lockedUntil - clock.now(), shortestClaimMs));
}
