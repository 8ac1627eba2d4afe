import { describe, expect, it } from 'vitest';
import { type EngineBed, engineBed, scaledObject, silence, trigger } from '../../test/engine-bed.ts';
import { Fault } from '../base/errors.ts';
import type { ScaledObject } from '../spec/workload.ts';

/** Takes on workloads whose targets stand at some replicas. */
function set(bed: EngineBed, workloads: readonly ScaledObject[], replicas = 0): void {
  for (const workload of workloads) {
    bed.world.targets.set(workload.key, replicas);
    bed.engine.set(workload);
  }
}

const many = (count: number) =>
  Array.from({ length: count }, (_, n) =>
    scaledObject({ name: `web-${n}`, triggers: [trigger({ query: `q${n}` })] }),
  );

/** A promise that a test keeps. */
function gate(): { open(): void; opened: Promise<void> } {
  let open = () => {};
  const opened = new Promise<void>(resolve => {
    open = resolve;
  });
  return { open: () => open(), opened };
}

describe('the loop', () => {
  it('spreads first readings over the polling interval', async () => {
    let next = 0;
    const bed = engineBed({
      random: () => {
        next += 1;
        return (next % 100) / 100;
      },
    });
    set(bed, many(100), 1);

    await bed.clock.advance(9_999);

    const perSecond = Array.from(
      { length: 10 },
      (_, second) => bed.source.asked.filter(({ at }) => Math.floor(at / 1000) === second).length,
    );
    expect(perSecond).toEqual(Array(10).fill(10));
  });

  it('reads what stands at zero first', async () => {
    const bed = engineBed();
    set(bed, many(50).slice(0, 25), 1);
    set(bed, many(50).slice(25), 0);

    await bed.clock.advance(100);

    expect(bed.source.asked.map(({ query }) => query)).toEqual(
      Array.from({ length: 25 }, (_, n) => `q${n + 25}`),
    );
  });

  it('reads each workload once in every polling interval from then on', async () => {
    const bed = engineBed();
    set(bed, many(20), 0);
    await bed.clock.advance(10_000);
    bed.source.asked.length = 0;

    await bed.clock.advance(50_000);

    expect(bed.source.asked).toHaveLength(100);
  });

  it.each([3_600_000, -3_600_000])('neither fires nor starves when the clock is set by %d ms', async jump => {
    const bed = engineBed();
    set(bed, [scaledObject()], 0);
    await bed.clock.advance(10_000);
    bed.source.asked.length = 0;

    bed.clock.jump(jump);
    await bed.clock.advance(1);
    const atOnce = bed.source.asked.length;
    await bed.clock.advance(30_000);

    expect(atOnce).toBe(0);
    expect(bed.source.asked).toHaveLength(3);
  });

  it('lets a slow source delay only its own workload', async () => {
    const bed = engineBed();
    const slow = scaledObject({ name: 'slow', triggers: [trigger({ endpoint: 'slow', query: 'slow' })] });
    bed.source.answer = async query => (query === 'slow' ? await new Promise<never>(() => {}) : 5);
    const quick = scaledObject({ name: 'quick' });
    set(bed, [slow, quick]);

    await bed.clock.advance(30_000);

    expect(bed.source.asked.filter(({ query }) => query === '').length).toBeGreaterThan(3);
    expect(bed.world.targets.get(quick.key)).toBe(1);
  });

  it('decides at once when it is woken', async () => {
    const bed = engineBed();
    const workload = scaledObject();
    set(bed, [workload]);
    await bed.clock.advance(5001);
    bed.source.value = 50;

    bed.engine.wake(workload.key);
    bed.engine.wake('ScaledObject/shop/nobody');
    await bed.clock.advance(0);

    expect(bed.world.targets.get(workload.key)).toBe(10);
  });

  it('decides once more, and only once, when it is woken while it decides', async () => {
    const bed = engineBed();
    const workload = scaledObject();
    const reading = gate();
    set(bed, [workload]);
    bed.source.answer = async () => {
      await reading.opened;
      return 0;
    };
    await bed.clock.advance(1);

    for (let times = 0; times < 5; times += 1) bed.engine.wake(workload.key);
    reading.open();
    await bed.clock.advance(1);

    expect(bed.source.asked).toHaveLength(2);
  });
});

