import type { Change, Condition, Report } from '../engine/ports.ts';
import { pauseOf } from '../spec/annotations.ts';
import type { ConditionType } from '../spec/conditions.ts';
import type { Workload } from '../spec/workload.ts';
import type { EventNote } from './events.ts';
import { conditionIn, type Status } from './status-object.ts';

/** An event about a workload. */
export type Told = Omit<EventNote, 'regarding'>;

/** What was known before a report. */
export interface Before {
  /** The report before it; none since this process started. */
  report: Report | undefined;
  /** The status as the API server has it. */
  live: Status;
}

type Seen = { status: string; reason?: string; message?: string } | undefined;

/**
 * What is to be told as events of a report, with KEDA's reasons and types: only what was not so before. Where this
 * process knows of no report before, the live status says what was told already, so that a restart repeats nothing.
 */
export function eventsOf(workload: Workload, report: Report, before: Before): Told[] {
  const told = [
    ...pauseEvents(workload, report, before),
    ...readyEvents(workload, report, before),
    ...activityEvents(workload, report, before),
    ...faultEvents(workload, report, before),
    ...fallbackEvents(report, before),
    ...changeEvents(workload, report, before),
    ...jobEvents(report, before),
  ];
  if (workload.kind === 'ScaledObject') return told;
  return told.map(each => (ofLoop.test(each.reason) ? { ...each, controller: 'scale-handler' } : each));
}

/** What in KEDA the loop of a ScaledJob tells, under a name of its own. */
const ofLoop = /^KEDA|^ScaledJob(Active|Inactive)$/;

function seen({ report, live }: Before, type: ConditionType): Seen {
  if (report === undefined) return conditionIn(live, type);
  const { ready, active, fallback, paused, hpaActive } = report;
  return { Ready: ready, Active: active, Fallback: fallback, Paused: paused, HPAActive: hpaActive }[type];
}

const normal = (reason: string, note: string): Told => ({ type: 'Normal', reason, note });
const warning = (reason: string, note: string): Told => ({ type: 'Warning', reason, note });

function readyEvents({ kind, triggers }: Workload, { ready, paused }: Report, before: Before): Told[] {
  const was = seen(before, 'Ready');
  const told: Told[] = [];
  // An object with conditions has been running already, here or in KEDA.
  if (before.report === undefined && was === undefined && paused?.status !== 'True')
    told.push(started(triggers));
  if (ready.status === 'True' && was?.status !== 'True') told.push(normal(`${kind}Ready`, ready.message));
  const failed = `${kind}CheckFailed`;
  if (ready.reason === failed && !same(was, ready)) told.push(warning(failed, ready.message));
  return told;
}

function same(was: Seen, is: Condition): boolean {
  return was?.status === is.status && was.reason === is.reason && was.message === is.message;
}

function started(triggers: Workload['triggers']): Told {
  const types = [...new Set(triggers.map(({ type }) => type))].join(', ');
  return normal('KEDAScalersStarted', `Its triggers are being read: ${types}.`);
}

function pauseEvents(workload: Workload, { paused }: Report, before: Before): Told[] {
  const was = seen(before, 'Paused');
  const { kind, triggers } = workload;
  if (paused?.status === 'True' && was?.status !== 'True') {
    const stopped = normal('KEDAScalersStopped', 'Its triggers are not read while it is paused.');
    const ran = seen(before, 'Ready') !== undefined;
    return [normal(`${kind}Paused`, paused.message), ...(pauseOf(workload).full && ran ? [stopped] : [])];
  }
  if (paused?.status === 'False' && was?.status === 'True') {
    return [normal(`${kind}Unpaused`, paused.message), started(triggers)];
  }
  return [];
}

function activityEvents({ kind }: Workload, { active }: Report, before: Before): Told[] {
  // A ScaledObject tells of its activity when its target wakes or goes to sleep.
  if (kind === 'ScaledObject') return [];
  const was = seen(before, 'Active')?.status;
  if (active.status === 'True' && was !== 'True') return [normal('ScaledJobActive', active.message)];
  if (active.status === 'False' && was === 'True') return [normal('ScaledJobInactive', active.message)];
  return [];
}

function faultEvents(workload: Workload, report: Report, before: Before): Told[] {
  const toldBefore =
    before.report === undefined && /TriggerError$/.test(conditionIn(before.live, 'Ready')?.reason ?? '');
  if (toldBefore) return [];
  const modified = workload.kind === 'ScaledObject' && workload.scalingModifiers?.formula !== undefined;
  return report.triggers.flatMap(({ name, fault }, index) => {
    const was = before.report?.triggers[index]?.fault;
    if (fault === undefined || was?.code === fault.code) return [];
    const built = report.triggers[index]?.metricName !== undefined;
    const reason = modified && built ? 'KEDAMetricSourceFailed' : 'KEDAScalerFailed';
    return [warning(reason, `Trigger ${name}: ${fault.message}`)];
  });
}

function fallbackEvents({ fallback }: Report, before: Before): Told[] {
  const was = seen(before, 'Fallback')?.status;
  if (fallback?.status === 'True' && was !== 'True') {
    return [normal('ScaledObjectFallbackActivated', fallback.message)];
  }
  if (fallback?.status === 'False' && was === 'True') {
    return [normal('ScaledObjectFallbackDeactivated', fallback.message)];
  }
  return [];
}

const changes = {
  activation: ['KEDAScaleTargetActivated', 'KEDAScaleTargetActivationFailed'],
  deactivation: ['KEDAScaleTargetDeactivated', 'KEDAScaleTargetDeactivationFailed'],
  scaling: ['ReplicasChanged', 'ReplicasChangeFailed'],
  autoscaler: ['ReplicasChanged', 'ReplicasChangeFailed'],
  other: ['ReplicasChanged', 'ReplicasChangeFailed'],
} as const satisfies Record<Change['kind'], readonly [string, string]>;

function changeEvents(workload: Workload, { changes: made }: Report, before: Before): Told[] {
  if (made === undefined || made === before.report?.changes) return [];
  return made.map(change => changeEvent(workload, change));
}

function changeEvent(workload: Workload, { kind, from, to, why, failed }: Change): Told {
  const [done, notDone] = changes[kind];
  const target = workload.kind === 'ScaledObject' ? `${workload.target.kind} ` : '';
  const name = workload.kind === 'ScaledObject' ? workload.target.name : workload.name;
  const what = `${target}${workload.namespace}/${name}`;
  if (failed !== undefined) {
    return warning(notDone, `${what} was not scaled from ${from} to ${to}: ${failed.message} (${why})`);
  }
  // Each change has a reason of its own, which a series would not tell.
  return { ...normal(done, `${what} was scaled from ${from} to ${to}: ${why}`), alone: true };
}

function jobEvents({ created }: Report, before: Before): Told[] {
  if (created === undefined || created === before.report?.created) return [];
  const { count, failures } = created;
  return [
    ...(count === 0 ? [] : [normal('KEDAJobsCreated', `Created ${count} ${count === 1 ? 'Job' : 'Jobs'}.`)]),
    ...failures.map(({ message }) => warning('KEDAJobCreateFailed', `A Job was not created: ${message}`)),
  ];
}
