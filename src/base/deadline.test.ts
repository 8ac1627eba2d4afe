import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { deadline } from './deadline.ts';

describe('deadline', () => {
  it('aborts with a Fault of the source when its time is up', async () => {
    using limit = deadline(undefined, 1);

    await new Promise(resolve => limit.signal.addEventListener('abort', resolve));

    expect(limit.signal.reason).toMatchObject({ code: 'SOURCE_TIMEOUT', message: 'no answer within 1 ms' });
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
