import { describe, expect, it } from 'vitest';
import { formatQuantity, parseQuantity } from './quantity.ts';

describe('parseQuantity', () => {
  it.each([
    ['100m', 0.1],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['2e3', 2000],
    ['2E3', 2000],
    ['1E', 1e18],
    ['-5k', -5000],
    ['.5', 0.5],
    ['5.', 5],
    ['250n', 250e-9],
  ])('reads %s', (text, value) => {
    expect(parseQuantity(text)).toBeCloseTo(value, 12);
  });

  it.each(['', 'abc', '1K', '1 Gi', '1gi', '1e', '0x10', '1e1.5', 'Infinity', '1Mi5'])(
    'refuses "%s"',
    text => {
      expect(parseQuantity(text)).toBeUndefined();
    },
  );
});

it.each([
  [5, '5'],
  [2.5, '2500m'],
  [0.1, '100m'],
  [134_217_728, '134217728'],
  [0.000_000_3, '300n'],
  [1.000_000_5, '1000000500n'],
  [1e21, '1e+21'],
  [0, '0'],
  [-3, '0'],
  [Number.NaN, '0'],
  [Number.POSITIVE_INFINITY, '0'],
])('writes %s as %s', (value, text) => {
  expect(formatQuantity(value)).toBe(text);
});
