import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Fault } from '../base/errors.ts';
import type { ScalingBehavior } from '../spec/workload.ts';
import { decideHpa, type HpaLimits, type HpaSeen, historyAfter } from './hpa.ts';
import { newHistory } from './hpa-history.ts';
import {
  type ExternalMetric,
  externalMetric,
  type HpaMetric,
  type PodSample,
  type ResourceMetric,
} from './hpa-metrics.ts';

const noon = Date.UTC(2026, 0, 1, 12);

const queue = (value: number | undefined, over: Partial<ExternalMetric> = {}): ExternalMetric => ({
  kind: 'external',
  name: 'queue',
  targetType: 'AverageValue',
  target: 10,
  value,
  ...over,
});

const cpu = (pods: readonly PodSample[] | undefined, over: Partial<ResourceMetric> = {}): ResourceMetric => ({
  kind: 'resource',
  name: 'cpu',
  resource: 'cpu',
  targetType: 'Utilization',
  target: 50,
  pods,
  ...over,
});

let names = 0;
const pod = (used: number | undefined, over: Partial<PodSample> = {}): PodSample => ({
  pod: `pod-${names++}`,
  used,
  requested: 1,
  ready: true,
  startedAt: noon - 3_600_000,
  ...over,
});

const seen = (metrics: readonly HpaMetric[], over: Partial<HpaSeen> = {}): HpaSeen => ({
  replicas: 4,
  metrics,
  // Long enough ago that no window remembers it.
  history: newHistory(1, noon - 86_400_000),
  ...over,
});

const limits = (over: Partial<HpaLimits> = {}): HpaLimits => ({ minReplicas: 1, maxReplicas: 20, ...over });

describe('external metrics', () => {
  it.each<[string, ExternalMetric, Partial<HpaSeen>, number]>([
    ['an AverageValue divides the whole by the target', queue(61), {}, 7],
    ['a ratio just within the tolerance changes nothing', queue(44), {}, 4],
    ['a ratio just above the tolerance scales up', queue(44.1), {}, 5],
    ['a ratio just below the tolerance scales down', queue(20), {}, 2],
    ['an AverageValue looks at the pods there are', queue(20), { statusReplicas: 2 }, 2],
    ['a Value multiplies the ready pods by the ratio', queue(15, { targetType: 'Value' }), {}, 6],
    ['a Value counts ready pods only', queue(25, { targetType: 'Value' }), { readyReplicas: 2 }, 5],
    ['fractions count to a thousandth', queue(0.75, { target: 0.125 }), {}, 6],
    ['a huge value stays within bounds', queue(1e300, { target: 0.001 }), {}, 8],
    ['a negative value is zero', queue(-5), {}, 1],
    ['a value that is no number is zero', queue(Number.NaN), {}, 1],
  ])('%s', (_title, metric, over, replicas) => {
    const decision = decideHpa(seen([metric], over), limits(), noon);

    expect(decision.to).toBe(replicas);
  });

  it.each<[string, ScalingBehavior, number, number]>([
    ['a wider tolerance upwards', { scaleUp: { tolerance: '0.5' } }, 60, 4],
    ['but no further', { scaleUp: { tolerance: '0.5' } }, 61, 7],
    ['a tolerance upwards leaves downwards alone', { scaleUp: { tolerance: '0.5' } }, 30, 3],
    ['no tolerance downwards', { scaleDown: { tolerance: '0' } }, 30.1, 4],
    ['no tolerance at all', { scaleDown: { tolerance: '0' } }, 30, 3],
    ['a quantity with a suffix', { scaleUp: { tolerance: '500m' } }, 60, 4],
  ])('each direction has its own tolerance: %s', (_title, behavior, value, replicas) => {
    const decision = decideHpa(seen([queue(value)]), limits({ behavior }), noon);

    expect(decision.to).toBe(replicas);
  });
});

