import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LagRules, type LastOffsets, lagOf } from './kafka-lag.ts';
import type { Position } from './kafka-offsets.ts';

const rules = (over: Partial<LagRules> = {}): LagRules => ({
  lagThreshold: 10,
  activationLagThreshold: 0,
  offsetResetPolicy: 'latest',
  allowIdleConsumers: false,
  excludePersistentLag: false,
  scaleToZeroOnInvalidOffset: false,
  limitToPartitionsWithLag: false,
  ensureEvenDistributionOfPartitions: false,
  ...over,
});

/** Partitions of one topic with this much lag each. */
const behind = (...lags: number[]): Position[] =>
  lags.map((lag, partition) => ({ topic: 't', partition, committed: 100, end: 100 + lag }));

const lag = (positions: Position[], over: Partial<LagRules> = {}) => lagOf(positions, rules(over), new Map());

describe('the lag of a group', () => {
  it.each([
    ['is shared by no more consumers than there are partitions', behind(100, 0, 0), {}, 30],
    ['is not cut while there is less than one more than that', behind(39, 0, 0), {}, 39],
    ['is whole where idle consumers are allowed', behind(100, 0, 0), { allowIdleConsumers: true }, 100],
    [
      'is shared by no more consumers than partitions with lag',
      behind(100, 100, 0),
      { limitToPartitionsWithLag: true },
      20,
    ],
    ['is nothing without lag in any partition', behind(0, 0), { limitToPartitionsWithLag: true }, 0],
  ] as const)('%s', (_title, positions, over, value) => {
    expect(lag([...positions], over).value).toBe(value);
  });

  // KEDA's docs: ten partitions, a threshold of ten.
  it.each([
    [0, 1],
    [1, 1],
    [10, 1],
    [11, 2],
    [20, 2],
    [21, 5],
    [50, 5],
    [51, 10],
    [1000, 10],
  ])('of %i over ten partitions takes %i consumers with even shares', (total, consumers) => {
    const ten = behind(total, 0, 0, 0, 0, 0, 0, 0, 0, 0);

    const measured = lag(ten, { ensureEvenDistributionOfPartitions: true });

    expect(measured).toEqual({ value: consumers * 10, active: total > 0 });
  });

  it('with even shares is a number of consumers that divides the partitions and keeps up, or all of them', () => {
    const even = { ensureEvenDistributionOfPartitions: true, allowIdleConsumers: true };
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(5000), (partitions, total) => {
        const consumers = lag(behind(total, ...Array(partitions - 1).fill(0)), even).value / 10;

        expect(partitions % consumers).toBe(0);
        expect(consumers * 10 >= total || consumers === partitions).toBe(true);
      }),
    );
  });

  it('forgets where the group was in partitions that are gone', () => {
    const last: LastOffsets = new Map();
    const persistent = rules({ excludePersistentLag: true });

    lagOf(behind(5, 5), persistent, last);
    lagOf(behind(5), persistent, last);

    expect(last).toEqual(new Map([['t', new Map([[0, 100]])]]));
  });

  it('that persists is left out of what limits to partitions with lag', () => {
    const last: LastOffsets = new Map();
    const over = rules({ excludePersistentLag: true, limitToPartitionsWithLag: true });

    lagOf(behind(50, 50), over, last);
    const [stuck, moved] = behind(50, 50);
    if (stuck === undefined || moved === undefined) throw new Error('there are two');
    const measured = lagOf([stuck, { ...moved, committed: 110 }], over, last);

    expect(measured).toEqual({ value: 10, active: true });
  });
});
