import { beforeAll, expect, it } from 'vitest';
import { clusterOf, until } from './bed.ts';
import {
  applyCrds,
  condition,
  pathOf,
  report,
  scaledJob,
  scaledJobOf,
  scaledObject,
  startLifecycle,
  trigger,
} from './lifecycle-bed.ts';

const signal = AbortSignal.timeout(600_000);
const told = (namespace: string, name: string) => `ScaledObject/${namespace}/${name}`;

clusterOf('workloads from their creation to their end', {}, cluster => {
  beforeAll(() => applyCrds(cluster()), 120_000);

  const reasons = async (namespace: string) =>
    (await cluster().list(pathOf.events(namespace))).map(each => each['reason'] as string).sort();

  it('hands a new ScaledObject on, and gives it the finalizer and the label of KEDA', async () => {
    const namespace = await cluster().namespace();
    await using running = await startLifecycle(cluster(), { namespaces: [namespace] });

    await cluster().create(scaledObject('web'), namespace);
    const object = await cluster().waitFor(
      pathOf.scaledObject(namespace, 'web'),
      each => each?.metadata.finalizers !== undefined && each.metadata.labels !== undefined,
    );
    await until(
      async () => running.heard.set.length,
      length => length > 0,
    );

    expect(object?.metadata.finalizers).toEqual(['finalizer.keda.sh']);
    expect(object?.metadata.labels).toEqual({ 'scaledobject.keda.sh/name': 'web' });
    expect(running.workload(told(namespace, 'web'))).toMatchObject({
      uid: object?.metadata.uid,
      generation: 1,
      createdAt: Date.parse(object?.metadata.creationTimestamp ?? ''),
      labels: { 'scaledobject.keda.sh/name': 'web' },
      target: { kind: 'Deployment', name: 'web' },
    });
    expect(running.heard.set).toHaveLength(1);
  });

  it('hands on a new spec and new annotations, and nothing for a new status', async () => {
    const namespace = await cluster().namespace();
    await using running = await startLifecycle(cluster(), { namespaces: [namespace] });
    const path = pathOf.scaledObject(namespace, 'web');
    await cluster().create(scaledObject('web'), namespace);
    await cluster().waitFor(path, each => each?.metadata.finalizers !== undefined);

    await cluster().patch(`${path}/status`, { status: { hpaName: 'somebody' } });
    await cluster().patch(path, { spec: { maxReplicaCount: 7 } });
    await cluster().patch(path, { metadata: { annotations: { 'autoscaling.keda.sh/paused': 'true' } } });
    await until(
      async () => running.heard.set.length,
      length => length === 3,
    );

    expect(running.heard.set.map(({ workload }) => [workload.maxReplicaCount, workload.annotations])).toEqual(
      [
        [100, {}],
        [7, {}],
        [7, { 'autoscaling.keda.sh/paused': 'true' }],
      ],
    );
  });

  it('refuses what breaks a rule, in status and event, and lets an earlier version go on', async () => {
    const namespace = await cluster().namespace();
    await using running = await startLifecycle(cluster(), { namespaces: [namespace] });
    const path = pathOf.scaledObject(namespace, 'web');
    await cluster().create(scaledObject('web'), namespace);
    await until(
      async () => running.heard.set.length,
      length => length === 1,
    );
    const [earlier] = running.heard.set;

    await cluster().patch(path, { spec: { idleReplicaCount: 3, minReplicaCount: 2 } });
    const refused = await cluster().waitFor(path, each => each?.['status']?.conditions !== undefined);
    if (earlier !== undefined) running.lifecycle.report(earlier.workload, report());
    const after = await cluster().waitFor(path, each => each?.['status']?.triggersTypes === 'prometheus');
    await cluster().patch(path, { spec: { idleReplicaCount: 0 } });
    const mended = await cluster().waitFor(path, each => each?.['status']?.conditions[0].status === 'True');

    expect(refused?.['status'].conditions).toEqual([
      {
        type: 'Ready',
        status: 'False',
        reason: 'ScaledObjectCheckFailed',
        message: expect.stringMatching(/idle/),
      },
      { type: 'Active', status: 'Unknown', reason: 'UnknownState', message: expect.any(String) },
      { type: 'Fallback', status: 'Unknown' },
      { type: 'Paused', status: 'False', reason: 'ScaledObjectUnpaused', message: expect.any(String) },
    ]);
    expect(after?.['status'].conditions[0]).toMatchObject({
      status: 'False',
      reason: 'ScaledObjectCheckFailed',
    });
    expect(running.heard.removed).toEqual([]);
    expect(mended?.['status'].conditions[0]).toMatchObject({ reason: 'ScaledObjectReady' });
    expect(await reasons(namespace)).toContain('ScaledObjectCheckFailed');
  });

  it('lets a deleted ScaledObject go: its run, its target, its name in the authentication, its finalizer', async () => {
    const namespace = await cluster().namespace();
    await using running = await startLifecycle(cluster(), { namespaces: [namespace] });
    const path = pathOf.scaledObject(namespace, 'web');
    const auth = pathOf.authentication(namespace, 'key');
    await cluster().create(authentication('key'), namespace);
    const spec = {
      advanced: { restoreToOriginalReplicaCount: true },
      triggers: [{ ...trigger, authenticationRef: { name: 'key' } }],
    };
    await cluster().create(scaledObject('web', { spec }), namespace);
    await cluster().create(scaledJob('work', { spec: { triggers: spec.triggers } }), namespace);
    await cluster().waitFor(path, each => each?.metadata.finalizers !== undefined);
    const used = await cluster().waitFor(
      auth,
      each => each?.['status']?.scaledobjects === 'web' && each['status'].scaledjobs === 'work',
    );
    const gvkr = { group: 'apps', version: 'v1', kind: 'Deployment', resource: 'deployments' };
    await cluster().patch(`${path}/status`, { status: { originalReplicaCount: 4, scaleTargetGVKR: gvkr } });

    await cluster().delete(path);
    await cluster().waitFor(path, each => each === undefined);
    const left = await cluster().waitFor(auth, each => each?.['status']?.scaledobjects === undefined);
    await cluster().delete(auth);
    await cluster().waitFor(auth, each => each === undefined);
    await running.lifecycle.flush(signal);

    expect(used?.metadata.finalizers).toEqual(['finalizer.keda.sh']);
    expect(running.heard.removed).toContain(told(namespace, 'web'));
    expect(running.heard.restored).toEqual([{ key: told(namespace, 'web'), replicas: 4 }]);
    expect(left?.['status'].scaledjobs).toBe('work');
    expect(await reasons(namespace)).toEqual([
      'KEDAScalersStopped',
      'ScaledObjectDeleted',
      'TriggerAuthenticationAdded',
      'TriggerAuthenticationDeleted',
    ]);
  });

  it('lets a namespace go with everything in it, Jobs whose messages are not settled included', async () => {
    const namespace = await cluster().namespace();
    await using running = await startLifecycle(cluster());
    await cluster().create(authentication('key'), namespace);
    await cluster().create(scaledObject('web'), namespace);
    await cluster().create(scaledJob('work', { annotations: { 'bed/outcome': 'never' } }), namespace);
    const key = `ScaledJob/${namespace}/work`;
    await until(
      async () => running.workload(key),
      workload => workload !== undefined,
    );
    const task = { hash: 'h', attempt: 1, triggerIndex: 0, triggerType: 't', queueId: 'q', claimedAt: 1 };
    const messages = [{ id: '1', receipt: 'r' }];
    const request = { name: 'work-h-1', env: { KEDA_TASK_DATA: 'x' }, task: { ...task, messages } };
    await running.lifecycle.createJob(scaledJobOf(running, key), request, signal);
    await cluster().waitFor(
      pathOf.authentication(namespace, 'key'),
      each => each?.metadata.finalizers !== undefined,
    );

    await cluster().delete(`/api/v1/namespaces/${namespace}`);

    await cluster().waitFor(`/api/v1/namespaces/${namespace}`, each => each === undefined, {
      timeoutMs: 60_000,
    });
    expect(running.heard.removed).toEqual(expect.arrayContaining([key, told(namespace, 'web')]));
    expect(running.heard.gone).toContainEqual({ key, name: 'work-h-1' });
  }, 90_000);

  it('takes over what KEDA left: nothing is written, nothing is told again', async () => {
    const namespace = await cluster().namespace();
    const path = pathOf.scaledObject(namespace, 'web');
    const metadata = { finalizers: ['finalizer.keda.sh'], labels: { 'scaledobject.keda.sh/name': 'web' } };
    await cluster().create(scaledObject('web', { metadata }), namespace);
    const { ready, active, fallback, paused } = report();
    const conditions = Object.entries({ Ready: ready, Active: active, Fallback: fallback, Paused: paused });
    const status = {
      conditions: conditions.map(([type, is]) => ({ type, ...is })),
      lastActiveTime: '2026-01-02T03:04:05Z',
      originalReplicaCount: 2,
      hpaName: 'keda-hpa-web',
      externalMetricNames: ['s0-prometheus'],
      triggersActivity: { 's0-prometheus': { isActive: false } },
      triggersTypes: 'prometheus',
    };
    const left = await cluster().patch(`${path}/status`, { status });
    await using running = await startLifecycle(cluster(), { namespaces: [namespace] });
    await until(
      async () => running.heard.set.length,
      length => length === 1,
    );

    const [{ workload, remembered } = never()] = running.heard.set;
    running.lifecycle.report(workload, report());
    await running.lifecycle.flush(signal);
    const after = await cluster().get(path);

    expect(after?.metadata.resourceVersion).toBe(left.metadata.resourceVersion);
    expect(running.writes).toEqual([]);
    expect(remembered).toEqual({ lastActiveAt: Date.UTC(2026, 0, 2, 3, 4, 5) });
    expect(await reasons(namespace)).toEqual([]);
  });

  it('knows what there is before it leads, and writes nothing', async () => {
    const namespace = await cluster().namespace();
    await cluster().create(scaledObject('web'), namespace);
    await cluster().create(
      scaledObject('bad', { spec: { minReplicaCount: 2, idleReplicaCount: 3 } }),
      namespace,
    );
    const path = pathOf.scaledObject(namespace, 'web');
    const before = await cluster().get(path);
    let lead = () => {};
    const held = startLifecycle(cluster(), { namespaces: [namespace] }, begin => {
      lead = begin;
    });
    await using running = await held;

    const standing = await cluster().get(path);
    const [known, writes] = [running.heard.set.map(({ workload }) => workload.name), running.writes.length];
    lead();
    await cluster().waitFor(path, each => each?.metadata.finalizers !== undefined);
    await cluster().waitFor(
      pathOf.scaledObject(namespace, 'bad'),
      each => each?.['status']?.conditions !== undefined,
    );

    expect([known, writes]).toEqual([['web'], 0]);
    expect(standing?.metadata.resourceVersion).toBe(before?.metadata.resourceVersion);
    expect(running.heard.set).toHaveLength(1);
  });

  it('does not turn ten edits a second into as many writes of the status', async () => {
    const namespace = await cluster().namespace();
    await using running = await startLifecycle(cluster(), { namespaces: [namespace] });
    const path = pathOf.scaledObject(namespace, 'web');
    await cluster().create(scaledObject('web'), namespace);
    await cluster().waitFor(path, each => each?.metadata.finalizers !== undefined);

    const begun = Date.now();
    for (let edit = 1; edit <= 30; edit += 1) {
      await cluster().patch(path, { spec: { pollingInterval: edit } });
      const { workload } = running.heard.set.at(-1) ?? never();
      running.lifecycle.report(
        workload,
        report({ ready: condition('True', 'ScaledObjectReady', `Edit ${edit}.`) }),
      );
    }
    await cluster().waitFor(path, each => each?.['status']?.conditions[0].message === 'Edit 30.');

    const seconds = (Date.now() - begun) / 1000;
    const writes = running.writes.filter(each => each === 'ScaledObject web status');
    expect(writes.length).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
    expect(running.heard.set.at(-1)?.workload.pollingIntervalMs).toBe(30_000);
  });

  it('says which fields a CRD that is not ours drops', async () => {
    const at = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scaledjobs.keda.sh';
    const ours = await cluster().get(at);
    const path = '/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties';
    const metadata = `${path}/triggers/items/properties/metadata`;
    await cluster().patch(
      at,
      [
        { op: 'remove', path: `${path}/eventide` },
        {
          op: 'replace',
          path: metadata,
          value: { type: 'object', additionalProperties: { type: 'string' } },
        },
      ],
      'json',
    );

    await using running = await startLifecycle(cluster());
    await until(
      async () => running.heard.said.filter(each => each.includes('CRD')),
      said => said.length > 0,
    );
    await running.lifecycle.flush(signal);
    await cluster().replace(at, {
      ...ours,
      metadata: {
        name: 'scaledjobs.keda.sh',
        resourceVersion: (await cluster().get(at))?.metadata.resourceVersion,
      },
    });

    const event = (await cluster().list(pathOf.events('default'))).find(
      each => each['reason'] === 'FieldsPruned',
    );
    expect(event?.['note']).toContain('spec.eventide and trigger metadata that is not text');
  });
});

function authentication(name: string) {
  const spec = { secretTargetRef: [{ parameter: 'p', name: 's', key: 'k' }] };
  return { apiVersion: 'keda.sh/v1alpha1', kind: 'TriggerAuthentication', metadata: { name }, spec };
}

function never(): never {
  throw new Error('this should be there');
}
