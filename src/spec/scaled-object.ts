import { conditions, triggersActivity } from './conditions.ts';
import type { ManifestDocument } from './documents.ts';
import { given, withGiven } from './given.ts';
import { parseObject } from './object-meta.ts';
import { s } from './schema.ts';
import { scaledObjectTriggers, triggersOf } from './trigger.ts';
import type { Parsed, ScaledObject } from './workload.ts';

const scalingPolicy = s.object(
  {
    type: s.choice(['Pods', 'Percent'], { required: true, choicesNotInCrd: true }),
    value: s.int32({
      required: true,
      min: 1,
      limitsNotInCrd: true,
      doc: 'How many pods or percent at most.',
    }),
    periodSeconds: s.int32({
      required: true,
      min: 1,
      max: 1800,
      limitsNotInCrd: true,
      doc: 'Within how many seconds.',
    }),
  },
  {},
);

const scalingRules = (doc: string) =>
  s.object(
    {
      stabilizationWindowSeconds: s.int32({
        min: 0,
        max: 3600,
        limitsNotInCrd: true,
        doc: 'How far back recommendations are looked at.',
      }),
      selectPolicy: s.choice(['Max', 'Min', 'Disabled'], {
        choicesNotInCrd: true,
        doc: 'Which of the policies counts; Max unless given.',
      }),
      policies: s.list(scalingPolicy, { atomic: true, doc: 'How fast replicas may change.' }),
      tolerance: s.quantity({ doc: 'A relative difference from the target that is let be.' }),
    },
    { doc },
  );

const scalingModifiers = s.object(
  {
    formula: s.text({ doc: 'An expr-lang expression over the names of the triggers.' }),
    target: s.text({ doc: 'What the value of the formula is divided by, or compared with.' }),
    activationTarget: s.text({ doc: 'The value above which the formula counts as active; 0 unless given.' }),
    metricType: s.choice(['AverageValue', 'Value'], { doc: 'AverageValue unless given.' }),
  },
  { doc: 'One value made from all triggers by a formula, instead of one value per trigger.' },
);

const advanced = s.object(
  {
    restoreToOriginalReplicaCount: s.bool({
      doc: 'Set the target back to the replicas it had before, when the ScaledObject is deleted.',
    }),
    horizontalPodAutoscalerConfig: s.object(
      {
        name: s.text({ doc: 'keda-hpa-<name> unless given.' }),
        behavior: s.object(
          {
            scaleUp: scalingRules('How replicas may grow.'),
            scaleDown: scalingRules('How replicas may shrink.'),
          },
          { doc: 'The behavior of autoscaling/v2.' },
        ),
      },
      { doc: 'The HorizontalPodAutoscaler that is made for the target.' },
    ),
    scalingModifiers,
  },
  { doc: 'Settings of the autoscaler.' },
);

const fallback = s.object(
  {
    failureThreshold: s.int32({ required: true, min: 0, doc: 'After more failures in a row than this.' }),
    replicas: s.int32({ required: true, min: 0, doc: 'The replicas to fall back to.' }),
    behavior: s.choice(
      ['static', 'currentReplicas', 'currentReplicasIfHigher', 'currentReplicasIfLower', 'scalingModifiers'],
      { default: 'static', defaultInCrd: true, doc: 'What the replicas are compared with.' },
    ),
  },
  { doc: 'What to do when a source cannot be read.' },
);

/** `spec` of a ScaledObject. */
export const scaledObjectSpec = s.object(
  {
    scaleTargetRef: s.object(
      {
        apiVersion: s.text({ doc: 'apps/v1 unless given.' }),
        kind: s.text({ doc: 'Deployment unless given.' }),
        name: s.text({ required: true, minLength: 1, doc: 'The name of the object to scale.' }),
        envSourceContainerName: s.text({
          doc: 'The container whose environment triggers may name; the first unless given.',
        }),
      },
      { required: true, doc: 'What is scaled: anything in the namespace with a /scale subresource.' },
    ),
    pollingInterval: s.int32({ min: 1, doc: 'Seconds between two readings; 30 unless given.' }),
    cooldownPeriod: s.int32({
      min: 0,
      doc: 'Seconds without activity before the target is idle; 300 unless given.',
    }),
    initialCooldownPeriod: s.int32({
      min: 0,
      doc: 'Seconds after creation before the target may be idle; 0 unless given.',
    }),
    idleReplicaCount: s.int32({
      min: 0,
      doc: 'Replicas while no trigger is active, where fewer than minReplicaCount.',
    }),
    minReplicaCount: s.int32({ min: 0, also: ['minReplicas'], doc: 'The least replicas; 0 unless given.' }),
    maxReplicaCount: s.int32({ min: 1, also: ['maxReplicas'], doc: 'The most replicas; 100 unless given.' }),
    advanced,
    fallback,
    triggers: scaledObjectTriggers,
    eventide: s.object(
      {
        autoscaler: s.choice(['hpa', 'direct'], {
          doc: 'hpa: make a HorizontalPodAutoscaler and answer it, as KEDA does. direct: set the replicas without one.',
        }),
      },
      { doc: 'What Eventide has and KEDA has not.' },
    ),
  },
  { doc: 'What to scale, and by what.' },
);

