import { describe, expect, it } from 'vitest';
import { engineBed, scaledJob, trigger } from '../../test/engine-bed.ts';
import { Fault } from '../base/errors.ts';
import { defineScaler, type Scaler } from '../scaler/define.ts';
import type { ScaledJob } from '../spec/workload.ts';
import type { Job } from './ports.ts';

/** A ScaledJob and its engine; the world tells the engine of Jobs that end. */
function running(over: Partial<ScaledJob> = {}) {
  const bed = engineBed({ random: () => 0 });
  const workload = scaledJob(over);
  const { world, clock, source, queue } = bed;
  return {
    bed,
    world,
    clock,
    source,
    queue,
    workload,
    get jobs() {
      return [...world.jobs.values()];
    },
    get running() {
      return [...world.jobs.values()].filter(({ state }) => state === 'running');
    },
    get report() {
      return world.reportOf(workload);
    },
    poll: (times = 1) => clock.advance(times * workload.pollingIntervalMs),
    async begin() {
      bed.engine.set(workload);
      await clock.advance(1);
    },
    async finish(name: string, state: 'succeeded' | 'failed' = 'succeeded') {
      bed.engine.jobChanged(workload.key, world.finish(name, state));
      await clock.advance(1);
    },
  };
}

const strategy = (over: Partial<ScaledJob['scalingStrategy']>): Partial<ScaledJob> => ({
  scalingStrategy: {
    strategy: 'default',
    pendingPodConditions: [],
    multipleScalersCalculation: 'max',
    ...over,
  },
});

