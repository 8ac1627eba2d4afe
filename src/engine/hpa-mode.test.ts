import { describe, expect, it } from 'vitest';
import { engineBed, scaledObject, silence, trigger } from '../../test/engine-bed.ts';
import { Fault } from '../base/errors.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { recompute } from './records.ts';

/** A workload in a cluster, whose target stands at some replicas; `begin` has it decided on for the first time. */
function running(over: Partial<ScaledObject> = {}, { replicas = 0, standby = false } = {}) {
  const bed = engineBed({ random: () => 0, autoscaler: 'hpa', standby });
  const workload = scaledObject(over);
  const { world, clock, source, objects, engine } = bed;
  world.targets.set(workload.key, replicas);
  return {
    world,
    clock,
    source,
    objects,
    engine,
    workload,
    get replicas() {
      return world.targets.get(workload.key);
    },
    get report() {
      return world.reportOf(workload);
    },
    get autoscaler() {
      return world.autoscalers.get(workload.key);
    },
    get changes() {
      return world.reports.flatMap(({ report: { changes } }) => changes ?? []);
    },
    read: (metricName: string) => engine.readMetric(workload.key, metricName),
    poll: (times = 1) => clock.advance(times * workload.pollingIntervalMs),
    async begin() {
      engine.set(workload);
      await clock.advance(1);
    },
  };
}

const unreachable = async () => {
  throw new Fault('SOURCE_UNREACHABLE', 'the source cannot be reached');
};
const external = (name: string, target = 5) => ({
  kind: 'external',
  name,
  targetType: 'AverageValue',
  target,
});