/** `status` of a ScaledObject. */
export const scaledObjectStatus = s.object(
  {
    scaleTargetKind: s.text({ doc: 'Such as apps/v1.Deployment.' }),
    scaleTargetGVKR: s.object(
      {
        group: s.text({ required: true }),
        version: s.text({ required: true }),
        kind: s.text({ required: true }),
        resource: s.text({ required: true }),
      },
      { doc: 'The resource of the target.' },
    ),
    originalReplicaCount: s.int32({ doc: 'The replicas the target had when it was first seen.' }),
    lastActiveTime: s.time({ doc: 'When a trigger was last active.' }),
    externalMetricNames: s.list(s.text({}), { doc: 'The names under which the HPA asks for the triggers.' }),
    resourceMetricNames: s.list(s.text({}), { doc: 'The resource metrics of the HPA.' }),
    compositeScalerName: s.text({ doc: 'The name of the metric that scalingModifiers make.' }),
    conditions,
    health: s.map(
      s.object(
        {
          numberOfFailures: s.int32({ doc: 'Failures in a row.' }),
          status: s.text({ doc: 'Happy or Failing.' }),
        },
        {},
      ),
      { doc: 'How reading each metric goes, where a fallback is configured.' },
    ),
    triggersActivity,
    pausedReplicaCount: s.int32({ doc: 'The replicas it is paused at.' }),
    hpaName: s.text({ doc: 'The name of the HorizontalPodAutoscaler.' }),
    triggersTypes: s.text({ doc: 'The trigger types, separated by commas.' }),
    authenticationsTypes: s.text({ doc: 'The names of the authentications, separated by commas.' }),
  },
  { doc: 'What became of it.' },
);

/** Reads a ScaledObject, with the defaults of KEDA. */
export function parseScaledObject(document: ManifestDocument): Parsed<ScaledObject> {
  return parseObject(document, scaledObjectSpec, (spec, meta): ScaledObject => {
    const { scaleTargetRef, advanced: { horizontalPodAutoscalerConfig: hpa, ...more } = {} } = spec;
    const seconds = (value: number | undefined, unless: number) => (value ?? unless) * 1000;
    const workload = Object.assign(meta, {
      kind: 'ScaledObject' as const,
      key: `ScaledObject/${meta.namespace}/${meta.name}`,
      target: {
        apiVersion: scaleTargetRef.apiVersion || 'apps/v1',
        kind: scaleTargetRef.kind || 'Deployment',
        name: scaleTargetRef.name,
      },
      pollingIntervalMs: seconds(spec.pollingInterval, 30),
      cooldownPeriodMs: seconds(spec.cooldownPeriod, 300),
      initialCooldownPeriodMs: seconds(spec.initialCooldownPeriod, 0),
      maxReplicaCount: spec.maxReplicaCount ?? 100,
      maxReplicaCountGiven: spec.maxReplicaCount !== undefined,
      restoreToOriginalReplicaCount: more.restoreToOriginalReplicaCount ?? false,
      horizontalPodAutoscalerConfig: {
        name: hpa?.name || `keda-hpa-${meta.name}`,
        ...given({ behavior: hpa?.behavior }),
      },
      triggers: triggersOf(spec.triggers),
    });
    return withGiven(workload, {
      minReplicaCount: spec.minReplicaCount,
      idleReplicaCount: spec.idleReplicaCount,
      envSourceContainerName: scaleTargetRef.envSourceContainerName,
      scalingModifiers: more.scalingModifiers,
      fallback: spec.fallback,
      autoscaler: spec.eventide?.autoscaler,
    });
  });
}
