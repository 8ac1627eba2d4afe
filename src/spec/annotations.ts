/** The annotations and labels of KEDA that mean something, by what they do. */
export const annotations = {
  paused: 'autoscaling.keda.sh/paused',
  pausedReplicas: 'autoscaling.keda.sh/paused-replicas',
  pausedScaleIn: 'autoscaling.keda.sh/paused-scale-in',
  pausedScaleOut: 'autoscaling.keda.sh/paused-scale-out',
  forceActivation: 'autoscaling.keda.sh/force-activation',
  /** On a ScaledObject; read at admission only. */
  transferHpaOwnership: 'scaledobject.keda.sh/transfer-hpa-ownership',
  /** On a HorizontalPodAutoscaler; `false` takes it out of the admission rules. */
  hpaOwnership: 'validations.keda.sh/hpa-ownership',
  hpaExcludedLabels: 'scaledobject.keda.sh/hpa-excluded-labels',
  jobExcludedLabels: 'scaledjob.keda.sh/job-excluded-labels',
  /** On a Job: the generation of the ScaledJob it was made from. */
  jobGeneration: 'scaledjob.keda.sh/generation',
} as const;

type Annotations = Readonly<Record<string, string>>;

const goFalse = /^(0|f|F|FALSE|false|False)$/;

/**
 * Reads an annotation that is true or false, as KEDA does: left out means false, everything that Go's ParseBool
 * does not read as false means true, the empty text and nonsense included.
 */
export function flagAnnotation(given: Annotations, key: string): boolean {
  const value = given[key];
  return value !== undefined && !goFalse.test(value);
}

/** How scaling is held back by annotations. */
export interface Pause {
  /** Nothing is scaled at all. */
  full: boolean;
  /** Where a full pause scales to first; `invalid` where the annotation is no number of replicas. */
  pausedReplicas?: number | 'invalid';
  scaleIn: boolean;
  scaleOut: boolean;
}

/** Reads the pause of a ScaledObject or ScaledJob; only a ScaledObject has more than the full one. */
export function pauseOf(workload: { kind: 'ScaledObject' | 'ScaledJob'; annotations: Annotations }): Pause {
  const { kind, annotations: given } = workload;
  const paused = flagAnnotation(given, annotations.paused);
  if (kind === 'ScaledJob') return { full: paused, scaleIn: false, scaleOut: false };
  const replicas = given[annotations.pausedReplicas];
  return {
    full: paused || replicas !== undefined,
    ...(replicas === undefined ? {} : { pausedReplicas: replicaCount(replicas) }),
    scaleIn: flagAnnotation(given, annotations.pausedScaleIn),
    scaleOut: flagAnnotation(given, annotations.pausedScaleOut),
  };
}

function replicaCount(text: string): number | 'invalid' {
  const count = /^\+?\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return count < 2 ** 31 ? count : 'invalid';
}

/** Whether a ScaledObject is to be treated as active whatever its triggers say. */
export function forcesActivation(workload: {
  kind: 'ScaledObject' | 'ScaledJob';
  annotations: Annotations;
}): boolean {
  return (
    workload.kind === 'ScaledObject' && flagAnnotation(workload.annotations, annotations.forceActivation)
  );
}

/** The label keys that are not to be copied to the HPA or the Jobs: separated by commas, not trimmed. */
export function excludedLabels(workload: {
  kind: 'ScaledObject' | 'ScaledJob';
  annotations: Annotations;
}): string[] {
  const key =
    workload.kind === 'ScaledObject' ? annotations.hpaExcludedLabels : annotations.jobExcludedLabels;
  const value = workload.annotations[key];
  return value === undefined || value === '' ? [] : value.split(',');
}