describe('a source that tells by itself', () => {
  const telling = scaledObject({ triggers: [trigger({}, { type: 'telling' })] });

  it('has its value decided on at once, without being asked', async () => {
    const bed = engineBed();
    set(bed, [telling]);
    await bed.clock.advance(1);
    const asked = bed.source.asked.length;

    bed.source.tell(23);
    await bed.clock.advance(0);

    expect(bed.world.targets.get(telling.key)).toBe(5);
    expect(bed.source.asked).toHaveLength(asked);
  });

  it('is listened to again after a pause when it stops telling', async () => {
    const bed = engineBed({ random: () => 1 - Number.EPSILON });
    set(bed, [telling]);
    await bed.clock.advance(1);

    bed.source.endTelling(new Fault('SOURCE_FAILED', 'over'));
    await bed.clock.advance(1000);
    const meanwhile = bed.source.listeners;
    await bed.clock.advance(1001);

    expect(meanwhile).toBe(0);
    expect(bed.source.listeners).toBe(1);
    expect(bed.complaints).toHaveLength(1);
  });

  it('is not listened to any more once its workload is gone, and that is no complaint', async () => {
    const bed = engineBed();
    set(bed, [telling]);
    await bed.clock.advance(1);

    bed.engine.remove(telling.key);
    await bed.clock.advance(120_000);

    expect(bed.source.listeners).toBe(0);
    expect(bed.complaints).toEqual([]);
    expect(bed.engine.connections).toBe(0);
  });
});

describe('a workload', () => {
  it('that is set again unchanged goes on undisturbed', async () => {
    const bed = engineBed();
    set(bed, [scaledObject()]);
    await bed.clock.advance(5001);
    const asked = bed.source.asked.length;

    bed.engine.set(scaledObject());
    await bed.clock.advance(1);

    expect(bed.source.asked).toHaveLength(asked);
  });

  it('that is changed is decided on at once, over the same connection', async () => {
    const bed = engineBed();
    set(bed, [scaledObject()]);
    bed.source.value = 50;
    await bed.clock.advance(1);

    bed.engine.set(scaledObject({ generation: 2, maxReplicaCount: 4 }));
    await bed.clock.advance(1);

    expect(bed.world.scaled.map(({ to }) => to)).toEqual([10, 4]);
    expect(bed.source.opened).toHaveLength(1);
  });

  it('that is changed waits for what the version before it is applying', async () => {
    const bed = engineBed();
    const applying = gate();
    bed.world.held.set('setReplicas', applying.opened);
    bed.source.value = 50;
    set(bed, [scaledObject()]);
    await bed.clock.advance(1);

    bed.engine.set(scaledObject({ generation: 2, maxReplicaCount: 4 }));
    await bed.clock.advance(100);
    const before = bed.source.asked.length;
    applying.open();
    await bed.clock.advance(1);

    expect(before).toBe(1);
    expect(bed.world.scaled.map(({ to }) => to)).toEqual([10, 4]);
  });

  it.each<[string, (bed: EngineBed, last: ScaledObject) => void]>([
    [
      'changed twice',
      ({ engine }, last) => {
        engine.set(scaledObject({ generation: 2, maxReplicaCount: 7 }));
        engine.set(last);
      },
    ],
    [
      'removed and set again',
      ({ engine }, last) => {
        engine.remove(last.key);
        engine.set(last);
      },
    ],
  ])('that is %s waits for what its first version is applying', async (_how, change) => {
    const bed = engineBed();
    const applying = gate();
    bed.world.held.set('setReplicas', applying.opened);
    bed.source.value = 50;
    set(bed, [scaledObject()]);
    await bed.clock.advance(1);

    change(bed, scaledObject({ generation: 3, maxReplicaCount: 4 }));
    await bed.clock.advance(40_000);
    const before = bed.source.asked.length;
    applying.open();
    await bed.clock.advance(40_000);

    expect(before).toBe(1);
    expect(bed.world.scaled.map(({ to }) => to)).toEqual([10, 4]);
  });

  it('that is made anew under the same name knows nothing of the old one', async () => {
    const bed = engineBed();
    set(bed, [scaledObject()]);
    await bed.clock.advance(1);

    bed.engine.set(scaledObject({ uid: 'another' }));
    const [status] = bed.engine.snapshot();

    expect(status?.report).toBeUndefined();
  });

  it('that is removed while it is read is not scaled any more', async () => {
    const bed = engineBed();
    const reading = gate();
    const workload = scaledObject();
    bed.source.answer = async () => {
      await reading.opened;
      return 50;
    };
    set(bed, [workload]);
    await bed.clock.advance(1);

    bed.engine.remove(workload.key);
    reading.open();
    await bed.clock.advance(60_000);

    expect(bed.world.scaled).toEqual([]);
    expect(bed.world.reports).toEqual([]);
    expect(bed.source.asked).toHaveLength(1);
    expect(bed.engine.records(workload.key)).toBeUndefined();
    expect(bed.engine.connections).toBe(0);
  });

  it('shows in the snapshot as long as it is there', async () => {
    const bed = engineBed();
    const [one, other] = many(2);
    if (one === undefined || other === undefined) throw new Error('too few');
    set(bed, [one, other]);
    await bed.clock.advance(5);
    bed.engine.remove(other.key);

    expect(bed.engine.snapshot()).toMatchObject([
      { key: one.key, kind: 'ScaledObject', namespace: 'shop', name: 'web-0', report: { desired: 0 } },
    ]);
  });
});

