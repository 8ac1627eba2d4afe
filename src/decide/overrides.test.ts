import { expect, it } from 'vitest';
import { overridesOf } from './overrides.ts';

it.each<[string, string | undefined, boolean]>([
  ['absent', undefined, false],
  ['true', 'true', true],
  ['1', '1', true],
  ['false', 'false', false],
  ['F', 'F', false],
  ['0', '0', false],
  ['empty', '', true],
  ['no Go boolean', 'no', true],
  ['a strange case of false', 'fAlse', true],
])('reads a boolean annotation that is %s', (_title, value, on) => {
  const annotations = value === undefined ? {} : { 'autoscaling.keda.sh/force-activation': value };

  const overrides = overridesOf(annotations);

  expect(overrides.forceActivation).toBe(on);
});

it.each<[string, number | 'invalid']>([
  ['0', 0],
  ['7', 7],
  ['2147483647', 2_147_483_647],
  ['2147483648', 'invalid'],
  ['-1', 'invalid'],
  ['1.5', 'invalid'],
  ['', 'invalid'],
])('pauses at paused-replicas %j though paused is false', (value, replicas) => {
  const overrides = overridesOf({
    'autoscaling.keda.sh/paused': 'false',
    'autoscaling.keda.sh/paused-replicas': value,
  });

  expect(overrides).toMatchObject({ paused: true, pausedReplicas: replicas });
});

it('tells the two directions apart', () => {
  const overrides = overridesOf({
    'autoscaling.keda.sh/paused-scale-in': 'true',
    'autoscaling.keda.sh/paused-scale-out': 'false',
  });

  expect(overrides).toEqual({
    paused: false,
    pausedReplicas: undefined,
    pausedScaleIn: true,
    pausedScaleOut: false,
    forceActivation: false,
  });
});
