import { describe, expect, it } from 'vitest';
import { engineBed, scaledObject, trigger } from '../../test/engine-bed.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { recompute } from './records.ts';

const unreachable = async () => {
  throw new Fault('SOURCE_UNREACHABLE', 'the source cannot be reached');
};

/** A workload whose target stands at some replicas; `begin` has it decided on for the first time. */
function running(over: Partial<ScaledObject> = {}, replicas = 0) {
  const bed = engineBed({ random: () => 0 });
  const workload = scaledObject(over);
  const { world, clock, source, objects } = bed;
  world.targets.set(workload.key, replicas);
  return {
    bed,
    world,
    clock,
    source,
    objects,
    workload,
    get replicas() {
      return world.targets.get(workload.key);
    },
    get report() {
      return world.reportOf(workload);
    },
    get records() {
      return bed.engine.records(workload.key) ?? [];
    },
    poll: (times = 1) => clock.advance(times * workload.pollingIntervalMs),
    async begin() {
      bed.engine.set(workload);
      await clock.advance(1);
    },
  };
}

const cpu = trigger({ value: '50' }, { type: 'cpu', metricType: 'Utilization' });
const pod = (used: number, startedAt = 0) => ({ pod: 'p', used, requested: 1, ready: true, startedAt });

describe('a ScaledObject', () => {
  it('goes from zero straight to what is needed', async () => {
    const run = running();
    run.source.value = 23;

    await run.begin();

    expect(run.replicas).toBe(5);
    expect(run.report).toMatchObject({
      ready: { status: 'True' },
      active: { status: 'True' },
      desired: 5,
      triggers: [{ name: 'test', metricName: 's0-number', value: 23, active: true }],
    });
  });

  it.each([
    ['stays at zero while its trigger is at the activation threshold', { activation: '10' }, 10, 0],
    ['wakes above the activation threshold', { activation: '10' }, 11, 3],
    ['never exceeds its maximum', {}, 1e9, 10],
  ])('%s', async (_title, metadata, value, replicas) => {
    const run = running({ triggers: [trigger(metadata)] });
    run.source.value = value;

    await run.begin();

    expect(run.replicas).toBe(replicas);
  });

  it('takes what the most demanding of its triggers asks for', async () => {
    const run = running({ triggers: [trigger({ query: 'a' }), trigger({ query: 'b' })] });
    run.source.values.set('a', 12).set('b', 31);

    await run.begin();

    expect(run.replicas).toBe(7);
  });

  it('rests at its idle replicas', async () => {
    const run = running({ idleReplicaCount: 1, minReplicaCount: 2 }, 1);
    await run.begin();
    const idle = run.replicas;
    run.source.value = 1;

    await run.poll();

    expect(idle).toBe(1);
    expect(run.replicas).toBe(2);
  });

  it.each([
    ['paused', { 'autoscaling.keda.sh/paused': 'true' }, 3, 3],
    ['paused at a number of replicas', { 'autoscaling.keda.sh/paused-replicas': '4' }, 1, 4],
    ['paused in scaling out', { 'autoscaling.keda.sh/paused-scale-out': 'true' }, 0, 0],
  ])('that is %s is left there', async (_title, annotations, before, after) => {
    const run = running({ annotations }, before);
    run.source.value = 50;

    await run.begin();
    await run.poll(3);

    expect(run.replicas).toBe(after);
  });

  it('that is paused asks its sources nothing', async () => {
    const run = running({ annotations: { 'autoscaling.keda.sh/paused': 'true' } }, 3);

    await run.begin();
    await run.poll(3);

    expect(run.source.asked).toEqual([]);
    expect(run.report?.why).toBe('Paused.');
  });

  it('is woken by force though no trigger is active', async () => {
    const run = running({ annotations: { 'autoscaling.keda.sh/force-activation': 'true' } });

    await run.begin();

    expect(run.replicas).toBe(1);
  });
});

