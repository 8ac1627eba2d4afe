import { expect, it } from 'vitest';
import { gate } from './gate.ts';

it('lets so much work run at once and the rest in turn, also after a failure', async () => {
  const pass = gate(2);
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const begin = (n: number) =>
    pass(async () => {
      started.push(n);
      await new Promise<void>(resolve => ends.push(resolve));
      if (n === 0) throw new Error('failed');
      return n;
    });
  const all = Promise.allSettled([0, 1, 2, 3].map(begin));
  await Promise.resolve();
  expect(started).toEqual([0, 1]);

  for (let n = 0; n < 4; n += 1) {
    ends[n]?.();
    await new Promise(resolve => setImmediate(resolve));
  }

  expect(started).toEqual([0, 1, 2, 3]);
  expect((await all).map(({ status }) => status)).toEqual([
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ]);
});
