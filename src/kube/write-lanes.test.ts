import { describe, expect, it } from 'vitest';
import { manualClock } from '../base/clock.ts';
import type { Urgency } from './client.ts';
import { readLanes, writeLanes } from './write-lanes.ts';

const { signal } = new AbortController();
const settled = () => new Promise<void>(resolve => setImmediate(resolve));

describe('the lanes of writes', () => {
  it('let the most urgent go first, and the same urgency in the order it came', async () => {
    const lanes = writeLanes(3, manualClock());
    const first = await lanes.enter('object', signal);
    const began: string[] = [];
    const enter = async (urgency: Urgency, name: string) => {
      using _turn = await lanes.enter(urgency, signal);
      began.push(name);
    };
    const waiting = [
      enter('event', 'event'),
      enter('status', 'status'),
      enter('object', 'object 1'),
      enter('object', 'object 2'),
      enter('autoscaler', 'autoscaler'),
      enter('job', 'job'),
    ];

    first[Symbol.dispose]();
    await Promise.all(waiting);

    expect(began).toEqual(['job', 'autoscaler', 'object 1', 'object 2', 'status', 'event']);
  });

  it('keep turns for scaling that nothing else takes', async () => {
    const lanes = writeLanes(4, manualClock());
    const began: string[] = [];
    const enter = (urgency: Urgency) => lanes.enter(urgency, signal).then(() => began.push(urgency));
    for (const urgency of ['job', 'job', 'job', 'scale', 'scale', 'scale'] as const) void enter(urgency);

    await settled();

    expect(began).toEqual(['job', 'job', 'scale', 'scale']);
  });

  it('never let a lease wait', async () => {
    const lanes = writeLanes(3, manualClock());
    await Promise.all([
      lanes.enter('scale', signal),
      lanes.enter('scale', signal),
      lanes.enter('scale', signal),
    ]);

    const turn = await lanes.enter('lease', signal);

    expect(turn).toBeDefined();
  });

  it('give up what was waited for too long, and leave no place for it', async () => {
    const clock = manualClock();
    const lanes = writeLanes(3, clock);
    const first = await lanes.enter('object', signal);
    const late = lanes.enter('object', signal);
    const refused = expect(late).rejects.toMatchObject({
      code: 'KUBE_UNREACHABLE',
      message: expect.stringContaining('waited 60 s'),
    });

    await clock.advance(60_000);
    await refused;
    first[Symbol.dispose]();
    const next = await lanes.enter('object', signal);

    expect(next).toBeDefined();
  });

  it('forget who is stopped while waiting', async () => {
    const lanes = writeLanes(3, manualClock());
    const stop = new AbortController();
    const first = await lanes.enter('object', signal);
    const stopped = lanes.enter('object', stop.signal);

    stop.abort(new Error('enough'));

    await expect(stopped).rejects.toThrow('enough');
    first[Symbol.dispose]();
    await expect(lanes.enter('object', signal)).resolves.toBeDefined();
  });

  it('count a turn that is given back twice once', async () => {
    const lanes = readLanes(1, manualClock());
    const first = await lanes.enter('object', signal);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    await lanes.enter('object', signal);
    let began = false;
    void lanes.enter('object', signal).then(() => {
      began = true;
    });

    await settled();

    expect(began).toBe(false);
  });
});
