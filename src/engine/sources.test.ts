import { setMaxListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { silence, testSource, trigger } from '../../test/engine-bed.ts';
import { noTokens } from '../../test/no-tokens.ts';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { type BoundRead, bindTrigger } from '../scaler/bind.ts';
import { noIdentity } from '../spec/pod-identity.ts';
import { Readings } from './readings.ts';
import { Sources } from './sources.ts';

interface Shape {
  kind?: 'plain' | 'readMany';
  workload?: string;
}

function bed() {
  const clock = manualClock();
  const source = testSource(clock);
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const sources = new Sources({
    clock,
    log: silentLog,
    random: () => 1,
    tokens: noTokens,
    http: {},
    cluster: { get: () => Promise.reject(new Error('none')) },
    clientName: 'eventide',
    stop: stop.signal,
  });
  const readings = new Readings(sources, clock);
  const bound = (metadata: Record<string, string> = {}, { kind = 'plain', workload = 'app' }: Shape = {}) => {
    const context = {
      podIdentity: noIdentity,
      namespace: 'shop',
      workload,
      triggerIndex: 0,
      asMetricSource: false,
    };
    const input = { metadata, auth: {}, env: {} };
    const binding = bindTrigger(source.scaler('test', kind), trigger(metadata), input, context);
    if (!binding.ok) throw new Error(JSON.stringify(binding.problems));
    return binding.bound as BoundRead;
  };
  const read = async (each: BoundRead) => {
    const reading = await readings.read(each);
    return reading.ok ? reading.value : reading.fault.code;
  };
  return { clock, source, sources, stop, readings, bound, read };
}

const fails = (code: ConstructorParameters<typeof Fault>[0], retryAfterMs?: number) => async () => {
  throw new Fault(code, 'no', retryAfterMs === undefined ? {} : { retryAfterMs });
};

describe('a connection', () => {
  it('is opened once for all triggers with the same endpoint and identity', async () => {
    const { source, sources, bound, read } = bed();
    const triggers = Array.from({ length: 50 }, (_, n) => bound({ query: `q${n}` }));

    await Promise.all(triggers.map(read));
    await read(bound({ endpoint: 'there' }));
    await read(bound({ key: 'other identity' }));

    expect(source.opened).toEqual(['here', 'there', 'here']);
    expect(sources.open).toBe(3);
  });

  it('stays open between readings while a trigger refers to it, and is closed when none does', async () => {
    const { source, sources, bound, read, clock } = bed();
    const [one, other] = [bound({ query: 'one' }), bound({ query: 'other' })];
    sources.retain(one);
    sources.retain(other);
    await read(one);

    sources.release(one);
    await clock.advance(3_600_000);
    const kept = [sources.open, source.closed];
    sources.release(other);
    await clock.advance(9_999);
    const idle = source.closed;
    await clock.advance(1);

    expect(kept).toEqual([1, 0]);
    expect(idle).toBe(0);
    expect([sources.open, source.closed]).toEqual([0, 1]);
  });

  it('is not closed while idle if a trigger comes to refer to it again', async () => {
    const { source, sources, bound, read, clock } = bed();
    const trigger = bound();
    sources.retain(trigger);
    await read(trigger);
    sources.release(trigger);
    await clock.advance(5000);

    sources.retain(bound());
    await clock.advance(60_000);

    expect(source.closed).toBe(0);
  });

  it('is closed only after the last reader has finished', async () => {
    const { source, sources, bound, read, clock } = bed();
    let answer = (_value: number) => {};
    source.answer = () =>
      new Promise(resolve => {
        answer = resolve;
      });
    const trigger = bound();
    sources.retain(trigger);
    const reading = read(trigger);
    await clock.advance(0);

    sources.release(trigger);
    await clock.advance(60_000);
    const during = source.closed;
    answer(3);

    expect(await reading).toBe(3);
    expect(during).toBe(0);
    expect(source.closed).toBe(1);
  });

  it('that fails to open is opened anew by the next reading, and nothing is left to be closed', async () => {
    const { source, sources, bound, read } = bed();
    source.opening = fails('AUTH_FAILED');

    const first = await read(bound());
    source.opening = undefined;
    const second = await read(bound());

    expect([first, second]).toEqual(['AUTH_FAILED', 0]);
    expect(source.opened).toHaveLength(2);
    expect(sources.open).toBe(1);
  });

  it('is opened under its own deadline, not under that of whoever came first', async () => {
    const { source, sources, bound, clock } = bed();
    let open = () => {};
    source.opening = signal =>
      new Promise((resolve, reject) => {
        open = resolve;
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const first = new AbortController();
    const cancelled = sources.use(bound(), async () => 1, first.signal).catch(thrown => thrown.code);
    const other = sources.use(bound(), async () => 2);
    await clock.advance(0);

    first.abort(new Fault('CANCELLED', 'not wanted any more'));
    const given = await cancelled;
    open();

    expect(given).toBe('CANCELLED');
    expect(await other).toBe(2);
  });

  it('is opened anew after the source refused it', async () => {
    const { source, bound, read } = bed();
    source.answer = fails('SOURCE_REFUSED');

    await read(bound());
    source.answer = undefined;
    await read(bound());

    expect(source.opened).toHaveLength(2);
    expect(source.closed).toBe(1);
  });

  it('is not opened any more once everything was stopped', async () => {
    const { source, sources, stop, bound, read } = bed();
    await read(bound());
    stop.abort(new Fault('CANCELLED', 'stopped'));
    await sources[Symbol.asyncDispose]();
    await sources[Symbol.asyncDispose]();

    const late = await read(bound());

    expect(late).toBe('CANCELLED');
    expect([source.opened.length, source.closed]).toEqual([1, 1]);
  });
});

describe('the name of a connection', () => {
  /** A connection that two workloads share, opened when only one was known. */
  async function sharedLate() {
    const made = bed();
    const { source, sources, bound, read } = made;
    source.hasNames = true;
    const [mail, orders] = [bound({}, { workload: 'mail' }), bound({}, { workload: 'orders' })];
    sources.retain(orders);
    await read(orders);
    sources.retain(mail);
    return { ...made, mail, orders };
  }

  it('lists the workloads that share it', async () => {
    const { source, sources, bound, read } = bed();
    source.hasNames = true;
    const triggers = ['orders', 'mail', 'mail'].map(workload => bound({}, { workload }));
    for (const trigger of triggers) sources.retain(trigger);

    await Promise.all(triggers.map(read));

    expect(source.names).toEqual(['eventide for shop/mail, shop/orders']);
  });

  it('is put right by a new connection, once for all changes of a minute', async () => {
    const { source, sources, clock, read, mail, orders, bound } = await sharedLate();

    await clock.advance(59_999);
    await read(orders);
    const within = [...source.names];
    sources.retain(bound({}, { workload: 'parcels' }));
    await clock.advance(1);
    await Promise.all([orders, mail].map(read));
    await clock.advance(60_000);
    await read(orders);

    expect(within).toEqual(['eventide for shop/orders']);
    expect(source.names.slice(1)).toEqual(['eventide for shop/mail, shop/orders, shop/parcels']);
    expect([sources.open, source.closed]).toEqual([1, 1]);
  });

  it('stays wrong rather than that a reading fails', async () => {
    const { source, clock, read, orders } = await sharedLate();
    source.opening = fails('SOURCE_REFUSED');

    await clock.advance(60_000);
    const values = [await read(orders), await read(orders)];
    source.opening = undefined;
    await clock.advance(60_000);
    await read(orders);
    await clock.advance(0);

    expect(values).toEqual([0, 0]);
    expect(source.opened).toHaveLength(3);
    expect(source.closed).toBe(1);
  });

  it('stays as it is while messages are claimed through the connection', async () => {
    const { source, sources, clock, read, orders } = await sharedLate();

    await sources.use(orders, async () => {}, new AbortController().signal);
    await clock.advance(60_000);
    await read(orders);

    expect(source.opened).toHaveLength(1);
  });

  it('is no reason to connect anew where connections have none', async () => {
    const { source, sources, clock, bound, read } = bed();
    const trigger = bound();
    sources.retain(trigger);
    await read(trigger);

    sources.retain(bound({}, { workload: 'mail' }));
    await clock.advance(60_000);
    await read(trigger);

    expect(source.opened).toHaveLength(1);
  });
});

describe('a reading', () => {
  it('that is under way is shared by all who ask the same', async () => {
    const { source, bound, read } = bed();
    source.value = 4;

    const values = await Promise.all([read(bound()), read(bound()), read(bound({ query: 'other' }))]);
    await read(bound());

    expect(values).toEqual([4, 4, 4]);
    expect(source.asked.map(({ query }) => query)).toEqual(['', 'other', '']);
  });

  it('is judged by each trigger for itself, though it is shared', async () => {
    const { source, readings, bound } = bed();
    source.value = 4;

    const both = await Promise.all([readings.read(bound()), readings.read(bound({ activation: '4' }))]);

    expect(both).toMatchObject([
      { ok: true, active: true },
      { ok: true, active: false },
    ]);
    expect(source.asked).toHaveLength(1);
  });

  it('is judged by the scaler where its number alone does not tell', async () => {
    const { readings, bound } = bed();
    const trigger = bound({ activation: '4' });
    const active = { value: 0, active: true };

    const judged = [
      readings.judge(trigger, active),
      readings.judge(trigger, { value: Number.NaN, active: true }),
    ];

    expect(judged).toMatchObject([
      { ok: true, value: 0, active: true },
      { ok: false, fault: { code: 'SOURCE_ANSWER_INVALID' } },
    ]);
  });

  it('is asked together with others where the source can answer many at once', async () => {
    const { source, bound, read } = bed();
    source.values.set('a', 1).set('b', 2).set('c', 3);

    const values = await Promise.all(
      ['a', 'b', 'c', 'b'].map(query => read(bound({ query }, { kind: 'readMany' }))),
    );

    expect(values).toEqual([1, 2, 3, 2]);
    expect(source.asked.map(({ query }) => query)).toEqual(['a+b+c']);
  });

  it('fails alone among those that were asked together', async () => {
    const { source, bound, read } = bed();
    source.faults.set('b', new Fault('SOURCE_NOT_FOUND', 'there is no b'));

    const values = await Promise.all(
      ['a', 'b', 'c'].map(query => read(bound({ query }, { kind: 'readMany' }))),
    );

    expect(values).toEqual([source.value, 'SOURCE_NOT_FOUND', source.value]);
  });

  it('fails for all that were asked together', async () => {
    const { source, bound, read } = bed();
    source.answer = fails('SOURCE_FAILED');

    const values = await Promise.all(['a', 'b'].map(query => read(bound({ query }, { kind: 'readMany' }))));

    expect(values).toEqual(['SOURCE_FAILED', 'SOURCE_FAILED']);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'of %s is a failure, not a number',
    async value => {
      const { source, bound, read } = bed();
      source.value = value;

      const reading = await read(bound());

      expect(reading).toBe('SOURCE_ANSWER_INVALID');
    },
  );

  it('ends at its deadline', async () => {
    const { source, bound, read } = bed();
    source.answer = silence;

    expect(await read(bound({ timeout: '20' }))).toBe('SOURCE_TIMEOUT');
  });

  it('ends soon after its deadline though the client does not listen to its signal', async () => {
    const { source, bound, read } = bed();
    source.answer = () => new Promise(() => {});

    expect(await read(bound({ timeout: '20' }))).toBe('SOURCE_TIMEOUT');
  });
});

describe('many readings of one source', () => {
  it('are asked eight at a time, in order', async () => {
    const { source, bound, read, clock } = bed();
    const answers: ((value: number) => void)[] = [];
    source.answer = () => new Promise(resolve => answers.push(resolve));
    const readings = Array.from({ length: 20 }, (_, n) => read(bound({ query: `q${n}` })));
    await clock.advance(0);
    const asked = [answers.length];

    for (let next = 0; next < 20; next += 1) {
      answers[next]?.(next);
      await clock.advance(0);
      asked.push(answers.length);
    }

    expect(asked.slice(0, 4)).toEqual([8, 9, 10, 11]);
    expect(source.asked.map(({ query }) => query)).toEqual(Array.from({ length: 20 }, (_, n) => `q${n}`));
    expect(await Promise.all(readings)).toEqual(Array.from({ length: 20 }, (_, n) => n));
  });

  it('have their time counted from their turn', async () => {
    const { source, bound, read } = bed();
    source.answer = async query => {
      if (query !== 'last') await new Promise(resolve => setTimeout(resolve, 60));
      return 7;
    };
    const slow = Array.from({ length: 8 }, (_, n) => read(bound({ query: `q${n}` })));

    const last = await read(bound({ query: 'last', timeout: '30' }));

    expect(last).toBe(7);
    await Promise.all(slow);
  });

  it('that wait for their turn fail with those before them where the source hangs', async () => {
    const { source, bound, read } = bed();
    source.answer = silence;

    const given = await Promise.all(
      Array.from({ length: 100 }, (_, n) => read(bound({ query: `q${n}`, timeout: '20' }))),
    );

    expect(new Set(given)).toEqual(new Set(['SOURCE_TIMEOUT']));
    expect(source.asked).toHaveLength(8);
  });
});

describe('a source that fails', () => {
  it('is left alone with pauses that grow to ten seconds, and then asked once more', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = fails('SOURCE_UNREACHABLE');
    const times: number[] = [];

    for (let step = 0; step < 600; step += 1) {
      const before = source.asked.length;
      expect(await read(bound())).toBe('SOURCE_UNREACHABLE');
      if (source.asked.length > before) times.push(clock.elapsed());
      await clock.advance(100);
    }

    expect(times).toEqual([0, 1000, 3000, 7000, 15_000, 25_000, 35_000, 45_000, 55_000]);
  });

  it('counts once when many questions under way fail together', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = fails('SOURCE_UNREACHABLE');
    await Promise.all(Array.from({ length: 100 }, (_, n) => read(bound({ query: `q${n}` }))));
    source.answer = undefined;

    await clock.advance(1000);

    expect(await read(bound())).toBe(0);
  });

  it('is probed by one question after the pause, while all others fail at once with the last fault', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = silence;
    await read(bound({ query: 'first', timeout: '20' }));
    await clock.advance(1000);

    const probe = read(bound({ query: 'probe', timeout: '20' }));
    const others = await Promise.all(['a', 'b', 'c'].map(query => read(bound({ query }))));

    expect(others).toEqual(['SOURCE_TIMEOUT', 'SOURCE_TIMEOUT', 'SOURCE_TIMEOUT']);
    expect(await probe).toBe('SOURCE_TIMEOUT');
    expect(source.asked.map(({ query }) => query)).toEqual(['first', 'probe']);
  });

  it('is used by all again once the probe was answered', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = fails('SOURCE_UNREACHABLE');
    await read(bound());
    source.answer = undefined;
    await clock.advance(1000);

    const probe = await read(bound());
    const others = await Promise.all(['a', 'b'].map(query => read(bound({ query }))));

    expect([probe, ...others]).toEqual([0, 0, 0]);
  });

  it('is probed by a reading though a listener is waiting on it', async () => {
    const { source, sources, bound, read, clock } = bed();
    source.answer = fails('SOURCE_UNREACHABLE');
    await read(bound());
    source.answer = undefined;
    await clock.advance(1000);
    const control = new AbortController();
    const listening = sources
      .follow(bound(), ({ signal }) => silence('', { signal }), control.signal)
      .catch(() => {});
    await clock.advance(0);

    const reading = await read(bound());
    control.abort();
    await listening;

    expect(reading).toBe(0);
  });

  it('is not given up for one slow question while it answers others', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = async (query, context) => (query === 'slow' ? await silence(query, context) : 7);
    const slow = read(bound({ query: 'slow', timeout: '20' }));
    await clock.advance(0);

    const meanwhile = await read(bound({ query: 'quick' }));
    const given = await slow;
    const after = await read(bound({ query: 'quick' }));

    expect([meanwhile, given, after]).toEqual([7, 'SOURCE_TIMEOUT', 7]);
  });

  it.each(['SOURCE_NOT_FOUND', 'SOURCE_FAILED', 'SOURCE_ANSWER_INVALID'] as const)(
    'with %s for one question answers others at once',
    async code => {
      const { source, bound, read } = bed();
      source.answer = async query => (query === 'bad' ? await fails(code)() : 7);

      expect([await read(bound({ query: 'bad' })), await read(bound())]).toEqual([code, 7]);
    },
  );

  it('and asks to be left alone is left alone for that long, by all triggers', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = fails('SOURCE_BUSY', 120_000);
    await read(bound());
    source.answer = undefined;

    await clock.advance(119_999);
    const early = await Promise.all(['a', 'b', 'c'].map(query => read(bound({ query }))));
    await clock.advance(1);
    const late = await read(bound());

    expect(early).toEqual(['SOURCE_BUSY', 'SOURCE_BUSY', 'SOURCE_BUSY']);
    expect(late).toBe(0);
    expect(source.asked).toHaveLength(2);
    expect(source.opened).toHaveLength(1);
  });

  it('is left alone as it asked though an older question is answered later', async () => {
    const { source, bound, read, clock } = bed();
    let answer = (_value: number) => {};
    source.answer = query =>
      query === 'old'
        ? new Promise(resolve => {
            answer = resolve;
          })
        : fails('SOURCE_BUSY', 60_000)();
    const old = read(bound({ query: 'old' }));
    await clock.advance(0);
    await read(bound({ query: 'new' }));

    answer(1);
    await old;

    expect(await read(bound({ query: 'next' }))).toBe('SOURCE_BUSY');
    expect(source.asked).toHaveLength(2);
  });

  it('is asked again after an hour, however long it asked to be left alone', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = fails('SOURCE_BUSY', 1e12);
    await read(bound());
    source.answer = undefined;
    await clock.advance(3_600_000);

    expect(await read(bound())).toBe(0);
  });

  it('does not hold up another one', async () => {
    const { source, bound, read, clock } = bed();
    source.answer = async (query, context) => (query === 'slow' ? await silence(query, context) : 7);
    const slow = read(bound({ endpoint: 'slow', query: 'slow', timeout: '20' }));
    await clock.advance(0);

    expect(await read(bound())).toBe(7);
    expect(await slow).toBe('SOURCE_TIMEOUT');
    expect(await read(bound())).toBe(7);
  });
});
