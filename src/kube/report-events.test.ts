import { describe, expect, it } from 'vitest';
import { Fault } from '../base/errors.ts';
import type { Change, Report } from '../engine/ports.ts';
import { eventsOf } from './report-events.ts';
import type { Status } from './status-object.ts';
import { readWorkload } from './workload-object.ts';

function workload(
  kind: 'ScaledObject' | 'ScaledJob',
  spec: object = {},
  annotations: Record<string, string> = {},
) {
  const metadata = { namespace: 'team', name: 'web', uid: 'u', resourceVersion: '1', annotations };
  const target =
    kind === 'ScaledObject'
      ? { scaleTargetRef: { name: 'web' } }
      : { jobTargetRef: { template: { spec: { containers: [{ name: 'main' }] } } } };
  const triggers = [{ type: 'cron', name: 'a', metadata: {} }];
  const read = readWorkload(kind, { metadata, spec: { ...target, triggers, ...spec } }, () => []);
  if (!read.ok) throw new Error(read.message);
  return read.workload;
}

const is = (status: 'True' | 'False' | 'Unknown', reason = '') => ({ status, reason, message: `${reason}.` });
const trigger = { name: 'a', type: 'cron', metricName: 's0-a', value: 1, active: true };
const fault = new Fault('SOURCE_REFUSED', 'the source said no');
const report = (over: Partial<Report> = {}): Report => ({
  at: 0,
  why: '',
  ready: is('True'),
  active: is('False'),
  fallback: is('False'),
  paused: is('False'),
  triggers: [trigger],
  ...over,
});
const liveWith = (given: Record<string, ReturnType<typeof is>>): Status => ({
  conditions: Object.entries({
    Ready: is('True'),
    Active: is('False'),
    Fallback: is('False'),
    Paused: is('False'),
    ...given,
  }).map(([type, condition]) => ({ type, ...condition })),
});
const live = liveWith({});
const checkFailed = is('False', 'ScaledObjectCheckFailed');
const change = (over: Partial<Change> = {}): Change => ({
  from: 0,
  to: 2,
  kind: 'scaling',
  why: 'why',
  ...over,
});

const scaledObject = workload('ScaledObject');
const scaledJob = workload('ScaledJob');
const modified = workload('ScaledObject', { advanced: { scalingModifiers: { formula: 'a', target: '1' } } });
const paused = workload('ScaledObject', {}, { 'autoscaling.keda.sh/paused': 'true' });

