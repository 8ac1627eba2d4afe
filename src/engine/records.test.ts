import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { engineBed, scaledJob, scaledObject, trigger } from '../../test/engine-bed.ts';
import type { DirectDecision } from '../decide/direct.ts';
import { type Decided, type DecisionRecord, Records, recompute } from './records.ts';

const decided = (kind: 'hold' | 'scale', why: string): Decided => ({
  kind: 'delivery',
  seen: { unfinished: 0, maxReplicaCount: 1 },
  decision: { created: kind === 'hold' ? 0 : 1, why },
});
const nothing = { triggers: () => [] };

describe('the records of a workload', () => {
  it('count the same decision to change nothing, from its first time to its last', () => {
    const records = new Records(3);

    for (const at of [10, 20, 30]) records.add(decided('hold', 'nothing waits'), at, nothing);

    expect(records.all).toMatchObject([{ at: 10, lastAt: 30, times: 3 }]);
  });

  it('count every change by itself, though it has the same words', () => {
    const records = new Records(3);

    for (const at of [10, 20]) records.add(decided('scale', 'one waits'), at, nothing);

    expect(records.all).toHaveLength(2);
  });

  it('do not count a decision that failed as the same as one that was carried out', () => {
    const records = new Records(9);
    const failed = { ...nothing, failed: new Error('no') as never };

    records.add(decided('hold', 'same'), 10, nothing);
    records.add(decided('hold', 'same'), 20, failed);
    records.add(decided('hold', 'same'), 30, nothing);

    expect(records.all.map(({ at }) => at)).toEqual([10, 20, 30]);
  });

  it('are the last ones only', () => {
    const records = new Records(3);

    for (const at of [1, 2, 3, 4, 5]) records.add(decided('scale', 'one waits'), at, nothing);

    expect(records.all.map(({ at }) => at)).toEqual([3, 4, 5]);
  });
});

const value = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 80 }) },
  { weight: 1, arbitrary: fc.constantFrom(Number.NaN, 0.5, -3, 1e12) },
);
const step = fc.record({
  a: value,
  b: value,
  /** Someone else scales the target. */
  meddled: fc.option(fc.integer({ min: 0, max: 12 }), { freq: 6, nil: undefined }),
  jump: fc.option(fc.integer({ min: -100_000, max: 100_000 }), { freq: 8, nil: undefined }),
  polls: fc.integer({ min: 1, max: 40 }),
});

const manifest = fc.record({
  minReplicaCount: fc.integer({ min: 0, max: 3 }),
  maxReplicaCount: fc.integer({ min: 3, max: 12 }),
  cooldownPeriodMs: fc.constantFrom(0, 60_000, 300_000),
  fallback: fc.constantFrom(
    undefined,
    ...(['static', 'currentReplicasIfHigher'] as const).map(behavior => ({
      failureThreshold: 2,
      replicas: 4,
      behavior,
    })),
  ),
  formula: fc.constantFrom(undefined, 'a + b', 'max([a, b]) / 2'),
});

/** As JSON, which is how `explain` gets it. */
const plain = (what: unknown) => JSON.parse(JSON.stringify(what));

describe('any record', () => {
  it('of a ScaledObject comes to the recorded decision again, as does its JSON, and obeys the rules', async () => {
    await fc.assert(
      fc.asyncProperty(manifest, fc.array(step, { minLength: 1, maxLength: 12 }), async (given, steps) => {
        await using bed = engineBed();
        const { formula, fallback, ...rest } = given;
        const workload = scaledObject({
          ...rest,
          ...(fallback === undefined ? {} : { fallback }),
          ...(formula === undefined ? {} : { scalingModifiers: { formula, target: '5' } }),
          triggers: ['a', 'b'].map(name => trigger({ query: name }, { name })),
        });
        bed.world.targets.set(workload.key, 0);
        bed.engine.set(workload);
        for (const { a, b, meddled, jump, polls } of steps) {
          bed.source.values.set('a', a).set('b', b);
          if (meddled !== undefined) bed.world.targets.set(workload.key, meddled);
          if (jump !== undefined) bed.clock.jump(jump);
          await bed.clock.advance(polls * workload.pollingIntervalMs);
        }

        const records = bed.engine.records(workload.key) ?? [];

        expect(records.length).toBeGreaterThan(0);
        for (const record of records) {
          expect(recompute(record)).toEqual(record.decision);
          expect(plain(recompute(plain(record)))).toEqual(plain(record.decision));
          expect(JSON.stringify(record).length).toBeLessThan(8000);
          if (record.kind === 'replicas') obeys(record, given.maxReplicaCount, fallback !== undefined);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('of a ScaledJob comes to the recorded decision again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 8 }), async values => {
        await using bed = engineBed();
        const workload = scaledJob();
        bed.engine.set(workload);
        for (const each of values) {
          bed.source.value = each;
          await bed.clock.advance(workload.pollingIntervalMs);
        }

        const records = bed.engine.records(workload.key) ?? [];

        for (const record of records) expect(plain(recompute(plain(record)))).toEqual(plain(record.decision));
        expect(bed.world.jobs.size).toBeLessThanOrEqual(workload.maxReplicaCount);
      }),
      { numRuns: 30 },
    );
  });
});

function obeys(
  { seen, decision, triggers }: DecisionRecord & { kind: 'replicas' },
  most: number,
  fallback: boolean,
) {
  const { to } = decision as DirectDecision & { to?: number };
  if (to === undefined || seen.replicas === undefined) return;
  expect(to).toBeLessThanOrEqual(most);
  const unknown = triggers.some(({ fault }) => fault !== undefined);
  if (unknown && !fallback && seen.replicas <= most) expect(to).toBeGreaterThanOrEqual(seen.replicas);
}
