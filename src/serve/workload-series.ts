import { setImmediate } from 'node:timers/promises';
import { compositeName } from '../engine/composite.ts';
import type { TriggerStatus, WorkloadStatus } from '../engine/engine.ts';
import { type Exposition, labels } from './exposition.ts';
import { scalerLabel } from './scaler-labels.ts';

/** How many objects of a kind there are in a namespace; `default` for kinds without namespaces. */
export interface RegisteredCount {
  type: 'trigger_authentication' | 'cluster_trigger_authentication' | 'cloudevent_source';
  namespace: string;
  count: number;
}

/** One series of several families; what is undefined is not told, for an unknown is no zero. */
interface ScalerRow {
  labels: string;
  value: number | undefined;
  latencySeconds: number | undefined;
  active: boolean | undefined;
  errors: number | undefined;
}

interface WorkloadRow {
  /** `namespace` and `scaledObject` or `scaledJob`, as KEDA labels what only one of the kinds has. */
  own: string;
  /** `namespace`, `type` and `resource`, as KEDA labels what both kinds have. */
  both: string;
  of: WorkloadStatus;
}

interface Family<T> {
  name: string;
  type: 'gauge' | 'counter';
  help: string;
  write(row: T, out: Exposition): void;
}

/**
 * Writes all that is told of workloads, a portion at a time: ten thousand of them take a while, and what scales must
 * not wait for it.
 */
export async function writeWorkloads(
  out: Exposition,
  workloads: readonly WorkloadStatus[],
  registered: Iterable<RegisteredCount>,
): Promise<void> {
  const rows: WorkloadRow[] = [];
  const scalers: ScalerRow[] = [];
  await inPortions(workloads, workload => {
    rows.push(rowOf(workload));
    for (const trigger of workload.triggers) scalers.push(triggerRow(workload, trigger));
    if (workload.composite !== undefined) scalers.push(compositeRow(workload, workload.composite));
  });
  for (const family of scalerFamilies) await writeFamily(out, family, scalers);
  for (const family of workloadFamilies) await writeFamily(out, family, rows);
  writeTotals(out, workloads, registered);
}

async function writeFamily<T>(out: Exposition, family: Family<T>, rows: readonly T[]): Promise<void> {
  out.family(family.name, family.type, family.help);
  await inPortions(rows, row => family.write(row, out));
}

const portion = 500;

async function inPortions<T>(items: readonly T[], each: (item: T) => void): Promise<void> {
  for (let start = 0; start < items.length; start += portion) {
    for (const item of items.slice(start, start + portion)) each(item);
    if (start + portion < items.length) await setImmediate();
  }
}

const typeOf = ({ kind }: WorkloadStatus) => (kind === 'ScaledObject' ? 'scaledobject' : 'scaledjob');

function rowOf(workload: WorkloadStatus): WorkloadRow {
  const { kind, namespace, name } = workload;
  return {
    own: labels(kind === 'ScaledObject' ? { namespace, scaledObject: name } : { namespace, scaledJob: name }),
    both: labels({ namespace, type: typeOf(workload), resource: name }),
    of: workload,
  };
}

/** The label scaledObject carries the names of ScaledJobs too, as in KEDA. */
function scalerLabels(
  workload: WorkloadStatus,
  of: { metric: string; scaler: string; index: number },
): string {
  const { namespace, name } = workload;
  const { metric, scaler, index } = of;
  return labels({
    namespace,
    metric,
    scaledObject: name,
    scaler,
    triggerIndex: index,
    type: typeOf(workload),
  });
}

function triggerRow(workload: WorkloadStatus, trigger: TriggerStatus): ScalerRow {
  const { name, named, type, metricName, index, value, fault } = trigger;
  const wasRead = value !== undefined || fault !== undefined;
  const resource = type === 'cpu' || type === 'memory';
  const known = resource || value !== undefined;
  return {
    labels: scalerLabels(workload, {
      metric: metricName ?? '',
      scaler: named ? name : scalerLabel(type),
      index,
    }),
    value,
    latencySeconds: wasRead ? trigger.latencyMs / 1000 : undefined,
    // A formula is active as a whole; KEDA says nothing of its triggers then.
    active: known && workload.composite === undefined ? resource || trigger.active : undefined,
    errors: trigger.errors,
  };
}

function compositeRow(
  workload: WorkloadStatus,
  { value, active }: NonNullable<WorkloadStatus['composite']>,
): ScalerRow {
  return {
    labels: scalerLabels(workload, { metric: compositeName, scaler: compositeName, index: 0 }),
    value,
    latencySeconds: undefined,
    active: value === undefined ? undefined : active,
    errors: undefined,
  };
}

const scalerFamily = (
  name: string,
  type: 'gauge' | 'counter',
  { help, of }: { help: string; of(row: ScalerRow): number | boolean | undefined },
): Family<ScalerRow> => ({
  name,
  type,
  help,
  write(row, out) {
    const value = of(row);
    if (value !== undefined) out.sample(row.labels, Number(value));
  },
});

