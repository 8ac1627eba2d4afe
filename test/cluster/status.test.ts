import { beforeAll, describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/errors.ts';
import type { Report } from '../../src/engine/ports.ts';
import type { Workload } from '../../src/spec/workload.ts';
import { clusterOf, until } from './bed.ts';
import {
  applyCrds,
  condition,
  pathOf,
  type RunningLifecycle,
  report,
  scaledJob,
  scaledObject,
  startLifecycle,
} from './lifecycle-bed.ts';

const signal = AbortSignal.timeout(600_000);
const working = condition('True', 'ScalerActive');

clusterOf('status and events on a real control plane', { control: true }, cluster => {
  beforeAll(() => applyCrds(cluster()), 120_000);

  async function begin(manifest: Parameters<ReturnType<typeof cluster>['create']>[0], facts = {}) {
    const namespace = await cluster().namespace();
    const running = await startLifecycle(cluster(), { namespaces: [namespace], facts: () => facts });
    await cluster().create(manifest, namespace);
    const workload = await until(
      async () => running.heard.set.at(-1)?.workload,
      found => found !== undefined,
    );
    return { namespace, running, workload: workload as Workload };
  }

  async function eventsIn(namespace: string, running: RunningLifecycle) {
    await running.lifecycle.flush(signal);
    const events = await cluster().list(pathOf.events(namespace));
    return events.map(each => ({
      reason: each['reason'],
      type: each['type'],
      note: each['note'],
      series: each['series'],
      by: each['reportingController'],
    }));
  }

  it('writes what KEDA would, in one write, and nothing where nothing is new', async () => {
    const gvkr = { group: 'apps', version: 'v1', kind: 'Deployment', resource: 'deployments' };
    const { namespace, running, workload } = await begin(scaledObject('web'), {
      target: { kind: 'apps/v1.Deployment', gvkr },
      hpaName: 'keda-hpa-web',
    });
    await using _running = running;
    const path = pathOf.scaledObject(namespace, 'web');
    const said = report({
      replicas: 3,
      hpaActive: condition('True', 'HPAActive'),
      lastActiveAt: 1_700_000_000_123,
    });

    running.lifecycle.report(workload, said);
    const object = await cluster().waitFor(path, each => each?.['status'] !== undefined);
    running.lifecycle.report(workload, { ...said, why: 'Something else.', replicas: 5 });
    await running.lifecycle.flush(signal);

    expect(object?.['status']).toEqual({
      scaleTargetKind: 'apps/v1.Deployment',
      scaleTargetGVKR: gvkr,
      originalReplicaCount: 3,
      hpaName: 'keda-hpa-web',
      lastActiveTime: '2023-11-14T22:13:20Z',
      externalMetricNames: ['s0-prometheus'],
      triggersActivity: { 's0-prometheus': { isActive: false } },
      triggersTypes: 'prometheus',
      conditions: [
        { type: 'Ready', ...said.ready },
        { type: 'Active', ...said.active },
        { type: 'Fallback', ...said.fallback },
        { type: 'Paused', ...said.paused },
        { type: 'HPAActive', ...said.hpaActive },
      ],
    });
    expect(running.writes.filter(each => each.endsWith('status'))).toHaveLength(1);
  });

  it('keeps the status of a ScaledJob as KEDA does', async () => {
    const { namespace, running, workload } = await begin(scaledJob('work'));
    await using _running = running;
    const {
      fallback: _none,
      paused: _neither,
      ...rest
    } = report({ ready: condition('True', 'ScaledJobReady') });

    running.lifecycle.report(workload, rest);
    const object = await cluster().waitFor(
      pathOf.scaledJob(namespace, 'work'),
      each => each?.['status'] !== undefined,
    );

    expect(object?.['status']).toEqual({
      triggersActivity: { 's0-prometheus': { isActive: false } },
      triggersTypes: 'prometheus',
      conditions: [
        { type: 'Ready', ...rest.ready },
        { type: 'Active', ...rest.active },
        { type: 'Fallback', status: 'Unknown' },
        { type: 'Paused', status: 'False', reason: 'ScaledJobUnpaused', message: expect.any(String) },
      ],
    });
  });

  it('says at its end that what is active was so until now', async () => {
    const { namespace, running, workload } = await begin(scaledObject('web'));
    await using _running = running;
    const path = pathOf.scaledObject(namespace, 'web');
    running.lifecycle.report(workload, report({ active: working }));
    const before = await cluster().waitFor(path, each => each?.['status'] !== undefined);

    await running.lifecycle.flush(signal);

    const after = await cluster().get(path);
    expect(before?.['status'].lastActiveTime).toBeUndefined();
    expect(Date.now() - Date.parse(after?.['status'].lastActiveTime)).toBeLessThan(60_000);
  });

  it('tells what happens as events, each once', async () => {
    const { namespace, running, workload } = await begin(scaledObject('web'));
    await using _running = running;
    const { lifecycle } = running;
    const fault = new Fault('SOURCE_REFUSED', 'the source said no');
    const [trigger] = report().triggers;
    const failing: Report['triggers'] = trigger === undefined ? [] : [{ ...trigger, fault }];
    const woke = { from: 0, to: 1, kind: 'activation', why: 'a queue filled' } as const;
    const grew = { from: 1, to: 4, kind: 'autoscaler', why: '20 wait, 5 each' } as const;
    const grewAgain = { ...grew, to: 5, why: '25 wait, 5 each' } as const;

    for (const said of [
      report(),
      report({ active: working, changes: [woke] }),
      report({ changes: [grew] }),
      report({ changes: [grewAgain] }),
      report({ triggers: failing, ready: condition('False', 'TriggerError') }),
      report({ triggers: failing, why: 'Still.', ready: condition('False', 'TriggerError') }),
      report({ paused: condition('True', 'ScaledObjectPaused') }),
    ]) {
      lifecycle.report(workload, said);
    }

    const events = await eventsIn(namespace, running);
    expect(events.map(({ type, reason, note, by }) => `${by} ${type} ${reason}: ${note}`).sort()).toEqual(
      [
        'keda-operator Normal KEDAScaleTargetActivated: Deployment NS/web was scaled from 0 to 1: a queue filled',
        'keda-operator Normal KEDAScalersStarted: Its triggers are being read: prometheus.',
        'keda-operator Normal ReplicasChanged: Deployment NS/web was scaled from 1 to 4: 20 wait, 5 each',
        'keda-operator Normal ReplicasChanged: Deployment NS/web was scaled from 1 to 5: 25 wait, 5 each',
        'keda-operator Normal ScaledObjectPaused: It is ScaledObjectPaused.',
        'keda-operator Normal ScaledObjectReady: It is ScaledObjectReady.',
        'keda-operator Warning KEDAScalerFailed: Trigger prometheus: the source said no',
      ].map(each => each.replace('NS', namespace)),
    );
  });

  describe('while the API server is away', () => {
    it('waits, and writes the latest only', async () => {
      const { namespace, running, workload } = await begin(scaledObject('web'));
      await using _running = running;
      const path = pathOf.scaledObject(namespace, 'web');
      running.lifecycle.report(workload, report());
      await cluster().waitFor(path, each => each?.['status'] !== undefined);
      await cluster().stop('kube-apiserver');

      for (let edit = 1; edit <= 20; edit += 1) {
        const ready = condition('True', 'ScaledObjectReady', `Edit ${edit}.`);
        running.lifecycle.report(
          workload,
          report({ ready, changes: [{ from: edit, to: edit + 1, kind: 'scaling', why: 'so' }] }),
        );
      }
      await until(
        async () => running.heard.said.filter(each => each.includes('cannot be written')),
        said => said.length > 0,
      );
      await cluster().start('kube-apiserver');
      await cluster().waitFor(path, each => each?.['status']?.conditions[0].message === 'Edit 20.', {
        timeoutMs: 60_000,
      });

      const events = await eventsIn(namespace, running);
      expect(events.filter(({ reason }) => reason === 'ReplicasChanged')).toHaveLength(20);
    }, 120_000);
  });
});