describe('the cooldown', () => {
  it('passes before a workload goes back to zero', async () => {
    const run = running();
    run.source.value = 1;
    await run.begin();
    run.source.value = 0;

    await run.poll(30);
    const during = run.replicas;
    await run.poll(2);

    expect(during).toBe(1);
    expect(run.replicas).toBe(0);
  });

  it('starts anew when the engine was restarted', async () => {
    const run = running();
    run.source.value = 1;
    await run.begin();
    run.source.value = 0;
    await run.poll(29);
    await run.bed.restart();
    await run.begin();

    await run.poll(29);
    const during = run.replicas;
    await run.poll(3);

    expect(during).toBe(1);
    expect(run.replicas).toBe(0);
  });

  it('goes on where another process told when the workload ceased to be active', async () => {
    const run = running({}, 3);
    run.bed.engine.set(run.workload, { lastActiveAt: run.clock.now() - 290_000 });
    await run.clock.advance(1);
    const during = run.replicas;

    await run.poll(2);

    expect(during).toBeGreaterThan(0);
    expect(run.replicas).toBe(0);
  });

  it('starts anew also where the target could not be read at first', async () => {
    const run = running({}, 3);
    run.world.broken.set('readTarget', new Fault('WORLD_FAILED', 'not now'));
    await run.begin();
    run.world.broken.clear();

    await run.poll(25);

    expect(run.replicas).toBeGreaterThan(0);
  });

  it('goes on where the manifest is edited', async () => {
    const run = running();
    run.source.value = 1;
    await run.begin();
    run.source.value = 0;
    await run.poll(20);
    run.bed.engine.set({ ...run.workload, generation: 2, maxReplicaCount: 20 });

    await run.poll(9);
    const during = run.replicas;
    await run.poll(3);

    expect(during).toBe(1);
    expect(run.replicas).toBe(0);
  });

  it.each([3_600_000, -3_600_000])(
    'lasts as long as it says though the clock is set by %d ms',
    async jump => {
      const run = running();
      run.source.value = 1;
      await run.begin();
      run.source.value = 0;
      await run.poll(10);
      run.clock.jump(jump);

      await run.poll(19);
      const during = run.replicas;
      await run.poll(3);

      expect(during).toBe(1);
      expect(run.replicas).toBe(0);
    },
  );
});

describe('the stabilisation window', () => {
  const busy = async () => {
    const run = running({ minReplicaCount: 1 }, 1);
    run.source.value = 50;
    await run.begin();
    await run.poll(10);
    run.source.value = 5;
    await run.poll();
    return run;
  };

  it('is kept where the manifest is edited', async () => {
    const run = await busy();

    run.bed.engine.set({ ...run.workload, generation: 2, cooldownPeriodMs: 1 });
    await run.poll(20);
    const during = run.replicas;
    await run.poll(20);

    expect(during).toBe(10);
    expect(run.replicas).toBe(1);
  });

  it.each([3_600_000, -3_600_000])(
    'lasts as long as it says though the clock is set by %d ms',
    async jump => {
      const run = await busy();

      run.clock.jump(jump);
      await run.poll(20);
      const during = run.replicas;
      await run.poll(20);

      expect(during).toBe(10);
      expect(run.replicas).toBe(1);
    },
  );
});

