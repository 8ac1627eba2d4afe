/** A namespace with things to scale, by a Prometheus of this process. */
import { afterAll, beforeAll } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import type { Cluster, ClusterObject, Manifest } from './bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';
import { type PrometheusServer, prometheusServer } from './servers.ts';

/** How one ScaledObject is to be, besides its trigger of threshold 1 with a query named like itself. */
export interface Scaled {
  mode?: 'hpa' | 'direct';
  spec?: object;
  annotations?: Readonly<Record<string, string>>;
  /** Of its Deployment before it is scaled; 0 unless given. */
  replicas?: number;
}

export interface ScalingGround extends AsyncDisposable {
  readonly namespace: string;
  readonly prometheus: PrometheusServer;
  /** Makes a Deployment and a ScaledObject for it, both of that name. */
  scale(name: string, how?: Scaled): Promise<void>;
  /** Makes a ScaledJob that counts, of that name. */
  jobs(name: string, spec?: object): Promise<void>;
  scaledObject(name: string, how?: Scaled): Manifest;
  deployment(name: string, replicas?: number): Manifest;
  /** Waits until a Deployment's replicas are as wanted. @throws after `timeoutMs`, 30 s unless given */
  replicas(name: string, wanted: number, timeoutMs?: number): Promise<void>;
  /** Of all Deployments by name: their replicas, and how often they were changed. */
  standing(): Promise<Record<string, string>>;
  /** What was told about an object, oldest first. */
  events(name: string, kind?: string): Promise<ClusterObject[]>;
  readonly paths: Record<
    'deployment' | 'scaledObject' | 'scaledJob' | 'autoscaler',
    (name: string) => string
  >;
}

/** Quick to read and quick to sleep, so that a mistake shows. */
const pace = { pollingInterval: 1, cooldownPeriod: 2 };

/** Has an autoscaler do what its metrics ask for at once: no five minutes before it scales in, no steps on its way out. */
export const promptly = {
  advanced: {
    horizontalPodAutoscalerConfig: {
      behavior: {
        scaleDown: { stabilizationWindowSeconds: 0 },
        scaleUp: { policies: [{ type: 'Pods', value: 100, periodSeconds: 15 }] },
      },
    },
  },
};

export async function scalingGround(cluster: Cluster): Promise<ScalingGround> {
  const namespace = await cluster.namespace();
  const prometheus = await prometheusServer();
  const apps = `/apis/apps/v1/namespaces/${namespace}/deployments`;
  const keda = `/apis/keda.sh/v1alpha1/namespaces/${namespace}`;
  const hpas = `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers`;
  const trigger = (query: string) => ({
    type: 'prometheus',
    metadata: { serverAddress: prometheus.url, query, threshold: '1' },
  });

  const deployment = (name: string, replicas = 0): Manifest => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'app', image: 'app' }] },
      },
    },
  });

  const scaledObject = (
    name: string,
    { mode = 'hpa', spec = {}, annotations = {} }: Scaled = {},
  ): Manifest => ({
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name, namespace, annotations },
    spec: {
      scaleTargetRef: { name },
      ...pace,
      triggers: [trigger(name)],
      ...(mode === 'direct' ? { eventide: { autoscaler: 'direct' } } : {}),
      ...spec,
    },
  });

  return {
    namespace,
    prometheus,
    deployment,
    scaledObject,
    async scale(name, how = {}) {
      await cluster.apply([deployment(name, how.replicas), scaledObject(name, how)]);
    },
    async jobs(name, spec = {}) {
      await cluster.apply({
        apiVersion: 'keda.sh/v1alpha1',
        kind: 'ScaledJob',
        metadata: { name, namespace },
        spec: {
          pollingInterval: pace.pollingInterval,
          jobTargetRef: {
            template: {
              spec: { restartPolicy: 'Never', containers: [{ name: 'work', image: 'work' }] },
            },
          },
          triggers: [trigger(name)],
          ...spec,
        },
      });
    },
    async replicas(name, wanted, timeoutMs = 30_000) {
      const isSo = (object: ClusterObject | undefined) => object?.['spec'].replicas === wanted;
      await cluster.waitFor(`${apps}/${name}`, isSo, { timeoutMs });
    },
    async standing() {
      const items = await cluster.list(apps);
      return Object.fromEntries(
        items.map(({ metadata, spec }) => [
          metadata.name,
          // The generation counts the changes: one there and back again does not go unseen.
          `${spec.replicas} replicas in generation ${(metadata as { generation?: number }).generation}`,
        ]),
      );
    },
    async events(name, kind = 'ScaledObject') {
      const all = await cluster.list(`/apis/events.k8s.io/v1/namespaces/${namespace}/events`);
      return all
        .filter(({ regarding }) => regarding.name === name && regarding.kind === kind)
        .sort((a, b) => (a['eventTime'] < b['eventTime'] ? -1 : 1));
    },
    paths: {
      deployment: name => `${apps}/${name}`,
      scaledObject: name => `${keda}/scaledobjects/${name}`,
      scaledJob: name => `${keda}/scaledjobs/${name}`,
      autoscaler: name => `${hpas}/keda-hpa-${name}`,
    },
    [Symbol.asyncDispose]: () => prometheus[Symbol.asyncDispose](),
  };
}

/** What is there for all tests of a file. */
export interface Operated {
  readonly installed: Installed;
  readonly operator: RunningOperator;
  readonly ground: ScalingGround;
}

/** For `clusterOf`: an operator that leads, and something to scale, from before the first test to after the last. */
export function operated(cluster: () => Cluster): Operated {
  const on: Partial<{ -readonly [K in keyof Operated]: Operated[K] }> = {};
  beforeAll(async () => {
    on.installed = await installOperator(cluster());
    on.operator = await startOperator(cluster(), on.installed);
    await on.operator.leads();
    on.ground = await scalingGround(cluster());
  }, 120_000);
  afterAll(async () => {
    await on.operator?.[Symbol.asyncDispose]();
    await on.ground?.[Symbol.asyncDispose]();
    await on.installed?.[Symbol.asyncDispose]();
  });
  return on as Operated;
}
