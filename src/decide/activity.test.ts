import { describe, expect, it } from 'vitest';
import { Fault } from '../base/errors.ts';
import { activityOf, type CompositeAnswer, isActive, type TriggerAnswer } from './activity.ts';
import { type Answer, reportedValue } from './reading.ts';

const fault = new Fault('SOURCE_UNREACHABLE', 'the broker is away');
const read = (active: boolean, value = active ? 5 : 0): Answer => ({ kind: 'read', value, active, at: 0 });
const fallback = (value = 0): Answer => ({ kind: 'fallback', value, replicas: 2, fault, at: 0 });
const absent: Answer = { kind: 'absent', fault, at: 0 };
const unknown: Answer = { kind: 'unknown', fault, at: 0 };

const trigger = (answer: Answer | undefined, metricName = 's0-queue'): TriggerAnswer => ({
  metricName,
  resource: false,
  answer,
});
const cpu: TriggerAnswer = { metricName: 'cpu', resource: true, answer: undefined };
const composite = (answer: Answer | undefined, activationTarget = 0): CompositeAnswer => ({
  metricName: 'composite-metric',
  answer,
  activationTarget,
});

it.each([
  ['a value equal to its threshold', 5, 5, false],
  ['a value just above', 5.001, 5, true],
  ['zero over zero', 0, 0, false],
  ['above a negative threshold', 0, -1, true],
  ['no number', Number.NaN, -1, false],
  ['infinity', Number.POSITIVE_INFINITY, 5, true],
])('%s is active or not', (_title, value, activation, expected) => {
  const active = isActive(value, activation);

  expect(active).toBe(expected);
});

it.each([
  [-1, 0],
  [Number.NaN, 0],
  [Number.POSITIVE_INFINITY, 0],
  [Number.NEGATIVE_INFINITY, 0],
  [1.2345, 1.235],
  [0.0004, 0],
  [7, 7],
])('reports %d as %d', (value, expected) => {
  const reported = reportedValue(value);

  expect(reported).toBe(expected);
});

describe('a workload', () => {
  it.each<[string, TriggerAnswer[], boolean, boolean, string[]]>([
    [
      'is active when one trigger is',
      [trigger(read(false)), trigger(read(true), 's1-topic')],
      true,
      false,
      ['s1-topic'],
    ],
    ['is inactive when none is', [trigger(read(false)), trigger(read(false))], false, false, []],
    ['is active on a fallback, whatever its value', [trigger(fallback())], true, false, ['s0-queue']],
    ['is failing when a trigger is unknown', [trigger(unknown)], false, true, []],
    ['is failing when a trigger was not read yet', [trigger(undefined)], false, true, []],
    [
      'is active and failing when both occur',
      [trigger(read(true)), trigger(unknown)],
      true,
      true,
      ['s0-queue'],
    ],
    ['is neither for an absent trigger', [trigger(absent)], false, false, []],
    ['with cpu alone is always active', [cpu, cpu], true, false, []],
    ['with cpu and another goes by the other', [cpu, trigger(read(false))], false, false, []],
    ['with cpu and another that fails is failing', [cpu, trigger(unknown)], false, true, []],
  ])('%s', (_title, triggers, active, failed, activeMetrics) => {
    const activity = activityOf(triggers);

    expect(activity).toEqual({ active, failed, activeMetrics });
  });

  it.each<[string, TriggerAnswer[], CompositeAnswer, boolean, boolean]>([
    [
      'is active above the activation target',
      [trigger(read(false))],
      composite(read(false, 3), 2),
      true,
      false,
    ],
    [
      'is inactive at the activation target',
      [trigger(read(true))],
      composite(read(true, 2), 2),
      false,
      false,
    ],
    [
      'is failing when any trigger is',
      [trigger(read(true)), trigger(unknown)],
      composite(read(true, 9)),
      false,
      true,
    ],
    [
      'is failing when the formula fails, unlike in KEDA',
      [trigger(read(true))],
      composite(unknown),
      false,
      true,
    ],
    ['goes by the fallback value', [trigger(fallback(8))], composite(fallback(8), 2), true, false],
    [
      'goes by the fallback value even if that is low',
      [trigger(fallback(8))],
      composite(fallback(1), 2),
      false,
      false,
    ],
    [
      'is not failing where the formula replaces what is absent',
      [trigger(absent)],
      composite(read(true, 3)),
      true,
      false,
    ],
    ['with cpu alone is always active', [cpu], composite(unknown), true, false],
  ])('with a formula %s', (_title, triggers, formula, active, failed) => {
    const activity = activityOf(triggers, formula);

    expect(activity).toEqual({
      active,
      failed,
      activeMetrics: active && !triggers.includes(cpu) ? ['composite-metric'] : [],
    });
  });
});