describe('an unknown reading', () => {
  it.each([
    ['no trigger can be read', unreachable],
    ['a source gives no number', async () => Number.NaN],
  ])('holds the replicas where %s', async (_title, answer) => {
    const run = running({}, 4);
    run.source.answer = answer;

    await run.begin();
    await run.poll(100);

    expect(run.replicas).toBe(4);
    expect(run.report).toMatchObject({ ready: { status: 'False' }, triggers: [{ value: undefined }] });
    expect(run.report?.triggers[0]?.fault).toBeInstanceOf(Fault);
  });

  it('of one trigger never lowers what another asks for', async () => {
    const run = running({ triggers: [trigger({ query: 'a' }), trigger({ query: 'bad' })] }, 8);
    run.source.answer = async query => (query === 'a' ? 5 : Number.NaN);

    await run.begin();
    await run.poll(100);

    expect(run.replicas).toBe(8);
  });

  it('of one trigger does not keep another from asking for more', async () => {
    const run = running({ triggers: [trigger({ query: 'a' }), trigger({ query: 'bad' })] });
    run.source.answer = async query => (query === 'a' ? 45 : Number.NaN);

    await run.begin();

    expect(run.replicas).toBe(9);
  });

  it('of the target holds, and says so', async () => {
    const run = running();
    run.source.value = 50;
    run.world.broken.set('readTarget', new Fault('WORLD_FAILED', 'the API server is away'));

    await run.begin();
    await run.poll(3);

    expect(run.world.scaled).toEqual([]);
    expect(run.report?.why).toContain('the API server is away');
    expect(run.report?.ready.status).toBe('False');
  });

  it('that a change of the world failed is recorded, and the change is tried again', async () => {
    const run = running();
    run.source.value = 50;
    run.world.broken.set('setReplicas', new Fault('WORLD_FAILED', 'quota exceeded'));
    await run.begin();
    const { failed } = run.records.at(-1) ?? {};
    run.world.broken.clear();

    await run.poll();

    expect(failed?.message).toBe('quota exceeded');
    expect(run.replicas).toBe(10);
  });
});

describe('the fallback', () => {
  const fallback = { failureThreshold: 3, replicas: 6, behavior: 'static' } as const;

  it('applies once a trigger has failed more often than the threshold', async () => {
    const run = running({ fallback }, 3);
    run.source.answer = unreachable;
    await run.begin();
    await run.poll(2);
    const before = run.replicas;

    await run.poll();

    expect(before).toBe(3);
    expect(run.replicas).toBe(6);
    expect(run.report?.fallback?.status).toBe('True');
  });

  it.each([
    [
      'its TriggerAuthentication is missing',
      { authenticationRef: { name: 'no', kind: 'TriggerAuthentication' } as const },
    ],
    ['its type is unknown', { type: 'nonsense' }],
    ['its parameters are wrong', { metadata: { target: 'many' } }],
  ])('applies to a trigger that cannot be built because %s', async (_title, over) => {
    const run = running({ fallback, triggers: [trigger({}, over)] }, 3);

    await run.begin();
    await run.poll(3);

    expect(run.replicas).toBe(6);
  });

  it('keeps its count where the manifest is edited', async () => {
    const run = running({ fallback }, 3);
    run.source.answer = unreachable;
    await run.begin();
    await run.poll(2);

    run.bed.engine.set({ ...run.workload, generation: 2 });
    await run.clock.advance(1);

    expect(run.replicas).toBe(6);
  });

  it('ends with the first reading that succeeds', async () => {
    const run = running({ fallback, cooldownPeriodMs: 0 }, 3);
    run.source.answer = unreachable;
    await run.begin();
    await run.poll(3);
    run.source.answer = undefined;
    run.source.value = 50;

    await run.poll(2);

    expect(run.replicas).toBe(10);
    expect(run.report?.fallback?.status).toBe('False');
  });
});

