import { describe, expect, it } from 'vitest';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { type KeyedWorkOptions, keyedWork } from './keyed-work.ts';

function bed(over: Partial<KeyedWorkOptions> = {}) {
  const clock = manualClock();
  const begun: string[] = [];
  const gates: (() => void)[] = [];
  const work = async (key: string) => {
    begun.push(key);
    await new Promise<void>(resolve => gates.push(resolve));
  };
  const keyed = keyedWork({ clock, work, random: () => 1, ...over });
  const finish = async () => {
    gates.shift()?.();
    await clock.advance(0);
  };
  return { clock, begun, finish, keyed };
}

describe('work by key', () => {
  it('begins at once, and works on different keys side by side', async () => {
    const { keyed, begun } = bed();

    keyed.ask('a');
    keyed.ask('b');

    expect(begun).toEqual(['a', 'b']);
  });

  it('makes one of all that is asked for while a key is worked on', async () => {
    const { keyed, begun, finish } = bed();

    keyed.ask('a');
    for (let i = 0; i < 10; i += 1) keyed.ask('a');
    await finish();
    await finish();

    expect(begun).toEqual(['a', 'a']);
  });

  it('keeps the beginnings for one key apart, and makes one of what comes in between', async () => {
    const { keyed, begun, finish, clock } = bed({ spacingMs: 1000 });
    keyed.ask('a');
    await finish();

    for (let i = 0; i < 5; i += 1) {
      keyed.ask('a');
      await clock.advance(100);
    }

    expect(begun).toEqual(['a']);
    await clock.advance(600);
    await finish();
    expect(begun).toEqual(['a', 'a']);
    await clock.advance(10_000);
    expect(begun).toEqual(['a', 'a']);
  });

  it('tries again, later and later, and not sooner because it is asked again', async () => {
    const tries: number[] = [];
    const clock = manualClock();
    const work = async () => {
      tries.push(clock.elapsed());
      if (tries.length < 4) throw new Fault('KUBE_UNREACHABLE', 'nobody is there');
    };
    const keyed = keyedWork({ clock, work, random: () => 1, backoff: { firstMs: 1000, maxMs: 3000 } });

    keyed.ask('a');
    await clock.advance(1);
    keyed.ask('a');
    await clock.advance(20_000);

    expect(tries).toEqual([0, 1000, 3000, 6000]);
  });

  it('does what waits for its time when flushed, and tries a failure only once more', async () => {
    const clock = manualClock();
    const begun: string[] = [];
    const work = async (key: string) => {
      begun.push(key);
      if (key === 'bad') throw new Fault('KUBE_FAILED', 'no');
    };
    const keyed = keyedWork({ clock, work, spacingMs: 5000 });
    keyed.ask('good');
    keyed.ask('bad');
    await clock.advance(10);
    keyed.ask('good');

    await keyed.flush();

    expect(begun.filter(key => key === 'good')).toHaveLength(2);
    expect(begun.filter(key => key === 'bad')).toHaveLength(2);
  });

  it('does nothing after it is disposed, and aborts what is under way', async () => {
    const clock = manualClock();
    let reason: unknown;
    const work = (_key: string, signal: AbortSignal) =>
      new Promise<void>((_, reject) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason;
          reject(signal.reason);
        });
      });
    const keyed = keyedWork({ clock, work });
    keyed.ask('a');

    await keyed[Symbol.asyncDispose]();
    keyed.ask('b');
    await clock.advance(60_000);

    expect(reason).toBeInstanceOf(Fault);
  });
});