describe('resource metrics', () => {
  const young = { startedAt: noon - 60_000 };
  it.each<[string, ResourceMetric, number]>([
    ['all pods over the target scale up', cpu([pod(0.9), pod(0.9), pod(0.9), pod(0.9)]), 8],
    ['whole percents count', cpu([pod(0.5599), pod(0.55), pod(0.55), pod(0.55)]), 4],
    ['AverageValue compares cores', cpu(four(0.9), { targetType: 'AverageValue', target: 0.6 }), 6],
    ['pods without a sample use nothing on the way up', cpu([pod(1), pod(1), pod(1), pod(undefined)]), 6],
    ['pods without a sample use all on the way down', cpu([pod(0.1), pod(0.1), pod(0.1), pod(undefined)]), 3],
    [
      'unready pods use nothing on the way up',
      cpu([pod(1), pod(1), pod(1), pod(1, { ...young, ready: false })]),
      6,
    ],
    [
      'unready pods do not count on the way down',
      cpu([pod(0.2), pod(0.2), pod(0.2), pod(0, { ready: false })]),
      2,
    ],
    [
      'a turn of the direction changes nothing',
      cpu([pod(0.6), pod(undefined), pod(undefined), pod(undefined)]),
      4,
    ],
    [
      'deleted and failed pods are ignored',
      cpu([pod(0.9), pod(9, { deleting: true }), pod(9, { phase: 'Failed' })]),
      2,
    ],
    [
      'pending pods are not ready',
      cpu([pod(0.9), pod(0.9), pod(0.9), pod(undefined, { phase: 'Pending' })]),
      6,
    ],
    [
      'a sample from before a young pod was ready does not count',
      cpu([
        pod(0.2),
        pod(0.2),
        pod(0.2),
        pod(9, { ...young, sampledAt: noon - 9000, readySince: noon, windowMs: 1 }),
      ]),
      2,
    ],
    [
      'an old pod that was ready once counts though it is not now',
      cpu([pod(0.9), pod(0.9), pod(0.9), pod(0.9, { ready: false, readySince: noon })]),
      8,
    ],
    [
      'memory counts from the start',
      cpu([pod(0.9, young), pod(0.9, { ...young, ready: false })], { resource: 'memory' }),
      4,
    ],
  ])('%s', (_title, metric, replicas) => {
    const decision = decideHpa(seen([metric]), limits(), noon);

    expect(decision.to).toBe(replicas);
  });

  it.each<[string, ResourceMetric, RegExp]>([
    ['its use is unknown', cpu(undefined, { problem: 'no answer' }), /no answer/],
    ['there is no pod', cpu([]), /no pods/],
    ['no ready pod has a sample', cpu([pod(undefined)]), /no ready pod has a sample/],
    [
      'one pod has no request',
      cpu([pod(1), pod(1, { pod: 'odd', requested: undefined })]),
      /pod odd has no cpu request/,
    ],
    [
      'a deleted pod has no request',
      cpu([pod(1), pod(1, { pod: 'gone', requested: undefined, deleting: true })]),
      /pod gone has no cpu request/,
    ],
  ])('holds where %s', (_title, metric, problem) => {
    const decision = decideHpa(seen([metric]), limits(), noon);

    expect(decision).toMatchObject({ kind: 'hold', to: 4 });
    expect(decision.why).toMatch(problem);
  });

  function four(used: number): PodSample[] {
    return [pod(used), pod(used), pod(used), pod(used)];
  }
});

