import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { deadline, orAborted } from './deadline.ts';

describe('deadline', () => {
  it('aborts with a Fault of the source when its time is up', async () => {
    using limit = deadline(undefined, 1);

    await new Promise(resolve => limit.signal.addEventListener('abort', resolve));

    expect(limit.signal.reason).toMatchObject({ code: 'SOURCE_TIMEOUT', message: 'no answer within 1 ms' });
  });

  it('does not end at once where it is years away', async () => {
    using far = deadline(undefined, 2 ** 40);
    using near = deadline(undefined, 20);

    await new Promise(resolve => near.signal.addEventListener('abort', resolve));

    expect(far.signal.aborted).toBe(false);
  });

  it('follows its parent, and is aborted from the start where the parent was', () => {
    const parent = new AbortController();
    using running = deadline(parent.signal, 60_000);
    parent.abort(new Error('stop'));
    using late = deadline(parent.signal, 60_000);

    expect([running.signal.reason, late.signal.reason]).toEqual([parent.signal.reason, parent.signal.reason]);
  });

  it('leaves no listener on a parent that lives on', () => {
    const parent = new AbortController();

    for (let round = 0; round < 100; round += 1) {
      using _limit = deadline(parent.signal, 60_000);
    }

    expect(getEventListeners(parent.signal, 'abort')).toHaveLength(0);
  });
});

describe('work under a signal', () => {
  const failing = async () => {
    throw new Error('went wrong');
  };

  it('comes to its own end, and leaves no listener', async () => {
    const { signal } = new AbortController();

    const value = await orAborted(Promise.resolve(7), signal);
    const thrown = await orAborted(failing(), signal).catch(error => error.message);

    expect([value, thrown]).toEqual([7, 'went wrong']);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  it('that does not listen ends with the reason soon after the abort', async () => {
    const control = new AbortController();
    const late = AbortSignal.abort(new Error('too late'));
    const work = [control.signal, late].map(signal => orAborted(new Promise(() => {}), signal));

    control.abort(new Error('enough'));
    const given = await Promise.allSettled(work);

    expect(given.map(each => each.status === 'rejected' && each.reason.message)).toEqual([
      'enough',
      'too late',
    ]);
  });

  it('that listens may say what it was waiting for', async () => {
    const control = new AbortController();
    const work = new Promise((_, reject) => {
      control.signal.addEventListener('abort', () =>
        setImmediate(() => reject(new Error('waiting for the queue'))),
      );
    });
    const given = orAborted(work, control.signal);

    control.abort(new Error('enough'));

    await expect(given).rejects.toThrow('waiting for the queue');
  });
});
