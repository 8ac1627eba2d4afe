import { describe, expect, it } from 'vitest';
import { Fault, type FaultCode } from '../base/errors.ts';
import type { Fallback } from '../spec/workload.ts';
import {
  answerForNil,
  answerOf,
  compositeFallback,
  type FallbackTarget,
  fallbackCondition,
  type Health,
  nextHealth,
  onFallback,
} from './fallback.ts';
import type { Answer, Reading } from './reading.ts';

const good: Reading = { ok: true, value: 12, active: true, at: 7 };
const bad = (code: FaultCode = 'SOURCE_UNREACHABLE'): Reading => ({
  ok: false,
  fault: new Fault(code, 'the broker is away'),
  at: 7,
});
const failing = (numberOfFailures: number): Health => ({ numberOfFailures, status: 'Failing' });
const fallback = (over: Partial<Fallback> = {}): Fallback => ({
  failureThreshold: 3,
  replicas: 6,
  behavior: 'static',
  ...over,
});
const target = (over: Partial<FallbackTarget> = {}): FallbackTarget => ({
  targetType: 'AverageValue',
  target: 2.5,
  replicas: 4,
  readyReplicas: 4,
  ...over,
});

describe('health', () => {
  it.each<[string, Reading[], number, string]>([
    ['counts failures in a row', [bad(), bad(), bad()], 3, 'Failing'],
    ['starts anew after a success', [bad(), bad(), good], 0, 'Happy'],
    ['counts after that from one', [bad(), good, bad()], 1, 'Failing'],
    ['counts a scaler that cannot be built', [bad('PARAM_INVALID'), bad('AUTH_MISSING')], 2, 'Failing'],
    ['does not count what we cancelled ourselves', [bad(), bad('CANCELLED')], 1, 'Failing'],
    ['is happy before anything failed', [bad('CANCELLED')], 0, 'Happy'],
  ])('%s', (_title, readings, numberOfFailures, status) => {
    const health = readings.reduce<Health | undefined>(nextHealth, undefined);

    expect(health).toEqual({ numberOfFailures, status });
  });

  it('is the same value while all is well, so that nothing is written', () => {
    const first = nextHealth(undefined, good);

    const second = nextHealth(first, good);

    expect(second).toBe(first);
  });

  it.each<[string, Health | undefined, number, boolean]>([
    ['at the threshold', failing(3), 3, false],
    ['above the threshold', failing(4), 3, true],
    ['at the first failure with a threshold of zero', failing(1), 0, true],
    ['while happy', { numberOfFailures: 0, status: 'Happy' }, 0, false],
    ['before the first reading', undefined, 0, false],
  ])('%s a fallback applies or not', (_title, health, failureThreshold, expected) => {
    const applies = onFallback(health, fallback({ failureThreshold }));

    expect(applies).toBe(expected);
  });

  it.each<[string, Health[], Fallback | undefined, string]>([
    ['one metric on its fallback', [failing(1), failing(4)], fallback(), 'FallbackExists'],
    ['no metric on its fallback', [failing(3)], fallback(), 'NoFallbackFound'],
    ['no fallback in the manifest', [failing(9)], undefined, 'NoFallbackFound'],
  ])('the condition tells of %s', (_title, healths, spec, reason) => {
    const condition = fallbackCondition(healths, spec);

    expect(condition.reason).toBe(reason);
  });
});