describe('a ScaledJob that counts', () => {
  it.each([
    ['creates a Job for each that waits', 4, 4],
    ['creates none while nothing waits', 0, 0],
    ['creates no more than its maximum', 1000, 10],
  ])('%s', async (_title, waiting, created) => {
    const run = running();
    run.source.value = waiting;

    await run.begin();

    expect(run.jobs).toHaveLength(created);
    expect(run.report?.jobs).toBeDefined();
  });

  it('creates no Jobs for what Jobs that run already count for', async () => {
    const run = running();
    run.source.value = 4;
    await run.begin();

    await run.poll(3);

    expect(run.jobs).toHaveLength(4);
  });

  it.each([
    ['phase', [], 4],
    ['conditions', ['Ready'], 8],
  ])('counts Jobs that wait to work by %s', async (_title, pendingPodConditions, total) => {
    const run = running(strategy({ strategy: 'accurate', pendingPodConditions }));
    run.source.value = 4;
    await run.begin();

    for (const job of run.jobs) job.pods = [{ phase: 'Pending', conditions: ['Ready'] }];
    await run.poll();

    expect(run.jobs).toHaveLength(total);
  });

  it.each(['max', 'min', 'avg', 'sum'] as const)(
    'counts by the first metric of a trigger, against its own target: %s',
    async calculation => {
      const several = defineScaler<Record<string, never>, object, number>({
        type: 'several',
        doc: 'Two metrics.',
        testedWith: { kind: 'none-needed' },
        params: {},
        resolve: () => 0,
        endpoint: () => 'here',
        open: async () => ({}),
        describe: async () => [
          { metricName: 'mails', target: 2, params: 8 },
          { metricName: 'prints', target: 5, params: 30 },
        ],
        read: async waiting => waiting,
      });
      await using bed = engineBed({ random: () => 0, more: { several: several as unknown as Scaler } });
      const triggers = [trigger({}, { type: 'several' })];

      bed.engine.set(scaledJob({ ...strategy({ multipleScalersCalculation: calculation }), triggers }));
      await bed.clock.advance(1);

      expect(bed.world.jobs.size).toBe(4);
    },
  );

  it('creates none, and says so, where the Jobs cannot be listed', async () => {
    const run = running();
    run.source.value = 4;
    run.world.broken.set('listJobs', new Fault('WORLD_FAILED', 'the API server is away'));

    await run.begin();

    expect(run.jobs).toEqual([]);
    expect(run.report?.why).toContain('the API server is away');
  });

  it('creates none where the source cannot be read', async () => {
    const run = running();
    run.source.value = Number.NaN;

    await run.begin();

    expect(run.jobs).toEqual([]);
    expect(run.report).toMatchObject({ ready: { status: 'False' }, active: { status: 'False' } });
  });

  it('says which Jobs could not be created, and tries again', async () => {
    const run = running();
    run.source.value = 2;
    run.world.broken.set('createJob', new Fault('WORLD_FAILED', 'quota exceeded'));
    await run.begin();
    const { why } = run.report ?? {};
    run.world.broken.clear();

    await run.poll();

    expect(why).toContain('2 of 2 Jobs were not created');
    expect(run.jobs).toHaveLength(2);
  });

  it('is decided on at once when a Job ends', async () => {
    const run = running({ maxReplicaCount: 1 });
    run.source.value = 3;
    await run.begin();
    const [first] = run.jobs;

    await run.finish(first?.name ?? '');
    await run.clock.advance(100);

    expect(run.running).toHaveLength(1);
    expect(run.report?.jobs).toMatchObject({ succeeded: 1 });
  });

  it('is decided on at once when the work of a Job is done, and not again when the Job says so', async () => {
    const run = running({ maxReplicaCount: 1 });
    run.source.value = 2;
    await run.begin();
    const [first] = run.jobs;

    if (first !== undefined) first.worked = true;
    run.bed.engine.jobChanged(run.workload.key, { ...first } as Job);
    await run.clock.advance(100);
    const whenDone = run.jobs.length;
    const { length: asked } = run.source.asked;
    await run.finish(first?.name ?? '');
    await run.clock.advance(100);

    expect(whenDone).toBe(2);
    expect(run.source.asked).toHaveLength(asked);
    expect(run.report?.jobs).toMatchObject({ succeeded: 1 });
  });

  it('keeps so many finished Jobs as its history limits allow, the newest', async () => {
    const run = running({ successfulJobsHistoryLimit: 2, failedJobsHistoryLimit: 1 });
    run.source.value = 6;
    await run.begin();
    run.source.value = 0;
    const names = run.jobs.map(({ name }) => name);
    for (const [index, name] of names.entries()) await run.finish(name, index < 4 ? 'succeeded' : 'failed');

    await run.poll();

    expect(run.jobs.map(({ name }) => name)).toEqual([names[2], names[3], names[5]]);
  });

  it('goes on while its history is cleaned up', async () => {
    const run = running({ successfulJobsHistoryLimit: 0 });
    run.source.value = 3;
    await run.begin();
    for (const { name } of run.jobs) run.world.finish(name, 'succeeded');
    let letGo = () => {};
    run.world.held.set('deleteJob', new Promise(resolve => (letGo = resolve)));

    await run.poll(2);
    const runningMeanwhile = run.running.length;
    letGo();
    await run.clock.advance(1);

    expect(runningMeanwhile).toBe(3);
    expect(run.world.deleted).toHaveLength(3);
  });

  it('that is paused leaves everything as it is', async () => {
    const run = running({ annotations: { 'autoscaling.keda.sh/paused': 'true' } });
    run.source.value = 4;

    await run.begin();
    await run.poll(3);

    expect(run.jobs).toEqual([]);
    expect(run.source.asked).toEqual([]);
    expect(run.report?.why).toBe('Paused.');
  });

  it('that is removed while it is read creates nothing', async () => {
    const run = running();
    let answer = (_value: number) => {};
    run.source.answer = () =>
      new Promise(resolve => {
        answer = resolve;
      });
    await run.begin();

    run.bed.engine.remove(run.workload.key);
    answer(5);
    await run.poll(3);

    expect(run.jobs).toEqual([]);
  });
});