describe('a formula', () => {
  const triggers = [trigger({ query: 'a' }, { name: 'a' }), trigger({ query: 'b' }, { name: 'b' })];
  const modifiers = (formula: string) => ({ scalingModifiers: { formula, target: '2' }, triggers });

  it('makes one number of all triggers', async () => {
    const run = running(modifiers('a + b'));
    run.source.values.set('a', 5).set('b', 4);

    await run.begin();

    expect(run.replicas).toBe(5);
  });

  it.each([
    ['one of its triggers cannot be read', 'a + b', Number.NaN],
    ['it fails on the values there are', '[1][int(a)] + b', 4],
  ])('holds where %s', async (_title, formula, b) => {
    const run = running(modifiers(formula), 3);
    run.source.values.set('a', 7).set('b', b);

    await run.begin();
    await run.poll(50);

    expect(run.replicas).toBe(3);
    expect(run.report?.ready.status).toBe('False');
  });

  it('may say what stands for a trigger that is absent', async () => {
    const fallback = { failureThreshold: 0, replicas: 1, behavior: 'scalingModifiers' } as const;
    const run = running({ ...modifiers('a ?? b'), fallback });
    run.source.values.set('a', Number.NaN).set('b', 8);

    await run.begin();

    expect(run.replicas).toBe(4);
  });

  it('that comes to nil stands for the replicas of the fallback', async () => {
    const fallback = { failureThreshold: 0, replicas: 3, behavior: 'scalingModifiers' } as const;
    const run = running({ ...modifiers('a ?? nil'), fallback });
    run.source.values.set('a', Number.NaN);

    await run.begin();

    expect(run.replicas).toBe(3);
  });
});

describe('cpu and memory', () => {
  it('scale by the use of the pods, and never to zero', async () => {
    const run = running({ triggers: [cpu] }, 2);
    run.world.pods = [pod(1), { ...pod(1), pod: 'q' }];

    await run.begin();
    const up = run.replicas;
    run.world.pods = [pod(0), { ...pod(0), pod: 'q' }];
    await run.poll(200);

    expect(up).toBe(4);
    expect(run.replicas).toBe(1);
  });

  it('do not wake a workload that another trigger keeps at zero', async () => {
    const run = running({ triggers: [cpu, trigger()] });

    await run.begin();
    await run.poll(3);

    expect(run.replicas).toBe(0);
  });

  it.each([
    ['their use is unknown', [cpu, trigger()]],
    [
      'they cannot be built',
      [trigger({ value: 'much' }, { type: 'cpu', metricType: 'Utilization' }), trigger()],
    ],
  ])('hold what another trigger would lower where %s', async (_title, triggers) => {
    const run = running({ triggers }, 8);
    run.source.value = 5;
    run.world.broken.set('readResource', new Fault('WORLD_FAILED', 'there are no metrics'));

    await run.begin();
    await run.poll(100);

    expect(run.replicas).toBe(8);
  });
});

describe('a trigger that cannot be built', () => {
  it.each([
    ['TYPE_UNKNOWN', 'there is no trigger type "nonsense"', trigger({}, { type: 'nonsense' })],
    ['PARAM_INVALID', 'trigger 0 (test)', trigger({ target: 'many' })],
    ['AUTH_MISSING', 'Secret "no"', trigger({}, { secrets: { key: { name: 'no', key: 'key' } } })],
  ])('says %s, and holds', async (code, sentence, broken) => {
    const run = running({ triggers: [broken] }, 4);

    await run.begin();
    await run.poll(100);

    expect(run.replicas).toBe(4);
    expect(run.report?.triggers[0]?.fault?.code).toBe(code);
    expect(run.report?.triggers[0]?.fault?.message).toContain(sentence);
    expect(run.report?.ready.status).toBe('False');
    expect(run.world.reports).toHaveLength(1);
  });
});

