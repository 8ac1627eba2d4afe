import { describe, expect, it } from 'vitest';
import type { Report } from '../engine/ports.ts';
import { refusedStatus, type Status, statusOf, statusPatch } from './status-object.ts';
import { readWorkload } from './workload-object.ts';

const trigger = { type: 'prometheus', metadata: {} };

function workload(spec: object = {}, kind: 'ScaledObject' | 'ScaledJob' = 'ScaledObject') {
  const metadata = { namespace: 'team', name: 'web', uid: 'u', resourceVersion: '1' };
  const target =
    kind === 'ScaledObject'
      ? { scaleTargetRef: { name: 'web' } }
      : { jobTargetRef: { template: { spec: { containers: [{ name: 'main' }] } } } };
  const object = { metadata, spec: { ...target, triggers: [trigger], ...spec } };
  const read = readWorkload(kind, object, () => []);
  if (!read.ok) throw new Error(read.message);
  return read.workload;
}

const is = (status: 'True' | 'False' | 'Unknown', reason: string) => ({
  status,
  reason,
  message: `${reason}.`,
});
const told = (over: Partial<Report['triggers'][number]> = {}): Report['triggers'][number] => ({
  name: 'prometheus',
  type: 'prometheus',
  metricName: 's0-prometheus',
  value: 1,
  active: true,
  ...over,
});
const report = (over: Partial<Report> = {}): Report => ({
  at: 0,
  why: '',
  ready: is('True', 'ScaledObjectReady'),
  active: is('True', 'ScalerActive'),
  fallback: is('False', 'NoFallbackFound'),
  paused: is('False', 'ScaledObjectUnpaused'),
  triggers: [told()],
  ...over,
});

const wanted = (
  over: Partial<Report> = {},
  { live = {}, spec = {}, facts = {} }: { live?: Status; spec?: object; facts?: object } = {},
) => statusOf(workload(spec), report(over), { live, facts, refusal: undefined });

const cpu = { type: 'cpu', metricType: 'Utilization', metadata: { value: '50' } };
const toldCpu = told({ type: 'cpu', name: 'cpu', metricName: 'cpu' });
const happy = { numberOfFailures: 0, status: 'Happy' } as const;