const scalerFamilies: readonly Family<ScalerRow>[] = [
  scalerFamily('keda_scaler_metrics_value', 'gauge', {
    help: 'What the source said last; absent while that is unknown.',
    of: ({ value }) => value,
  }),
  scalerFamily('keda_scaler_metrics_latency_seconds', 'gauge', {
    help: 'How long the last reading took.',
    of: ({ latencySeconds }) => latencySeconds,
  }),
  scalerFamily('keda_scaler_active', 'gauge', {
    help: 'Whether the trigger is active; absent while that is unknown.',
    of: ({ active }) => active,
  }),
  scalerFamily('keda_scaler_detail_errors_total', 'counter', {
    help: 'Readings of the trigger that failed.',
    of: ({ errors }) => errors,
  }),
];

const family = (
  name: string,
  type: 'gauge' | 'counter',
  { help, write }: { help: string; write(row: WorkloadRow, out: Exposition): void },
): Family<WorkloadRow> => ({ name, type, help, write });

/** A family that only one kind of workload has. */
const ofKind = (
  kind: WorkloadStatus['kind'],
  { help, of }: { help: string; of(workload: WorkloadStatus): number | boolean | undefined },
) => ({
  help,
  write(row: WorkloadRow, out: Exposition) {
    const value = row.of.kind === kind ? of(row.of) : undefined;
    if (value !== undefined) out.sample(row.own, Number(value));
  },
});

/** Samples that differ in one more label. */
function writeEach(out: Exposition, own: string, { label, counts }: { label: string; counts: object }): void {
  for (const [value, count] of Object.entries(counts)) out.sample(`${own},${label}="${value}"`, count);
}

const workloadFamilies: readonly Family<WorkloadRow>[] = [
  family(
    'keda_scaled_object_paused',
    'gauge',
    ofKind('ScaledObject', {
      help: 'Whether the ScaledObject is paused in both directions.',
      of: ({ paused }) => paused,
    }),
  ),
  family(
    'keda_scaled_object_errors_total',
    'counter',
    ofKind('ScaledObject', {
      help: 'Decisions about the ScaledObject that lacked a reading or could not be carried out.',
      of: ({ errors }) => errors,
    }),
  ),
  family(
    'keda_scaled_job_errors_total',
    'counter',
    ofKind('ScaledJob', {
      help: 'Decisions about the ScaledJob that lacked a reading or could not be carried out.',
      of: ({ errors }) => errors,
    }),
  ),
  family('keda_internal_scale_loop_latency_seconds', 'gauge', {
    help: 'How much later than due the last decision was begun.',
    write: ({ both, of: { lateMs } }, out) => out.sample(both, lateMs / 1000),
  }),
  family('eventide_workload_ready', 'gauge', {
    help: 'Whether the condition Ready is True.',
    write({ both, of: { report } }, out) {
      if (report !== undefined) out.sample(both, report.ready.status === 'True' ? 1 : 0);
    },
  }),
  family('eventide_workload_fallback', 'gauge', {
    help: 'Whether a trigger failed so often that its fallback applies.',
    write({ both, of: { report } }, out) {
      if (report?.fallback !== undefined) out.sample(both, report.fallback.status === 'True' ? 1 : 0);
    },
  }),
  family(
    'eventide_scaled_object_replicas',
    'gauge',
    ofKind('ScaledObject', {
      help: 'The replicas that the target is told to have.',
      of: ({ report }) => report?.replicas,
    }),
  ),
  family(
    'eventide_scaled_object_desired_replicas',
    'gauge',
    ofKind('ScaledObject', {
      help: 'The replicas that were decided on.',
      of: ({ report }) => report?.desired,
    }),
  ),
  family('eventide_scale_changes_total', 'counter', {
    help: 'How often the replicas of the target were changed, or could not be.',
    write({ own, of: { changes } }, out) {
      if (changes !== undefined) writeEach(out, own, { label: 'direction', counts: changes });
    },
  }),
  family('eventide_jobs', 'gauge', {
    help: 'The Jobs of the ScaledJob.',
    write({ own, of: { report } }, out) {
      if (report?.jobs !== undefined) writeEach(out, own, { label: 'state', counts: report.jobs });
    },
  }),
  family('eventide_messages_total', 'counter', {
    help: 'Messages that were handed to Jobs, and what became of them.',
    write({ own, of: { messages } }, out) {
      if (messages !== undefined) writeEach(out, own, { label: 'outcome', counts: messages });
    },
  }),
];

function writeTotals(
  out: Exposition,
  workloads: readonly WorkloadStatus[],
  registered: Iterable<RegisteredCount>,
): void {
  const types = new Map<string, number>();
  const kinds = new Map<string, number>();
  for (const { kind, namespace, triggers } of workloads) {
    const type = kind === 'ScaledObject' ? 'scaled_object' : 'scaled_job';
    add(kinds, labels({ type, namespace }), 1);
    for (const trigger of triggers) add(types, labels({ type: trigger.type }), 1);
  }
  for (const { type, namespace, count } of registered) add(kinds, labels({ type, namespace }), count);
  out.family('keda_trigger_registered_total', 'gauge', 'How many triggers there are of each type.');
  for (const [each, count] of types) out.sample(each, count);
  out.family('keda_resource_registered_total', 'gauge', 'How many objects of our kinds there are.');
  for (const [each, count] of kinds) out.sample(each, count);
}

const add = (counts: Map<string, number>, key: string, count: number) =>
  counts.set(key, (counts.get(key) ?? 0) + count);