describe('credentials', () => {
  const withAuth = () => {
    const authenticationRef = { name: 'auth', kind: 'TriggerAuthentication' } as const;
    const run = running({ triggers: [trigger({}, { authenticationRef })] });
    const auths = {
      'shop/auth': { secretTargetRef: [{ parameter: 'key', name: 'db', key: 'key' }] },
    };
    return { run, auths };
  };

  it('that were edited are used for the next reading', async () => {
    const { run, auths } = withAuth();
    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'old' } } });
    await run.begin();

    run.objects.secrets = { 'shop/db': { key: 'new' } };
    run.bed.engine.referenceChanged('Secret', 'shop', 'db');
    await run.poll(2);

    expect(run.source.asked.map(({ key }) => key)).toEqual(['old', 'new', 'new']);
    expect(run.source.closed).toBe(1);
  });

  it('that are edited while they are looked up are looked up again', async () => {
    const { run, auths } = withAuth();
    let looks = 0;
    Object.assign(run.objects, { auths });
    Object.defineProperty(run.objects, 'secrets', {
      get() {
        looks += 1;
        if (looks === 1) run.bed.engine.referenceChanged('Secret', 'shop', 'db');
        return { 'shop/db': { key: looks === 1 ? 'old' : 'new' } };
      },
    });
    await run.begin();

    await run.poll(2);

    expect(run.source.asked.map(({ key }) => key)).toEqual(['old', 'new', 'new']);
  });

  it('that were edited do not end a reading under way', async () => {
    const { run, auths } = withAuth();
    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'old' } } });
    let answer = (_value: number) => {};
    run.source.answer = () =>
      new Promise(resolve => {
        answer = resolve;
      });
    await run.begin();

    run.objects.secrets = { 'shop/db': { key: 'new' } };
    run.bed.engine.referenceChanged('Secret', 'shop', 'db');
    await run.clock.advance(1000);
    const closed = run.source.closed;
    answer(23);
    await run.clock.advance(1);

    expect(closed).toBe(0);
    expect(run.replicas).toBe(5);
  });

  it('are looked up anew after the source refused them, though nobody said that they changed', async () => {
    const { run, auths } = withAuth();
    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'old' } } });
    run.source.answer = async (_query, { conn }) => {
      if (conn.key === 'old') throw new Fault('SOURCE_REFUSED', 'who are you?');
      return 1;
    };
    await run.begin();

    run.objects.secrets = { 'shop/db': { key: 'new' } };
    await run.poll();

    expect(run.source.asked.map(({ key }) => key)).toEqual(['old', 'new']);
    expect(run.replicas).toBe(1);
  });

  it('that end are exchanged before, and the old ones are used until then', async () => {
    const authenticationRef = { name: 'auth', kind: 'TriggerAuthentication' } as const;
    const run = running({ triggers: [trigger({}, { authenticationRef })] });
    const bound = [{ parameter: 'key', serviceAccountName: 'reader' }];
    const auths = { 'shop/auth': { boundServiceAccountToken: bound } };
    Object.assign(run.objects, { auths, serviceAccountTokens: { 'shop/reader': 'first' } });
    await run.begin();

    run.objects.serviceAccountTokens = { 'shop/reader': 'second' };
    await run.clock.advance(54 * 60_000);
    const before = run.source.asked.at(-1)?.key;
    await run.clock.advance(2 * 60_000);

    expect(before).toBe('first');
    expect(run.source.asked.at(-1)?.key).toBe('second');
    expect(run.source.opened).toHaveLength(2);
    expect(run.bed.engine.snapshot()[0]?.triggers[0]?.errors).toBe(0);
  });

  it('that end are used to the end where new ones cannot be had', async () => {
    const authenticationRef = { name: 'auth', kind: 'TriggerAuthentication' } as const;
    const run = running({ triggers: [trigger({}, { authenticationRef })] });
    const bound = [{ parameter: 'key', serviceAccountName: 'reader' }];
    const auths = { 'shop/auth': { boundServiceAccountToken: bound } };
    Object.assign(run.objects, { auths, serviceAccountTokens: { 'shop/reader': 'first' } });
    await run.begin();
    Object.defineProperty(run.objects, 'serviceAccountTokens', {
      get() {
        throw new Fault('KUBE_UNREACHABLE', 'the API server does not answer');
      },
    });

    await run.clock.advance(58 * 60_000);

    expect(run.source.asked.at(-1)?.key).toBe('first');
    expect(run.report?.triggers[0]?.fault).toBeUndefined();
  });

  it('that were edited and are the same leave the connection and what it tells alone', async () => {
    const authenticationRef = { name: 'auth', kind: 'TriggerAuthentication' } as const;
    const run = running({ triggers: [trigger({}, { type: 'telling', authenticationRef })] });
    const auths = { 'shop/auth': { secretTargetRef: [{ parameter: 'key', name: 'db', key: 'key' }] } };
    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'old', other: '1' } } });
    await run.begin();

    run.objects.secrets = { 'shop/db': { key: 'old', other: '2' } };
    run.bed.engine.referenceChanged('Secret', 'shop', 'db');
    await run.poll(2);

    expect(run.source.listens).toBe(1);
    expect(run.source.opened).toHaveLength(1);
  });

  it('that are missing are used at once when they appear', async () => {
    const { run, auths } = withAuth();
    run.source.value = 1;
    await run.begin();
    const missing = run.report?.triggers[0]?.fault?.code;

    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'new' } } });
    run.bed.engine.referenceChanged('TriggerAuthentication', 'shop', 'auth');
    await run.clock.advance(1);

    expect(missing).toBe('AUTH_MISSING');
    expect(run.replicas).toBe(1);
  });

  it('that are missing are looked for at every poll', async () => {
    const { run, auths } = withAuth();
    run.source.value = 1;
    await run.begin();

    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'new' } } });
    await run.poll();

    expect(run.replicas).toBe(1);
  });

  it('that were taken away are not used any more', async () => {
    const { run, auths } = withAuth();
    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'old' } } });
    await run.begin();

    run.objects.secrets = {};
    run.bed.engine.referenceChanged('Secret', 'shop', 'db');
    await run.poll(3);

    expect(run.source.asked).toHaveLength(1);
    expect(run.report?.triggers[0]?.fault?.code).toBe('AUTH_MISSING');
  });

  it('never show in a record', async () => {
    const { run, auths } = withAuth();
    Object.assign(run.objects, { auths, secrets: { 'shop/db': { key: 'very secret indeed' } } });
    run.source.answer = async () => {
      throw new Fault('SOURCE_REFUSED', 'refused', { cause: new Secret('very secret indeed') });
    };

    await run.begin();

    const json = JSON.stringify(run.records);
    expect(json).not.toContain('very secret');
    expect(json.length).toBeLessThan(4000);
  });
});