describe('several metrics', () => {
  it('takes the one that asks for most and names it', () => {
    const decision = decideHpa(seen([queue(10), queue(70, { name: 'topic' })]), limits(), noon);

    expect(decision).toMatchObject({ to: 7, metric: 'topic', proposed: 7, from: 4 });
    expect(decision.metrics.map(m => m.replicas)).toEqual([1, 7]);
    expect(decision.why).toBe(
      'topic is 70 with a target of 10 per replica, so it asks for 7; goes from 4 to 7.',
    );
  });

  it.each<[string, HpaMetric[], string, number, Partial<HpaSeen>?]>([
    ['an unknown one does not stop a scale-up', [queue(undefined), queue(70)], 'scale', 7],
    ['an unknown one stops a scale-down', [queue(10), queue(undefined)], 'hold', 4],
    ['none known holds', [queue(undefined), queue(undefined)], 'hold', 4],
    [
      'a Value without any pod counts as unknown',
      [queue(90, { targetType: 'Value' })],
      'hold',
      4,
      { statusReplicas: 0 },
    ],
    ['none there holds', [], 'hold', 4],
    ['a target of zero counts as unknown', [queue(10, { target: 0 })], 'hold', 4],
  ])('%s', (_title, metrics, kind, replicas, over) => {
    const decision = decideHpa(seen(metrics, over), limits(), noon);

    expect(decision).toMatchObject({ kind, to: replicas });
  });

  it('says why a metric is unknown', () => {
    const metrics = [queue(10), queue(undefined, { name: 'topic', problem: 'the broker is away' })];

    const decision = decideHpa(seen(metrics), limits(), noon);

    expect(decision.why).toBe('topic is unknown (the broker is away), so nothing scales in.');
  });
});

it.each<[string, HpaMetric, Partial<HpaLimits>, string]>([
  [
    'a Value',
    queue(15, { targetType: 'Value' }),
    {},
    'queue is 15 with a target of 10, so it asks for 6; goes from 4 to 6.',
  ],
  [
    'cpu by utilisation',
    cpu([pod(0.9), pod(0.9)], { targetType: 'Utilization' }),
    {},
    'cpu is at 90 % with a target of 50 %, so it asks for 4; stays at 4.',
  ],
  [
    'cpu by cores',
    cpu([pod(0.9), pod(0.6)], { targetType: 'AverageValue', target: 0.5 }),
    {},
    'cpu is 0.75 per pod with a target of 0.5, so it asks for 3; goes from 4 to 3.',
  ],
  [
    'a fallback',
    externalMetric(
      { name: 'queue', targetType: 'AverageValue', target: 10 },
      {
        kind: 'fallback',
        value: 60,
        replicas: 6,
        fault: new Fault('SOURCE_TIMEOUT', 'no answer in 3 s'),
        at: noon,
      },
    ),
    {},
    'queue (its fallback: no answer in 3 s) is 60 with a target of 10 per replica, so it asks for 6; goes from 4 to 6.',
  ],
  [
    'a limit',
    queue(1000),
    { maxReplicas: 5 },
    'queue is 1000 with a target of 10 per replica, so it asks for 100; goes from 4 to 5, the maximum.',
  ],
  [
    'a rate',
    queue(1000),
    {},
    'queue is 1000 with a target of 10 per replica, so it asks for 100; goes from 4 to 8, held back by the scale-up rate.',
  ],
])('says why: %s', (_title, metric, bounds, why) => {
  const decision = decideHpa(seen([metric]), limits(bounds), noon);

  expect(decision.why).toBe(why);
});

it('says that a window holds it back', () => {
  const history = newHistory(4, noon - 60_000);

  const decision = decideHpa(seen([queue(10)], { history }), limits(), noon);

  expect(decision.why).toBe(
    'queue is 10 with a target of 10 per replica, so it asks for 1, 4 after the stabilisation window; stays at 4.',
  );
});

