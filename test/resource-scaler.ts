import { describe, expect, it } from 'vitest';
import { bindTrigger } from '../src/scaler/bind.ts';
import type { ResourceScaler } from '../src/scaler/define.ts';
import { noIdentity } from '../src/spec/pod-identity.ts';
import type { MetricTargetType } from '../src/spec/workload.ts';

/** What the cpu and memory triggers have in common. */
export function resourceTests(scaler: ResourceScaler): void {
  const bind = (metadata: Record<string, string>, metricType?: MetricTargetType) =>
    bindTrigger(
      scaler,
      {
        index: 0,
        type: scaler.type,
        metadata,
        secrets: {},
        useCachedMetrics: false,
        ...(metricType === undefined ? {} : { metricType }),
      },
      { metadata, auth: {}, env: {} },
      {
        podIdentity: noIdentity,
        namespace: 'default',
        workload: 'app',
        triggerIndex: 0,
        asMetricSource: false,
      },
    );

  describe(`the ${scaler.type} trigger`, () => {
    it.each([
      ['a percentage of the request', '60', 'Utilization', 60],
      ['a percentage with a sign', '+60', 'Utilization', 60],
      ['a quantity per pod', '500m', 'AverageValue', 0.5],
      ['a binary quantity per pod', '1Gi', 'AverageValue', 2 ** 30],
    ] as const)('takes %s', (_title, value, metricType, target) => {
      const binding = bind({ value, containerName: 'app' }, metricType);

      expect(binding).toMatchObject({
        ok: true,
        bound: {
          kind: 'resource',
          resource: scaler.type,
          container: 'app',
          target: { type: metricType, value: target },
        },
      });
    });

    it.each([
      ['no metricType', { value: '60' }, undefined, /metricType is missing/],
      ['metricType Value', { value: '60' }, 'Value', /is not for/],
      ['no value', {}, 'Utilization', /"value" is missing/],
      ['too many percent', { value: '2147483648' }, 'Utilization', /whole number of percent/],
      ['half a percent', { value: '0.5' }, 'Utilization', /whole number of percent/],
      ['a value that is no quantity', { value: 'lots' }, 'AverageValue', /Kubernetes quantity/],
      ['the type parameter of old', { value: '60', type: 'Utilization' }, 'Utilization', /was removed/],
    ] as const)('refuses %s', (_title, metadata, metricType, problem) => {
      const binding = bind(metadata, metricType);

      expect(binding).toMatchObject({ ok: false, problems: [{ problem: expect.stringMatching(problem) }] });
    });
  });
}
