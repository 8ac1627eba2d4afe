import { setMaxListeners } from 'node:events';
import type { Clock } from '../../base/clock.ts';
import { Fault, faultOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { Claim } from '../../scaler/delivery.ts';
import type { DeliverySpec, ScaledJob } from '../../spec/workload.ts';
import { takesSlot } from '../job-list.ts';
import type { Job, Task, World } from '../ports.ts';
import { agenda } from './agenda.ts';
import { jobCreation } from './creation.ts';
import { slotFiller } from './fill.ts';
import { messageKey } from './job-name.ts';
import { messageKeeper } from './keeper.ts';
import {
  type HeldMessage,
  type HeldTask,
  heldMessage,
  mayComeBack,
  mustStay,
  openLedger,
  settledOf,
} from './ledger.ts';
import { type Outlet, openOutlet } from './outlet.ts';
import type { DeliverySource } from './source.ts';
import { resumeStep } from './task-state.ts';

export interface DeliveryDeps {
  world: World;
  clock: Clock;
  log: Log;
  /** A number in [0, 1), to spread waits. */
  random?: () => number;
  /** Told of every message that was claimed to begin an attempt. */
  onClaimed?(): void;
  /** Told when all messages of a Job are settled and that is kept with the Job. */
  onSettled?(settlement: Settlement): void;
}

export interface Settlement {
  job: string;
  attempt: number;
  messages: number;
  outcome: NonNullable<Task['settled']>;
}

export interface DeliveryCounts {
  /** Jobs that have not finished, those being created included: what is left of maxReplicaCount is free. */
  unfinished: number;
  /** Messages claimed that wait for a free slot. */
  waiting: number;
  /** Messages whose Job has finished and whose source is being told. */
  settling: number;
  /** Messages whose claim was lost; the source will hand them out again. */
  returning: number;
}

/** The delivery of one ScaledJob's messages, from claim to settlement. */
export interface DeliveryRun extends AsyncDisposable {
  /**
   * Takes up what earlier processes left: extends the claims of Jobs that run, settles the messages of those
   * that finished. To be called once, with all Jobs of the ScaledJob, before the first `fill`.
   */
  resume(jobs: readonly Job[]): void;
  /**
   * Claims messages for the free slots and creates their Jobs, until the slots are filled or no source has a
   * message left. Calls while one is claiming are made one. Faults of sources and of the world are logged and
   * tried again; they are not thrown.
   *
   * @returns the number of Jobs created
   * @throws Fault INTERNAL before `resume`
   */
  fill(signal: AbortSignal): Promise<number>;
  /** A Job of the ScaledJob was created or changed. Call `fill` after one that finished: it made room. */
  jobChanged(job: Job): void;
  /** A Job is gone, by hand or by the history limits. To be told of every one: what is known of it is dropped. */
  jobDeleted(jobName: string): void;
  counts(): DeliveryCounts;
  /**
   * Whether the history limits must spare a Job: its messages are not settled, or the next attempt's number is
   * counted from it (for a day after it failed).
   */
  isProtected(job: Job): boolean;
  /**
   * Stops every timer, gives back the messages that have no Job yet, and waits a few seconds for calls under
   * way. The messages of Jobs that run stay claimed, for the Jobs go on: the next process takes them up, and if
   * there is none the claims end by themselves.
   */
  [Symbol.asyncDispose](): Promise<void>;
}

/** How long shutting down waits for calls under way, in milliseconds. */
const graceMs = 5000;

const defaultSpec: DeliverySpec = { as: 'env', batchSize: 1, maxAttempts: 5 };

/**
 * Starts delivering; nothing is called before `resume` and `fill`.
 *
 * @param sources the triggers whose messages are delivered, each with its connection
 * @throws Fault NOT_SUPPORTED where a trigger's source has no claims
 */
export function startDelivery(
  workload: ScaledJob,
  sources: readonly DeliverySource[],
  deps: DeliveryDeps,
): DeliveryRun {
  const { world, clock, log, random = Math.random } = deps;
  const spec = workload.delivery ?? defaultSpec;
  const stop = new AbortController();
  // Every call under way listens to it, and there may be hundreds.
  setMaxListeners(0, stop.signal);
  const outlets = sources.map(source => openOutlet(source, stop.signal));
  const ledger = openLedger();
  const times = agenda(clock);
  /** Names of the Jobs that take a slot: those being created, and those that have not finished. */
  const unfinished = new Set<string>();
  const underWay = new Set<Promise<unknown>>();
  let resumed = false;
  let closed = false;
  let closing: Promise<void> | undefined;

  function track(work: Promise<unknown>): void {
    const over = () => void underWay.delete(work);
    underWay.add(work);
    work.then(over, over);
  }

  const shared = { workload, world, clock, log, random, ledger, agenda: times, stop: stop.signal, track };
  const keeper = messageKeeper({
    ...shared,
    maxAttempts: spec.maxAttempts,
    attempt: (message, claim) => message.outlet && begin(message.outlet, claim),
    createLater: task => creation.createLater(task),
    over: task => void unfinished.delete(task.name),
    settled(task) {
      const { name: job, attempt, messages } = task;
      const outcome = settledOf(task);
      if (outcome !== undefined) deps.onSettled?.({ job, attempt, messages: messages.length, outcome });
    },
  });
  const creation = jobCreation({ ...shared, spec, keeper, unfinished, closed: () => closed, jobChanged });
  const fill = slotFiller({
    outlets,
    batchSize: spec.batchSize,
    freeSlots: () => workload.maxReplicaCount - unfinished.size,
    closed: () => closed,
    startWaiting: creation.startWaiting,
    async claim(outlet, most) {
      const work = claimFrom(outlet, most);
      track(work);
      return await work;
    },
  });

  async function claimFrom(outlet: Outlet, most: number): Promise<number> {
    try {
      const claims = await outlet.claim(most, prefix => mayComeBack(ledger, outlet, prefix));
      for (const claim of claims) arrived(outlet, claim);
      return claims.length;
    } catch (thrown) {
      const facts = { trigger: outlet.trigger.metricName, fault: faultOf(thrown, 'SOURCE_FAILED') };
      if (!stop.signal.aborted) log.warn('messages cannot be claimed now', facts);
      return 0;
    }
  }

  function arrived(outlet: Outlet, claim: Claim): void {
    const known = ledger.decisive(messageKey(outlet.type, outlet.queueId, claim.messageId));
    if (known === undefined) begin(outlet, claim);
    else keeper.handBack(known, claim);
  }

  function begin(outlet: Outlet, claim: Claim): void {
    const { messageId: id, body, receipt, lockedUntil } = claim;
    const key = messageKey(outlet.type, outlet.queueId, id);
    const attempt = ledger.nextAttempt(key);
    deps.onClaimed?.();
    const extendAt = keeper.extendAt({ outlet }, lockedUntil);
    const times = { extendAt, claimedAt: clock.now(), sentAt: claim.sentAt };
    const message = heldMessage({ id, key, attempt, outlet, receipt, body, ...times });
    ledger.addMessage(message);
    keeper.take(message, ['creating', 'hold']);
    creation.add(message);
  }

  function jobChanged(job: Job): void {
    const finished = isFinished(job);
    const task = ledger.task(job.name) ?? adopt(job);
    if (!takesSlot(job) || task?.job === 'finished' || task?.job === 'deleted') unfinished.delete(job.name);
    else unfinished.add(job.name);
    if (task === undefined || task.job === 'deleted') return;
    creation.isThere(task);
    if (finished) {
      task.job = 'finished';
      task.finishedAt = job.finishedAt ?? clock.now();
    }
    for (const message of task.messages) {
      if (job.state === 'succeeded') keeper.tell(message, 'job-succeeded');
      else if (job.state !== 'failed') keeper.tell(message, 'job-running');
      else keeper.tell(message, keeper.isLast(message) ? 'job-failed-last' : 'job-failed');
    }
  }

  /** Takes on a Job that another process created. */
  function adopt(job: Job): HeldTask | undefined {
    if (job.task === undefined) return undefined;
    const task = enter(job, job.task);
    takeUp(task, job);
    return task;
  }

  function enter(job: Job, kept: Task): HeldTask {
    const { triggerType, queueId, attempt, claimedAt } = kept;
    const outlet = outlets.find(one => one.type === triggerType && one.queueId === queueId);
    const state = kept.settled === 'dead-lettered' ? 'dead-lettered' : 'running-lost';
    const messages = kept.messages.map(({ id, receipt }) => {
      const key = messageKey(triggerType, queueId, id);
      return heldMessage({ id, key, attempt, outlet, receipt, state, claimedAt, extendAt: clock.elapsed() });
    });
    const finished = isFinished(job);
    const task: HeldTask = {
      ...kept,
      name: job.name,
      messages,
      request: undefined,
      job: finished ? 'finished' : 'unfinished',
      finishedAt: finished ? (job.finishedAt ?? clock.now()) : undefined,
      recorded: JSON.stringify(kept),
      recording: false,
      later: undefined,
      failures: 0,
    };
    for (const message of messages) {
      message.task = task;
      ledger.addMessage(message);
    }
    ledger.addTask(task);
    return task;
  }

  /** Goes on with a Job's messages from where its record says they are. Needs the later attempts in the ledger. */
  function takeUp(task: HeldTask, job: Job): void {
    for (const message of task.messages) {
      const claim = message.outlet !== undefined && !ledger.superseded(message);
      const found = { job: job.state, settled: job.task?.settled, last: keeper.isLast(message), claim };
      keeper.take(message, resumeStep(found));
    }
  }

  async function close(): Promise<void> {
    closed = true;
    times[Symbol.dispose]();
    creation.close();
    const quiet = (async () => {
      while (underWay.size > 0) await Promise.allSettled(underWay);
    })();
    await new Promise<void>(resolve => {
      const grace = clock.after(graceMs, resolve);
      void quiet.then(() => {
        grace[Symbol.dispose]();
        resolve();
      });
    });
    stop.abort(new Fault('CANCELLED', 'delivery was stopped'));
  }

  return {
    resume(jobs) {
      resumed = true;
      const entered: [HeldTask, Job][] = [];
      for (const job of jobs) {
        // What the world told of a Job since is newer than the list.
        if (ledger.task(job.name) !== undefined) continue;
        if (takesSlot(job)) unfinished.add(job.name);
        if (job.task !== undefined) entered.push([enter(job, job.task), job]);
      }
      for (const [task, job] of entered) takeUp(task, job);
    },
    async fill(signal) {
      if (!resumed)
        throw new Fault('INTERNAL', 'delivery was to fill slots before it knew the Jobs there are');
      return closed ? 0 : await fill(signal);
    },
    jobChanged,
    jobDeleted(name) {
      unfinished.delete(name);
      const task = ledger.task(name);
      if (task === undefined) return;
      task.job = 'deleted';
      for (const message of task.messages) keeper.tell(message, 'job-deleted');
      keeper.forgetIfOver(task);
    },
    isProtected: job => mustStay(ledger, job, clock.now()),
    counts: () => ({
      unfinished: unfinished.size,
      waiting: creation.waiting,
      ...countStates(ledger.messages()),
    }),
    [Symbol.asyncDispose]() {
      closing ??= close();
      return closing;
    },
  };
}

function isFinished(job: Job): boolean {
  return job.state === 'succeeded' || job.state === 'failed';
}

function countStates(messages: Iterable<HeldMessage>): Pick<DeliveryCounts, 'settling' | 'returning'> {
  const counts = { settling: 0, returning: 0 };
  for (const { state } of messages) {
    if (state === 'acknowledging' || state === 'releasing' || state === 'dead-lettering')
      counts.settling += 1;
    if (state === 'creating-lost' || state === 'running-lost' || state === 'succeeded-lost')
      counts.returning += 1;
  }
  return counts;
}
