import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ScalingBehavior, ScalingRules } from '../spec/workload.ts';
import { type DirectLimits, type DirectSeen, decideReplicas, directHistoryAfter } from './direct.ts';
import { decideHpa, type HpaLimits } from './hpa.ts';
import type { HpaHistory } from './hpa-history.ts';
import type { ExternalMetric, HpaMetric } from './hpa-metrics.ts';
import { decideJobs, type JobLimits } from './jobs.ts';
import { decideScale } from './replicas.ts';

const start = Date.UTC(2026, 0, 1);

const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });

const policy = fc.record({
  type: fc.constantFrom('Pods' as const, 'Percent' as const),
  value: fc.integer({ min: 1, max: 200 }),
  periodSeconds: fc.constantFrom(1, 15, 60, 1800),
});
const rules: fc.Arbitrary<ScalingRules> = fc.record(
  {
    stabilizationWindowSeconds: fc.constantFrom(0, 15, 300, 3600),
    selectPolicy: fc.constantFrom('Max' as const, 'Min' as const, 'Disabled' as const),
    policies: fc.array(policy, { minLength: 1, maxLength: 3 }),
    tolerance: fc.constantFrom('0', '0.1', '500m'),
  },
  { requiredKeys: [] },
);
const behavior: fc.Arbitrary<ScalingBehavior> = fc.record(
  { scaleUp: rules, scaleDown: rules },
  { requiredKeys: [] },
);

const value = fc.oneof(fc.integer({ min: 0, max: 2000 }), fc.double({ min: 0, max: 1e6, noNaN: true }));
const external: fc.Arbitrary<ExternalMetric> = fc.record({
  kind: fc.constant('external' as const),
  name: fc.constantFrom('s0-queue', 's1-topic'),
  targetType: fc.constantFrom('AverageValue' as const, 'Value' as const),
  target: fc.constantFrom(0.5, 1, 7, 100),
  value,
});
const bounds = fc
  .record({ min: fc.integer({ min: 0, max: 10 }), more: fc.integer({ min: 1, max: 50 }) })
  .map(({ min, more }) => ({ min, max: min + more }));

/** What went before: loads at some distance in time, decided and applied one after the other. */
const past = fc.array(fc.record({ afterMs: fc.integer({ min: 0, max: 400_000 }), value: maybe(value) }), {
  maxLength: 12,
});

const direct = fc.record({
  bounds,
  idle: fc.boolean(),
  behavior: maybe(behavior),
  cooldownPeriodMs: fc.constantFrom(0, 60_000),
  pausedScaleIn: fc.boolean(),
  pausedScaleOut: fc.boolean(),
  replicas: fc.integer({ min: 0, max: 70 }),
  idleMs: fc.constantFrom(0, 60_000, 60_001),
  metrics: fc.array(external, { minLength: 1, maxLength: 3 }),
  past,
});

type Setting = typeof direct extends fc.Arbitrary<infer T> ? T : never;

function limitsOf({ bounds: { min, max }, idle, ...rest }: Setting): DirectLimits {
  return {
    minReplicaCount: min,
    maxReplicaCount: max,
    idleReplicaCount: idle && min > 0 ? min - 1 : undefined,
    initialCooldownPeriodMs: 0,
    paused: false,
    pausedReplicas: undefined,
    forceActivation: false,
    cooldownPeriodMs: rest.cooldownPeriodMs,
    pausedScaleIn: rest.pausedScaleIn,
    pausedScaleOut: rest.pausedScaleOut,
    behavior: rest.behavior,
  };
}

function seenOf(
  setting: Setting,
  metrics: readonly HpaMetric[],
  replicas: number,
): Omit<DirectSeen, 'history'> {
  const values = metrics.map(metric => (metric.kind === 'external' ? metric.value : undefined));
  return {
    replicas,
    active: values.some(v => v !== undefined && v > 3),
    failed: values.includes(undefined),
    lastActiveAt: start - setting.idleMs,
    createdAt: start - 86_400_000,
    metrics,
  };
}