describe('the events of a report', () => {
  it.each<[string, typeof scaledObject, Report | undefined, Status, Report, string[]]>([
    [
      'tells of a new object',
      scaledObject,
      undefined,
      {},
      report(),
      ['KEDAScalersStarted', 'ScaledObjectReady'],
    ],
    ['repeats nothing after a restart', scaledObject, undefined, live, report(), []],
    [
      'repeats no fault after a restart',
      scaledObject,
      undefined,
      liveWith({ Ready: is('False', 'TriggerError') }),
      report({ ready: is('False', 'TriggerError'), triggers: [{ ...trigger, fault }] }),
      [],
    ],
    [
      'tells of a fault that is new after a restart',
      scaledObject,
      undefined,
      live,
      report({ ready: is('False', 'TriggerError'), triggers: [{ ...trigger, fault }] }),
      ['KEDAScalerFailed'],
    ],
    [
      'tells that it is ready again',
      scaledObject,
      report({ ready: is('Unknown') }),
      live,
      report(),
      ['ScaledObjectReady'],
    ],
    [
      'tells of a failed check',
      scaledObject,
      report(),
      live,
      report({ ready: checkFailed }),
      ['ScaledObjectCheckFailed'],
    ],
    [
      'does not tell the same failed check again',
      scaledObject,
      report({ ready: checkFailed }),
      live,
      report({ ready: checkFailed, why: 'x' }),
      [],
    ],
    [
      'does not tell it again after a restart',
      scaledObject,
      undefined,
      liveWith({ Ready: checkFailed }),
      report({ ready: checkFailed }),
      [],
    ],
    [
      'tells that it is paused',
      paused,
      report(),
      live,
      report({ paused: is('True') }),
      ['KEDAScalersStopped', 'ScaledObjectPaused'],
    ],
    [
      'tells that it is paused in one direction',
      scaledObject,
      report(),
      live,
      report({ paused: is('True') }),
      ['ScaledObjectPaused'],
    ],
    [
      'tells that it is not any more',
      scaledObject,
      report({ paused: is('True') }),
      live,
      report(),
      ['KEDAScalersStarted', 'ScaledObjectUnpaused'],
    ],
    [
      'tells that a fallback applies',
      scaledObject,
      report(),
      live,
      report({ fallback: is('True') }),
      ['ScaledObjectFallbackActivated'],
    ],
    [
      'tells that it does no longer',
      scaledObject,
      report({ fallback: is('True') }),
      live,
      report(),
      ['ScaledObjectFallbackDeactivated'],
    ],
    [
      'tells of activity of a ScaledJob',
      scaledJob,
      report(),
      live,
      report({ active: is('True') }),
      ['ScaledJobActive'],
    ],
    ['tells of its end', scaledJob, report({ active: is('True') }), live, report(), ['ScaledJobInactive']],
    [
      'tells of no activity of a ScaledObject',
      scaledObject,
      report(),
      live,
      report({ active: is('True') }),
      [],
    ],
    [
      'tells of another fault',
      scaledObject,
      report({ triggers: [{ ...trigger, fault: new Fault('SOURCE_TIMEOUT', 'x') }] }),
      live,
      report({ triggers: [{ ...trigger, fault }] }),
      ['KEDAScalerFailed'],
    ],
    [
      'does not tell the same fault in other words',
      scaledObject,
      report({ triggers: [{ ...trigger, fault: new Fault('SOURCE_REFUSED', 'x') }] }),
      live,
      report({ triggers: [{ ...trigger, fault }] }),
      [],
    ],
    [
      'names a fault under a formula as KEDA does',
      modified,
      report(),
      live,
      report({ triggers: [{ ...trigger, fault }] }),
      ['KEDAMetricSourceFailed'],
    ],
    [
      'tells of Jobs',
      scaledJob,
      report(),
      live,
      report({ created: { count: 3, failures: [fault] } }),
      ['KEDAJobCreateFailed', 'KEDAJobsCreated'],
    ],
    [
      'tells of a wake',
      scaledObject,
      report(),
      live,
      report({ changes: [change({ kind: 'activation' })] }),
      ['KEDAScaleTargetActivated'],
    ],
    [
      'tells of a wake that failed',
      scaledObject,
      report(),
      live,
      report({ changes: [change({ kind: 'activation', failed: fault })] }),
      ['KEDAScaleTargetActivationFailed'],
    ],
    [
      'tells of going to sleep',
      scaledObject,
      report(),
      live,
      report({ changes: [change({ kind: 'deactivation' })] }),
      ['KEDAScaleTargetDeactivated'],
    ],
    [
      'tells what the HPA did',
      scaledObject,
      report(),
      live,
      report({ changes: [change({ kind: 'autoscaler' })] }),
      ['ReplicasChanged'],
    ],
    [
      'tells what somebody else did',
      scaledObject,
      report(),
      live,
      report({ changes: [change({ kind: 'other' })] }),
      ['ReplicasChanged'],
    ],
    [
      'tells what somebody else did, and what we made of it',
      scaledObject,
      report(),
      live,
      report({ changes: [change({ kind: 'autoscaler' }), change({ kind: 'deactivation' })] }),
      ['KEDAScaleTargetDeactivated', 'ReplicasChanged'],
    ],
  ])('%s', (_title, one, before, status, next, reasons) => {
    const told = eventsOf(one, next, { report: before, live: status });

    expect(told.map(({ reason }) => reason).sort()).toEqual(reasons);
  });

  it('tells the same change once', () => {
    const once = [change()];

    const again = eventsOf(scaledObject, report({ changes: once }), {
      report: report({ changes: once }),
      live,
    });

    expect(again).toEqual([]);
  });

  it('says from where to where, and why', () => {
    const [told] = eventsOf(scaledObject, report({ changes: [change()] }), { report: report(), live });

    expect(told).toMatchObject({
      type: 'Normal',
      note: 'Deployment team/web was scaled from 0 to 2: why',
      alone: true,
    });
  });

  it('speaks as the controller that KEDA would speak as', () => {
    const next = report({ active: is('True'), ready: is('True') });
    const by = eventsOf(scaledJob, next, { report: undefined, live: {} }).map(({ reason, controller }) => [
      reason,
      controller,
    ]);

    expect(by).toEqual([
      ['KEDAScalersStarted', 'scale-handler'],
      ['ScaledJobReady', undefined],
      ['ScaledJobActive', 'scale-handler'],
    ]);
  });
});
