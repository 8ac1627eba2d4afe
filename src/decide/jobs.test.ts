import { describe, expect, it } from 'vitest';
import { Fault } from '../base/errors.ts';
import {
  decideJobs,
  isPending,
  type JobDecision,
  type JobLimits,
  type JobPod,
  type JobsSeen,
  type JobTrigger,
  type ScalingStrategy,
} from './jobs.ts';
import type { Answer } from './reading.ts';

const read = (value: number, active = true): Answer => ({ kind: 'read', value, active, at: 0 });
const unknown: Answer = { kind: 'unknown', fault: new Fault('SOURCE_TIMEOUT', 'no answer in time'), at: 0 };

const trigger = (answer: Answer | undefined, target = 1): JobTrigger => ({
  metricName: 's0-queue',
  answer,
  target,
});
const seen = (over: Partial<JobsSeen> = {}): JobsSeen => ({
  triggers: [trigger(read(10))],
  running: 0,
  pending: 0,
  ...over,
});
const limits = (over: Partial<JobLimits> = {}, strategy: Partial<ScalingStrategy> = {}): JobLimits => ({
  maxReplicaCount: 100,
  ...over,
  scalingStrategy: { strategy: 'default', multipleScalersCalculation: 'max', ...strategy },
});
const created = (decision: JobDecision): number => (decision.kind === 'create' ? decision.count : 0);

describe('combining triggers', () => {
  const four = [trigger(read(20), 1), trigger(read(10), 2), trigger(read(5), 3), trigger(read(7, false), 4)];
  it.each<[ScalingStrategy['multipleScalersCalculation'], number, JobTrigger[], number, number]>([
    ['max', 100, four, 20, 20],
    ['min', 100, four, 5, 2],
    ['avg', 100, four, 12, 9],
    ['sum', 100, four, 35, 27],
    ['sum', 25, four, 35, 25],
    ['max', 100, [trigger(read(5), 0)], 5, 0],
    ['max', 100, [trigger(read(2.1), 1)], 3, 3],
    ['min', 100, [trigger(read(0)), trigger(read(8))], 8, 8],
    ['min', 100, [trigger(read(8)), trigger(read(0))], 0, 0],
    ['max', 100, [trigger(read(-3))], 0, 0],
    ['avg', 100, [], 0, 0],
  ])('%s with at most %i', (multipleScalersCalculation, maxReplicaCount, triggers, scaleTo, maxScale) => {
    const decision = decideJobs(
      seen({ triggers }),
      limits({ maxReplicaCount }, { multipleScalersCalculation }),
    );

    expect([decision.scaleTo, decision.maxScale]).toEqual([scaleTo, maxScale]);
  });

  it.each<[string, JobTrigger[], Partial<JobLimits>, boolean, boolean]>([
    ['an active trigger', [trigger(read(3))], {}, true, false],
    ['an inactive trigger', [trigger(read(3, false))], {}, false, false],
    ['an active trigger with nothing waiting', [trigger(read(0))], {}, false, false],
    ['a minimum', [trigger(read(0, false))], { minReplicaCount: 1 }, true, false],
    ['an unknown trigger', [trigger(unknown)], {}, false, true],
    ['a trigger that was not read yet', [trigger(undefined)], {}, false, true],
    ['an active and an unknown trigger', [trigger(read(3)), trigger(unknown)], {}, true, true],
  ])('%s: active, failed', (_title, triggers, over, active, failed) => {
    const decision = decideJobs(seen({ triggers, running: 1 }), limits(over));

    expect([decision.active, decision.failed]).toEqual([active, failed]);
  });
});

describe('strategies', () => {
  const custom = (deduction: number, percentage: string): Partial<ScalingStrategy> => ({
    strategy: 'custom',
    customScalingQueueLengthDeduction: deduction,
    customScalingRunningJobPercentage: percentage,
  });
  it.each<[Partial<ScalingStrategy>, number, number, number, number, number]>([
    [{}, 3, 2, 0, 5, 1],
    [custom(1, '0.5'), 3, 2, 0, 5, 1],
    [custom(1, '0.5'), 10, 0, 0, 10, 9],
    [custom(-2, '0'), 3, 2, 0, 4, 4],
    [custom(0, '0.3'), 5, 3, 0, 9, 5],
    [custom(1, ''), 3, 2, 0, 5, 1],
    [custom(1, 'half'), 3, 2, 0, 5, 1],
    [{ strategy: 'accurate' }, 3, 2, 0, 5, 3],
    [{ strategy: 'accurate' }, 5, 2, 0, 5, 3],
    [{ strategy: 'accurate' }, 3, 4, 2, 10, 1],
    [{ strategy: 'accurate' }, 5, 4, 2, 5, 1],
    [{ strategy: 'accurate' }, 3, 3, 3, 5, 0],
    [{ strategy: 'accurate' }, 20, 15, 10, 20, 5],
    [{ strategy: 'eager' }, 4, 3, 0, 10, 4],
    [{ strategy: 'eager' }, 4, 7, 0, 10, 3],
    [{ strategy: 'eager' }, 4, 6, 1, 10, 3],
    [{ strategy: 'eager' }, 50, 40, 10, 50, 10],
    [{ strategy: 'eager' }, 17, 37, 17, 50, 0],
    [{ strategy: 'eager' }, 15, 0, 0, 10, 10],
  ])(
    '%j: %i Jobs asked for, %i running, %i pending, at most %i: room for %i',
    (strategy, asked, running, pending, maxReplicaCount, limit) => {
      const triggers = [trigger(read(asked))];

      const decision = decideJobs(
        seen({ triggers, running, pending }),
        limits({ maxReplicaCount }, strategy),
      );

      expect(decision.limit).toBe(limit);
    },
  );

  it.each<[string, Partial<ScalingStrategy>, JobTrigger, number, number]>([
    ['default creates what is missing', {}, trigger(read(10)), 4, 6],
    ['default creates none where enough run', {}, trigger(read(10)), 12, 0],
    ['an inactive trigger creates none', {}, trigger(read(10, false)), 0, 0],
    ['an unknown trigger creates none', {}, trigger(unknown), 0, 0],
    ['no more than wait, though there is room', { strategy: 'accurate' }, trigger(read(2), 0.5), 0, 2],
    ['eager fills up whatever waits', { strategy: 'eager' }, trigger(read(5), 0.5), 0, 10],
    ['a share of a Job is a Job', {}, trigger(read(1), 5), 0, 1],
  ])('%s', (_title, strategy, one, running, count) => {
    const decision = decideJobs(seen({ triggers: [one], running }), limits({}, strategy));

    expect(created(decision)).toBe(count);
  });
});