describe('limits', () => {
  it.each<[string, number, Partial<HpaSeen>, Partial<HpaLimits>, number, string]>([
    ['at zero scaling is off', 100, { replicas: 0 }, {}, 0, 'DesiredWithinRange'],
    ['above the maximum goes to it at once', 400, { replicas: 30 }, {}, 20, 'TooManyReplicas'],
    ['below the minimum goes to it at once', 1000, { replicas: 2 }, { minReplicas: 3 }, 3, 'TooFewReplicas'],
    ['never above the maximum', 1000, { replicas: 15 }, {}, 20, 'TooManyReplicas'],
    ['never below the minimum', 0, {}, { minReplicas: 2 }, 2, 'TooFewReplicas'],
    ['at most double without a behavior', 1000, {}, {}, 8, 'ScaleUpLimit'],
    ['or four where that is more', 1000, { replicas: 1 }, {}, 4, 'ScaleUpLimit'],
    ['four more by the default policies', 1000, { replicas: 1 }, { behavior: {} }, 5, 'ScaleUpLimit'],
    ['a paused scale-out', 1000, {}, { pausedScaleOut: true }, 4, 'ScaleUpLimit'],
    ['a paused scale-in', 0, {}, { pausedScaleIn: true }, 4, 'ScaleDownLimit'],
  ])('%s', (_title, value, over, bounds, replicas, limit) => {
    const decision = decideHpa(seen([queue(value)], over), limits(bounds), noon);

    expect(decision).toMatchObject({ to: replicas, limit });
  });

  const pods = (value: number, periodSeconds = 60) => ({ type: 'Pods', value, periodSeconds }) as const;
  const percent = (value: number, periodSeconds = 60) => ({ type: 'Percent', value, periodSeconds }) as const;
  it.each<[string, number, ScalingBehavior, number]>([
    ['up, the policy that allows most', 200, { scaleUp: { policies: [pods(1), percent(75)] } }, 7],
    [
      'up, the policy that allows least',
      200,
      { scaleUp: { selectPolicy: 'Min', policies: [pods(1), percent(75)] } },
      5,
    ],
    ['up, a small percentage rounds up', 200, { scaleUp: { policies: [percent(1)] } }, 5],
    ['up, disabled', 200, { scaleUp: { selectPolicy: 'Disabled' } }, 4],
    ['up, a policy beyond int32 means no limit', 200, { scaleUp: { policies: [pods(2 ** 31 - 1)] } }, 20],
    ['down, the policy that allows most', 0, { scaleDown: { policies: [pods(1), percent(50)] } }, 2],
    [
      'down, the policy that allows least',
      0,
      { scaleDown: { selectPolicy: 'Min', policies: [pods(1), percent(50)] } },
      3,
    ],
    ['down, a percentage rounds down', 0, { scaleDown: { policies: [percent(10)] } }, 3],
    ['down, disabled', 0, { scaleDown: { selectPolicy: 'Disabled' } }, 4],
  ])('policies: %s', (_title, value, behavior, replicas) => {
    const decision = decideHpa(seen([queue(value)]), limits({ behavior }), noon);

    expect(decision.to).toBe(replicas);
  });
});