/** Lives through the past of a setting, so that the history has something in it. */
function lived(setting: Setting): { history: HpaHistory | undefined; now: number } {
  const limits = limitsOf(setting);
  let now = start - 3_000_000;
  let replicas = setting.replicas;
  let history: HpaHistory | undefined;
  for (const { afterMs, value: load } of setting.past) {
    now += afterMs;
    const metrics = setting.metrics.map(metric => ({ ...metric, value: load }));
    const decision = decideReplicas({ ...seenOf(setting, metrics, replicas), history }, limits, now);
    history = directHistoryAfter(decision, limits, now);
    if (decision.kind === 'scale') replicas = decision.to;
  }
  return { history, now: Math.max(now, start) };
}

function decided(setting: Setting, metrics: readonly HpaMetric[]): number {
  const { history, now } = lived(setting);
  const decision = decideReplicas(
    { ...seenOf(setting, metrics, setting.replicas), history },
    limitsOf(setting),
    now,
  );
  return decision.kind === 'scale' ? decision.to : setting.replicas;
}

describe('decideReplicas', () => {
  it('never goes above the maximum', () => {
    fc.assert(
      fc.property(direct, setting => {
        expect(decided(setting, setting.metrics)).toBeLessThanOrEqual(Math.max(setting.bounds.max, 0));
      }),
    );
  });

  it('never stays below the minimum once active', () => {
    fc.assert(
      fc.property(direct, setting => {
        fc.pre(!setting.pausedScaleOut && setting.metrics.some(metric => (metric.value ?? 0) > 3));

        expect(decided(setting, setting.metrics)).toBeGreaterThanOrEqual(Math.max(setting.bounds.min, 1));
      }),
    );
  });

  it('never asks for less when there is more to do', () => {
    fc.assert(
      fc.property(direct, fc.double({ min: 0, max: 5000, noNaN: true }), (setting, extra) => {
        // As in KEDA an inactive target is lifted to the minimum though scaling out is paused, an active one is not.
        fc.pre(!setting.pausedScaleOut || setting.replicas >= setting.bounds.min);
        const heavier = setting.metrics.map(metric => ({ ...metric, value: (metric.value ?? 0) + extra }));

        expect(decided(setting, heavier)).toBeGreaterThanOrEqual(decided(setting, setting.metrics));
      }),
      { numRuns: 500 },
    );
  });

  it('never goes down while a reading is missing, except to the maximum', () => {
    fc.assert(
      fc.property(direct, fc.nat(2), (setting, index) => {
        const gone = index % setting.metrics.length;
        const metrics = setting.metrics.map((m, i) => (i === gone ? { ...m, value: undefined } : m));

        expect(decided(setting, metrics)).toBeGreaterThanOrEqual(
          Math.min(setting.replicas, setting.bounds.max),
        );
      }),
      { numRuns: 500 },
    );
  });

  it('comes to the same when it is computed again from a record', () => {
    fc.assert(
      fc.property(direct, setting => {
        const { history, now } = lived(setting);
        const seen = { ...seenOf(setting, setting.metrics, setting.replicas), history };
        const record = JSON.stringify({ seen, limits: limitsOf(setting), now });

        const first = decideReplicas(seen, limitsOf(setting), now);
        const { seen: seenAgain, limits: limitsAgain, now: then } = JSON.parse(record);
        const again = decideReplicas(seenAgain, limitsAgain, then);

        expect(JSON.stringify(again)).toBe(JSON.stringify(first));
      }),
    );
  });
});

describe('decideScale', () => {
  it('never goes down while a reading is missing', () => {
    fc.assert(
      fc.property(direct, setting => {
        const seen = { ...seenOf(setting, [], setting.replicas), failed: true };

        const decision = decideScale(seen, limitsOf(setting), start);

        expect(decision.kind === 'scale' ? decision.to : setting.replicas).toBeGreaterThanOrEqual(
          setting.replicas,
        );
      }),
    );
  });
});

