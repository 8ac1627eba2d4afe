import { describe, expect, it } from 'vitest';
import type { ScalingBehavior } from '../spec/workload.ts';
import {
  type DirectDecision,
  type DirectLimits,
  type DirectSeen,
  decideReplicas,
  directHistoryAfter,
} from './direct.ts';
import { newHistory } from './hpa-history.ts';
import { externalMetric, type HpaMetric } from './hpa-metrics.ts';

const noon = Date.UTC(2026, 0, 1, 12);

const queue = (
  value: number | undefined,
  targetType: 'AverageValue' | 'Value' = 'AverageValue',
): HpaMetric =>
  value === undefined
    ? externalMetric({ name: 'queue', targetType, target: 10 }, undefined)
    : externalMetric(
        { name: 'queue', targetType, target: 10 },
        { kind: 'read', value, active: true, at: noon },
      );

const seen = (over: Partial<DirectSeen> = {}): DirectSeen => ({
  replicas: 4,
  active: true,
  failed: false,
  lastActiveAt: noon - 1000,
  createdAt: noon - 86_400_000,
  metrics: [queue(70)],
  history: newHistory(1, noon - 86_400_000),
  ...over,
});

const limits = (over: Partial<DirectLimits> = {}): DirectLimits => ({
  maxReplicaCount: 20,
  cooldownPeriodMs: 300_000,
  initialCooldownPeriodMs: 0,
  paused: false,
  pausedReplicas: undefined,
  pausedScaleIn: false,
  pausedScaleOut: false,
  forceActivation: false,
  ...over,
});

const what = (decision: DirectDecision): number | 'hold' =>
  decision.kind === 'scale' ? decision.to : 'hold';

const asleep = { replicas: 0, history: undefined };
const inactive = { active: false, metrics: [queue(0)] };
const longAgo = { lastActiveAt: noon - 86_400_000 };
const twoMore: ScalingBehavior = { scaleUp: { policies: [{ type: 'Pods', value: 2, periodSeconds: 60 }] } };

describe('waking up', () => {
  it.each<[string, Partial<DirectSeen>, Partial<DirectLimits>, number | 'hold']>([
    ['goes straight to what is needed', { metrics: [queue(125)] }, {}, 13],
    ['goes no further than the maximum', { metrics: [queue(250)] }, {}, 20],
    ['goes to the minimum at least', { metrics: [queue(5)] }, { minReplicaCount: 3 }, 3],
    ['goes to one where the value is zero', { metrics: [queue(0)] }, {}, 1],
    ['goes to one where no value is known', { metrics: [queue(undefined)] }, {}, 1],
    ['goes by what is known', { metrics: [queue(undefined), queue(60)], failed: true }, {}, 6],
    ['takes a Value ratio as it is', { metrics: [queue(35, 'Value')] }, {}, 4],
    ['wakes when forced', { active: false, metrics: [queue(0)] }, { forceActivation: true }, 1],
    ['keeps to a rate that the manifest asks for', { metrics: [queue(125)] }, { behavior: twoMore }, 3],
    [
      'counts that rate from the minimum',
      { metrics: [queue(125)] },
      { behavior: twoMore, minReplicaCount: 5 },
      7,
    ],
    ['ignores the default rates', { metrics: [queue(200)] }, { behavior: { scaleDown: {} } }, 20],
    [
      'wakes to the minimum where scaling up is disabled',
      { metrics: [queue(125)] },
      { behavior: { scaleUp: { selectPolicy: 'Disabled' } } },
      1,
    ],
    ['does not wake while scaling out is paused', {}, { pausedScaleOut: true }, 'hold'],
    [
      'does not bring back the last burst',
      { metrics: [queue(10)], history: newHistory(15, noon - 60_000) },
      {},
      1,
    ],
    [
      'wakes from idle as well',
      { replicas: 2, metrics: [queue(125)] },
      { idleReplicaCount: 2, minReplicaCount: 5 },
      13,
    ],
    [
      'stays between idle and the minimum while scaling out is paused',
      { replicas: 3 },
      { idleReplicaCount: 2, minReplicaCount: 5, pausedScaleOut: true },
      'hold',
    ],
  ])('%s', (_title, over, allows, expected) => {
    const decision = decideReplicas(seen({ ...asleep, ...over }), limits(allows), noon);

    expect(what(decision)).toBe(expected);
  });

  it('shows the arithmetic and moves the last active time', () => {
    const decision = decideReplicas(seen({ ...asleep, metrics: [queue(125)] }), limits(), noon);

    expect(decision.why).toBe(
      'A trigger is active: queue is 125 with a target of 10 per replica, so it asks for 13; goes from 0 to 13.',
    );
    expect(decision.hpa).toMatchObject({
      metric: 'queue',
      proposed: 13,
      metrics: [{ value: 125, replicas: 13 }],
    });
    expect(decision.refreshesLastActive).toBe(true);
  });
});

