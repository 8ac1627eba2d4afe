import { describe, expect, it } from 'vitest';
import {
  changedSince,
  highestSince,
  lowestSince,
  newHistory,
  recommend,
  recordChange,
  shifted,
} from './hpa-history.ts';

const second = 1000;

describe('recommendations', () => {
  const rows = [
    [0, 5],
    [10, 9],
    [20, 3],
    [30, 7],
    [40, 4],
  ] as const;
  const history = rows.reduce(
    (known, [at, replicas]) => recommend(known, replicas, { now: at * second, keepMs: 60 * second }),
    newHistory(1, -10 * second),
  );

  it.each([
    [-20, 9, 1],
    [-10, 9, 3],
    [9, 9, 3],
    [10, 7, 3],
    [20, 7, 4],
    [30, 4, 4],
    [40, 0, 99],
  ])('after %i s the highest is %i and the lowest %i', (from, highest, lowest) => {
    const answers = [highestSince(history, from * second, 0), lowestSince(history, from * second, 99)];

    expect(answers).toEqual([highest, lowest]);
  });

  it('forgets what no window can reach any more', () => {
    const later = recommend(history, 4, { now: 95 * second, keepMs: 60 * second });

    expect([later.highs, later.lows].map(list => list.length)).toEqual([1, 1]);
  });
});

describe('changes', () => {
  const keepMs = 60 * second;

  it('counts each direction within its period', () => {
    let history = newHistory(1, 0);
    history = recordChange(history, { from: 1, to: 4, keepMs }, 10 * second);
    history = recordChange(history, { from: 4, to: 2, keepMs }, 20 * second);
    history = recordChange(history, { from: 2, to: 7, keepMs }, 30 * second);

    const sums = [0, 10, 30].map(from => changedSince(history.ups, from * second));

    expect(sums).toEqual([8, 5, 0]);
    expect(changedSince(history.downs, 0)).toBe(2);
  });

  it('gives the place of a change that is over to the next one', () => {
    let history = newHistory(1, 0);

    for (let i = 0; i < 100; i++)
      history = recordChange(history, { from: 1, to: 2, keepMs }, i * 30 * second);

    expect(history.ups.length).toBe(3);
  });

  it('adds up what is too much to keep apart, so that no change is left out', () => {
    let history = newHistory(1, 0);

    for (let i = 0; i < 1000; i++) history = recordChange(history, { from: 1, to: 2, keepMs }, i);

    expect(history.ups.length).toBe(256);
    expect(changedSince(history.ups, -1)).toBe(1000);
  });
});

describe('a history whose clock was set', () => {
  it('gives the same answers at times moved by as much', () => {
    const keepMs = 300 * second;
    let history = newHistory(3, 0);
    history = recommend(history, 9, { now: 10 * second, keepMs });
    history = recordChange(history, { from: 3, to: 9, keepMs }, 10 * second);

    const moved = shifted(history, 3600 * second);

    expect(highestSince(moved, 3605 * second, 1)).toBe(9);
    expect(highestSince(moved, 3610 * second, 1)).toBe(1);
    expect(changedSince(moved.ups, 3609 * second)).toBe(6);
    expect(shifted(moved, -3600 * second)).toEqual(history);
  });
});
