import { describe, expect, it } from 'vitest';
import { excludedLabels, forcesActivation, pauseOf } from './annotations.ts';

const scaledObject = (annotations: Record<string, string>) => ({
  kind: 'ScaledObject' as const,
  annotations,
});
const scaledJob = (annotations: Record<string, string>) => ({ kind: 'ScaledJob' as const, annotations });
const key = (name: string) => `autoscaling.keda.sh/${name}`;

describe('the pause of a workload', () => {
  it.each([
    ...['1', 't', 'T', 'TRUE', 'true', 'True', '', 'yes', 'off', 'tRue'].map(value => [value, true] as const),
    ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map(value => [value, false] as const),
  ])('reads paused: "%s" as %s', (value, full) => {
    expect(pauseOf(scaledObject({ [key('paused')]: value })).full).toBe(full);
    expect(pauseOf(scaledJob({ [key('paused')]: value })).full).toBe(full);
  });

  it.each([
    ['0', 0],
    ['12', 12],
    ['2147483647', 2_147_483_647],
    ['2147483648', 'invalid'],
    ['-1', 'invalid'],
    ['1.5', 'invalid'],
    ['', 'invalid'],
  ])('paused-replicas "%s" pauses at %s, even where paused is false', (value, pausedReplicas) => {
    const pause = pauseOf(scaledObject({ [key('paused-replicas')]: value, [key('paused')]: 'false' }));

    expect(pause).toEqual({ full: true, pausedReplicas, scaleIn: false, scaleOut: false });
  });

  it('holds one direction alone', () => {
    expect(pauseOf(scaledObject({ [key('paused-scale-in')]: 'true' }))).toEqual({
      full: false,
      scaleIn: true,
      scaleOut: false,
    });
    expect(pauseOf(scaledObject({ [key('paused-scale-out')]: 'true' })).scaleOut).toBe(true);
  });

  it('knows only the full pause for a ScaledJob', () => {
    const pause = pauseOf(scaledJob({ [key('paused-replicas')]: '1', [key('paused-scale-in')]: 'true' }));

    expect(pause).toEqual({ full: false, scaleIn: false, scaleOut: false });
  });
});

it('forces activation of a ScaledObject only', () => {
  expect(forcesActivation(scaledObject({ [key('force-activation')]: 'true' }))).toBe(true);
  expect(forcesActivation(scaledObject({}))).toBe(false);
  expect(forcesActivation(scaledJob({ [key('force-activation')]: 'true' }))).toBe(false);
});

it('splits excluded labels at commas and trims nothing', () => {
  expect(excludedLabels(scaledObject({ 'scaledobject.keda.sh/hpa-excluded-labels': 'a, b' }))).toEqual([
    'a',
    ' b',
  ]);
  expect(excludedLabels(scaledJob({ 'scaledjob.keda.sh/job-excluded-labels': 'a' }))).toEqual(['a']);
  expect(excludedLabels(scaledJob({}))).toEqual([]);
});
