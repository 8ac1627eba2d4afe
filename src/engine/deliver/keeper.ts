import type { Clock } from '../../base/clock.ts';
import { deadline } from '../../base/deadline.ts';
import { type Fault, faultOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { type Backoff, backoffMs } from '../../base/retry.ts';
import type { Claim } from '../../scaler/delivery.ts';
import type { ScaledJob } from '../../spec/workload.ts';
import type { World } from '../ports.ts';
import type { Agenda } from './agenda.ts';
import { gate } from './gate.ts';
import { type HeldMessage, type HeldTask, keepMs, type Ledger, taskOf } from './ledger.ts';
import { callMs, claimLeft } from './outlet.ts';
import {
  hasSucceeded,
  type MessageAction,
  type MessageEvent,
  type Step,
  settlementOf,
  step,
} from './task-state.ts';

/** The pause after a failed attempt, doubled with every further one: 5 to 10 s at first, at most 10 minutes. */
const releaseBackoff: Backoff = { firstMs: 10_000, maxMs: 600_000 };
/** After a source did not take a settlement, or the world a record. */
const settleBackoff: Backoff = { firstMs: 500, maxMs: 60_000 };
const recordBackoff: Backoff = { firstMs: 500, maxMs: 60_000 };

/** Before an extension looks again whether the call in front of it has ended. */
const busyMs = 1000;

/**
 * Calls at once per workload. Settling takes only a part of a connection's eight lanes: what fills free slots must
 * not wait behind it. Extensions have a gate of their own, so that settling never holds them up either.
 */
const settlementsAtOnce = 4;
const extensionsAtOnce = 16;
const recordsAtOnce = 32;

export interface KeeperContext {
  workload: ScaledJob;
  maxAttempts: number;
  world: World;
  clock: Clock;
  log: Log;
  random: () => number;
  ledger: Ledger;
  agenda: Agenda;
  stop: AbortSignal;
  /** Notes work under way, so that shutting down can wait for it. */
  track(work: Promise<void>): void;
  /** A claim that begins an attempt. */
  attempt(message: HeldMessage, claim: Claim): void;
  /** The Job of a message could not be created. */
  createLater(task: HeldTask): void;
  /** All messages of a Job are settled, and that is kept with it. */
  settled(task: HeldTask): void;
  /** There is no Job (any more) and nothing left to do for its messages: it was forgotten. */
  over(task: HeldTask): void;
}

/** Carries out what the state machine asks for: holds claims, settles them and keeps the record. */
export interface Keeper {
  tell(message: HeldMessage, event: MessageEvent): void;
  /** A message that we know was handed out again. */
  handBack(message: HeldMessage, claim: Claim): void;
  /** Takes a step that was worked out elsewhere. */
  take(message: HeldMessage, step: Step): void;
  /** Forgets a Job that is gone, once nothing is left to do for its messages. */
  forgetIfOver(task: HeldTask): void;
  isLast(message: HeldMessage): boolean;
  /** When to extend a claim that was made or extended just now, on the monotonic clock. */
  extendAt(message: Pick<HeldMessage, 'outlet'>, lockedUntil: number): number;
}

/** Makes a keeper; it does nothing by itself. */
export function messageKeeper(context: KeeperContext): Keeper {
  const { workload, world, clock, log, random, ledger, agenda, stop } = context;
  const settling = gate(settlementsAtOnce);
  const extending = gate(extensionsAtOnce);
  const recording = gate(recordsAtOnce);

  function later(message: HeldMessage, ms: number, run: () => void): void {
    message.later?.[Symbol.dispose]();
    message.later = agenda.after(ms, run);
  }

  const tell = (message: HeldMessage, event: MessageEvent) => take(message, step(message.state, event));

  function take(message: HeldMessage, [state, ...actions]: Step, claim?: Claim): void {
    if (state !== message.state) message.failures = 0;
    message.state = state;
    if (hasSucceeded(state) || settlementOf(state) !== undefined) message.body = undefined;
    for (const action of actions) acts[action](message, claim);
  }

  const acts: Record<MessageAction, (message: HeldMessage, claim: Claim | undefined) => void> = {
    hold: message => later(message, message.extendAt - clock.elapsed(), () => context.track(extend(message))),
    extend: message => context.track(extend(message)),
    'extend-later': message => later(message, extendPause(message), () => context.track(extend(message))),
    'create-later': ({ task }) => task && context.createLater(task),
    settle(message) {
      message.later?.[Symbol.dispose]();
      context.track(settle(message));
    },
    'settle-later': message =>
      later(message, backoffMs(settleBackoff, message.failures, random), () =>
        context.track(settle(message)),
      ),
    record: ({ task }) => task && record(task),
    await: message => later(message, keepMs, () => tell(message, 'expired')),
    attempt: (message, claim) => claim && context.attempt(message, claim),
    forget(message) {
      message.later?.[Symbol.dispose]();
      ledger.forgetMessage(message);
      if (message.task !== undefined) forgetIfOver(message.task);
    },
  };

  function extendPause(message: HeldMessage): number {
    const maxMs = (message.outlet?.lockMs ?? 0) / 4;
    return backoffMs({ firstMs: Math.min(1000, maxMs), maxMs }, message.failures, random);
  }

  /** Makes a call with the receipt of a message, one at a time; an answer about an older receipt is dropped. */
  async function call(
    message: HeldMessage,
    failed: 'extend-failed' | 'settle-failed',
    work: () => Promise<MessageEvent>,
  ): Promise<void> {
    message.busy = true;
    const { receipt, state } = message;
    let event: MessageEvent;
    try {
      event = await work();
    } catch (thrown) {
      event = failure(message, failed, faultOf(thrown, 'SOURCE_FAILED'));
    } finally {
      message.busy = false;
    }
    const current = message.receipt === receipt && (message.state === state || event === 'lost');
    if (current || event === 'extended') tell(message, event);
    if (message.settleNext) {
      message.settleNext = false;
      await settle(message);
    }
  }

  function failure(
    message: HeldMessage,
    failed: 'extend-failed' | 'settle-failed',
    fault: Fault,
  ): MessageEvent {
    const facts = { message: message.id, job: message.task?.name, fault };
    if (fault.code === 'MESSAGE_LOST') {
      log.info('claim was lost, the source will hand the message out again', facts);
      return 'lost';
    }
    message.failures += 1;
    if (!stop.aborted) {
      const what =
        failed === 'settle-failed' ? 'message cannot be settled now' : 'claim cannot be extended now';
      log.warn(what, facts);
    }
    return failed;
  }

  async function extend(message: HeldMessage): Promise<void> {
    if (message.busy) later(message, busyMs, () => context.track(extend(message)));
    else await call(message, 'extend-failed', () => extending(() => extendNow(message)));
  }

  async function extendNow(message: HeldMessage): Promise<MessageEvent> {
    const { outlet, receipt, state } = message;
    // What was settled while this waited for its turn needs no extension.
    if (outlet === undefined || (state !== 'creating' && state !== 'running')) return 'extended';
    const extended = await outlet.extend(receipt);
    // It came back meanwhile, and the newer receipt is the one that counts.
    if (message.receipt !== receipt) return 'extend-failed';
    message.receipt = extended.receipt;
    message.extendAt = extendAt(message, extended.lockedUntil);
    message.failures = 0;
    return 'extended';
  }

  function extendAt({ outlet }: Pick<HeldMessage, 'outlet'>, lockedUntil: number): number {
    if (outlet === undefined) return Number.POSITIVE_INFINITY;
    return clock.elapsed() + claimLeft(outlet, lockedUntil, clock) * (0.4 + 0.2 * random());
  }

  async function settle(message: HeldMessage): Promise<void> {
    if (message.busy) {
      message.settleNext = true;
      return;
    }
    await call(message, 'settle-failed', () => settling(() => settleNow(message)));
  }

  async function settleNow(message: HeldMessage): Promise<MessageEvent> {
    const { outlet, receipt, state, attempt, task } = message;
    if (outlet === undefined) return 'lost';
    switch (state) {
      case 'acknowledging':
        await outlet.acknowledge(receipt);
        break;
      case 'releasing': {
        const delayMs = Math.round(backoffMs(releaseBackoff, ledger.tryOf(message), random));
        await outlet.release(receipt, delayMs);
        log.info('job failed, its message is tried again later', { job: task?.name, attempt, delayMs });
        break;
      }
      case 'giving-back':
        await outlet.release(receipt, 0);
        break;
      case 'dead-lettering': {
        const why = `the Job failed ${ledger.tryOf(message)} times, which is all that maxAttempts allows`;
        await outlet.deadLetter({
          receipt,
          body: message.body,
          messageId: message.id,
          attempts: ledger.tryOf(message),
          why,
        });
        log.warn('message was dead-lettered', { message: message.id, job: task?.name, attempts: attempt });
        break;
      }
      default:
        break;
    }
    return 'settled';
  }

  function forgetIfOver(task: HeldTask): void {
    if (task.job !== 'none' && task.job !== 'deleted') return;
    if (!task.messages.every(({ state }) => state === 'forgotten' || settlementOf(state) !== undefined))
      return;
    for (const message of task.messages) ledger.forgetMessage(message);
    ledger.forgetTask(task);
    task.later?.[Symbol.dispose]();
    context.over(task);
  }

  function record(task: HeldTask): void {
    if (task.job === 'deleted') forgetIfOver(task);
    if (task.job === 'none' || task.job === 'deleted' || task.recording) return;
    task.recording = true;
    context.track(write(task));
  }

  async function write(task: HeldTask): Promise<void> {
    task.later?.[Symbol.dispose]();
    try {
      for (let data = taskOf(task); JSON.stringify(data) !== task.recorded; data = taskOf(task)) {
        await recording(async () => {
          using limit = deadline(stop, callMs);
          await world.updateTask(workload, task.name, data, limit.signal);
        });
        task.recorded = JSON.stringify(data);
        task.failures = 0;
        if (data.settled !== undefined) context.settled(task);
      }
    } catch (thrown) {
      if (task.job === 'deleted') return;
      task.failures += 1;
      if (!stop.aborted) {
        log.warn('task data cannot be kept with its job now', { job: task.name, fault: faultOf(thrown) });
      }
      task.later = agenda.after(backoffMs(recordBackoff, task.failures, random), () => record(task));
    } finally {
      task.recording = false;
    }
  }

  const isLast = (message: HeldMessage) => ledger.tryOf(message) >= context.maxAttempts;

  return {
    tell,
    take,
    forgetIfOver,
    isLast,
    extendAt,
    handBack(message, claim) {
      const last = message.state !== 'dead-lettered' && isLast(message);
      message.receipt = claim.receipt;
      message.extendAt = extendAt(message, claim.lockedUntil);
      if (last) message.body = claim.body;
      take(message, step(message.state, last ? 'returned-last' : 'returned'), claim);
    },
  };
}
