import { describe, expect, it } from 'vitest';
import { faultFrom } from '../../test/scaler-contract.ts';
import { manualClock } from './clock.ts';
import { Fault } from './errors.ts';
import { Keeper, lentFor } from './keeper.ts';

const signal = new AbortController().signal;
const minute = 60_000;

/** Lends texts that live for an hour, each with a number; fails while `fault` is set. */
function lender(clock = manualClock()) {
  const keeper = new Keeper<string>(clock);
  const one = {
    clock,
    keeper,
    fetched: 0,
    fault: undefined as Fault | undefined,
    async get(key = 'a', over: { wait?: boolean; doubt?: boolean } = {}) {
      const fetch = async () => {
        one.fetched += 1;
        if (one.fault !== undefined) throw one.fault;
        return lentFor(`${key}${one.fetched}`, clock.now(), 60 * minute);
      };
      return (await keeper.get(key, { fetch, host: 'there', signal, ...over })).value;
    },
  };
  return one;
}

describe('what was lent', () => {
  it('is asked for once, by key, until it is nearly over', async () => {
    const one = lender();

    const first = await Promise.all([one.get(), one.get(), one.get('b')]);
    await one.clock.advance(54 * minute);
    await one.get();

    expect(first).toEqual(['a1', 'a1', 'b2']);
    expect(one.fetched).toBe(2);
  });

  it('is renewed behind the back of who does not wait, and at once for who does', async () => {
    const [idle, waiting] = [lender(), lender()];
    await Promise.all([idle.get(), waiting.get()]);
    await Promise.all([idle, waiting].map(({ clock }) => clock.advance(56 * minute)));

    expect([await idle.get(), await idle.get()]).toEqual(['a1', 'a2']);
    expect(await waiting.get('a', { wait: true })).toBe('a2');
  });

  it('is renewed before its time where it is doubted, but not again because of the same doubt', async () => {
    const one = lender();
    await one.get();
    await one.clock.advance(10_000);

    const doubted = await one.get('a', { doubt: true });
    const again = await one.get('a', { doubt: true });

    expect([doubted, again]).toEqual(['a2', 'a2']);
  });

  it('is renewed for whoever asks next after it was refused, and not for a late word of that', async () => {
    const one = lender();
    const [refused] = [await one.get(), await one.get('b')];
    await one.clock.advance(10_000);

    one.keeper.refused(refused);
    const after = await Promise.all([one.get(), one.get(), one.get('b')]);
    one.keeper.refused(refused);
    await one.clock.advance(10_000);

    expect([...after, await one.get()]).toEqual(['a3', 'a3', 'b2', 'a3']);
  });

  it.each(['AUTH_FAILED', 'SOURCE_BUSY', 'KUBE_UNREACHABLE'] as const)(
    'is held to its end while renewals fail with %s, and who fails is left alone',
    async code => {
      const one = lender();
      await one.get();
      one.fault = new Fault(code, 'not now', { retryAfterMs: 2 * minute });
      await one.clock.advance(56 * minute);

      const during = [await one.get('a', { wait: true }), await one.get('a', { doubt: true })];
      await one.clock.advance(minute);
      during.push(await one.get());
      const asked = one.fetched;
      await one.clock.advance(2 * minute + 55_000);
      during.push(await one.get());
      await one.clock.advance(5_000);
      const over = await faultFrom(one.get());

      expect(during).toEqual(['a1', 'a1', 'a1', 'a1']);
      expect([asked, one.fetched]).toEqual([2, 3]);
      expect(over.message).toBe('not now');
    },
  );

  it('is handed out where the renewal that is waited for takes long, and not when it is over', async () => {
    const clock = manualClock();
    const keeper = new Keeper<string>(clock, 40, 10);
    const answers = [Promise.resolve('old'), new Promise<string>(() => {})];
    const get = () =>
      keeper.get('a', {
        fetch: async stop => {
          const ended = new Promise<never>((_resolve, reject) =>
            stop.addEventListener('abort', () => reject(stop.reason)),
          );
          return lentFor(await Promise.race([answers.shift(), ended]).then(String), clock.now(), minute);
        },
        host: 'there',
        signal,
        wait: true,
      });
    await get();
    await clock.advance(50_000);

    const late = await get();
    await clock.advance(10_000);
    const over = await faultFrom(get());

    expect(late.value).toBe('old');
    expect(over).toMatchObject({ code: 'AUTH_FAILED', message: expect.stringContaining('no answer') });
  });

  it.each(['AUTH_MISSING', 'NOT_SUPPORTED', 'MANIFEST_INVALID'] as const)(
    'is given up at once where it was taken away (%s)',
    async code => {
      const one = lender();
      await one.get();
      await one.clock.advance(10_000);
      one.fault = new Fault(code, 'gone');

      const fault = await faultFrom(one.get('a', { doubt: true }));
      one.fault = undefined;
      const later = await one.get();

      expect(fault.code).toBe(code);
      expect(later).toBe('a3');
    },
  );

  it('is nobody’s fault but the lender’s', async () => {
    const one = lender();
    one.fault = new Fault('SOURCE_REFUSED', 'who are you?');

    expect(await faultFrom(one.get())).toMatchObject({ code: 'AUTH_FAILED', message: 'who are you?' });
  });

  it('may be asked for in vain with growing pauses', async () => {
    const one = lender();
    one.fault = new Fault('AUTH_FAILED', 'no');
    for (let second = 0; second < 120; second += 1) {
      await faultFrom(one.get());
      await one.clock.advance(1_000);
    }

    expect(one.fetched).toBeGreaterThan(4);
    expect(one.fetched).toBeLessThan(15);
  });

  it('is forgotten when nobody has asked for it in an hour', async () => {
    const clock = manualClock();
    const keeper = new Keeper<string>(clock);
    let fetched = 0;
    const get = (key: string) =>
      keeper.get(key, {
        fetch: async () => {
          fetched += 1;
          return { value: key, renewAt: Number.POSITIVE_INFINITY, endsAt: Number.POSITIVE_INFINITY };
        },
        host: 'there',
        signal,
      });
    await get('a');
    await clock.advance(61 * minute);

    await get('b');
    await get('a');

    expect(fetched).toBe(3);
  });

  it('can be dropped, but not what came since', async () => {
    const one = lender();
    const ask = { fetch: async () => lentFor('x', one.clock.now(), minute), host: 'there', signal };
    const old = await one.keeper.get('a', ask);

    one.keeper.drop('a', old);
    const fresh = await one.keeper.get('a', ask);
    one.keeper.drop('a', old);

    expect(await one.keeper.get('a', ask)).toBe(fresh);
    expect(fresh).not.toBe(old);
  });

  it('is given to nobody once the keeper was closed', async () => {
    const clock = manualClock();
    const keeper = new Keeper<string>(clock);
    const work = keeper.get('a', {
      fetch: stop =>
        new Promise((_resolve, reject) => stop.addEventListener('abort', () => reject(stop.reason))),
      host: 'there',
      signal,
    });

    keeper[Symbol.dispose]();
    keeper[Symbol.dispose]();

    expect((await faultFrom(work)).code).toBe('CANCELLED');
  });
});