describe('the answer', () => {
  it('is the reading where that is good', () => {
    const answer = answerOf(good, failing(9), { fallback: fallback(), target: target() });

    expect(answer).toEqual({ kind: 'read', value: 12, active: true, at: 7 });
  });

  it.each<[string, number, Fallback | undefined]>([
    ['up to the threshold', 3, fallback()],
    ['without a fallback', 99, undefined],
  ])('is unknown %s', (_title, failures, spec) => {
    const answer = answerOf(bad(), failing(failures), { fallback: spec, target: target() });

    expect(answer).toMatchObject({ kind: 'unknown', fault: { message: 'the broker is away' } });
  });

  it.each<[string, Partial<Fallback>, Partial<FallbackTarget>, number, number]>([
    ['static', {}, {}, 6, 15],
    ['currentReplicas', { behavior: 'currentReplicas' }, {}, 4, 10],
    ['currentReplicasIfHigher, and they are not', { behavior: 'currentReplicasIfHigher' }, {}, 6, 15],
    [
      'currentReplicasIfHigher, and they are',
      { behavior: 'currentReplicasIfHigher' },
      { replicas: 9 },
      9,
      22.5,
    ],
    ['currentReplicasIfLower, and they are', { behavior: 'currentReplicasIfLower' }, {}, 4, 10],
    [
      'currentReplicasIfLower, and they are not',
      { behavior: 'currentReplicasIfLower' },
      { replicas: 9 },
      6,
      15,
    ],
    ['static though the replicas are unknown', {}, { replicas: undefined }, 6, 15],
    ['a Value target, divided by the ready pods', {}, { targetType: 'Value' }, 6, 3.75],
    ['a Value target, cut off at thousandths', {}, { targetType: 'Value', readyReplicas: 7 }, 6, 2.142],
    ['no replicas at all', { replicas: 0 }, {}, 0, 0],
  ])('is the value of the fallback replicas: %s', (_title, spec, over, replicas, value) => {
    const answer = answerOf(bad(), failing(4), { fallback: fallback(spec), target: target(over) });

    expect(answer).toMatchObject({ kind: 'fallback', replicas, value });
  });

  it.each<[string, Partial<Fallback>, Partial<FallbackTarget>, RegExp]>([
    [
      'no pod is ready for a Value target',
      {},
      { targetType: 'Value', readyReplicas: 0 },
      /needs a ready pod/,
    ],
    [
      'the ready pods are unknown',
      {},
      { targetType: 'Value', readyReplicas: undefined },
      /needs a ready pod/,
    ],
    [
      'the current replicas are unknown',
      { behavior: 'currentReplicas' },
      { replicas: undefined },
      /^the broker is away$/,
    ],
  ])('is unknown where %s', (_title, spec, over, message) => {
    const answer = answerOf(bad(), failing(4), { fallback: fallback(spec), target: target(over) });

    expect(answer).toMatchObject({ kind: 'unknown', fault: { message: expect.stringMatching(message) } });
  });

  it('is absent for a formula that deals with it itself', () => {
    const spec = fallback({ behavior: 'scalingModifiers' });

    const answers = [3, 4].map(n => answerOf(bad(), failing(n), { fallback: spec, target: target() }));

    expect(answers.map(answer => answer.kind)).toEqual(['unknown', 'absent']);
  });
});

describe('with a formula', () => {
  it('the first trigger on its fallback stands for the whole', () => {
    const answers = [good, bad(), bad()].map((reading, index) =>
      answerOf(reading, failing(4), { fallback: fallback(), target: target({ target: index }) }),
    );

    const answer = compositeFallback(answers);

    expect(answer).toMatchObject({ kind: 'fallback', value: 6 });
  });

  it('no trigger on its fallback leaves it to the formula', () => {
    const answers: Answer[] = [answerOf(good, failing(4), { fallback: fallback(), target: target() })];

    const answer = compositeFallback(answers);

    expect(answer).toBeUndefined();
  });

  it.each<[string, Fallback | undefined, Partial<Answer>]>([
    ['the fallback replicas times its target', fallback(), { kind: 'fallback', value: 15, replicas: 6 }],
    ['unknown without a fallback', undefined, { kind: 'unknown' }],
  ])('nil comes to %s', (_title, spec, expected) => {
    const answer = answerForNil(spec, 2.5, 7);

    expect(answer).toMatchObject(expected);
  });
});
