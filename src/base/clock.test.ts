import { describe, expect, it } from 'vitest';
import { manualClock, sleep, systemClock } from './clock.ts';

describe('manualClock', () => {
  it('fires timers in the order of their due time, and those set meanwhile', async () => {
    const clock = manualClock();
    const fired: string[] = [];
    clock.after(20, () => fired.push(`second at ${clock.elapsed()}`));
    clock.after(10, () => {
      fired.push(`first at ${clock.elapsed()}`);
      clock.after(5, () => fired.push(`between at ${clock.elapsed()}`));
    });

    await clock.advance(30);

    expect(fired).toEqual(['first at 10', 'between at 15', 'second at 20']);
  });

  it('moves the wall clock alone when it jumps', async () => {
    const clock = manualClock(1000);

    clock.jump(-500);

    expect([clock.now(), clock.elapsed()]).toEqual([500, 0]);
  });

  it('forgets a timer that was disposed', async () => {
    const clock = manualClock();
    let fired = false;
    clock
      .after(10, () => {
        fired = true;
      })
      [Symbol.dispose]();

    await clock.advance(20);

    expect(fired).toBe(false);
  });
});

describe('sleep', () => {
  it('ends when its time has come', async () => {
    const clock = manualClock();
    let ended = false;
    const slept = sleep(clock, 100).then(() => {
      ended = true;
    });

    await clock.advance(99);
    expect(ended).toBe(false);
    await clock.advance(1);
    await slept;

    expect(ended).toBe(true);
  });

  it('ends at once with the reason when its signal is aborted', async () => {
    const stop = new AbortController();
    const slept = sleep(systemClock, 60_000, stop.signal);

    stop.abort(new Error('enough'));

    await expect(slept).rejects.toThrow('enough');
  });

  it('does not begin with a signal that is aborted already', async () => {
    await expect(sleep(systemClock, 60_000, AbortSignal.abort(new Error('too late')))).rejects.toThrow(
      'too late',
    );
  });
});
