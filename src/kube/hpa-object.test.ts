import { describe, expect, it } from 'vitest';
import type { AutoscalerMetric, AutoscalerSpec } from '../engine/ports.ts';
import { documentOf } from '../spec/documents.ts';
import { parseScaledObject } from '../spec/scaled-object.ts';
import type { ScaledObject } from '../spec/workload.ts';
import {
  autoscalerMark,
  autoscalerName,
  autoscalerObject,
  type HpaObject,
  isAsWanted,
  type WantedHpa,
} from './hpa-object.ts';

function scaledObject(metadata: object = {}, advanced: object = {}): ScaledObject {
  const parsed = parseScaledObject(
    documentOf({
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
      metadata: { namespace: 'shop', name: 'orders', uid: 'u-1', ...metadata },
      spec: {
        scaleTargetRef: { name: 'worker' },
        advanced,
        triggers: [{ type: 'cpu', metricType: 'Utilization', metadata: { value: '50' } }],
      },
    }),
  );
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.value;
}

const external = (name: string, target: number): AutoscalerMetric => ({
  kind: 'external',
  name,
  targetType: 'AverageValue',
  target,
});

function spec(given: Partial<AutoscalerSpec> = {}): AutoscalerSpec {
  return { minReplicas: 1, maxReplicas: 100, behavior: undefined, metrics: [external('s0-x', 5)], ...given };
}

/** The same as the API server would give it back. */
function stored(wanted: WantedHpa, change: (object: HpaObject) => unknown = () => {}): HpaObject {
  const object = structuredClone(wanted) as unknown as HpaObject;
  object.metadata.uid = 'h-1';
  object.metadata.resourceVersion = '1';
  change(object);
  return object;
}

describe('autoscalerObject', () => {
  it("makes KEDA's object of a ScaledObject", () => {
    const workload = scaledObject({
      labels: { team: 'a', secret: 'b', 'app.kubernetes.io/part-of': 'mine' },
      annotations: { note: 'x', 'scaledobject.keda.sh/hpa-excluded-labels': 'secret,other' },
    });

    const hpa = autoscalerObject(workload, spec(), '1.2.3');

    expect(hpa).toEqual({
      metadata: {
        name: 'keda-hpa-orders',
        namespace: 'shop',
        labels: {
          'app.kubernetes.io/name': 'keda-hpa-orders',
          'app.kubernetes.io/version': '1.2.3',
          'app.kubernetes.io/part-of': 'mine',
          'app.kubernetes.io/managed-by': 'keda-operator',
          'scaledobject.keda.sh/name': 'orders',
          team: 'a',
        },
        annotations: { note: 'x', 'scaledobject.keda.sh/hpa-excluded-labels': 'secret,other' },
        ownerReferences: [
          {
            apiVersion: 'keda.sh/v1alpha1',
            kind: 'ScaledObject',
            name: 'orders',
            uid: 'u-1',
            controller: true,
            blockOwnerDeletion: true,
          },
        ],
      },
      spec: {
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'worker' },
        minReplicas: 1,
        maxReplicas: 100,
        metrics: [
          {
            type: 'External',
            external: {
              metric: { name: 's0-x', selector: { matchLabels: { 'scaledobject.keda.sh/name': 'orders' } } },
              target: { type: 'AverageValue', averageValue: '5' },
            },
          },
        ],
      },
    });
  });

  it('sorts metrics by kind and keeps the order within one, the metric of a formula last', () => {
    const metrics: AutoscalerMetric[] = [
      external('composite-metric', 1),
      { kind: 'resource', resource: 'memory', container: undefined, targetType: 'AverageValue', target: 1.5 },
      external('s2-b', 2.5),
      external('s1-a', 1 / 3),
      { kind: 'resource', resource: 'cpu', container: 'app', targetType: 'Utilization', target: 60 },
      { kind: 'external', name: 's5-v', targetType: 'Value', target: 7 },
    ];

    const hpa = autoscalerObject(scaledObject(), spec({ metrics }), '1');

    expect(
      hpa.spec.metrics.map(({ external: e, resource, containerResource }) => [
        e?.metric.name ?? resource?.name ?? containerResource?.container,
        (e ?? resource ?? containerResource)?.target,
      ]),
    ).toEqual([
      ['app', { type: 'Utilization', averageUtilization: 60 }],
      ['s2-b', { type: 'AverageValue', averageValue: '2500m' }],
      ['s1-a', { type: 'AverageValue', averageValue: '333m' }],
      ['s5-v', { type: 'Value', value: '7' }],
      ['memory', { type: 'AverageValue', averageValue: '1500m' }],
      ['composite-metric', { type: 'AverageValue', averageValue: '1' }],
    ]);
  });

  const policies = [{ type: 'Pods' as const, value: 1, periodSeconds: 60 }];
  it.each([
    { paused: {}, given: undefined, expected: undefined },
    {
      paused: { 'autoscaling.keda.sh/paused-scale-in': 'true' },
      given: undefined,
      expected: { scaleDown: { selectPolicy: 'Disabled' } },
    },
    {
      paused: { 'autoscaling.keda.sh/paused-scale-out': 'true' },
      given: { scaleUp: { policies }, scaleDown: { stabilizationWindowSeconds: 5 } },
      expected: {
        scaleUp: { policies, selectPolicy: 'Disabled' },
        scaleDown: { stabilizationWindowSeconds: 5 },
      },
    },
  ])('disables the directions that $paused pauses', ({ paused, given, expected }) => {
    const workload = scaledObject({ annotations: paused });

    const hpa = autoscalerObject(workload, spec({ behavior: given }), '1');

    expect(hpa.spec.behavior).toEqual(expected);
  });

  it('gives names that are too long for labels a label that fits', () => {
    const name = 'o'.repeat(100);

    const { metadata, spec: made } = autoscalerObject(scaledObject({ name }), spec(), '1');

    expect(metadata.name).toBe(`keda-hpa-${name}`);
    expect(metadata.labels['app.kubernetes.io/name']).toHaveLength(63);
    expect(metadata.labels['scaledobject.keda.sh/name']).toMatch(/^o{54}-[0-9a-f]{8}$/);
    expect(made.metrics[0]?.external?.metric.selector?.matchLabels).toEqual({
      'scaledobject.keda.sh/name': metadata.labels['scaledobject.keda.sh/name'],
    });
  });

  it('shortens a name that no object may have', () => {
    expect(autoscalerName(scaledObject({ name: 'o'.repeat(250) }))).toHaveLength(253);
  });
});

