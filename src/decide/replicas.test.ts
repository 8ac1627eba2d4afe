import { describe, expect, it } from 'vitest';
import { decideScale, type Limits, type Rule, type ScaleDecision, type Seen } from './replicas.ts';

const midnight = Date.UTC(2026, 0, 1);

const seen = (over: Partial<Seen> = {}): Seen => ({
  replicas: 3,
  active: false,
  failed: false,
  lastActiveAt: midnight,
  createdAt: midnight,
  ...over,
});

const limits = (over: Partial<Limits> = {}): Limits => ({
  cooldownPeriodMs: 300_000,
  initialCooldownPeriodMs: 0,
  paused: false,
  pausedReplicas: undefined,
  pausedScaleIn: false,
  pausedScaleOut: false,
  forceActivation: false,
  ...over,
});

const fallback = (replicas: number) => ({ failureThreshold: 3, replicas, behavior: 'static' as const });
const active = { active: true };
const failed = { failed: true };
const longAgo = { lastActiveAt: midnight - 86_400_000 };

const what = (decision: ScaleDecision): number | 'hold' => (decision.kind === 'scale' ? decision.to : 'hold');

describe('the cases between zero and the metrics', () => {
  it.each<[string, Partial<Seen>, Partial<Limits>, number | 'hold', Rule, string, string | undefined]>([
    [
      '0 replicas that cannot be read hold',
      { replicas: undefined, ...active },
      {},
      'hold',
      'unreadable',
      'ErrorGettingCurrentReplicas',
      undefined,
    ],
    ['1 a full pause holds', active, { paused: true }, 'hold', 'paused', 'ScaledObjectReady', undefined],
    [
      '1 a pause with a number goes there',
      active,
      { paused: true, pausedReplicas: 7 },
      7,
      'paused',
      'ScaledObjectReady',
      undefined,
    ],
    [
      '1 a pause with a number stays there',
      {},
      { paused: true, pausedReplicas: 3 },
      'hold',
      'paused',
      'ScaledObjectReady',
      undefined,
    ],
    [
      '1 a pause at zero goes there though active',
      active,
      { paused: true, pausedReplicas: 0 },
      0,
      'paused',
      'ScaledObjectReady',
      undefined,
    ],
    [
      '1 a pause without a usable number holds',
      {},
      { paused: true, pausedReplicas: 'invalid' },
      'hold',
      'paused',
      'ScaledObjectCheckFailed',
      undefined,
    ],
    [
      '2 active at zero wakes to one',
      { replicas: 0, ...active },
      {},
      1,
      'activate',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '2 active at zero wakes to the minimum',
      { replicas: 0, ...active },
      { minReplicaCount: 4 },
      4,
      'activate',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '2 active at zero wakes though another trigger fails',
      { replicas: 0, ...active, ...failed },
      {},
      1,
      'activate',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '2 active in idle wakes to the minimum',
      { replicas: 1, ...active },
      { minReplicaCount: 4, idleReplicaCount: 1 },
      4,
      'activate',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '2 forced at zero wakes',
      { replicas: 0 },
      { forceActivation: true },
      1,
      'activate',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '2 a paused scale-out does not wake',
      { replicas: 0, ...active },
      { pausedScaleOut: true },
      'hold',
      'scale-out-paused',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '2 a paused scale-in wakes all the same',
      { replicas: 0, ...active },
      { pausedScaleIn: true },
      1,
      'activate',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '3 active with a failing trigger is left to the metrics',
      { ...active, ...failed },
      {},
      'hold',
      'partly-failing',
      'PartialTriggerError',
      'ScalerActive',
    ],
    [
      '3 forced with a failing trigger too',
      failed,
      { forceActivation: true },
      'hold',
      'partly-failing',
      'PartialTriggerError',
      'ScalerActive',
    ],
    ['4 active is left to the metrics', active, {}, 'hold', 'active', 'ScaledObjectReady', 'ScalerActive'],
    [
      '4 active below the minimum too, without idle',
      active,
      { minReplicaCount: 5 },
      'hold',
      'active',
      'ScaledObjectReady',
      'ScalerActive',
    ],
    [
      '5 failing waits for its fallback',
      { ...failed, ...longAgo },
      { fallback: fallback(2) },
      'hold',
      'awaiting-fallback',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '5 failing with a fallback of zero waits too, unlike KEDA',
      { ...failed, ...longAgo },
      { fallback: fallback(0) },
      'hold',
      'awaiting-fallback',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '6 failing without fallback holds',
      { ...failed, ...longAgo },
      {},
      'hold',
      'failing',
      'TriggerError',
      'ScalerNotActive',
    ],
    [
      '6 failing holds below the minimum as well',
      { ...failed, replicas: 0 },
      { minReplicaCount: 2 },
      'hold',
      'failing',
      'TriggerError',
      'ScalerNotActive',
    ],
    [
      '7 inactive after the cooldown sleeps at zero',
      longAgo,
      {},
      0,
      'deactivate',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '7 inactive after the cooldown rests at idle',
      longAgo,
      { minReplicaCount: 2, idleReplicaCount: 1 },
      1,
      'deactivate',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    ['7 inactive in the cooldown waits', {}, {}, 'hold', 'cooldown', 'ScaledObjectReady', 'ScalerCooldown'],
    [
      '7 a paused scale-in stays',
      longAgo,
      { pausedScaleIn: true },
      'hold',
      'scale-in-paused',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '7 a paused scale-out sleeps all the same',
      longAgo,
      { pausedScaleOut: true },
      0,
      'deactivate',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '8 inactive below the minimum goes there',
      { replicas: 1 },
      { minReplicaCount: 2 },
      2,
      'below-minimum',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '8 also where scaling out is paused',
      { replicas: 1 },
      { minReplicaCount: 2, pausedScaleOut: true },
      2,
      'below-minimum',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '8 also where a trigger with a fallback of zero fails',
      { replicas: 1, ...failed },
      { minReplicaCount: 2, fallback: fallback(0) },
      2,
      'below-minimum',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '9 inactive at zero stays',
      { replicas: 0, ...longAgo },
      {},
      'hold',
      'inactive',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '9 inactive with a minimum stays',
      longAgo,
      { minReplicaCount: 1 },
      'hold',
      'inactive',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
    [
      '9 inactive below idle stays',
      { replicas: 0, ...longAgo },
      { minReplicaCount: 2, idleReplicaCount: 1 },
      'hold',
      'inactive',
      'ScaledObjectReady',
      'ScalerNotActive',
    ],
  ])('%s', (_title, sees, allows, expected, rule, readyReason, activeReason) => {
    const decision = decideScale(seen(sees), limits(allows), midnight + 60_000);

    expect(what(decision)).toBe(expected);
    expect([decision.rule, decision.ready.reason, decision.active?.reason]).toEqual([
      rule,
      readyReason,
      activeReason,
    ]);
  });

  it.each<[string, Partial<Seen>, Partial<Limits>, boolean]>([
    ['waking up', { replicas: 0, ...active }, {}, true],
    ['being active', active, {}, true],
    ['being forced', {}, { forceActivation: true }, true],
    ['active with a failing trigger', { ...active, ...failed }, {}, false],
    ['not waking as scaling out is paused', { replicas: 0, ...active }, { pausedScaleOut: true }, false],
    ['being paused', active, { paused: true }, false],
    ['being inactive', {}, {}, false],
  ])('%s moves the last active time: see the flag', (_title, sees, allows, refreshes) => {
    const decision = decideScale(seen(sees), limits(allows), midnight);

    expect(decision.refreshesLastActive).toBe(refreshes);
  });

  it('marks a workload paused only while it is', () => {
    const paused = decideScale(seen(), limits({ paused: true }), midnight);
    const unpaused = decideScale(seen(), limits(), midnight);

    expect([paused.paused?.reason, unpaused.paused]).toEqual(['ScaledObjectPaused', undefined]);
  });
});

describe('the cooldown', () => {
  it.each<[string, Partial<Seen>, Partial<Limits>, number, number | 'hold']>([
    ['stays awake at its very end', {}, {}, 300_000, 'hold'],
    ['sleeps a millisecond later', {}, {}, 300_001, 0],
    [
      'never active: only the initial cooldown counts',
      { lastActiveAt: undefined },
      { initialCooldownPeriodMs: 5000 },
      5000,
      'hold',
    ],
    ['never active: and no longer', { lastActiveAt: undefined }, { initialCooldownPeriodMs: 5000 }, 5001, 0],
    [
      'once active: the initial cooldown is over',
      {},
      { cooldownPeriodMs: 0, initialCooldownPeriodMs: 5000 },
      1,
      0,
    ],
  ])('%s', (_title, sees, allows, afterMs, expected) => {
    const decision = decideScale(seen(sees), limits(allows), midnight + afterMs);

    expect(what(decision)).toBe(expected);
  });

  it('says how long it lasts', () => {
    const decision = decideScale(seen(), limits(), midnight + 1500);

    expect(decision.why).toBe('No trigger is active; stays at 3 for another 299 s of cooldown.');
  });
});
