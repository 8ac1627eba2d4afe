import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { kubeDiscovery } from '../../src/kube/discovery.ts';
import { kubeResourceUse } from '../../src/kube/resource-use.ts';
import { kubeTargets, type Targets } from '../../src/kube/targets.ts';
import { clusterOf } from './bed.ts';
import { addKind, type CountedClient, clientOf, deployment, storeScaledObject } from './kube-bed.ts';

const signal = AbortSignal.timeout(600_000);

/** Stands for metrics-server: pods of this kind are listed under the path where it would serve them. */
const measured = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: {
    name: 'pods.metrics.k8s.io',
    annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
  },
  spec: {
    group: 'metrics.k8s.io',
    scope: 'Namespaced',
    names: { kind: 'PodMetrics', plural: 'pods', singular: 'pod', listKind: 'PodMetricsList' },
    versions: [
      {
        name: 'v1beta1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};

clusterOf('the use of resources in a cluster', {}, cluster => {
  let client: CountedClient;
  let targets: Targets;

  beforeEach(async () => {
    client = await clientOf(cluster());
    const discovery = kubeDiscovery({ client, clock: systemClock });
    targets = kubeTargets({ client, clock: systemClock, log: silentLog, discovery, onChange() {} });
  });

  afterEach(async () => {
    await targets[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();
  });

  it("reads it for a target's pods, measured or not, and says where nothing measures", async () => {
    await addKind(cluster(), 'scaledobjects');
    const namespace = await cluster().namespace();
    await cluster().apply([deployment('web', 2), deployment('other', 1)], namespace);
    const pods = await cluster().waitForList(
      `/api/v1/namespaces/${namespace}/pods`,
      all => all.length === 3 && all.every(pod => pod['status'].phase === 'Running'),
    );
    const [first, second] = pods
      .filter(pod => pod.metadata.labels?.['app'] === 'web')
      .map(pod => pod.metadata.name);
    const workload = await storeScaledObject(cluster(), namespace, { metadata: { name: 'orders' } });
    targets.use(workload);
    const { readResource } = kubeResourceUse({ client, targets });
    const read = (resource: 'cpu' | 'memory') =>
      readResource(workload, { resource, container: undefined }, signal);

    await expect(read('cpu')).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('it has no metrics.k8s.io'),
    });
    await cluster().apply(measured);
    await cluster().apply(
      {
        apiVersion: 'metrics.k8s.io/v1beta1',
        kind: 'PodMetrics',
        metadata: { name: String(first), labels: { app: 'web' } },
        timestamp: '2026-01-01T00:00:00Z',
        window: '20s',
        containers: [{ name: 'app', usage: { cpu: '250m', memory: '64Mi' } }],
      },
      namespace,
    );
    client.requests.length = 0;
    const [cpu, memory] = await Promise.all([read('cpu'), read('memory')]);

    expect(cpu).toEqual(
      [first, second].toSorted().map(pod =>
        expect.objectContaining({
          pod,
          used: pod === first ? 0.25 : undefined,
          requested: 0.1,
          ready: true,
          phase: 'Running',
          startedAt: expect.any(Number),
        }),
      ),
    );
    expect(cpu?.find(({ pod }) => pod === first)).toMatchObject({
      sampledAt: Date.UTC(2026, 0, 1),
      windowMs: 20_000,
    });
    expect(memory?.find(({ pod }) => pod === first)).toMatchObject({ used: 2 ** 26, requested: undefined });
    // Two triggers, one sample; the selector was known from before.
    expect(client.requests).toEqual(['LIST pods']);
  });
});