describe('decideHpa', () => {
  const hpa: fc.Arbitrary<{ limits: HpaLimits; replicas: number }> = fc
    .record({ bounds, behavior: maybe(behavior), replicas: fc.integer({ min: 1, max: 70 }) })
    .map(({ bounds: { min, max }, behavior: given, replicas }) => ({
      limits: { minReplicas: Math.max(min, 1), maxReplicas: max, behavior: given },
      replicas,
    }));

  it('stays within its bounds whatever it is told', () => {
    const wild = fc.array(
      external.map(metric => ({ ...metric })),
      { maxLength: 3 },
    );
    const odd = fc.record({ status: fc.nat(80), ready: fc.nat(80) });
    fc.assert(
      fc.property(hpa, wild, odd, ({ limits, replicas }, metrics, { status, ready }) => {
        const seen = { replicas, metrics, statusReplicas: status, readyReplicas: ready, history: undefined };

        const { to, kind } = decideHpa(seen, limits, start);

        const within = to >= limits.minReplicas && to <= limits.maxReplicas;
        expect(within || (kind === 'hold' && to === replicas)).toBe(true);
      }),
    );
  });

  it('remembers no more than it needs, however often and whatever it decides', () => {
    const loads = fc.array(value, { minLength: 600, maxLength: 600 });
    fc.assert(
      fc.property(loads, fc.boolean(), (values, falling) => {
        const limits = {
          minReplicas: 1,
          maxReplicas: 2 ** 31 - 1,
          behavior: { scaleDown: { stabilizationWindowSeconds: 3600 } },
        };
        let history: HpaHistory | undefined;
        for (const [index, load] of values.entries()) {
          const metrics: HpaMetric[] = [
            {
              kind: 'external',
              name: 'q',
              targetType: 'AverageValue',
              target: 1,
              value: falling ? 100_000 - 50 * index : load,
            },
          ];
          history = decideHpa({ replicas: 50_000, metrics, history }, limits, start + index).history;
        }

        expect(Math.max(history?.highs.length ?? 0, history?.lows.length ?? 0)).toBeLessThanOrEqual(256);
        // What was left out of a crowded history still holds.
        if (falling) expect(history?.highs[0]?.replicas).toBe(100_000);
      }),
      { numRuns: 10 },
    );
  });
});

describe('decideJobs', () => {
  const jobs = fc.record({
    limits: fc
      .record({
        bounds,
        strategy: fc.constantFrom('default' as const, 'accurate' as const, 'eager' as const),
        how: fc.constantFrom('min' as const, 'max' as const, 'avg' as const, 'sum' as const),
      })
      .map(
        ({ bounds: { min, max }, strategy, how }): JobLimits => ({
          minReplicaCount: min,
          maxReplicaCount: max,
          scalingStrategy: { strategy, multipleScalersCalculation: how },
        }),
      ),
    running: fc.nat(80),
    pending: fc.nat(80),
    waiting: value,
    target: fc.constantFrom(0.5, 1, 10),
  });

  const count = ({
    limits,
    running,
    pending,
    waiting,
    target,
  }: typeof jobs extends fc.Arbitrary<infer T> ? T : never) => {
    const answer = { kind: 'read', value: waiting, active: true, at: start } as const;
    const triggers = [{ metricName: 's0-queue', answer, target }];
    const decision = decideJobs({ triggers, running, pending: Math.min(pending, running) }, limits);
    return decision.kind === 'create' ? decision.count : 0;
  };

  it('never runs more Jobs than the maximum', () => {
    fc.assert(
      fc.property(jobs, setting => {
        const most = Math.max(setting.limits.maxReplicaCount ?? 0, setting.running);

        expect(setting.running + count(setting)).toBeLessThanOrEqual(most);
      }),
    );
  });

  it('never creates fewer when more waits', () => {
    fc.assert(
      fc.property(jobs, fc.nat(500), (setting, extra) => {
        const more = { ...setting, waiting: setting.waiting + extra };

        expect(count(more)).toBeGreaterThanOrEqual(count(setting));
      }),
    );
  });
});