describe('a ScaledObject with a HorizontalPodAutoscaler', () => {
  it('is woken to one, and left to the autoscaler from there', async () => {
    const run = running();
    run.source.value = 23;

    await run.begin();
    await run.poll();

    expect(run.replicas).toBe(1);
    expect(run.autoscaler).toEqual({
      minReplicas: 1,
      maxReplicas: 10,
      behavior: undefined,
      metrics: [external('s0-number')],
    });
    expect(run.changes).toEqual([
      {
        from: 0,
        to: 1,
        kind: 'activation',
        active: ['s0-number'],
        why: 'A trigger is active: wakes from 0 to 1.',
      },
    ]);
  });

  it('goes to sleep when its cooldown is over', async () => {
    const run = running({}, { replicas: 4 });
    await run.begin();

    await run.poll(32);

    expect(run.replicas).toBe(0);
    expect(run.changes).toMatchObject([{ from: 4, to: 0, kind: 'deactivation' }]);
  });

  it('asks in the order of its triggers, resources included', async () => {
    const run = running({
      minReplicaCount: 2,
      triggers: [
        trigger({ query: 'a' }),
        trigger({ value: '50' }, { type: 'cpu', metricType: 'Utilization' }),
        trigger({ value: '1Gi', containerName: 'main' }, { type: 'memory', metricType: 'AverageValue' }),
        trigger({ query: 'b', target: '2.5' }, { metricType: 'Value' }),
      ],
    });

    await run.begin();

    expect(run.autoscaler).toMatchObject({
      minReplicas: 2,
      metrics: [
        external('s0-a'),
        { kind: 'resource', resource: 'cpu', targetType: 'Utilization', target: 50 },
        { kind: 'resource', resource: 'memory', container: 'main', target: 1024 ** 3 },
        { kind: 'external', name: 's3-b', targetType: 'Value', target: 2.5 },
      ],
    });
  });

  it('has one metric for its formula', async () => {
    const run = running({
      scalingModifiers: { formula: 'a + b', target: '4.5678', activationTarget: '2' },
      triggers: [trigger({ query: 'x' }, { name: 'a' }), trigger({ query: 'y' }, { name: 'b' })],
    });
    run.source.values.set('x', 3).set('y', 4);

    await run.begin();

    expect(run.autoscaler?.metrics).toEqual([external('composite-metric', 4.567)]);
    expect(await run.read('composite-metric')).toEqual({
      kind: 'values',
      values: [{ metricName: 'composite-metric', value: 7 }],
    });
    expect(await run.read('s1-y')).toEqual(await run.read('composite-metric'));
  });

  it('loses its autoscaler while it is paused, before its target is set', async () => {
    const run = running({ annotations: { 'autoscaling.keda.sh/paused-replicas': '3' } }, { replicas: 7 });
    run.world.autoscalers.set(run.workload.key, {
      minReplicas: 1,
      maxReplicas: 9,
      behavior: undefined,
      metrics: [],
    });
    run.world.broken.set('ensureAutoscaler', new Fault('KUBE_UNREACHABLE', 'not now'));
    await run.begin();
    run.world.broken.clear();

    await run.poll();

    expect(run.autoscaler).toBeUndefined();
    expect(run.replicas).toBe(3);
    expect(run.report).toMatchObject({
      paused: { status: 'True', reason: 'ScaledObjectPaused' },
      ready: { status: 'True' },
      pausedReplicas: 3,
    });
  });

  it('is paused in one direction with its autoscaler', async () => {
    const run = running({ annotations: { 'autoscaling.keda.sh/paused-scale-in': 'true' } }, { replicas: 7 });

    await run.begin();

    expect(run.autoscaler).toBeDefined();
    expect(run.report?.paused).toMatchObject({ status: 'True', reason: 'ScaledObjectPaused' });
  });

  it('tells what its autoscaler did, and by what', async () => {
    const run = running({}, { replicas: 1 });
    run.source.value = 23;
    await run.begin();
    run.world.targets.set(run.workload.key, 5);

    await run.poll();

    expect(run.changes).toEqual([
      {
        from: 1,
        to: 5,
        kind: 'autoscaler',
        why: 'keda-hpa-web went from 1 to 5 replicas: s0-number is 23 with a target of 5 per replica, so it asks for 5.',
      },
    ]);
  });

  it('tells what its autoscaler did also where it goes to sleep in the same moment', async () => {
    const run = running({}, { replicas: 4 });
    await run.begin();
    await run.poll(30);
    run.world.targets.set(run.workload.key, 1);

    await run.poll();

    expect(run.changes).toMatchObject([
      { from: 4, to: 1, kind: 'autoscaler' },
      { from: 1, to: 0, kind: 'deactivation' },
    ]);
  });

  it('is decided on at once when somebody changes its target, and only then', async () => {
    const run = running({}, { replicas: 1 });
    await run.begin();
    const before = run.source.asked.length;
    run.engine.targetChanged(run.workload.key);
    await run.clock.advance(1);
    const unchanged = run.source.asked.length;
    run.world.targets.set(run.workload.key, 2);

    run.engine.targetChanged(run.workload.key);
    await run.clock.advance(1);

    expect(unchanged).toBe(before);
    expect(run.source.asked.length).toBe(before + 1);
  });

  it.each([
    ['True', 'ValidMetricFound', 'True', 'HPAActive'],
    ['False', 'ScalingDisabled', 'True', 'ScalingDisabled'],
    ['False', 'FailedGetExternalMetric', 'False', 'FailedGetExternalMetric'],
    ['False', '', 'False', 'HPAMetricsUnavailable'],
  ])('passes on that it says %s %s of itself', async (status, reason, wanted, wantedReason) => {
    const run = running({}, { replicas: 1 });
    run.world.scalingActive.set(run.workload.key, { status, reason, message: 'so it is' });

    await run.begin();

    expect(run.report?.hpaActive).toEqual({ status: wanted, reason: wantedReason, message: 'so it is' });
  });

  it('is not ready where its autoscaler cannot be made', async () => {
    const run = running();
    run.world.broken.set('ensureAutoscaler', new Fault('KUBE_INVALID', 'maxReplicas is too small'));

    await run.begin();

    expect(run.report?.ready).toEqual({
      status: 'False',
      reason: 'ScaledObjectCheckFailed',
      message: 'maxReplicas is too small',
    });
  });

  it('is as ready as before while the API server is away', async () => {
    const run = running();
    await run.begin();
    run.world.broken.set('ensureAutoscaler', new Fault('KUBE_UNREACHABLE', 'not now'));

    await run.poll(3);

    expect(run.report?.ready.status).toBe('True');
    expect(run.world.reports).toHaveLength(1);
  });

  it('is not ready without its target, and gets no autoscaler', async () => {
    const run = running();
    run.world.targets.clear();

    await run.begin();

    expect(run.autoscaler).toBeUndefined();
    expect(run.report?.ready).toMatchObject({ status: 'False', reason: 'ScaledObjectCheckFailed' });
  });

  it('keeps the metric of a trigger that cannot be built any more', async () => {
    const run = running({ triggers: [trigger({ query: 'a' })] });
    await run.begin();
    const before = run.autoscaler;
    const broken = scaledObject({ generation: 2, triggers: [trigger({ query: 'a', target: 'lots' })] });

    run.engine.set(broken);
    await run.clock.advance(1);

    expect(before?.metrics).toEqual([external('s0-a')]);
    expect(run.autoscaler).toEqual(before);
    expect(run.report?.triggers).toMatchObject([{ fault: { code: 'PARAM_INVALID' } }]);
    expect(await run.read('s0-a')).toMatchObject({ kind: 'failed', fault: { code: 'PARAM_INVALID' } });
  });

  it('is not ready where nobody knows what its autoscaler is to ask for', async () => {
    const run = running({ triggers: [trigger({ target: 'lots' })] });

    await run.begin();

    expect(run.autoscaler).toBeUndefined();
    expect(run.report?.ready).toMatchObject({ status: 'False', reason: 'ScaledObjectCheckFailed' });
  });
});

