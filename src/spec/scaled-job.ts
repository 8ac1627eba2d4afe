import { conditions, triggersActivity } from './conditions.ts';
import type { ManifestDocument } from './documents.ts';
import { descend } from './field-path.ts';
import { given, withGiven } from './given.ts';
import { parseObject } from './object-meta.ts';
import { type Infer, s } from './schema.ts';
import { scaledJobTriggers, triggersOf } from './trigger.ts';
import type { Parsed, ScaledJob } from './workload.ts';

const containers = s.list(s.open({ known: { name: s.text({ required: true }) } }), { required: true });

/** A JobSpec is the API server's to judge; here only what a Job cannot do without. */
const jobTargetRef = s.open({
  required: true,
  doc: 'The spec of the Jobs to create, as in batch/v1.',
  known: {
    template: s.open({
      required: true,
      doc: 'The pod template of the Jobs.',
      known: { spec: s.open({ known: { containers } }) },
    }),
  },
});

const rolloutStrategies = ['gradual', 'immediate'] as const;

const delivery = s.object(
  {
    as: s.choice(['env', 'file'], {
      default: 'env',
      doc: 'How the message reaches the Job: in KEDA_TASK_DATA (env, unless it is large or not text), or in a file.',
    }),
    batchSize: s.int32({
      min: 1,
      default: 1,
      doc: 'Messages per Job; more than one arrive as a JSON array.',
    }),
    maxAttempts: s.int32({ min: 1, default: 5, doc: 'Tries of one message before it is dead-lettered.' }),
  },
  { doc: 'Give each Job the messages it is to process, and settle them when it is done.' },
);

/** `spec` of a ScaledJob. */
export const scaledJobSpec = s.object(
  {
    jobTargetRef,
    pollingInterval: s.int32({ min: 1, doc: 'Seconds between two readings; 30 unless given.' }),
    successfulJobsHistoryLimit: s.int32({
      min: 0,
      doc: 'How many successful Jobs are kept; 100 unless given.',
    }),
    failedJobsHistoryLimit: s.int32({ min: 0, doc: 'How many failed Jobs are kept; 100 unless given.' }),
    rolloutStrategy: s.choice(rolloutStrategies, {
      doc: 'The old place of rollout.strategy; wins where given.',
    }),
    rollout: s.object(
      {
        strategy: s.choice(rolloutStrategies, {
          doc: 'What a change does to running Jobs: gradual lets them end, immediate deletes them.',
        }),
        propagationPolicy: s.choice(['foreground', 'background'], { doc: 'background unless given.' }),
      },
      { doc: 'What a change of the ScaledJob does to its Jobs.' },
    ),
    envSourceContainerName: s.text({
      doc: 'The container whose environment triggers may name; the first unless given.',
    }),
    minReplicaCount: s.int32({ min: 0, also: ['minReplicas'], doc: 'Jobs that always run; 0 unless given.' }),
    maxReplicaCount: s.int32({
      min: 1,
      also: ['maxReplicas'],
      doc: 'The most Jobs at once; 100 unless given.',
    }),
    scalingStrategy: s.object(
      {
        strategy: s.choice(['default', 'custom', 'accurate', 'eager'], { doc: 'default unless given.' }),
        customScalingQueueLengthDeduction: s.int32({ doc: 'For custom: taken off the queue length.' }),
        customScalingRunningJobPercentage: s.text({
          doc: 'For custom: the share of running Jobs that is taken off.',
        }),
        pendingPodConditions: s.list(s.text({}), {
          doc: 'A Job is pending until its pod has all these conditions.',
        }),
        multipleScalersCalculation: s.choice(['min', 'avg', 'sum', 'max'], { doc: 'max unless given.' }),
      },
      { doc: 'How many Jobs a queue length means.' },
    ),
    triggers: scaledJobTriggers,
    scaleTargetRef: s.open({
      needless: 'a ScaledJob has no target, KEDA makes its Jobs from jobTargetRef',
      doc: 'Not needed and ignored: Jobs are made from jobTargetRef.',
    }),
    eventide: s.object({ delivery }, { doc: 'What Eventide has and KEDA has not.' }),
  },
  { doc: 'What Jobs to create, and by what.' },
);

/** `status` of a ScaledJob. */
export const scaledJobStatus = s.object(
  {
    lastActiveTime: s.time({ doc: 'When a trigger was last active.' }),
    conditions,
    Paused: s.text({ doc: 'Kept for KEDA, which never writes it.' }),
    triggersTypes: s.text({ doc: 'The trigger types, separated by commas.' }),
    authenticationsTypes: s.text({ doc: 'The names of the authentications, separated by commas.' }),
    externalMetricNames: s.list(s.text({}), { doc: 'The metric names of the triggers.' }),
    triggersActivity,
  },
  { doc: 'What became of it.' },
);

/** Reads a ScaledJob, with the defaults of KEDA. */
export function parseScaledJob(document: ManifestDocument): Parsed<ScaledJob> {
  return parseObject(document, scaledJobSpec, (spec, meta): ScaledJob => {
    const strategy = spec.scalingStrategy ?? {};
    const workload = Object.assign(meta, {
      kind: 'ScaledJob' as const,
      key: `ScaledJob/${meta.namespace}/${meta.name}`,
      jobTargetRef: spec.jobTargetRef,
      pollingIntervalMs: (spec.pollingInterval ?? 30) * 1000,
      maxReplicaCount: spec.maxReplicaCount ?? 100,
      maxReplicaCountGiven: spec.maxReplicaCount !== undefined,
      successfulJobsHistoryLimit: spec.successfulJobsHistoryLimit ?? 100,
      failedJobsHistoryLimit: spec.failedJobsHistoryLimit ?? 100,
      rollout: {
        propagationPolicy: spec.rollout?.propagationPolicy ?? 'background',
        ...given({ strategy: spec.rolloutStrategy ?? spec.rollout?.strategy }),
      },
      scalingStrategy: {
        strategy: strategy.strategy ?? 'default',
        pendingPodConditions: strategy.pendingPodConditions ?? [],
        multipleScalersCalculation: strategy.multipleScalersCalculation ?? 'max',
        ...given({
          customScalingQueueLengthDeduction: strategy.customScalingQueueLengthDeduction,
          customScalingRunningJobPercentage: strategy.customScalingRunningJobPercentage,
        }),
      },
      triggers: triggersOf(spec.triggers),
    });
    return withGiven(workload, {
      minReplicaCount: spec.minReplicaCount,
      envSourceContainerName: spec.envSourceContainerName,
      delivery: spec.eventide?.delivery ?? impliedDelivery(spec.jobTargetRef),
    });
  });
}

/** A template that asks for KEDA_TASK_DATA wants delivery without saying so. */
function impliedDelivery(job: Readonly<Record<string, unknown>>): Infer<typeof delivery> | undefined {
  const pod = descend(job, ['template', 'spec']);
  const lists = [descend(pod, ['containers']), descend(pod, ['initContainers'])];
  const mentions = lists
    .flatMap(each => (Array.isArray(each) ? each : []))
    .some((container: unknown) => {
      const parts = ['command', 'args', 'env'].map(name => descend(container, [name]));
      return JSON.stringify(parts).includes('KEDA_TASK_DATA');
    });
  return mentions ? { as: 'env', batchSize: 1, maxAttempts: 5 } : undefined;
}
