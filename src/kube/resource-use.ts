import { parseDuration } from '../base/duration.ts';
import { Fault } from '../base/errors.ts';
import { parseQuantity } from '../base/quantity.ts';
import type { PodUse, ResourceQuery, World } from '../engine/ports.ts';
import type { ScaledObject } from '../spec/workload.ts';
import type { KubeClient } from './client.ts';
import { type PodContainer, type PodObject, podsBy, readyCondition } from './pods.ts';
import type { Targets } from './targets.ts';

/** What metrics.k8s.io says of a pod. */
export interface PodMetrics {
  metadata: { name: string };
  /** When the sample was taken. */
  timestamp?: string;
  /** How far it looks back, such as `15s`. */
  window?: string;
  containers?: readonly { name: string; usage?: Readonly<Record<string, string>> }[];
}

interface ResourceUseOptions {
  client: KubeClient;
  targets: Pick<Targets, 'selector'>;
}

interface Sample {
  pods: readonly PodObject[];
  metrics: ReadonlyMap<string, PodMetrics>;
}

/** Reads the use of cpu and memory by a target's pods, as the controller of HorizontalPodAutoscalers does. */
export function kubeResourceUse({ client, targets }: ResourceUseOptions): Pick<World, 'readResource'> {
  const reading = new Map<string, Promise<Sample>>();

  async function sample(workload: ScaledObject, signal: AbortSignal): Promise<Sample> {
    const { namespace, target } = workload;
    const selected = await targets.selector(workload, signal);
    if (selected === '') {
      const sentence = `${target.kind} "${target.name}" does not say which pods are its own`;
      throw new Fault('NOT_SUPPORTED', sentence);
    }
    const [pods, metrics] = await Promise.all([
      podsBy(client, { namespace, selector: selected }, signal),
      readMetrics(client, { namespace, selector: selected }, signal),
    ]);
    return { pods, metrics };
  }

  /** The triggers of a workload are read together, and one sample has the use of cpu and of memory. */
  function shared(workload: ScaledObject, signal: AbortSignal): Promise<Sample> {
    const under = reading.get(workload.key);
    if (under !== undefined) return under;
    const begun = sample(workload, signal).finally(() => reading.delete(workload.key));
    reading.set(workload.key, begun);
    return begun;
  }

  return {
    async readResource(workload, query, signal) {
      const { pods, metrics } = await shared(workload, signal);
      return pods.map(pod => podUse(pod, metrics.get(pod.metadata.name), query));
    },
  };
}

async function readMetrics(
  client: KubeClient,
  { namespace, selector }: { namespace: string; selector: string },
  signal: AbortSignal,
): Promise<Map<string, PodMetrics>> {
  const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods?labelSelector=${encodeURIComponent(selector)}`;
  try {
    const answer = (await client.raw({ method: 'GET', path, signal })) as { items?: readonly PodMetrics[] };
    return new Map((answer.items ?? []).map(each => [each.metadata.name, each] as const));
  } catch (cause) {
    if (!(cause instanceof Fault) || cause.code !== 'KUBE_NOT_FOUND') throw cause;
    const sentence =
      'the cluster does not measure cpu and memory: it has no metrics.k8s.io, which metrics-server would serve';
    throw new Fault('NOT_SUPPORTED', sentence, { cause });
  }
}

/** A pod with its use, as the controller of HorizontalPodAutoscalers (Kubernetes 1.36) looks at it. */
export function podUse(pod: PodObject, metrics: PodMetrics | undefined, query: ResourceQuery): PodUse {
  const { metadata, status } = pod;
  const ready = readyCondition(pod);
  const use: PodUse = {
    pod: metadata.name,
    used: metrics && usedBy(metrics, query),
    requested: requestedBy(pod, query),
    ready: ready?.status === 'True',
    startedAt: timeOf(status?.startTime),
    deleting: metadata.deletionTimestamp !== undefined,
    phase: phaseOf(status?.phase),
  };
  const [readySince, sampledAt] = [timeOf(ready?.lastTransitionTime), timeOf(metrics?.timestamp)];
  const windowMs = parseDuration(metrics?.window ?? '');
  if (readySince !== undefined) use.readySince = readySince;
  if (sampledAt !== undefined) use.sampledAt = sampledAt;
  if (windowMs !== undefined) use.windowMs = windowMs;
  return use;
}

/** Undefined where a container that counts has no sample. */
function usedBy({ containers = [] }: PodMetrics, { resource, container }: ResourceQuery): number | undefined {
  const counted = containers.filter(({ name }) => container === undefined || name === container);
  return sum(counted.map(({ usage }) => amount(usage?.[resource])));
}

/** Undefined where a container that counts requests nothing. */
function requestedBy({ spec = {} }: PodObject, { resource, container }: ResourceQuery): number | undefined {
  const running = [...(spec.containers ?? []), ...(spec.initContainers ?? []).filter(isSidecar)];
  const requestOf = ({ resources }: PodContainer) => amount(resources?.requests?.[resource]);
  if (container !== undefined) return sum(running.filter(({ name }) => name === container).map(requestOf));
  const whole = spec.resources?.requests;
  if (whole === undefined) return sum(running.map(requestOf));
  const known = running.map(requestOf).filter(each => each !== undefined);
  return amount(whole[resource]) ?? sum(known);
}

const isSidecar = ({ restartPolicy }: PodContainer) => restartPolicy === 'Always';

const amount = (quantity: string | undefined) =>
  quantity === undefined ? undefined : parseQuantity(quantity);

/** Undefined where one of the parts is, or where there are none. */
function sum(parts: readonly (number | undefined)[]): number | undefined {
  let total = 0;
  for (const part of parts) {
    if (part === undefined) return undefined;
    total += part;
  }
  return parts.length === 0 ? undefined : total;
}

function timeOf(text: string | undefined): number | undefined {
  const time = Date.parse(text ?? '');
  return Number.isNaN(time) ? undefined : time;
}

function phaseOf(phase: string | undefined): NonNullable<PodUse['phase']> {
  switch (phase) {
    case 'Running':
    case 'Pending':
    case 'Succeeded':
    case 'Failed':
      return phase;
    default:
      return 'Unknown';
  }
}
