import type { KubeClient } from './client.ts';
import { type KubeObject, resources } from './objects.ts';

/** A Pod, as far as we look at it. */
export interface PodObject extends KubeObject {
  spec?: {
    containers?: readonly PodContainer[];
    initContainers?: readonly PodContainer[];
    /** For the pod as a whole, which counts more than what its containers request. */
    resources?: { requests?: Readonly<Record<string, string>> };
  };
  status?: {
    phase?: string;
    startTime?: string;
    conditions?: readonly { type: string; status: string; lastTransitionTime?: string }[];
  };
}

export interface PodContainer {
  name: string;
  /** `Always` makes a sidecar of an init container. */
  restartPolicy?: string;
  resources?: { requests?: Readonly<Record<string, string>> };
}

/** The pods of one namespace that a selector, such as `app=web,tier in (a,b)`, selects. */
export async function podsBy(
  client: KubeClient,
  { namespace, selector }: { namespace: string; selector: string },
  signal: AbortSignal,
): Promise<readonly PodObject[]> {
  const query = { namespace, labelSelector: selector, signal };
  return (await client.list<PodObject>(resources.pods, query)).items;
}

/** Whether a pod serves: Running, and its Ready condition True. */
export function isServing({ status }: PodObject): boolean {
  return status?.phase === 'Running' && readyCondition({ status })?.status === 'True';
}

/** A pod's Ready condition; undefined where it has none yet. */
export function readyCondition({
  status,
}: Pick<PodObject, 'status'>): { status: string; lastTransitionTime?: string } | undefined {
  return status?.conditions?.find(({ type }) => type === 'Ready');
}
