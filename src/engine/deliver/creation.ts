import type { Clock } from '../../base/clock.ts';
import { deadline } from '../../base/deadline.ts';
import { Fault, faultOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { type Backoff, backoffMs } from '../../base/retry.ts';
import type { DeliverySpec, ScaledJob } from '../../spec/workload.ts';
import type { Job, World } from '../ports.ts';
import type { Agenda } from './agenda.ts';
import { gate } from './gate.ts';
import { jobName, taskHash } from './job-name.ts';
import type { Keeper } from './keeper.ts';
import { type HeldMessage, type HeldTask, type Ledger, taskOf } from './ledger.ts';
import { callMs, type Outlet } from './outlet.ts';
import { taskData } from './task-env.ts';
import type { MessageEvent } from './task-state.ts';

/** After the world refused to create a Job. */
const createBackoff: Backoff = { firstMs: 500, maxMs: 30_000 };
const creationsAtOnce = 64;

export interface CreationContext {
  workload: ScaledJob;
  spec: DeliverySpec;
  world: World;
  clock: Clock;
  log: Log;
  random: () => number;
  ledger: Ledger;
  agenda: Agenda;
  keeper: Keeper;
  /** Names of the Jobs that take a slot. */
  unfinished: Set<string>;
  stop: AbortSignal;
  closed(): boolean;
  track(work: Promise<unknown>): void;
  jobChanged(job: Job): void;
}

/** Makes Jobs of claimed messages. */
export interface Creation {
  /** A message was claimed and needs a Job. */
  add(message: HeldMessage): void;
  /** Begins the Jobs there are free slots for; each promise says whether a new Job came of it. */
  startWaiting(): Promise<boolean>[];
  createLater(task: HeldTask): void;
  /** The Job of a task was seen: what was kept to create it can go. */
  isThere(task: HeldTask): void;
  readonly waiting: number;
  /** Gives back what has no Job, except where one is being created this moment: that waits for the answer. */
  close(): void;
}

/** Creates nothing until `startWaiting`. */
export function jobCreation(context: CreationContext): Creation {
  const { workload, spec, world, ledger, keeper, unfinished, log } = context;
  const creating = gate(creationsAtOnce);
  const saidByFile = new Set<string>();
  let waiting: HeldMessage[] = [];

  function startWaiting(): Promise<boolean>[] {
    const started: Promise<boolean>[] = [];
    for (const message of waiting) {
      // Lost before its Job was begun: it starts afresh when it comes back.
      if (message.state === 'creating-lost') keeper.tell(message, 'shutdown');
    }
    const groups = grouped(waiting.filter(message => message.state === 'creating'));
    waiting = [];
    for (const [outlet, messages] of groups) {
      if (unfinished.size >= workload.maxReplicaCount) waiting.push(...messages);
      else started.push(create(makeTask(outlet, messages)));
    }
    return started;
  }

  /**
   * Batches of first attempts. Messages that have failed before go alone: one bad message must not take a whole
   * batch to the dead letters.
   */
  function grouped(messages: readonly HeldMessage[]): [Outlet, [HeldMessage, ...HeldMessage[]]][] {
    const groups: [Outlet, [HeldMessage, ...HeldMessage[]]][] = [];
    const open = new Map<Outlet, HeldMessage[]>();
    for (const message of messages) {
      const { outlet, attempt } = message;
      if (outlet === undefined) continue;
      const batch = attempt === 1 ? open.get(outlet) : undefined;
      if (batch !== undefined && batch.length < spec.batchSize) {
        batch.push(message);
        continue;
      }
      const group: [HeldMessage] = [message];
      groups.push([outlet, group]);
      if (attempt === 1) open.set(outlet, group);
    }
    return groups;
  }

  function makeTask(outlet: Outlet, messages: [HeldMessage, ...HeldMessage[]]): HeldTask {
    const { type, queueId, trigger } = outlet;
    const [{ attempt, claimedAt }] = messages;
    const ids = messages.map(message => message.id);
    const hash = taskHash(type, queueId, ids);
    const task: HeldTask = {
      name: jobName(workload.name, hash, attempt),
      hash,
      attempt,
      triggerIndex: trigger.trigger.index,
      triggerType: type,
      queueId,
      claimedAt,
      messages,
      request: dataOf(outlet, messages),
      job: 'none',
      finishedAt: undefined,
      recorded: undefined,
      recording: false,
      later: undefined,
      failures: 0,
    };
    for (const message of messages) message.task = task;
    ledger.addTask(task);
    unfinished.add(task.name);
    return task;
  }

  function dataOf(outlet: Outlet, messages: readonly [HeldMessage, ...HeldMessage[]]): HeldTask['request'] {
    const { trigger, queueId } = outlet;
    const [{ attempt, claimedAt }] = messages;
    const bodies = messages.map(({ id, body = new Uint8Array(), sentAt }) => ({ id, body, sentAt }));
    const input = { messages: bodies, attempt, trigger, queueId, spec, claimedAt };
    const data = taskData(input);
    const { because } = data.file ?? {};
    if (because !== undefined && !saidByFile.has(because)) {
      saidByFile.add(because);
      const facts = { because, message: messages[0].id };
      log.info('message is handed over as KEDA_TASK_FILE, without KEDA_TASK_DATA', facts);
    }
    return data;
  }

  function create(task: HeldTask): Promise<boolean> {
    const work = creating(() => createNow(task));
    context.track(work);
    return work;
  }

  async function createNow(task: HeldTask): Promise<boolean> {
    const { request } = task;
    if (request === undefined || context.closed()) {
      tellAll(task, 'shutdown');
      return false;
    }
    const sent = taskOf(task);
    try {
      using limit = deadline(context.stop, callMs);
      const named = { ...request, name: task.name, task: sent };
      const outcome = await world.createJob(workload, named, limit.signal);
      const existing = outcome === 'exists' ? await findJob(task.name, limit.signal) : undefined;
      if (outcome === 'created') task.recorded = JSON.stringify(sent);
      isThere(task);
      tellAll(task, 'created');
      if (existing !== undefined) context.jobChanged(existing);
      return outcome === 'created';
    } catch (thrown) {
      task.failures += 1;
      // It is tried again and again, and that is said once.
      if (task.failures === 1 && !context.stop.aborted) {
        log.warn('job cannot be created now', { job: task.name, fault: faultOf(thrown, 'WORLD_FAILED') });
      }
      tellAll(task, 'create-failed');
      return false;
    }
  }

  /** An earlier request whose answer we did not get may have created the Job. */
  async function findJob(name: string, signal: AbortSignal): Promise<Job> {
    const found = (await world.listJobs(workload, signal)).find(job => job.name === name);
    if (found !== undefined) return found;
    throw new Fault('WORLD_FAILED', `the Job ${name} is said to exist and is not among the Jobs`);
  }

  function createLater(task: HeldTask): void {
    if (task.job !== 'none') return;
    const allLost = task.messages.every(message => message.state === 'creating-lost');
    if (context.closed() || allLost) {
      tellAll(task, 'shutdown');
      return;
    }
    task.later?.[Symbol.dispose]();
    const pause = backoffMs(createBackoff, task.failures, context.random);
    task.later = context.agenda.after(pause, () => {
      task.later = undefined;
      void create(task);
    });
  }

  function isThere(task: HeldTask): void {
    if (task.job === 'none') task.job = 'unfinished';
    if (task.request === undefined) return;
    task.request = undefined;
    task.failures = 0;
    for (const message of task.messages) if (!keeper.isLast(message)) message.body = undefined;
  }

  function tellAll(task: HeldTask, event: MessageEvent): void {
    for (const message of task.messages) keeper.tell(message, event);
  }

  return {
    startWaiting,
    createLater,
    isThere,
    add(message) {
      if (context.closed()) keeper.tell(message, 'shutdown');
      else waiting.push(message);
    },
    get waiting() {
      return waiting.length;
    },
    close() {
      for (const message of waiting) keeper.tell(message, 'shutdown');
      waiting = [];
      for (const task of [...ledger.tasks()]) {
        if (task.job === 'none' && task.later !== undefined) tellAll(task, 'shutdown');
      }
    },
  };
}