describe('comparing', () => {
  const workload = scaledObject({ labels: { team: 'a' }, annotations: { note: 'x' } });
  const behavior = {
    scaleDown: {
      stabilizationWindowSeconds: 5,
      policies: [{ type: 'Pods' as const, value: 1, periodSeconds: 60 }],
    },
  };
  const wanted = autoscalerObject(workload, spec({ behavior, metrics: [external('s0-x', 2.5)] }), '1');

  it('takes what the API server fills in and writes otherwise for the same', () => {
    const live = stored(wanted, object => {
      object.spec.behavior = {
        scaleUp: {
          stabilizationWindowSeconds: 0,
          selectPolicy: 'Max',
          policies: [
            { type: 'Pods', value: 4, periodSeconds: 15 },
            { type: 'Percent', value: 100, periodSeconds: 15 },
          ],
        },
        scaleDown: { ...behavior.scaleDown, selectPolicy: 'Max' },
      };
      const target = object.spec.metrics?.[0]?.external?.target;
      if (target !== undefined) target.averageValue = '2.5';
      object.status = { conditions: [{ type: 'ScalingActive', status: 'True' }] };
    });

    expect(isAsWanted(live, wanted)).toBe(true);
    expect(autoscalerMark(live)).toBe(autoscalerMark(wanted));
  });

  it('lets labels and annotations of others be, but sees that they are there', () => {
    const live = stored(wanted, object => {
      object.metadata.labels = { ...object.metadata.labels, theirs: '1' };
      object.metadata.annotations = { ...object.metadata.annotations, theirs: '1' };
    });

    expect(isAsWanted(live, wanted)).toBe(true);
    expect(autoscalerMark(live)).not.toBe(autoscalerMark(wanted));
  });

  it.each<[string, (object: HpaObject) => unknown]>([
    ['maximum', object => Object.assign(object.spec, { maxReplicas: 7 })],
    ['minimum', object => Object.assign(object.spec, { minReplicas: 2 })],
    ['target', object => Object.assign(object.spec.scaleTargetRef, { name: 'other' })],
    ['label', object => Object.assign(object.metadata, { labels: {} })],
    ['annotation', object => Object.assign(object.metadata, { annotations: { note: 'y' } })],
    ['owner', object => Object.assign(object.metadata, { ownerReferences: [] })],
    ['behavior', object => delete object.spec.behavior],
    [
      'policy',
      object =>
        Object.assign(object.spec, { behavior: { ...behavior, scaleUp: { selectPolicy: 'Disabled' } } }),
    ],
    ['missing metric', object => Object.assign(object.spec, { metrics: [] })],
    [
      'additional metric',
      object => Object.assign(object.spec, { metrics: [...(object.spec.metrics ?? []), { type: 'Pods' }] }),
    ],
    [
      'quantity',
      object => {
        const target = object.spec.metrics?.[0]?.external?.target;
        if (target !== undefined) target.averageValue = '2501m';
      },
    ],
  ])('sees that somebody changed the %s', (_what, change) => {
    const live = stored(wanted, change);

    expect(isAsWanted(live, wanted)).toBe(false);
    expect(autoscalerMark(live)).not.toBe(autoscalerMark(wanted));
  });
});