describe('a ScaledJob that delivers', () => {
  const delivery = { as: 'env', batchSize: 1, maxAttempts: 3 } as const;
  const delivering = (over: Partial<ScaledJob> = {}) =>
    running({ delivery, triggers: [trigger({}, { type: 'queue' })], ...over });

  it('hands each message to a Job of its own', async () => {
    const run = delivering();
    for (const id of ['a', 'b', 'c']) run.queue.send(id);

    await run.begin();

    expect(run.jobs.map(({ request }) => request.env['KEDA_TASK_DATA'])).toEqual(['a', 'b', 'c']);
    expect(run.report).toMatchObject({
      ready: { status: 'True' },
      active: { status: 'True' },
      triggers: [{ value: 3 }],
    });
  });

  it('fills the slot of a Job that ended without waiting for the next poll', async () => {
    const run = delivering({ maxReplicaCount: 1 });
    for (const id of ['a', 'b', 'c']) run.queue.send(id);
    await run.begin();

    for (const _ of ['a', 'b', 'c']) await run.finish(run.running[0]?.name ?? '');

    expect(run.queue.acknowledged).toEqual(['a', 'b', 'c']);
    expect(run.clock.elapsed()).toBeLessThan(100);
  });

  it('fills the slot of a Job whose work is done, and settles its message when the Job says so', async () => {
    const run = delivering({ maxReplicaCount: 1 });
    for (const id of ['a', 'b', 'c']) run.queue.send(id);
    await run.begin();
    const [first] = run.jobs;

    if (first !== undefined) first.worked = true;
    run.bed.engine.jobChanged(run.workload.key, { ...first } as Job);
    await run.poll(2);
    const settledBefore = [...run.queue.acknowledged];
    await run.finish(first?.name ?? '');

    expect(run.jobs).toHaveLength(2);
    expect(settledBefore).toEqual([]);
    expect(run.queue.acknowledged).toEqual(['a']);
  });

  it('says which trigger cannot be delivered', async () => {
    const run = running({ delivery });

    await run.begin();

    expect(run.report?.ready).toMatchObject({ status: 'False' });
    expect(run.report?.why).toContain('messages of test cannot be delivered');
    const reports = run.world.reports.length;
    await run.poll(3);
    expect(run.world.reports).toHaveLength(reports);
  });

  it('begins as soon as a trigger that could not be built can be', async () => {
    const authenticationRef = { name: 'auth', kind: 'TriggerAuthentication' } as const;
    const run = delivering({ triggers: [trigger({}, { type: 'queue', authenticationRef })] });
    run.queue.send('a');
    await run.begin();
    const before = run.jobs.length;

    run.bed.objects.auths = { 'shop/auth': {} };
    run.bed.engine.referenceChanged('TriggerAuthentication', 'shop', 'auth');
    await run.clock.advance(1);

    expect(before).toBe(0);
    expect(run.jobs).toHaveLength(1);
    expect(run.report?.ready.status).toBe('True');
  });

  it('deletes no Job whose message is not settled while it cannot begin', async () => {
    const authenticationRef = { name: 'auth', kind: 'TriggerAuthentication' } as const;
    const run = delivering({
      triggers: [trigger({}, { type: 'queue', authenticationRef })],
      successfulJobsHistoryLimit: 0,
    });
    run.bed.objects.auths = { 'shop/auth': {} };
    run.queue.send('a');
    await run.begin();
    run.bed.objects.auths = {};
    await run.bed.restart();
    run.world.finish(run.jobs[0]?.name ?? '', 'succeeded');

    await run.begin();
    const { deleted } = run.world;
    const before = [...deleted];
    run.bed.objects.auths = { 'shop/auth': {} };
    run.bed.engine.referenceChanged('TriggerAuthentication', 'shop', 'auth');
    await run.poll(2);

    expect(before).toEqual([]);
    expect(run.queue.acknowledged).toEqual(['a']);
    expect(deleted).toHaveLength(1);
  });

  it('goes on with what another process began', async () => {
    const run = delivering();
    run.queue.send('a');
    await run.begin();
    await run.bed.restart();
    await run.begin();

    await run.finish(run.jobs[0]?.name ?? '');

    expect(run.jobs).toHaveLength(1);
    expect(run.queue.acknowledged).toEqual(['a']);
  });

  it('goes on over an edit of the manifest, and no message runs twice', async () => {
    const run = delivering();
    for (const id of ['a', 'b']) run.queue.send(id);
    await run.begin();

    run.bed.engine.set({ ...run.workload, generation: 2, maxReplicaCount: 5 });
    await run.clock.advance(5000);
    run.queue.send('c');
    await run.poll();
    for (const { name } of run.running) await run.finish(name);

    expect(run.jobs).toHaveLength(3);
    expect(run.queue.acknowledged).toEqual(['a', 'b', 'c']);
  });

  it('that is paused begins nothing, and still holds and settles what runs', async () => {
    const run = delivering({ maxReplicaCount: 2 });
    for (const id of ['a', 'b', 'c']) run.queue.send(id);
    await run.begin();
    const annotations = { 'autoscaling.keda.sh/paused': 'true' };

    run.bed.engine.set({ ...run.workload, annotations });
    await run.poll(30);
    for (const { name } of run.running) await run.finish(name);
    await run.poll();

    expect(run.jobs).toHaveLength(2);
    expect(run.queue.acknowledged).toEqual(['a', 'b']);
    expect(run.report?.why).toBe('Paused.');
  });

  it('spares Jobs that the next attempt is counted from, and no others, from the history limits', async () => {
    const run = delivering({ successfulJobsHistoryLimit: 0, failedJobsHistoryLimit: 0 });
    for (const id of ['good', 'bad']) run.queue.send(id);
    await run.begin();
    const [good, bad] = run.jobs.map(({ name }) => name);

    await run.finish(good ?? '');
    await run.finish(bad ?? '', 'failed');
    run.bed.engine.wake(run.workload.key);
    await run.clock.advance(1);

    expect(run.world.deleted).toEqual([good]);
    expect(run.jobs.map(({ name }) => name)).toContain(bad);
  });
});
