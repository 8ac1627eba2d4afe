import type { Workload } from '../spec/workload.ts';
import type { Memory } from './memory.ts';
import type { Report, TriggerReport, World } from './ports.ts';
import type { TriggerRecord } from './records.ts';
import type { TriggerState } from './triggers.ts';

/** Sends a report where it says anything that the last one did not; nothing else in the engine does. */
export function sendNews(
  workload: Workload,
  next: Report,
  { world, memory }: { world: World; memory: Memory },
): void {
  if (sameReport(memory.report, next)) return;
  memory.report = next;
  world.report(workload, next);
}

/** Whether two reports say the same, their time aside. */
export function sameReport(a: Report | undefined, b: Report): boolean {
  return (
    a !== undefined &&
    b.changes === undefined &&
    b.created === undefined &&
    a.why === b.why &&
    a.replicas === b.replicas &&
    a.desired === b.desired &&
    sameCondition(a.ready, b.ready) &&
    sameCondition(a.active, b.active) &&
    sameCondition(a.fallback, b.fallback) &&
    sameCondition(a.paused, b.paused) &&
    sameCondition(a.hpaActive, b.hpaActive) &&
    sameJobs(a.jobs, b.jobs) &&
    a.triggers.length === b.triggers.length &&
    a.triggers.every((trigger, index) => sameTrigger(trigger, b.triggers[index]))
  );
}

function sameCondition(a: Report['fallback'], b: Report['fallback']): boolean {
  return a === b || (a?.status === b?.status && a?.reason === b?.reason && a?.message === b?.message);
}

function sameJobs(a: Report['jobs'], b: Report['jobs']): boolean {
  return (
    a?.pending === b?.pending &&
    a?.running === b?.running &&
    a?.succeeded === b?.succeeded &&
    a?.failed === b?.failed
  );
}

function sameTrigger(a: TriggerReport, b: TriggerReport | undefined): boolean {
  return (
    b !== undefined &&
    a.value === b.value &&
    a.active === b.active &&
    a.metricName === b.metricName &&
    a.health?.numberOfFailures === b.health?.numberOfFailures &&
    a.fault?.code === b.fault?.code &&
    a.fault?.message === b.fault?.message
  );
}

/** How a trigger is, for a report. */
export function reportTrigger(
  { trigger, bound, reading }: TriggerState,
  health?: TriggerReport['health'],
): TriggerReport {
  const name = trigger.name ?? trigger.type;
  const metricName = bound?.kind === 'read' ? bound.metricName : bound?.resource;
  const ok = reading?.ok === true;
  const report: TriggerReport = {
    name,
    type: trigger.type,
    metricName,
    value: ok ? reading.value : undefined,
    active: ok && reading.active,
  };
  if (health !== undefined) report.health = health;
  if (reading?.ok === false) report.fault = reading.fault;
  return report;
}

/** How a trigger is, for a record. */
export function recordTrigger(state: TriggerState): TriggerRecord {
  const { bound, reading } = state;
  const { name, type, value, active, fault } = reportTrigger(state);
  const target = bound === undefined ? '' : `${bound.target.value} ${bound.target.type}`;
  const record: TriggerRecord = { name, type, value, target, active, at: reading?.at };
  if (fault !== undefined) record.fault = fault;
  return record;
}
