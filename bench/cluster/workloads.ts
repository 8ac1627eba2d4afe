import { resources } from '../../src/kube/objects.ts';
import type { Manifest } from '../../test/cluster/api.ts';
import { forEach, type Ground, waitUntil } from './ground.ts';

const pods = (app: string) => ({
  metadata: { labels: { app } },
  spec: { containers: [{ name: 'main', image: 'example.com/none' }] },
});

/** Creates Deployments `web-0`, `web-1`, …; each must have its replicas, ready, before this ends. */
export async function createDeployments(
  ground: Ground,
  { namespace, count, replicas }: { namespace: string; count: number; replicas: number },
): Promise<void> {
  await forEach(count, 0, index =>
    ground.api.create({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: `web-${index}`, namespace },
      spec: {
        replicas,
        selector: { matchLabels: { app: `web-${index}` } },
        template: pods(`web-${index}`),
      },
    }),
  );
  await using deployments = await ground.watch<DeploymentObject, boolean>({
    resource: resources.deployments,
    namespace,
    keep: ({ status }) =>
      status?.observedGeneration !== undefined && (status.readyReplicas ?? 0) >= replicas ? true : undefined,
  });
  const took = await waitUntil(() => deployments.all.size === count, 180_000);
  if (took === undefined)
    throw new Error(`only ${deployments.all.size} of ${count} Deployments got their pods`);
}

interface DeploymentObject {
  metadata: { name: string; uid: string; resourceVersion: string };
  spec?: { replicas?: number };
  status?: { observedGeneration?: number; readyReplicas?: number };
}

export interface ScaledObjectPlan {
  namespace: string;
  /** The group of the source's queries. */
  group: string;
  pollingSeconds: number;
  cooldownSeconds?: number;
  direct?: boolean;
}

/** A ScaledObject that wants one replica for each 5 of the source's value. */
export function scaledObject(ground: Ground, plan: ScaledObjectPlan, index: number): Manifest {
  const { namespace, group, pollingSeconds, cooldownSeconds, direct } = plan;
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name: `web-${index}`, namespace },
    spec: {
      scaleTargetRef: { name: `web-${index}` },
      pollingInterval: pollingSeconds,
      ...(cooldownSeconds === undefined ? {} : { cooldownPeriod: cooldownSeconds }),
      minReplicaCount: 0,
      maxReplicaCount: 20,
      ...(direct ? { eventide: { autoscaler: 'direct' } } : {}),
      triggers: [
        {
          type: 'prometheus',
          metadata: { serverAddress: ground.source.address, query: `${group}_${index}`, threshold: '5' },
        },
      ],
    },
  };
}

interface ConditionedObject {
  metadata: { name: string; uid: string; resourceVersion: string };
  status?: { conditions?: { type: string; status: string }[] };
}

/** Says, as they become so, how many ScaledObjects are Ready and how many have a HorizontalPodAutoscaler. */
export async function watchReadiness(
  ground: Ground,
  namespace: string,
): Promise<AsyncDisposable & { ready(): number; autoscalers(): number }> {
  const objects = await ground.watch<ConditionedObject, boolean>({
    resource: resources.scaledObjects,
    namespace,
    keep: ({ status }) =>
      status?.conditions?.some(each => each.type === 'Ready' && each.status === 'True') ? true : undefined,
  });
  const autoscalers = await ground.watch<ConditionedObject, boolean>({
    resource: resources.autoscalers,
    namespace,
    keep: () => true,
  });
  return {
    ready: () => objects.all.size,
    autoscalers: () => autoscalers.all.size,
    async [Symbol.asyncDispose]() {
      await objects[Symbol.asyncDispose]();
      await autoscalers[Symbol.asyncDispose]();
    },
  };
}

/** Creates ScaledObjects for as many Deployments and waits until all are Ready. @throws Error after five minutes */
export async function createReady(ground: Ground, plan: ScaledObjectPlan, count: number): Promise<void> {
  await using readiness = await watchReadiness(ground, plan.namespace);
  await forEach(count, 0, index => ground.api.create(scaledObject(ground, plan, index)));
  const all = () => readiness.ready() === count && (plan.direct || readiness.autoscalers() === count);
  const took = await waitUntil(all, 600_000);
  if (took !== undefined) return;
  throw new Error(
    `after ten minutes ${readiness.ready()} of ${count} ScaledObjects are Ready, ${readiness.autoscalers()} have a HorizontalPodAutoscaler`,
  );
}
