import { Fault, faultOf } from '../base/errors.ts';
import { decideJobs, isPending, type JobDecision, type JobLimits, type JobsSeen } from '../decide/jobs.ts';
import type { Answer } from '../decide/reading.ts';
import type { BoundRead } from '../scaler/bind.ts';
import { pauseOf } from '../spec/annotations.ts';
import type { ScaledJobReason } from '../spec/conditions.ts';
import { isResource } from '../spec/rules-of-scaling.ts';
import type { ScaledJob } from '../spec/workload.ts';
import { applyHistoryLimits, applyJobs } from './apply.ts';
import type { EngineContext } from './context.ts';
import { type DeliveryRun, type Settlement, startDelivery } from './deliver/delivery.ts';
import type { DeliverySource } from './deliver/source.ts';
import { JobList } from './job-list.ts';
import { beginsToFail, type Memory } from './memory.ts';
import type { Condition, Job, Report } from './ports.ts';
import type { Decided } from './records.ts';
import { recordTrigger, reportTrigger, sendNews } from './report.ts';
import { type TriggerState, Triggers } from './triggers.ts';
import type { WorkloadRun } from './workload-run.ts';

const condition = (status: Condition['status'], reason: ScaledJobReason, message: string): Condition =>
  Object.freeze({ status, reason, message });
const pausedNow = condition('True', 'ScaledJobPaused', 'The ScaledJob is paused.');
const unpaused = condition('False', 'ScaledJobUnpaused', 'The ScaledJob is not paused.');
const ready = condition('True', 'ScaledJobReady', 'The ScaledJob is ready to create Jobs.');
const active = condition('True', 'ScalerActive', 'At least one trigger is active.');
const inactive = condition('False', 'ScalerNotActive', 'No trigger is active.');
const partlyFailing = condition(
  'Unknown',
  'PartialTriggerError',
  'Some triggers cannot be read; the others decide.',
);
const failing = condition('False', 'TriggerError', 'No trigger is active and at least one cannot be read.');

/**
 * Between the end of a Job's work and the next reading, in milliseconds: whoever works tells the source as it ends, and
 * an answer from before that would bring a Job too many. Jobs that end together make room together.
 */
const settleMs = 100;

/** Finished Jobs beyond the history limits before they are deleted without waiting for the next poll. */
const surplusBeforeCleaning = 50;

