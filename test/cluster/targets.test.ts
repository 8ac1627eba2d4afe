import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { kubeDiscovery } from '../../src/kube/discovery.ts';
import { kubeTargets, type Targets } from '../../src/kube/targets.ts';
import { documentOf } from '../../src/spec/documents.ts';
import { parseScaledObject } from '../../src/spec/scaled-object.ts';
import type { ScaledObject } from '../../src/spec/workload.ts';
import { clusterOf, podAnnotations, until } from './bed.ts';
import { type CountedClient, clientOf, deployment } from './kube-bed.ts';

const signal = AbortSignal.timeout(600_000);

clusterOf('targets in a cluster', { control: true }, cluster => {
  let client: CountedClient;
  let targets: Targets;
  let changed: string[];
  let namespace: string;

  beforeEach(async () => {
    namespace = await cluster().namespace();
    client = await clientOf(cluster());
    begin();
  });

  afterEach(async () => {
    await targets[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();
  });

  function begin(namespaces?: string[]) {
    changed = [];
    targets = kubeTargets({
      client,
      clock: systemClock,
      log: silentLog,
      discovery: kubeDiscovery({ client, clock: systemClock }),
      onChange: key => void changed.push(key),
      ...(namespaces === undefined ? {} : { namespaces }),
    });
  }

  function workload(name = 'orders', target: object = { name: 'web' }): ScaledObject {
    const parsed = parseScaledObject(
      documentOf({
        apiVersion: 'keda.sh/v1alpha1',
        kind: 'ScaledObject',
        metadata: { namespace, name, uid: name },
        spec: {
          scaleTargetRef: target,
          triggers: [{ type: 'cpu', metricType: 'Utilization', metadata: { value: '50' } }],
        },
      }),
    );
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
    return parsed.value;
  }

  const path = (kind: string, name: string) => `/apis/apps/v1/namespaces/${namespace}/${kind}/${name}`;

  async function running(name: string, replicas: number) {
    await cluster().apply(deployment(name, replicas), namespace);
    await cluster().waitFor(
      path('deployments', name),
      found =>
        (found?.['status']?.readyReplicas ?? 0) === replicas &&
        found?.['status']?.observedGeneration === found?.metadata['generation' as 'name'],
    );
  }

  async function follow(one: ScaledObject) {
    targets.use(one);
    await targets.whenSynced(signal);
    client.requests.length = 0;
  }

  it('reads replicas without a request, and tells of changes', async () => {
    await running('web', 2);
    const one = workload();
    await follow(one);

    const before = await targets.readTarget(one, signal);
    await cluster().scale(path('deployments', 'web'), 3);
    const after = await until(
      () => targets.readTarget(one, signal),
      state => state.readyReplicas === 3,
    );

    expect(before).toEqual({ replicas: 2, readyReplicas: 2 });
    expect(after).toEqual({ replicas: 3, readyReplicas: 3 });
    expect(client.requests).toEqual([]);
    expect(new Set(changed)).toEqual(new Set([one.key]));
  });

  it('says nothing of what does not matter', async () => {
    await running('web', 1);
    await running('other', 1);
    const one = workload();
    await follow(one);

    await cluster().patch(path('deployments', 'web'), { metadata: { labels: { noise: 'x' } } });
    await cluster().scale(path('deployments', 'other'), 2);
    await cluster().scale(path('deployments', 'web'), 2);
    await until(
      async () => changed.length,
      count => count > 0,
    );

    expect((await targets.readTarget(one, signal)).replicas).toBe(2);
    expect(changed[0]).toBe(one.key);
    expect(changed.length).toBeLessThanOrEqual(2);
  });

  it('sets replicas and knows them at once', async () => {
    await cluster().apply(deployment('web', 0), namespace);
    const one = workload();
    await follow(one);

    await targets.setReplicas(one, 4, signal);
    const at = await targets.readTarget(one, signal);
    await targets.setReplicas(one, 4, signal);
    await until(
      () => targets.readTarget(one, signal),
      state => state.readyReplicas === 4,
    );

    expect(at).toEqual({ replicas: 4, readyReplicas: 0 });
    expect(client.requests).toEqual(['PATCH deployments/scale', 'PATCH deployments/scale']);
    const found = await cluster().get(path('deployments', 'web'));
    expect(found?.['spec'].replicas).toBe(4);
  });

  it('does not take for news what it did itself', async () => {
    const sleepy = { metadata: { labels: { app: 'web' }, annotations: { [podAnnotations.start]: '1h' } } };
    await cluster().apply(deployment('web', 0, sleepy), namespace);
    const one = workload();
    await follow(one);
    await targets.readTarget(one, signal);

    for (const replicas of [2, 5, 3]) await targets.setReplicas(one, replicas, signal);
    await cluster().delete(path('deployments', 'web'));
    await until(
      () => targets.readTarget(one, signal).catch(() => undefined),
      state => state === undefined,
    );

    expect(changed).toEqual([one.key]);
  });

  it('is not set back by older news while it sets replicas many times', async () => {
    await cluster().apply(deployment('web', 0), namespace);
    const one = workload();
    await follow(one);
    const seen: number[] = [];

    for (let replicas = 1; replicas <= 30; replicas += 1) {
      await targets.setReplicas(one, replicas, signal);
      for (let look = 0; look < 3; look += 1) {
        seen.push((await targets.readTarget(one, signal)).replicas - replicas);
        await new Promise(resolve => setImmediate(resolve));
      }
    }

    expect(new Set(seen)).toEqual(new Set([0]));
  });

  it('finds a target that was there before anybody referred to it', async () => {
    await running('web', 1);
    await running('late', 2);
    const one = workload();
    await follow(one);
    const late = workload('late', { name: 'late' });
    targets.use(late);

    const states = [await targets.readTarget(late, signal), await targets.readTarget(late, signal)];
    await cluster().delete(path('deployments', 'late'));
    await until(
      async () => changed,
      keys => keys.includes(late.key),
    );

    expect(states).toEqual([
      { replicas: 2, readyReplicas: 2 },
      { replicas: 2, readyReplicas: 2 },
    ]);
    expect(client.requests).toEqual(['GET deployments']);
    await expect(targets.readTarget(late, signal)).rejects.toMatchObject({ code: 'TARGET_MISSING' });
  });

  it('notices that a missing target appears, and that one is gone', async () => {
    const one = workload();
    await follow(one);
    const read = () => targets.readTarget(one, signal);

    await expect(read()).rejects.toMatchObject({
      code: 'TARGET_MISSING',
      message: `there is no Deployment "web" (apps/v1) in namespace "${namespace}"`,
    });
    await expect(targets.setReplicas(one, 1, signal)).rejects.toMatchObject({ code: 'TARGET_MISSING' });
    await cluster().apply(deployment('web', undefined), namespace);
    await until(
      async () => changed,
      keys => keys.length > 0,
    );
    expect((await read()).replicas).toBe(1);
    changed.length = 0;
    await cluster().delete(path('deployments', 'web'));
    await until(
      async () => changed,
      keys => keys.length > 0,
    );

    await expect(read()).rejects.toMatchObject({ code: 'TARGET_MISSING' });
  });

  it('holds on to nothing that the API server cannot confirm', async () => {
    await running('web', 1);
    const one = workload();
    await follow(one);
    await cluster().stop('kube-apiserver');
    try {
      await expect(targets.setReplicas(one, 3, AbortSignal.timeout(3_000))).rejects.toThrow();
    } finally {
      await cluster().start('kube-apiserver');
    }

    await until(
      async () => {
        await targets.setReplicas(one, 2, signal).catch(() => {});
        return (await targets.readTarget(one, signal)).readyReplicas;
      },
      ready => ready === 2,
    );
  }, 120_000);

  it('follows a StatefulSet, and another target where the workload has one', async () => {
    await running('web', 1);
    await cluster().apply(
      {
        ...deployment('db', 2),
        kind: 'StatefulSet',
        spec: { ...(deployment('db', 2)['spec'] as object), serviceName: 'db' },
      },
      namespace,
    );
    const one = workload();
    await follow(one);
    const other = workload('orders', { kind: 'StatefulSet', name: 'db' });
    targets.use(other);

    const state = await until(
      () => targets.readTarget(other, signal),
      ({ readyReplicas }) => readyReplicas === 2,
    );
    changed.length = 0;
    await cluster().scale(path('deployments', 'web'), 3);
    await cluster().scale(path('statefulsets', 'db'), 1);
    await until(
      async () => changed,
      keys => keys.length > 0,
    );

    expect(state).toEqual({ replicas: 2, readyReplicas: 2 });
    expect((await targets.readTarget(other, signal)).replicas).toBe(1);
    expect(targets.describe(other)).toEqual({
      kind: 'apps/v1.StatefulSet',
      gvkr: { group: 'apps', version: 'v1', kind: 'StatefulSet', resource: 'statefulsets' },
    });
    expect(await targets.selector(other, signal)).toBe('app=db');
  });

  it('scales any kind with a /scale, also one that is made later', async () => {
    const group = `${namespace}.example.com`;
    const one = workload('orders', { apiVersion: `${group}/v1`, kind: 'Rollout', name: 'web' });
    const plain = workload('plain', { apiVersion: `${group}/v1`, kind: 'Plain', name: 'web' });
    await follow(one);
    const rollouts = `/apis/${group}/v1/namespaces/${namespace}/rollouts/web`;

    await expect(targets.readTarget(one, signal)).rejects.toMatchObject({
      code: 'TARGET_MISSING',
      message: `Rollout "web" cannot be scaled: the API server has no kind Rollout in ${group}/v1`,
    });
    expect(targets.describe(one)).toBeUndefined();
    await cluster().apply([definition(group, 'Rollout', true), definition(group, 'Plain', false)]);
    await cluster().apply(
      { apiVersion: `${group}/v1`, kind: 'Rollout', metadata: { name: 'web' }, spec: { replicas: 2 } },
      namespace,
    );
    // Pods that a controller of such a kind would make.
    for (const name of ['a', 'b', 'c'])
      await cluster().apply(
        {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name, labels: { app: 'web' } },
          spec: { containers: [{ name: 'app', image: 'none' }] },
        },
        namespace,
      );
    await cluster().patch(`${rollouts}/status`, { status: { replicas: 3, selector: 'app=web' } });
    const state = await until(
      () => targets.readTarget(one, signal),
      ({ readyReplicas }) => readyReplicas === 3,
      { timeoutMs: 60_000 },
    );
    await expect(targets.readTarget(plain, signal)).rejects.toMatchObject({
      code: 'TARGET_MISSING',
      message: `Plain "web" cannot be scaled: the kind Plain of ${group}/v1 has no /scale subresource`,
    });

    expect(state).toEqual({ replicas: 2, readyReplicas: 3 });
    expect(targets.describe(one)?.gvkr).toEqual({
      group,
      version: 'v1',
      kind: 'Rollout',
      resource: 'rollouts',
    });
    await targets.setReplicas(one, 5, signal);
    expect((await targets.readTarget(one, signal)).replicas).toBe(5);
    expect((await cluster().get(rollouts))?.['spec'].replicas).toBe(5);
    changed.length = 0;
    await cluster().scale(rollouts, 1);
    await until(
      async () => changed,
      keys => keys.includes(one.key),
    );
    expect((await targets.readTarget(one, signal)).replicas).toBe(1);
  }, 120_000);

  it('looks into the namespaces that it may look into only', async () => {
    await running('web', 1);
    begin([namespace]);
    const one = workload();
    await follow(one);

    expect(await targets.readTarget(one, signal)).toEqual({ replicas: 1, readyReplicas: 1 });
    await targets.setReplicas(one, 2, signal);
    await until(
      () => targets.readTarget(one, signal),
      ({ readyReplicas }) => readyReplicas === 2,
    );
  });

  it('answers for what it does not follow, and follows no more what is dropped', async () => {
    await running('web', 2);
    const one = workload();

    const apart = await targets.readTarget(one, signal);
    await follow(one);
    targets.drop(one.key);
    const after = await targets.readTarget(one, signal);

    expect([apart, after]).toEqual([
      { replicas: 2, readyReplicas: 2 },
      { replicas: 2, readyReplicas: 2 },
    ]);
    expect(client.requests).toEqual(['GET deployments/scale', 'LIST pods']);
  });
});

function definition(group: string, kind: string, scalable: boolean) {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          subresources: {
            status: {},
            ...(scalable
              ? {
                  scale: {
                    specReplicasPath: '.spec.replicas',
                    statusReplicasPath: '.status.replicas',
                    labelSelectorPath: '.status.selector',
                  },
                }
              : {}),
          },
        },
      ],
    },
  };
}