describe('an autoscaler that asks', () => {
  it('is told what the source says now', async () => {
    const run = running();
    await run.begin();
    run.source.value = 12.3456;

    expect(await run.read('S0-Number')).toEqual({
      kind: 'values',
      values: [{ metricName: 'S0-Number', value: 12.346 }],
    });
  });

  it('is told what the last reading said where the trigger says so', async () => {
    const run = running({ triggers: [trigger({}, { useCachedMetrics: true })] });
    run.source.value = 3;
    await run.begin();
    run.source.value = 4;

    const cached = await run.read('s0-number');
    await run.poll();

    expect(cached).toMatchObject({ values: [{ value: 3 }] });
    expect(await run.read('s0-number')).toMatchObject({ values: [{ value: 4 }] });
  });

  it.each([
    ['a metric that is not there', 'ScaledObject/shop/web', 's1-number'],
    ['a workload that is not there', 'ScaledObject/shop/other', 's0-number'],
  ])('is told that there is no such thing as %s', async (_title, key, metricName) => {
    const run = running();
    await run.begin();

    expect(await run.engine.readMetric(key, metricName)).toEqual({ kind: 'missing' });
  });

  it('is told why the source cannot be read, not a number', async () => {
    const run = running();
    run.source.answer = unreachable;
    await run.begin();

    expect(await run.read('s0-number')).toMatchObject({
      kind: 'failed',
      fault: { code: 'SOURCE_UNREACHABLE' },
    });
  });

  it('counts towards the fallback, and is told its value', async () => {
    const fallback = { failureThreshold: 3, replicas: 6, behavior: 'static' } as const;
    const run = running({ fallback }, { replicas: 2 });
    run.source.answer = unreachable;
    await run.begin();

    const answers = [await run.read('s0-number'), await run.read('s0-number'), await run.read('s0-number')];

    expect(answers).toMatchObject([
      { kind: 'failed' },
      { kind: 'failed' },
      { kind: 'values', values: [{ metricName: 's0-number', value: 30 }] },
    ]);
  });

  it('shares one question to the source with others who ask at once', async () => {
    const run = running();
    await run.begin();
    const before = run.source.asked.length;

    await Promise.all(Array.from({ length: 20 }, () => run.read('s0-number')));

    expect(run.source.asked.length).toBe(before + 1);
  });

  it('waits no longer than a reading may take', async () => {
    const run = running({ triggers: [trigger({ timeout: '20' })] });
    await run.begin();
    run.source.answer = silence;

    expect(await run.read('s0-number')).toMatchObject({ kind: 'failed', fault: { code: 'SOURCE_TIMEOUT' } });
  });
});

describe('an engine that stands by', () => {
  it('decides nothing, but answers', async () => {
    const run = running({}, { standby: true });
    run.source.value = 12;

    await run.begin();
    await run.poll(3);

    expect(run.replicas).toBe(0);
    expect(run.world.reports).toEqual([]);
    expect(await run.read('s0-number')).toMatchObject({ values: [{ value: 12 }] });
  });

  it('begins at once when it is to lead', async () => {
    const run = running({}, { standby: true });
    run.source.value = 12;
    await run.begin();

    run.engine.lead();
    await run.clock.advance(1);

    expect(run.replicas).toBe(1);
  });
});

describe('direct mode in a cluster', () => {
  const direct = { autoscaler: 'direct' } as const;

  it('sets the replicas itself and has no autoscaler', async () => {
    const run = running(direct);
    run.world.autoscalers.set(run.workload.key, {
      minReplicas: 1,
      maxReplicas: 9,
      behavior: undefined,
      metrics: [],
    });
    run.source.value = 23;

    await run.begin();

    expect(run.replicas).toBe(5);
    expect(run.autoscaler).toBeUndefined();
  });

  it('leaves a target alone that somebody else scales', async () => {
    const run = running(direct, { replicas: 2 });
    run.world.broken.set('ensureAutoscaler', new Fault('TARGET_TAKEN', 'theirs scales the target'));
    run.source.value = 23;

    await run.begin();

    expect(run.replicas).toBe(2);
    expect(run.report).toMatchObject({
      why: 'theirs scales the target',
      ready: { status: 'False', reason: 'ScaledObjectCheckFailed', message: 'theirs scales the target' },
    });
  });
});

it('A record of an activation comes to the recorded decision again', async () => {
  const run = running();
  run.source.value = 1;
  await run.begin();

  const [record] = run.engine.records(run.workload.key) ?? [];

  expect(record?.kind).toBe('activation');
  expect(record && recompute(record)).toEqual(record?.decision);
});
