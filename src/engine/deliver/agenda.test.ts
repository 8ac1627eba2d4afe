import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Clock, manualClock } from '../../base/clock.ts';
import { agenda } from './agenda.ts';

/** A clock that counts the timers that are set. */
function counting() {
  const clock = manualClock();
  const timers = { set: 0, open: 0 };
  const counted: Clock = {
    ...clock,
    after(ms, fire) {
      timers.set += 1;
      timers.open += 1;
      const timer = clock.after(ms, () => {
        timers.open -= 1;
        fire();
      });
      return {
        [Symbol.dispose]() {
          timers.open -= 1;
          timer[Symbol.dispose]();
        },
      };
    },
  };
  return { clock, counted, timers };
}

describe('agenda', () => {
  it('does everything when it is due, and nothing that was cancelled, whatever the order', async () => {
    const plans = fc.array(fc.record({ ms: fc.nat({ max: 1000 }), cancelled: fc.boolean() }), {
      maxLength: 40,
    });

    await fc.assert(
      fc.asyncProperty(plans, async all => {
        const clock = manualClock();
        using times = agenda(clock);
        const done: number[] = [];
        const items = all.map(({ ms }) =>
          times.after(ms, () => {
            expect(clock.elapsed()).toBe(ms);
            done.push(ms);
          }),
        );
        for (const [index, { cancelled }] of all.entries()) if (cancelled) items[index]?.[Symbol.dispose]();
        const left = all.filter(({ cancelled }) => !cancelled).map(({ ms }) => ms);

        expect(times.size).toBe(left.length);
        await clock.advance(1000);

        expect(done).toEqual(left.sort((a, b) => a - b));
        expect(times.size).toBe(0);
      }),
    );
  });

  it('has one timer at a time', async () => {
    const { clock, counted, timers } = counting();
    using times = agenda(counted);

    for (let n = 0; n < 100; n += 1) times.after(1000 + n, () => {});

    expect(timers).toEqual({ set: 1, open: 1 });
    await clock.advance(2000);
    expect(timers.open).toBe(0);
  });

  it('takes what is added while it runs', async () => {
    const clock = manualClock();
    using times = agenda(clock);
    const done: number[] = [];
    times.after(10, () => times.after(5, () => done.push(clock.elapsed())));

    await clock.advance(20);

    expect(done).toEqual([15]);
  });

  it('does nothing once it was disposed', async () => {
    const { clock, counted, timers } = counting();
    const times = agenda(counted);
    let done = 0;
    const item = times.after(10, () => {
      done += 1;
    });

    times[Symbol.dispose]();
    times[Symbol.dispose]();
    item[Symbol.dispose]();
    times.after(5, () => {
      done += 1;
    });
    await clock.advance(20);

    expect(done).toBe(0);
    expect(timers.open).toBe(0);
  });
});
