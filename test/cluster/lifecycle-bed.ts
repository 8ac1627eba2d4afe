import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import type { Log } from '../../src/base/log.ts';
import type { Job, Report } from '../../src/engine/ports.ts';
import { authenticationWatch } from '../../src/kube/authentication-watch.ts';
import { kubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import { kubeLifecycle, type Lifecycle, type LifecycleOptions } from '../../src/kube/lifecycle.ts';
import type { Remembered } from '../../src/kube/workloads.ts';
import type { ScaledJob, Workload } from '../../src/spec/workload.ts';
import type { Cluster } from './bed.ts';

/** Applies the CRDs of deploy/crds as they are. */
export async function applyCrds(cluster: Cluster): Promise<void> {
  const files = await readdir('deploy/crds');
  for (const file of files) await cluster.apply(await readFile(join('deploy/crds', file), 'utf8'));
}

/** What a lifecycle told, in order. */
export interface Heard {
  set: { workload: Workload; remembered: Remembered }[];
  removed: string[];
  jobs: { key: string; job: Job }[];
  gone: { key: string; name: string }[];
  restored: { key: string; replicas: number }[];
  said: string[];
}

export interface RunningLifecycle extends AsyncDisposable {
  lifecycle: Lifecycle;
  heard: Heard;
  /** The last version of a workload that was told of. */
  workload(key: string): Workload | undefined;
  /** How many write requests were sent, by method and subresource-bearing path. */
  writes: string[];
}

/**
 * Starts a lifecycle on a client of its own.
 *
 * @param hold gets what makes it lead; without, it leads at once
 */
export async function startLifecycle(
  cluster: Cluster,
  over: Partial<LifecycleOptions> = {},
  hold: (lead: () => void) => void = lead => lead(),
): Promise<RunningLifecycle> {
  const config = await loadKubeConfig({ file: cluster.kubeconfig, environment: {}, home: '/nowhere' });
  const heard: Heard = { set: [], removed: [], jobs: [], gone: [], restored: [], said: [] };
  const writes: string[] = [];
  const log = logInto(heard.said);
  const client = kubeClient(config, { clock: systemClock, log });
  const patch = client.patch.bind(client);
  client.patch = (resource, at, body, how) => {
    writes.push(`${resource.kind} ${at.name} ${how.subresource ?? ''}`.trim());
    return patch(resource, at, body, how);
  };
  const shared = { client, clock: systemClock, log };
  const authentications = authenticationWatch({ ...shared, namespaces: over.namespaces });
  const lifecycle = kubeLifecycle({
    ...shared,
    authentications,
    version: '1.2.3',
    instance: 'bed',
    checkFormula: () => [],
    onSet: (workload, remembered) => heard.set.push({ workload, remembered }),
    onRemove: key => void heard.removed.push(key),
    onJob: (key, job) => heard.jobs.push({ key, job }),
    onJobGone: (key, name) => heard.gone.push({ key, name }),
    restore: async ({ key }, replicas) => void heard.restored.push({ key, replicas }),
    ...over,
  });
  await lifecycle.whenSynced(AbortSignal.timeout(15_000));
  hold(() => lifecycle.lead());
  return {
    lifecycle,
    heard,
    writes,
    workload: key => heard.set.findLast(each => each.workload.key === key)?.workload,
    async [Symbol.asyncDispose]() {
      await lifecycle[Symbol.asyncDispose]();
      await authentications[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

function logInto(said: string[]): Log {
  const say = (sentence: string, facts = {}) => void said.push(`${sentence} ${JSON.stringify(facts)}`);
  const log: Log = { debug: say, info: say, warn: say, error: say, with: () => log };
  return log;
}

export const pathOf = {
  scaledObject: (namespace: string, name: string) =>
    `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects/${name}`,
  scaledJob: (namespace: string, name: string) =>
    `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledjobs/${name}`,
  authentication: (namespace: string, name: string) =>
    `/apis/keda.sh/v1alpha1/namespaces/${namespace}/triggerauthentications/${name}`,
  job: (namespace: string, name: string) => `/apis/batch/v1/namespaces/${namespace}/jobs/${name}`,
  jobs: (namespace: string) => `/apis/batch/v1/namespaces/${namespace}/jobs`,
  events: (namespace: string) => `/apis/events.k8s.io/v1/namespaces/${namespace}/events`,
};

export const trigger = {
  type: 'prometheus',
  metadata: { serverAddress: 'http://p', query: 'q', threshold: '5' },
};

export const scaledObject = (
  name: string,
  { spec = {}, metadata = {} }: { spec?: object; metadata?: object } = {},
) => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  metadata: { name, ...metadata },
  spec: { scaleTargetRef: { name: 'web' }, triggers: [trigger], ...spec },
});

export const scaledJob = (
  name: string,
  {
    spec = {},
    pod = {},
    annotations = {},
    metadata = {},
  }: { spec?: object; pod?: object; annotations?: object; metadata?: object } = {},
) => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledJob',
  metadata: { name, ...metadata },
  spec: {
    jobTargetRef: {
      template: {
        metadata: { annotations },
        spec: { containers: [{ name: 'main', image: 'none' }], ...pod },
      },
    },
    triggers: [trigger],
    ...spec,
  },
});

export const condition = (
  status: 'True' | 'False' | 'Unknown',
  reason: string,
  message = `It is ${reason}.`,
) => ({
  status,
  reason,
  message,
});

export const report = (over: Partial<Report> = {}): Report => ({
  at: Date.now(),
  why: 'Because.',
  ready: condition('True', 'ScaledObjectReady'),
  active: condition('False', 'ScalerNotActive'),
  fallback: condition('False', 'NoFallbackFound'),
  paused: condition('False', 'ScaledObjectUnpaused'),
  triggers: [
    { name: 'prometheus', type: 'prometheus', metricName: 's0-prometheus', value: 0, active: false },
  ],
  ...over,
});

/** The workload of a key, which must be a ScaledJob. */
export function scaledJobOf({ workload }: RunningLifecycle, key: string): ScaledJob {
  const found = workload(key);
  if (found?.kind !== 'ScaledJob') throw new Error(`${key} was not told of`);
  return found;
}