/** Runs a ScaledJob: Jobs by count, or one for each message where it has delivery. */
export function runScaledJob(
  workload: ScaledJob,
  context: EngineContext,
  { memory, onChange }: { memory: Memory; onChange: () => void },
): WorkloadRun {
  const { world, clock, log, stop } = context;
  const triggers = new Triggers(workload, context, onChange);
  const paused = pauseOf(workload).full;
  const limits = limitsOf(workload);
  memory.jobs ??= new JobList();
  const { jobs } = memory;
  let delivery: DeliveryRun | undefined;
  let refilling: Promise<void> | undefined;
  let refillAgain = false;
  /** Why delivery has not started. */
  let blockedBy: Fault | undefined;
  let settling: Disposable | undefined;
  let cleaning: Promise<void> | undefined;
  const cleaningStop = new AbortController();
  let closed = false;

  async function tick(): Promise<void> {
    // Paused, the messages of Jobs that run are still held and settled; without messages there is nothing to do.
    if (paused && workload.delivery === undefined) return tell('Paused.');
    try {
      jobs.replace(await world.listJobs(workload, stop));
    } catch (thrown) {
      const fault = faultOf(thrown, 'WORLD_FAILED');
      if (closed) return;
      log.warn('the Jobs cannot be listed, so none are created', { workload: workload.key, fault });
      return tell(`The Jobs cannot be listed, so none are created: ${fault.message}`);
    }
    if (paused) return await holdOn();
    if (workload.delivery === undefined) await create();
    else await deliver();
    if (!closed) clean();
  }

  async function holdOn(): Promise<void> {
    await triggers.prepare();
    if (closed) return;
    if (jobs.all.some(job => job.task !== undefined)) startedDelivery();
    tell('Paused.');
  }

  async function create(): Promise<void> {
    // Counted before the sources are asked: what begins or ends meanwhile is rather counted twice than not at all,
    // and no Job comes for work that has one.
    const counted = countOf();
    await triggers.read();
    // Whatever was read meanwhile, it is not ours to decide on any more.
    if (closed) return;
    const seen: JobsSeen = {
      triggers: triggers.states.flatMap(state => (isResource(state.trigger) ? [] : [shareOf(state)])),
      ...counted,
    };
    const decision = decideJobs(seen, limits);
    const created = await applyJobs(world, workload, decision);
    const failed = created === undefined ? undefined : failureOf(created);
    if (beginsToFail(memory, failed))
      log.warn('Jobs cannot be created now', { workload: workload.key, fault: failed });
    if (failed !== undefined || triggers.states.some(({ reading }) => reading?.ok === false))
      memory.errors += 1;
    record({ kind: 'jobs', seen, limits, decision }, failed);
    const why = failed === undefined ? decision.why : `${decision.why} ${failed.message}`;
    tell(why, { decision, created });
  }

  function countOf(): Pick<JobsSeen, 'running' | 'pending'> {
    const { working } = jobs;
    const { pendingPodConditions } = workload.scalingStrategy;
    return {
      running: working.length,
      pending: working.filter(job => isPending(job, pendingPodConditions)).length,
    };
  }

  async function deliver(): Promise<void> {
    await triggers.prepare();
    // The backlog is for people to see; claiming does not wait for it.
    await Promise.all([triggers.read(), fill()]);
    if (memory.report !== undefined) tell(memory.report.why);
  }

  /** Starts delivery once every trigger can be, takes up what is there, and hands out what the slots allow. */
  async function fill(): Promise<void> {
    if (closed || paused) return;
    const run = startedDelivery();
    blockedBy = run instanceof Fault ? run : undefined;
    if (run instanceof Fault) {
      return tell(`Nothing is delivered: ${run.message}`);
    }
    const created = await run.fill(stop);
    const { unfinished, returning } = run.counts();
    const why = describeFill({ created, unfinished, returning, most: workload.maxReplicaCount });
    const seen = { unfinished, maxReplicaCount: workload.maxReplicaCount };
    record({ kind: 'delivery', seen, decision: { created, why } });
    tell(why);
  }

  function startedDelivery(): DeliveryRun | Fault {
    if (delivery !== undefined) return delivery;
    const fault = triggers.states.find(state => state.fault !== undefined)?.fault;
    if (fault !== undefined) return fault;
    try {
      const sources = triggers.states.map(deliverySource);
      const { random } = context;
      delivery = startDelivery(workload, sources, { world, clock, log, random, onClaimed, onSettled });
    } catch (thrown) {
      return faultOf(thrown);
    }
    delivery.resume(jobs.all);
    return delivery;
  }

  const onClaimed = () => {
    memory.messages.claimed += 1;
  };

  function onSettled({ outcome, messages }: Settlement): void {
    if (outcome === 'acknowledged') memory.messages.acknowledged += messages;
    else if (outcome === 'released') memory.messages.released += messages;
    else if (outcome === 'dead-lettered') memory.messages.deadLettered += messages;
  }

  function deliverySource(state: TriggerState): DeliverySource {
    const bound = () => {
      if (state.bound?.kind === 'read') return state.bound;
      throw (
        state.fault ?? new Fault('NOT_SUPPORTED', `messages of ${state.trigger.type} cannot be delivered`)
      );
    };
    return {
      // Asked for anew each time: credentials may have changed since.
      get trigger(): BoundRead {
        return bound();
      },
      use: async (work, signal) => await context.sources.use(bound(), work, signal),
    };
  }

  /** Nothing waits for it: a long history takes its time to go. */
  function clean(): void {
    cleaning ??= applyHistoryLimits(world, workload, {
      jobs: jobs.all,
      isProtected: job => delivery?.isProtected(job) ?? isOpen(job),
      onDeleted: gone,
      stop: cleaningStop.signal,
    })
      .catch(thrown => {
        const fault = faultOf(thrown, 'WORLD_FAILED');
        log.warn('finished Jobs cannot be deleted', { workload: workload.key, fault });
      })
      .finally(() => {
        cleaning = undefined;
      });
  }

  /** Whether messages of the Job may still be settled by a delivery that cannot start yet. */
  function isOpen({ task }: Job): boolean {
    return workload.delivery !== undefined && task !== undefined && task.settled !== 'acknowledged';
  }

  function gone(name: string): void {
    jobs.delete(name);
    delivery?.jobDeleted(name);
  }

  function settled(): void {
    settling = undefined;
    onChange();
  }

  /** A Job that finished made room: what waits for it need not wait for the next poll. */
  function refill(): void {
    if (closed || paused) return;
    // One that finishes now may be too late for the refilling under way to see its slot.
    refillAgain = refilling !== undefined;
    if (refillAgain) return;
    refilling = (async () => {
      // Jobs that finish together make room together.
      await new Promise(resolve => setImmediate(resolve));
      await fill();
      if (
        jobs.finished >
        workload.successfulJobsHistoryLimit + workload.failedJobsHistoryLimit + surplusBeforeCleaning
      ) {
        clean();
      }
    })().catch(thrown => {
      log.error('filling the slots failed', { workload: workload.key, fault: faultOf(thrown) });
    });
    void refilling.then(() => {
      refilling = undefined;
      if (refillAgain) refill();
    });
  }

  function record(decided: Decided, failed?: Fault): void {
    const rest = failed === undefined ? {} : { failed };
    memory.records.add(decided, clock.now(), { triggers: () => triggers.states.map(recordTrigger), ...rest });
  }

  function tell(
    why: string,
    { decision, created }: { decision?: JobDecision; created?: Report['created'] } = {},
  ): void {
    const states = triggers.states.map(state => reportTrigger(state));
    const isActive = decision?.active ?? (states.some(state => state.active) || jobs.unfinished.length > 0);
    const failed = states.some(state => state.fault !== undefined);
    const able = failed ? (isActive ? partlyFailing : failing) : ready;
    const next: Report = {
      at: clock.now(),
      why,
      ready: blockedBy === undefined ? able : condition('False', 'TriggerError', blockedBy.message),
      active: isActive ? active : inactive,
      paused: paused ? pausedNow : unpaused,
      jobs: jobs.counts(),
      triggers: states,
    };
    if (created !== undefined) next.created = created;
    sendNews(workload, next, { world, memory });
  }

  return {
    workload,
    memory,
    triggers: triggers.states,
    due: 0,
    place: -1,
    tick,
    // A Job that waits for its first poll is as late as a workload at zero.
    isUrgent: async () => true,
    isNews: async () => false,
    metric: async () => ({ kind: 'missing' }),
    jobChanged(job) {
      const madeRoom = jobs.set(job);
      delivery?.jobChanged(job);
      if (memory.report !== undefined) tell(memory.report.why);
      if (!madeRoom) return;
      if (delivery !== undefined) refill();
      else settling ??= clock.after(settleMs, settled);
    },
    jobGone: gone,
    referenceChanged: (kind, namespace, name) => triggers.changed(kind, namespace, name),
    async close() {
      closed = true;
      settling?.[Symbol.dispose]();
      cleaningStop.abort();
      await delivery?.[Symbol.asyncDispose]();
      await Promise.all([refilling, cleaning]);
      triggers[Symbol.dispose]();
    },
  };
}

