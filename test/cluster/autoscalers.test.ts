import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { AutoscalerSpec } from '../../src/engine/ports.ts';
import { type Autoscalers, kubeAutoscalers } from '../../src/kube/autoscalers.ts';
import { clusterOf, until } from './bed.ts';
import { addKind, type CountedClient, clientOf, deployment, storeScaledObject } from './kube-bed.ts';

const signal = AbortSignal.timeout(600_000);

const spec = (given: Partial<AutoscalerSpec> = {}): AutoscalerSpec => ({
  minReplicas: 1,
  maxReplicas: 10,
  behavior: undefined,
  metrics: [{ kind: 'external', name: 's0-orders', targetType: 'AverageValue', target: 2.5 }],
  ...given,
});

clusterOf('autoscalers in a cluster', { hpaSyncSeconds: 1 }, cluster => {
  let client: CountedClient;
  let autoscalers: Autoscalers;
  let changed: string[];
  let namespace: string;

  beforeAll(async () => {
    await addKind(cluster(), 'scaledobjects');
  });

  beforeEach(async () => {
    namespace = await cluster().namespace();
    client = await clientOf(cluster());
    await begin();
  });

  afterEach(async () => {
    await autoscalers[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();
  });

  async function begin() {
    changed = [];
    autoscalers = kubeAutoscalers({
      client,
      clock: systemClock,
      log: silentLog,
      version: '9.9.9',
      onChange: key => void changed.push(key),
    });
    await autoscalers.whenSynced(signal);
    client.requests.length = 0;
  }

  const hpaPath = (name: string) =>
    `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/${name}`;
  const hpas = () => cluster().list(hpaPath('').slice(0, -1));
  const ensure = (workload: Parameters<Autoscalers['ensureAutoscaler']>[0], wanted?: AutoscalerSpec) =>
    autoscalers.ensureAutoscaler(workload, wanted, signal);
  const store = (name: string, given: { metadata?: object; spec?: Record<string, unknown> } = {}) =>
    storeScaledObject(cluster(), namespace, {
      metadata: { name, ...given.metadata },
      ...(given.spec === undefined ? {} : { spec: given.spec }),
    });

  function foreign(name: string, target = 'web') {
    return {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name, labels: { theirs: 'yes' } },
      spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: target }, maxReplicas: 3 },
    };
  }

  it('makes the one that is wanted, once', async () => {
    const workload = await store('orders', { metadata: { labels: { team: 'a' }, annotations: { n: 'x' } } });
    const behavior = { scaleDown: { stabilizationWindowSeconds: 5 } };
    const wanted = spec({ behavior });

    const states = [await ensure(workload, wanted), await ensure(workload, spec({ behavior }))];

    expect(states.map(state => state?.name)).toEqual(['keda-hpa-orders', 'keda-hpa-orders']);
    expect(client.requests).toEqual(['POST horizontalpodautoscalers']);
    const made = await cluster().get(hpaPath('keda-hpa-orders'));
    expect(made).toMatchObject({
      metadata: {
        labels: {
          team: 'a',
          'app.kubernetes.io/managed-by': 'keda-operator',
          'app.kubernetes.io/version': '9.9.9',
        },
        annotations: { n: 'x' },
        ownerReferences: [{ kind: 'ScaledObject', name: 'orders', uid: workload.uid, controller: true }],
      },
      spec: {
        maxReplicas: 10,
        metrics: [{ external: { target: { averageValue: '2500m' } } }],
        behavior: { scaleDown: { stabilizationWindowSeconds: 5, selectPolicy: 'Max' } },
      },
    });
  });

  it('asks and writes nothing for one that was right before it began', async () => {
    const workload = await store('orders');
    await ensure(workload, spec({ behavior: { scaleUp: { selectPolicy: 'Min' } } }));
    await autoscalers[Symbol.asyncDispose]();
    await begin();

    await ensure(workload, spec({ behavior: { scaleUp: { selectPolicy: 'Min' } } }));

    expect(client.requests).toEqual([]);
  });

  it('changes it with one request when something else is wanted, and takes off what is wanted no more', async () => {
    const first = await store('orders', { metadata: { labels: { team: 'a' }, annotations: { n: 'x' } } });
    await ensure(first, spec({ behavior: { scaleDown: { selectPolicy: 'Disabled', tolerance: '0.5' } } }));
    await cluster().patch(hpaPath('keda-hpa-orders'), { metadata: { labels: { theirs: 'yes' } } });
    await until(
      async () => changed.length,
      count => count > 0,
    );
    await ensure(first, spec({ behavior: { scaleDown: { selectPolicy: 'Disabled', tolerance: '0.5' } } }));
    client.requests.length = 0;

    const { labels: _, ...second } = first;
    await ensure({ ...second, labels: { kind: 'b' } }, spec({ metrics: [], maxReplicas: 12 }));

    expect(client.requests).toEqual(['PATCH horizontalpodautoscalers']);
    const now = await cluster().get(hpaPath('keda-hpa-orders'));
    expect(now?.metadata.labels).toMatchObject({ kind: 'b', theirs: 'yes' });
    expect(now?.metadata.labels).not.toHaveProperty('team');
    expect(now?.['spec'].maxReplicas).toBe(12);
    expect(now?.['spec']).not.toHaveProperty('behavior');
  });

  it('is not bothered by what the controller says in the status, and passes it on', async () => {
    await cluster().apply(deployment('web', 1), namespace);
    const workload = await store('orders');
    await ensure(workload, spec());

    const state = await until(
      () => ensure(workload, spec()),
      seen => seen?.scalingActive !== undefined,
    );

    expect(state?.scalingActive).toMatchObject({ status: 'False', reason: 'FailedGetExternalMetric' });
    expect(client.requests).toEqual(['POST horizontalpodautoscalers']);
    expect(changed).toEqual([]);
  });

  it.each<[string, object]>([
    ['maximum', { spec: { maxReplicas: 99 } }],
    ['metrics', { spec: { metrics: [] } }],
    ['labels', { metadata: { labels: { 'app.kubernetes.io/managed-by': 'me' } } }],
    ['owner', { metadata: { ownerReferences: null } }],
  ])('repairs its %s', async (_what, edit) => {
    const workload = await store('orders');
    await ensure(workload, spec());

    await cluster().patch(hpaPath('keda-hpa-orders'), edit);
    await until(
      async () => changed,
      keys => keys.includes(workload.key),
    );
    await ensure(workload, spec());

    const now = await cluster().get(hpaPath('keda-hpa-orders'));
    expect(now?.['spec'].maxReplicas).toBe(10);
    expect(now?.['spec'].metrics[0].type).toBe('External');
    expect(now?.metadata.labels?.['app.kubernetes.io/managed-by']).toBe('keda-operator');
    expect(now?.metadata.ownerReferences?.[0]?.uid).toBe(workload.uid);
  });

  it('makes it anew when somebody deleted it', async () => {
    const workload = await store('orders');
    await ensure(workload, spec());

    await cluster().delete(hpaPath('keda-hpa-orders'));
    await until(
      async () => changed,
      keys => keys.includes(workload.key),
    );
    await ensure(workload, spec());

    await cluster().waitFor(hpaPath('keda-hpa-orders'), hpa => hpa !== undefined);
  });

  it('renames it', async () => {
    const workload = await store('orders');
    await ensure(workload, spec());
    const renamed = await store('orders', {
      spec: { advanced: { horizontalPodAutoscalerConfig: { name: 'mine' } } },
    });

    await ensure(renamed, spec());
    await ensure(renamed, spec());

    expect((await hpas()).map(hpa => hpa.metadata.name)).toEqual(['mine']);
    expect(client.requests).toEqual([
      'POST horizontalpodautoscalers',
      'DELETE horizontalpodautoscalers',
      'POST horizontalpodautoscalers',
    ]);
  });

  it('takes over one of that name, with what its owner wrote on it', async () => {
    await cluster().apply(foreign('theirs'), namespace);
    const workload = await store('orders', {
      spec: { advanced: { horizontalPodAutoscalerConfig: { name: 'theirs' } } },
    });

    await ensure(workload, spec());

    const now = await cluster().get(hpaPath('theirs'));
    expect(now?.metadata.labels).toMatchObject({ theirs: 'yes', 'app.kubernetes.io/part-of': 'orders' });
    expect(now?.metadata.ownerReferences?.map(({ uid }) => uid)).toEqual([workload.uid]);
    expect(now?.['spec'].maxReplicas).toBe(10);
  });

  it('does not take one from another ScaledObject', async () => {
    const named = { spec: { advanced: { horizontalPodAutoscalerConfig: { name: 'one' } } } };
    const first = await store('first', named);
    const second = await store('second', named);
    await ensure(first, spec());

    await expect(ensure(second, spec())).rejects.toMatchObject({
      code: 'TARGET_TAKEN',
      message: 'HorizontalPodAutoscaler "one" belongs to ScaledObject "first"',
    });
  });

  it('takes over what a ScaledObject of the same name left behind', async () => {
    const before = await store('orders');
    await ensure({ ...before, uid: '00000000-dead-4000-8000-000000000000' }, spec());

    await ensure(before, spec());

    const now = await cluster().waitFor(
      hpaPath('keda-hpa-orders'),
      hpa => hpa?.metadata.ownerReferences?.[0]?.uid === before.uid,
    );
    expect(now?.metadata.ownerReferences).toHaveLength(1);
  }, 90_000);

  describe('where none is wanted', () => {
    it('deletes its own and asks nothing more', async () => {
      const workload = await store('orders');
      await ensure(workload, spec());

      const states = [await ensure(workload), await ensure(workload)];

      expect(states).toEqual([undefined, undefined]);
      expect(await hpas()).toEqual([]);
      expect(client.requests).toEqual(['POST horizontalpodautoscalers', 'DELETE horizontalpodautoscalers']);
    });

    it('refuses a target that another one scales, until that is gone', async () => {
      const workload = await store('orders');
      await ensure(workload);
      await cluster().apply(foreign('other', 'api'), namespace);
      await cluster().apply(foreign('theirs'), namespace);
      await until(
        async () => changed,
        keys => keys.includes(workload.key),
      );

      await expect(ensure(workload)).rejects.toMatchObject({
        code: 'TARGET_TAKEN',
        message: expect.stringContaining('HorizontalPodAutoscaler "theirs" scales Deployment "web" already'),
      });
      changed.length = 0;
      await cluster().delete(hpaPath('theirs'));
      await until(
        async () => changed,
        keys => keys.includes(workload.key),
      );

      await expect(ensure(workload)).resolves.toBeUndefined();
      expect((await hpas()).map(hpa => hpa.metadata.name)).toEqual(['other']);
    });
  });

  it('lists them by what they scale', async () => {
    await cluster().apply(
      {
        ...foreign('a'),
        metadata: { name: 'a', annotations: { 'validations.keda.sh/hpa-ownership': 'false', more: 'x' } },
      },
      namespace,
    );
    const workload = await store('orders');
    await ensure(workload, spec());

    const found = await until(
      async () => autoscalers.byTarget(namespace, 'web'),
      all => all.length === 2,
    );

    expect(found.toSorted((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      expect.objectContaining({
        name: 'a',
        annotations: { 'validations.keda.sh/hpa-ownership': 'false' },
        target: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
        owners: [],
      }),
      expect.objectContaining({
        name: 'keda-hpa-orders',
        owners: [{ kind: 'ScaledObject', name: 'orders' }],
      }),
    ]);
    expect(autoscalers.byTarget(namespace, 'other')).toEqual([]);
  });
});