describe('the status of a ScaledObject', () => {
  it.each<[string, Status, Record<string, unknown>]>([
    ['names external metrics', wanted(), { externalMetricNames: ['s0-prometheus'] }],
    [
      'names the metrics of resources apart',
      wanted(
        { triggers: [toldCpu, told({ metricName: 's1-prometheus' })] },
        { spec: { triggers: [cpu, trigger] } },
      ),
      { externalMetricNames: ['s1-prometheus'], resourceMetricNames: ['cpu'] },
    ],
    [
      'does not name the metrics of single containers',
      wanted(
        { triggers: [toldCpu, told({ metricName: 's1-prometheus' })] },
        { spec: { triggers: [{ ...cpu, metadata: { value: '50', containerName: 'a' } }, trigger] } },
      ),
      { resourceMetricNames: undefined },
    ],
    [
      'names the composite metric once there is one',
      wanted(
        {},
        {
          spec: {
            triggers: [{ ...trigger, name: 'a' }],
            advanced: { scalingModifiers: { formula: 'a', target: '2' } },
          },
        },
      ),
      { compositeScalerName: 'composite-metric', externalMetricNames: ['s0-prometheus'] },
    ],
    [
      'lists types once, in their order',
      wanted({}, { spec: { triggers: [trigger, cpu, trigger] } }),
      { triggersTypes: 'prometheus,cpu' },
    ],
    [
      'lists the names of authentications once',
      wanted(
        {},
        { spec: { triggers: [1, 2].map(() => ({ ...trigger, authenticationRef: { name: 'key' } })) } },
      ),
      { authenticationsTypes: 'key' },
    ],
    ['tells the original replicas the first time', wanted({ replicas: 3 }), { originalReplicaCount: 3 }],
    [
      'tells those before the first change, not after',
      wanted({ replicas: 1, changes: [{ from: 0, to: 1, kind: 'activation', why: '' }] }),
      { originalReplicaCount: 0 },
    ],
    [
      'never tells other original replicas',
      wanted({ replicas: 3 }, { live: { originalReplicaCount: 0 } }),
      { originalReplicaCount: 0 },
    ],
    ['tells where it is paused', wanted({ pausedReplicas: 0 }), { pausedReplicaCount: 0 }],
    [
      'tells no more of it after',
      wanted({}, { live: { pausedReplicaCount: 3 } }),
      { pausedReplicaCount: undefined },
    ],
    [
      'tells the end of activity in seconds',
      wanted({ lastActiveAt: 1500 }),
      { lastActiveTime: '1970-01-01T00:00:01Z' },
    ],
    [
      'leaves the last activity while it is active',
      wanted({}, { live: { lastActiveTime: 'before' } }),
      { lastActiveTime: 'before' },
    ],
    [
      'tells the health of metrics',
      wanted({ triggers: [told({ health: happy })] }),
      { health: { 's0-prometheus': happy } },
    ],
    [
      'forgets the health and activity of metrics that are gone',
      wanted(
        { triggers: [told({ health: happy })] },
        { live: { health: { old: happy }, triggersActivity: { old: { isActive: true } } } },
      ),
      { health: { 's0-prometheus': happy }, triggersActivity: { 's0-prometheus': { isActive: true } } },
    ],
    [
      'keeps what is known of metrics while a trigger cannot be built',
      wanted(
        { triggers: [told({ metricName: undefined })] },
        {
          live: {
            externalMetricNames: ['s0-prometheus'],
            triggersActivity: { 's0-prometheus': { isActive: true } },
          },
        },
      ),
      { externalMetricNames: ['s0-prometheus'], triggersActivity: { 's0-prometheus': { isActive: true } } },
    ],
    [
      'tells what it scales',
      wanted(
        {},
        {
          facts: {
            target: {
              kind: '/v1.Thing',
              gvkr: { group: '', version: 'v1', kind: 'Thing', resource: 'things' },
            },
          },
        },
      ),
      {
        scaleTargetKind: '/v1.Thing',
        scaleTargetGVKR: { group: '', version: 'v1', kind: 'Thing', resource: 'things' },
      },
    ],
    [
      'keeps the HPA name that it knows',
      wanted({}, { live: { hpaName: 'keda-hpa-web' } }),
      { hpaName: 'keda-hpa-web' },
    ],
  ])('%s', (_title, status, expected) => {
    for (const [field, value] of Object.entries(expected))
      expect(status[field as keyof Status]).toEqual(value);
  });

  it('keeps conditions that a report says nothing of', () => {
    const live = { conditions: [{ type: 'HPAActive', status: 'False', reason: 'R', message: 'M' }] };
    const { fallback: _not, ...rest } = report();

    const { conditions } = statusOf(workload(), rest, { live, facts: {}, refusal: undefined });

    expect(conditions?.map(({ type, status }) => [type, status])).toEqual([
      ['Ready', 'True'],
      ['Active', 'True'],
      ['Fallback', 'Unknown'],
      ['Paused', 'False'],
      ['HPAActive', 'False'],
    ]);
  });

  it('is not ready while its current version is refused, whatever an earlier one reports', () => {
    const refusal = { message: 'spec.x: wrong' };

    const status = statusOf(workload(), report(), { live: {}, facts: {}, refusal });

    expect(status.conditions?.[0]).toEqual({
      type: 'Ready',
      status: 'False',
      reason: 'ScaledObjectCheckFailed',
      message: 'spec.x: wrong',
    });
    expect(status.externalMetricNames).toEqual(['s0-prometheus']);
  });

  it('says of a refused ScaledJob what is so, and leaves the rest', () => {
    const status = refusedStatus('ScaledJob', { triggersTypes: 'cron' }, { message: 'no' });

    expect(status.triggersTypes).toBe('cron');
    expect(status.conditions?.map(({ type, reason }) => [type, reason])).toEqual([
      ['Ready', 'ScaledJobCheckFailed'],
      ['Active', 'UnknownState'],
      ['Fallback', undefined],
      ['Paused', 'ScaledJobUnpaused'],
    ]);
  });

  it('has of a ScaledJob no more than KEDA writes', () => {
    const status = statusOf(workload({}, 'ScaledJob'), report({ replicas: 3 }), {
      live: {},
      facts: {},
      refusal: undefined,
    });

    expect(Object.keys(status).sort()).toEqual(['conditions', 'triggersActivity', 'triggersTypes']);
  });
});

describe('a patch of a status', () => {
  it('is none where both say the same, in whatever order', () => {
    const live = JSON.parse(JSON.stringify(wanted({ replicas: 1 })));
    const sorted = Object.fromEntries(Object.entries(live).sort()) as Status;

    expect(statusPatch(sorted, wanted({ replicas: 1 }, { live: sorted }))).toBeUndefined();
  });

  it.each<[string, Status, Status, object]>([
    ['adds', {}, { hpaName: 'a' }, { hpaName: 'a' }],
    ['removes', { hpaName: 'a', triggersTypes: 'b' }, { triggersTypes: 'b' }, { hpaName: null }],
    [
      'goes into maps and takes out what is gone',
      { triggersActivity: { a: { isActive: true }, b: { isActive: true } } },
      { triggersActivity: { b: { isActive: false } } },
      { triggersActivity: { a: null, b: { isActive: false } } },
    ],
    [
      'replaces lists',
      { externalMetricNames: ['a', 'b'] },
      { externalMetricNames: ['b'] },
      { externalMetricNames: ['b'] },
    ],
  ])('%s only what differs', (_title, live, after, patch) => {
    expect(statusPatch(live, after)).toEqual({ status: patch });
  });
});