/** What went wrong with all of them, in one sentence. */
function failureOf({ count, failures }: NonNullable<Report['created']>): Fault | undefined {
  const [first] = failures;
  if (first === undefined) return undefined;
  const message = `${failures.length} of ${count} Jobs were not created: ${first.message}`;
  return new Fault(first.code, message, { cause: first });
}

function describeFill(filled: {
  created: number;
  unfinished: number;
  returning: number;
  most: number;
}): string {
  const { created, unfinished, returning, most } = filled;
  const back =
    returning === 0 ? '' : ` ${returning} claimed messages went back to the source and will come again.`;
  if (created > 0) return `Messages were handed to ${created} new ${created === 1 ? 'Job' : 'Jobs'}.${back}`;
  return `${unfinished >= most ? `All ${most} Jobs that may run at once do.` : 'No message is there to be claimed.'}${back}`;
}

function shareOf(state: TriggerState): JobsSeen['triggers'][number] {
  const { reading, bound, trigger } = state;
  const target = bound?.kind === 'read' ? bound.target.value : 0;
  const metricName = bound?.kind === 'read' ? bound.metricName : `s${trigger.index}-${trigger.type}`;
  const answer: Answer | undefined =
    reading === undefined
      ? undefined
      : reading.ok
        ? { kind: 'read', value: reading.value, active: reading.active, at: reading.at }
        : { kind: 'unknown', fault: reading.fault, at: reading.at };
  return { metricName, answer, target };
}

function limitsOf({
  minReplicaCount,
  maxReplicaCount,
  maxReplicaCountGiven,
  scalingStrategy,
}: ScaledJob): JobLimits {
  return {
    minReplicaCount,
    maxReplicaCount: maxReplicaCountGiven ? maxReplicaCount : undefined,
    scalingStrategy,
  };
}