describe('between one and the maximum', () => {
  it.each<[string, Partial<DirectSeen>, Partial<DirectLimits>, number | 'hold']>([
    ['the metrics decide', {}, {}, 7],
    ['also at most double', { metrics: [queue(1000)] }, {}, 8],
    ['also down', { metrics: [queue(11)] }, {}, 2],
    ['a rate counts from what is there', { metrics: [queue(1000)] }, { behavior: twoMore }, 6],
    ['a paused scale-out holds', {}, { pausedScaleOut: true }, 'hold'],
    ['a paused scale-in holds', { metrics: [queue(1)] }, { pausedScaleIn: true }, 'hold'],
    ['below the minimum goes there', { metrics: [queue(1)] }, { minReplicaCount: 6 }, 6],
    ['above the maximum goes there', { replicas: 30 }, {}, 20],
    ['an unknown metric holds', { metrics: [queue(undefined)], failed: true }, {}, 'hold'],
    [
      'an unknown metric beside a high one scales up',
      { metrics: [queue(undefined), queue(70)], failed: true },
      {},
      7,
    ],
    [
      'an unknown metric beside a low one holds',
      { metrics: [queue(undefined), queue(1)], failed: true },
      {},
      'hold',
    ],
  ])('%s', (_title, over, allows, expected) => {
    const decision = decideReplicas(seen(over), limits(allows), noon);

    expect(what(decision)).toBe(expected);
  });
});

describe('inactive', () => {
  it.each<[string, Partial<DirectSeen>, Partial<DirectLimits>, number | 'hold']>([
    ['in the cooldown goes down to one', {}, {}, 1],
    ['in the cooldown goes down to the minimum', {}, { minReplicaCount: 2, idleReplicaCount: 0 }, 2],
    ['after the cooldown sleeps', longAgo, {}, 0],
    ['after the cooldown rests at idle', longAgo, { minReplicaCount: 2, idleReplicaCount: 1 }, 1],
    ['stays at idle', { ...longAgo, replicas: 1 }, { minReplicaCount: 2, idleReplicaCount: 1 }, 'hold'],
    ['with a minimum the metrics go on', longAgo, { minReplicaCount: 2 }, 2],
    ['at zero below the minimum goes there', { replicas: 0 }, { minReplicaCount: 2 }, 2],
    ['at zero stays', { replicas: 0 }, {}, 'hold'],
    ['a paused scale-in stays', longAgo, { pausedScaleIn: true }, 'hold'],
    ['a failing trigger stays', { ...longAgo, failed: true, metrics: [queue(undefined)] }, {}, 'hold'],
    [
      'a failing trigger beside a low one stays',
      { ...longAgo, failed: true, metrics: [queue(undefined), queue(0)] },
      {},
      'hold',
    ],
  ])('%s', (_title, over, allows, expected) => {
    const decision = decideReplicas(seen({ ...inactive, ...over }), limits(allows), noon);

    expect(what(decision)).toBe(expected);
  });

  it('says both that it cools down and what the metrics say', () => {
    const decision = decideReplicas(seen({ ...inactive, metrics: [queue(15)] }), limits(), noon);

    expect(decision.why).toBe(
      'No trigger is active; in the cooldown: queue is 15 with a target of 10 per replica, so it asks for 2; goes from 4 to 2.',
    );
    expect(decision.active?.reason).toBe('ScalerCooldown');
  });
});

describe('not ours to decide', () => {
  it.each<[string, Partial<DirectSeen>, Partial<DirectLimits>, number | 'hold']>([
    ['paused', {}, { paused: true }, 'hold'],
    ['paused at a number', {}, { paused: true, pausedReplicas: 9 }, 9],
    ['paused beyond the maximum', {}, { paused: true, pausedReplicas: 99 }, 99],
    ['replicas that cannot be read', { replicas: undefined }, {}, 'hold'],
  ])('%s', (_title, over, allows, expected) => {
    const decision = decideReplicas(seen(over), limits(allows), noon);

    expect(what(decision)).toBe(expected);
    expect(decision.hpa).toBeUndefined();
  });
});

describe('the history', () => {
  it('counts a change towards the rate once it was made, waking up to the minimum aside', () => {
    const allows = limits({ behavior: twoMore, minReplicaCount: 2 });
    const first = decideReplicas(seen({ ...asleep, metrics: [queue(200)] }), allows, noon);

    const made = directHistoryAfter(first, allows, noon);
    const second = decideReplicas(
      seen({ replicas: 4, metrics: [queue(200)], history: made }),
      allows,
      noon + 30_000,
    );
    const third = decideReplicas(
      seen({ replicas: 4, metrics: [queue(200)], history: made }),
      allows,
      noon + 60_000,
    );

    expect([first, second, third].map(what)).toEqual([4, 'hold', 6]);
  });

  it('is left alone by going to sleep', () => {
    const sees = seen({ ...inactive, ...longAgo });

    const decision = decideReplicas(sees, limits(), noon);

    expect(directHistoryAfter(decision, limits(), noon)).toBe(sees.history);
  });

  it('holds what was wanted before for as long as the window says', () => {
    const first = decideReplicas(seen({ metrics: [queue(40)] }), limits(), noon);

    const within = decideReplicas(
      seen({ metrics: [queue(10)], history: first.history }),
      limits(),
      noon + 300_000,
    );
    const after = decideReplicas(
      seen({ metrics: [queue(10)], history: within.history }),
      limits(),
      noon + 300_001,
    );

    expect([within, after].map(what)).toEqual(['hold', 1]);
  });
});
