import { describe, expect, it } from 'vitest';
import { parseQuantity } from '../base/quantity.ts';
import { quantityOf } from './metric-list.ts';

describe('quantityOf', () => {
  it.each([
    [0, '0'],
    [-0.0004, '0'],
    [1, '1'],
    [1.5, '1500m'],
    [0.001, '1m'],
    // Cut and not rounded, like KEDA's.
    [0.0019, '1m'],
    [2.3, '2300m'],
    [-2.5, '-2500m'],
    [999, '999'],
    [1000, '1k'],
    [1500, '1500'],
    [5_000_000, '5M'],
    [1e15, '1P'],
    [Number.POSITIVE_INFINITY, '9223372036854775807m'],
    [-1e30, '-9223372036854775807m'],
  ])('writes %d as %s', (value, text) => {
    expect(quantityOf(value)).toBe(text);
  });

  it.each([3, 0.25, 123.456, 1e9, 7e15])('writes %d so that it can be read back', value => {
    expect(parseQuantity(quantityOf(value))).toBeCloseTo(value, 3);
  });
});
