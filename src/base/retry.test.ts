import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs } from './retry.ts';

const backoff = { firstMs: 1000, maxMs: 60_000 };

describe('backoffMs', () => {
  it.each([
    [1, 1000],
    [2, 2000],
    [5, 16_000],
    [7, 60_000],
    [5000, 60_000],
  ])(
    'waits at most twice as long after each failure, up to the cap: failure %d, %d ms',
    (failures, longest) => {
      expect(backoffMs(backoff, failures, () => 0.999_999_999)).toBeCloseTo(longest, 3);
    },
  );

  it('spreads waits over the upper half of their range', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (failures, random) => {
          const wait = backoffMs(backoff, failures, () => random);
          const longest = backoffMs(backoff, failures, () => 1);
          return wait >= longest / 2 && wait <= longest;
        },
      ),
    );
  });
});