describe('records and reports', () => {
  it('count the same decision instead of adding it', async () => {
    const run = running();

    await run.begin();
    await run.poll(50);

    expect(run.records).toHaveLength(1);
    expect(run.records[0]).toMatchObject({ times: 51, decision: { kind: 'hold' } });
    expect(run.records[0]?.lastAt).toBe((run.records[0]?.at ?? 0) + 500_000);
    expect(run.world.reports).toHaveLength(1);
  });

  it('keep the last decisions only', async () => {
    const run = running();
    await run.begin();
    for (let n = 1; n <= 100; n += 1) {
      run.source.value = n;
      await run.poll();
    }

    expect(run.records).toHaveLength(32);
    expect(run.records.at(-1)?.triggers[0]?.value).toBe(100);
  });

  it('of an earlier version of the manifest are kept', async () => {
    const run = running();
    await run.begin();
    run.source.value = 20;

    run.bed.engine.set({ ...run.workload, generation: 2, maxReplicaCount: 3 });
    await run.clock.advance(1);

    expect(run.records.map(({ decision }) => decision)).toMatchObject([
      { kind: 'hold' },
      { kind: 'scale', to: 3 },
    ]);
  });

  it('are complete as JSON: what is read back comes to the same decision', async () => {
    const run = running();
    run.source.value = 23;
    await run.begin();
    await run.poll(3);

    for (const record of run.records) {
      const read = JSON.parse(JSON.stringify(record));
      expect(JSON.parse(JSON.stringify(recompute(read)))).toEqual(read.decision);
    }
  });
});
