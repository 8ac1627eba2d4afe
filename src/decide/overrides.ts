/** What annotations of a ScaledObject or ScaledJob ask for over its spec. */
export interface Overrides {
  /** Leave the target alone altogether. */
  paused: boolean;
  /** Where a paused target shall stand; `invalid` where the annotation is no number of replicas. */
  pausedReplicas: number | 'invalid' | undefined;
  pausedScaleIn: boolean;
  pausedScaleOut: boolean;
  /** Treat the workload as active whatever its triggers say. */
  forceActivation: boolean;
}

const prefix = 'autoscaling.keda.sh/';
const no = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);
const maxInt32 = 2 ** 31 - 1;

/**
 * Reads the annotations that steer scaling. As in KEDA, a boolean annotation that is there means true unless
 * its value is one that Go reads as false, and `paused-replicas` pauses even where `paused` is false.
 */
export function overridesOf(annotations: Readonly<Record<string, string>>): Overrides {
  const on = (name: string): boolean => {
    const value = annotations[prefix + name];
    return value !== undefined && !no.has(value);
  };
  const replicas = annotations[`${prefix}paused-replicas`];
  return {
    paused: replicas !== undefined || on('paused'),
    pausedReplicas: replicas === undefined ? undefined : replicaCount(replicas),
    pausedScaleIn: on('paused-scale-in'),
    pausedScaleOut: on('paused-scale-out'),
    forceActivation: on('force-activation'),
  };
}

function replicaCount(text: string): number | 'invalid' {
  const count = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
  return count <= maxInt32 ? count : 'invalid';
}