describe('over time', () => {
  /** Runs one decision per row of [seconds, value], applying each, and says what the replicas were. */
  function replicasOver(
    rows: readonly [number, number | undefined][],
    bounds: HpaLimits,
    start = 4,
  ): number[] {
    let history: HpaSeen['history'] = newHistory(1, noon - 86_400_000);
    let replicas = start;
    return rows.map(([seconds, value]) => {
      const now = noon + seconds * 1000;
      const decision = decideHpa({ replicas, metrics: [queue(value)], history }, bounds, now);
      history = historyAfter(decision, bounds, now);
      replicas = decision.to;
      return replicas;
    });
  }

  it.each<[string, [number, number | undefined][], Partial<HpaLimits>, number[]]>([
    [
      'scales down only to the highest of five minutes',
      [
        [0, 40],
        [15, 10],
        [299, 10],
        [300, 10],
        [301, 10],
      ],
      {},
      [4, 4, 4, 4, 1],
    ],
    [
      'the same with a behavior, a moment earlier',
      [
        [0, 40],
        [15, 10],
        [299, 10],
        [300, 10],
      ],
      { behavior: {} },
      [4, 4, 4, 1],
    ],
    [
      'a window of its own on the way down',
      [
        [0, 40],
        [59, 10],
        [60, 10],
      ],
      { behavior: { scaleDown: { stabilizationWindowSeconds: 60 } } },
      [4, 4, 1],
    ],
    [
      'a window on the way up takes the lowest',
      [
        [0, 40],
        [15, 90],
        [30, 70],
        [60, 80],
        [75, 90],
      ],
      { behavior: { scaleUp: { stabilizationWindowSeconds: 60 } } },
      [4, 4, 4, 7, 7],
    ],
    [
      'the rate limit counts what changed within its period',
      [
        [0, 200],
        [30, 200],
        [59, 200],
        [60, 200],
        [120, 200],
      ],
      { behavior: { scaleUp: { policies: [{ type: 'Pods', value: 2, periodSeconds: 60 }] } } },
      [6, 6, 6, 8, 10],
    ],
    [
      'what went down within the period may come up again',
      [
        [0, 10],
        [10, 60],
      ],
      {
        behavior: {
          scaleUp: { policies: [{ type: 'Pods', value: 2, periodSeconds: 60 }] },
          scaleDown: { stabilizationWindowSeconds: 0 },
        },
      },
      [1, 6],
    ],
    [
      'an unknown value leaves no recommendation behind',
      [
        [0, 40],
        [15, undefined],
        [301, 10],
      ],
      {},
      [4, 4, 1],
    ],
  ])('%s', (_title, rows, bounds, expected) => {
    const replicas = replicasOver(rows, limits(bounds));

    expect(replicas).toEqual(expected);
  });

  it('starts with what is there as its first recommendation, so a restart never scales down early', () => {
    const first = decideHpa(seen([queue(10)], { history: undefined }), limits(), noon);
    const later = decideHpa(seen([queue(10)], { history: first.history }), limits(), noon + 300_001);

    expect([first.to, later.to]).toEqual([4, 1]);
  });

  it('lets a window last no longer than it says when the clock is set back', () => {
    const before = decideHpa(seen([queue(40)]), limits(), noon + 7_200_000);

    const after = decideHpa(seen([queue(10)], { history: before.history }), limits(), noon);
    const later = decideHpa(seen([queue(10)], { history: after.history }), limits(), noon + 300_001);

    expect([after.to, later.to]).toEqual([4, 1]);
  });
});

describe('against Kubernetes', () => {
  // What the controller's own code (v1.36.3) decided, step by step, on random specs and metrics; generated by
  // compiling its functions with a clock that is given.
  const sequences = readFileSync(new URL('./hpa-vectors.jsonl', import.meta.url), 'utf8')
    .trim()
    .split('\n');

  it.each(sequences.map((text, index) => [index, text] as const))(
    'decides sequence %i alike',
    (_index, text) => {
      const { min, max, behavior, steps } = JSON.parse(text);
      const bounds = { minReplicas: min, maxReplicas: max, behavior };
      let history: HpaSeen['history'];

      for (const [now, replicas, statusReplicas, readyReplicas, rows, to, limit] of steps) {
        const metrics = rows.map(fromRow);
        const decision = decideHpa(
          { replicas, statusReplicas, readyReplicas, metrics, history },
          bounds,
          now,
        );
        history = decision.kind === 'scale' ? historyAfter(decision, bounds, now) : decision.history;

        expect({ now, to: decision.to, limit: decision.limit }).toEqual({ now, to, limit });
      }
    },
  );

  function fromRow(row: unknown[]): HpaMetric {
    if (row.length === 3) {
      const [targetType, target, value] = row as [ExternalMetric['targetType'], number, number | null];
      return queue(value ?? undefined, { targetType, target });
    }
    const [resource, targetType, target, pods] = row as [
      ResourceMetric['resource'],
      ResourceMetric['targetType'],
      number,
      PodRow[] | null,
    ];
    return cpu(pods?.map(fromPodRow), { resource, targetType, target });
  }

  type Maybe = number | null;
  type PodRow = [Maybe, Maybe, number, Maybe, Maybe, number, number, NonNullable<PodSample['phase']>, number];

  function fromPodRow(row: PodRow, index: number): PodSample {
    const [used, requested, ready, startedAt, readySince, sampledAt, windowMs, phase, deleting] = row;
    return {
      pod: `pod-${index}`,
      used: used ?? undefined,
      requested: requested ?? undefined,
      ready: ready === 1,
      startedAt: startedAt ?? undefined,
      readySince: readySince ?? undefined,
      sampledAt,
      windowMs,
      phase,
      deleting: deleting === 1,
    };
  }
});