describe('bounds', () => {
  it.each<[string, JobLimits, number, number, number]>([
    ['a minimum is filled up first, exactly', limits({ minReplicaCount: 3 }), 50, 1, 2],
    ['Jobs above the minimum count', limits({ minReplicaCount: 3 }), 5, 4, 4],
    ['the maximum holds the minimum', limits({ minReplicaCount: 3, maxReplicaCount: 10 }), 50, 3, 7],
    [
      'a maximum left out is not reduced',
      limits({ minReplicaCount: 3, maxReplicaCount: undefined }),
      500,
      3,
      100,
    ],
    ['a minimum above the maximum becomes it', limits({ minReplicaCount: 9, maxReplicaCount: 4 }), 0, 0, 4],
    ['more than the maximum running creates none', limits({ maxReplicaCount: 5 }), 50, 8, 0],
  ])('%s', (_title, bounds, waiting, running, count) => {
    const decision = decideJobs(seen({ triggers: [trigger(read(waiting))], running }), bounds);

    expect(created(decision)).toBe(count);
  });

  it('a minimum is kept though every trigger is unknown', () => {
    const decision = decideJobs(
      seen({ triggers: [trigger(unknown)], running: 1 }),
      limits({ minReplicaCount: 2 }),
    );

    expect(decision).toMatchObject({ kind: 'create', count: 1, rule: 'minimum', failed: true });
  });
});

it.each<[string, JobsSeen, JobLimits, string]>([
  [
    'creating',
    seen({ running: 4, pending: 1 }),
    limits(),
    '10 waiting asks for 10 Jobs, 4 run, 1 of them pending; strategy default creates 6.',
  ],
  [
    'enough',
    seen({ running: 12 }),
    limits(),
    '10 waiting asks for 10 Jobs, 12 run, 0 of them pending; strategy default creates no more.',
  ],
  [
    'filling up',
    seen(),
    limits({ minReplicaCount: 2 }),
    '0 Jobs run, fewer than the minimum of 2: creates 2.',
  ],
  [
    'not knowing',
    seen({ triggers: [trigger(unknown)] }),
    limits(),
    'No trigger is active; creates no Jobs. Some triggers cannot be read and do not count.',
  ],
])('says why: %s', (_title, sees, allows, why) => {
  const decision = decideJobs(sees, allows);

  expect(decision.why).toBe(why);
});

describe('a Job is pending', () => {
  const pod = (phase: string, ...conditions: string[]): JobPod => ({ phase, conditions });
  it.each<[string, JobPod[], string[], boolean]>([
    ['without pods', [], [], true],
    ['with a pending pod', [pod('Pending')], [], true],
    ['with a failed pod alone', [pod('Failed')], [], true],
    ['not with a running pod', [pod('Pending'), pod('Running')], [], false],
    ['not with a pod that succeeded', [pod('Succeeded')], [], false],
    ['without pods, with conditions', [], ['Ready'], true],
    ['with a running pod that lacks a condition', [pod('Running', 'Ready')], ['Ready', 'PodScheduled'], true],
    [
      'not with one pod that has them all',
      [pod('Pending', 'PodScheduled', 'Ready')],
      ['Ready', 'PodScheduled'],
      false,
    ],
    [
      'with two pods that have them between them',
      [pod('Running', 'Ready'), pod('Running', 'PodScheduled')],
      ['Ready', 'PodScheduled'],
      true,
    ],
    ['for ever with a condition named twice', [pod('Running', 'Ready')], ['Ready', 'Ready'], true],
  ])('%s', (_title, pods, conditions, expected) => {
    const pending = isPending({ pods }, conditions);

    expect(pending).toBe(expected);
  });
});