describe('an engine that is disposed', () => {
  it('finishes what it is applying', async () => {
    const bed = engineBed();
    const applying = gate();
    bed.world.held.set('setReplicas', applying.opened);
    bed.source.value = 50;
    set(bed, [scaledObject()]);
    await bed.clock.advance(1);

    let over = false;
    const disposed = bed.engine[Symbol.asyncDispose]().then(() => {
      over = true;
    });
    await bed.clock.advance(5000);
    const early = over;
    applying.open();
    await disposed;

    expect(early).toBe(false);
    expect(bed.world.scaled.map(({ to }) => to)).toEqual([10]);
    expect(bed.source.closed).toBe(1);
  });

  it('waits ten seconds at most', async () => {
    const bed = engineBed();
    bed.world.held.set('setReplicas', new Promise(() => {}));
    bed.source.value = 50;
    set(bed, [scaledObject()]);
    await bed.clock.advance(1);

    const disposed = bed.engine[Symbol.asyncDispose]();
    await bed.clock.advance(10_000);

    await disposed;
  });

  it('cancels what it is reading, and decides nothing on it', async () => {
    const bed = engineBed();
    bed.source.answer = silence;
    set(bed, [scaledObject()], 3);
    bed.engine.wake('ScaledObject/shop/web');
    await bed.clock.advance(1);

    await bed.engine[Symbol.asyncDispose]();
    await bed.clock.advance(60_000);

    expect(bed.source.asked).toHaveLength(1);
    expect(bed.world.scaled).toEqual([]);
    expect(bed.world.reports).toEqual([]);
    expect(bed.source.closed).toBe(1);
  });

  it('may be disposed again, and takes on nothing more', async () => {
    const bed = engineBed();
    set(bed, [scaledObject()]);
    await bed.clock.advance(1);

    await bed.engine[Symbol.asyncDispose]();
    await bed.engine[Symbol.asyncDispose]();
    bed.engine.set(scaledObject({ name: 'late' }));
    bed.engine.wake('ScaledObject/shop/web');
    bed.engine.remove('ScaledObject/shop/web');
    await bed.clock.advance(60_000);

    expect(bed.source.asked).toHaveLength(1);
    expect(bed.source.closed).toBe(1);
  });
});
