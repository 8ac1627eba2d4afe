import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Azurite, startAzurite } from '../azurite.ts';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf, until } from './bed.ts';
import { allSettled, deliverJobs, onceEach, successes, tasks } from './delivered-jobs.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';

clusterOf('a queue that is delivered to Jobs in a cluster', {}, cluster => {
  let azurite: Azurite;
  let installed: Installed;
  let operator: RunningOperator;

  beforeAll(async () => {
    azurite = await startAzurite();
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
    await azurite?.stop();
  });

  const deliver = (options?: Parameters<typeof deliverJobs>[2]) => deliverJobs(cluster(), azurite, options);

  it.concurrent('makes a Job of each message, with the message in every container, and acknowledges it', async () => {
    const container = { image: 'example.com/none' };
    const delivered = await deliver({
      podSpec: {
        initContainers: [{ ...container, name: 'first' }],
        containers: [
          { ...container, name: 'main', env: [{ name: 'HELLO', value: 'see $(KEDA_TASK_ID)' }] },
          { ...container, name: 'beside' },
        ],
      },
    });
    const texts = tasks(40);

    await delivered.send(texts);

    const jobs = await delivered.waitFor(all => all.length === 40 && allSettled(all));
    expect(successes(jobs)).toEqual(onceEach(texts));
    expect(await delivered.length()).toBe(0);
    const [job] = jobs;
    const [message] = job?.task.messages ?? [];
    expect(job?.name).toBe(`tasks-${job?.task.hash}-1`);
    expect(job?.task).toMatchObject({ attempt: 1, triggerType: 'azure-queue', settled: 'acknowledged' });
    const variables = {
      KEDA_TASK_DATA: job?.data,
      KEDA_TASK_ID: message?.id,
      KEDA_TASK_ATTEMPT: '1',
      KEDA_TASK_SOURCE: expect.stringContaining(delivered.queue.name),
      KEDA_TASK_TIME: expect.stringMatching(/^20\d\d-.*Z$/),
      KEDA_TRIGGER_TYPE: 'azure-queue',
    };
    expect(job?.env).toEqual({
      ...variables,
      KEDA_TRIGGER_NAME: expect.any(String),
      HELLO: 'see $(KEDA_TASK_ID)',
    });
    const { containers, initContainers } = job?.object['spec'].template.spec ?? {};
    for (const each of [...initContainers, ...containers]) {
      expect(each.env).toEqual(
        expect.arrayContaining([
          { name: 'KEDA_TASK_DATA', value: job?.data },
          { name: 'KEDA_TASK_ID', value: message?.id },
        ]),
      );
    }
  }, 90_000);

  it.concurrent('keeps a Job, and its receipt with it, until its message is settled', async () => {
    const delivered = await deliver({ pod: { work: '4s' } });

    await delivered.send(['one']);

    const [running] = await delivered.waitFor(all => all.length === 1);
    expect(running).toMatchObject({ state: 'unfinished', kept: true });
    expect(running?.task.messages).toEqual([
      { id: expect.any(String), receipt: expect.stringMatching(/^[^:]+:.+/) },
    ]);
    expect(running?.task.settled).toBeUndefined();
    expect(await delivered.length()).toBe(1);
    const [done] = await delivered.waitFor(allSettled);
    expect(done).toMatchObject({ state: 'succeeded', kept: false, task: { settled: 'acknowledged' } });
    expect(await delivered.length()).toBe(0);
  }, 60_000);

  it.concurrent('holds a message for as long as its Job runs, longer than the source hides it at once', async () => {
    // Azure is asked to hide it for a minute.
    const delivered = await deliver({ pod: { work: '75s' } });
    await delivered.send(['long']);
    const [begun] = await delivered.waitFor(all => all.length === 1);

    const [held] = await delivered.waitFor(
      ([job]) => job?.task.messages[0]?.receipt !== begun?.task.messages[0]?.receipt,
    );
    const jobs = await delivered.waitFor(allSettled, 120_000);

    expect(held?.state).toBe('unfinished');
    expect(jobs).toMatchObject([
      { name: begun?.name, state: 'succeeded', task: { settled: 'acknowledged' } },
    ]);
    expect(await delivered.length()).toBe(0);
  }, 180_000);

  it.concurrent('tries a message whose Job failed again after a pause, and then moves it to the poison queue', async () => {
    const delivered = await deliver({ delivery: { maxAttempts: 2 }, pod: { outcome: 'fail' } });

    await delivered.send(['bad']);

    const jobs = await delivered.waitFor(all => all.length === 2 && allSettled(all));
    const [first, second] = jobs.sort((a, b) => a.task.attempt - b.task.attempt);
    expect(first).toMatchObject({ state: 'failed', task: { attempt: 1, settled: 'released' } });
    expect(second).toMatchObject({ state: 'failed', task: { attempt: 2, settled: 'dead-lettered' } });
    expect(second?.env).toMatchObject({ KEDA_TASK_DATA: 'bad', KEDA_TASK_ATTEMPT: '2' });
    expect((second?.task.claimedAt ?? 0) - (first?.task.claimedAt ?? 0)).toBeGreaterThan(5_000);
    expect(await delivered.length()).toBe(0);
    const { peekedMessageItems } = await delivered.poison.peekMessages();
    expect(peekedMessageItems.map(({ messageText }) => messageText)).toEqual(['bad']);
  }, 90_000);

  it.concurrent('hands over what does not fit into a variable as a file, in a Secret that goes with its Job', async () => {
    const delivered = await deliver({ pod: { outcome: 'never' } });
    const body = `${'ü'.repeat(17_000)}!`;

    await delivered.send([body, 'small']);

    const jobs = await delivered.waitFor(all => all.length === 2);
    const small = jobs.find(({ data }) => data === 'small');
    const large = jobs.find(each => each !== small);
    const [container] = large?.object['spec'].template.spec.containers ?? [];
    const [mount] = container.volumeMounts;
    expect(large?.env).not.toHaveProperty('KEDA_TASK_DATA');
    expect(large?.env['KEDA_TASK_FILE']).toBe(`${mount.mountPath}/body`);
    expect(small?.env).not.toHaveProperty('KEDA_TASK_FILE');
    const secretPath = `/api/v1/namespaces/${delivered.namespace}/secrets/${large?.name}-task`;
    const secret = await cluster().waitFor(
      secretPath,
      each => each?.metadata.ownerReferences?.[0]?.kind === 'Job',
    );
    expect(large?.object['spec'].template.spec.volumes).toMatchObject([
      { name: mount.name, secret: { secretName: secret?.metadata.name } },
    ]);
    expect(Buffer.from(secret?.['data'].body, 'base64').toString()).toBe(body);
    expect(secret?.metadata.ownerReferences).toMatchObject([{ uid: large?.object.metadata.uid }]);
    const events = `/apis/events.k8s.io/v1/namespaces/${delivered.namespace}/events`;
    const told = await cluster().waitForList(events, all =>
      all.some(({ reason }) => reason === 'TaskDataInFile'),
    );
    expect(told.find(({ reason }) => reason === 'TaskDataInFile')?.['note']).toContain('larger than 32 KiB');
    await cluster().patch(delivered.path, {
      metadata: { annotations: { 'autoscaling.keda.sh/paused': 'true' } },
    });
    await cluster().delete(`${delivered.jobsPath}/${large?.name}`);
    await cluster().waitFor(secretPath, each => each === undefined, { timeoutMs: 60_000 });
  }, 120_000);

  it.concurrent('gives the Job that comes after one that was deleted its file, which does not go with the other one', async () => {
    const delivered = await deliver({ delivery: { as: 'file' }, pod: { outcome: 'never' } });
    await delivered.send(tasks(12));
    const first = await delivered.waitFor(all => all.length === 12);
    const before = new Set(first.map(({ object }) => object.metadata.uid));

    for (const { name } of first) await cluster().delete(`${delivered.jobsPath}/${name}`);

    const second = await delivered.waitFor(
      all => all.length === 12 && all.every(({ object }) => !before.has(object.metadata.uid)),
    );
    const uids = Object.fromEntries(second.map(({ name, object }) => [`${name}-task`, object.metadata.uid]));
    const secrets = async () => await cluster().list(`/api/v1/namespaces/${delivered.namespace}/secrets`);
    const owned = async () =>
      Object.fromEntries(
        (await secrets())
          .filter(({ metadata }) => metadata.ownerReferences !== undefined)
          .map(({ metadata }) => [metadata.name, metadata.ownerReferences?.[0]?.uid]),
      );
    await until(
      owned,
      found => JSON.stringify(Object.entries(found).sort()) === JSON.stringify(Object.entries(uids).sort()),
    );
  }, 120_000);

  it.concurrent('gives a Job as many messages as batchSize says, as one array', async () => {
    const delivered = await deliver({ delivery: { batchSize: 10 }, spec: { maxReplicaCount: 2 } });
    const texts = tasks(25);

    await delivered.send(texts);

    const jobs = await delivered.waitFor(
      all => all.flatMap(({ task }) => task.messages).length === 25 && allSettled(all),
    );
    const batches = jobs.map(({ data = '' }) => JSON.parse(data) as string[]);
    expect(batches.every(batch => batch.length <= 10)).toBe(true);
    expect(batches.flat().sort()).toEqual([...texts].sort());
    expect(await delivered.length()).toBe(0);
  }, 90_000);

  it.concurrent('never runs more Jobs at once than maxReplicaCount, and leaves the other messages alone', async () => {
    const delivered = await deliver({ spec: { maxReplicaCount: 3 }, pod: { outcome: 'never' } });

    await delivered.send(tasks(10));

    await delivered.waitFor(all => all.length === 3);
    const visible = async () =>
      (await delivered.queue.peekMessages({ numberOfMessages: 32 })).peekedMessageItems;
    await cluster().waitFor(
      delivered.path,
      job =>
        job?.['status']?.conditions?.find((each: { type: string }) => each.type === 'Active')?.status ===
        'True',
    );
    expect(await visible()).toHaveLength(7);
    expect(await delivered.jobs()).toHaveLength(3);
  }, 60_000);

  it.concurrent('gives the message of a Job that is deleted by hand to another one at once', async () => {
    const delivered = await deliver({ pod: { outcome: 'never' } });
    await delivered.send(['again']);
    const [first] = await delivered.waitFor(all => all.length === 1);

    await cluster().delete(`${delivered.jobsPath}/${first?.name}`);

    const [second] = await delivered.waitFor(
      ([job]) => job !== undefined && job.object.metadata.uid !== first?.object.metadata.uid,
    );
    expect(second).toMatchObject({ state: 'unfinished', data: 'again', kept: true });
    expect(await delivered.jobs()).toHaveLength(1);
  }, 90_000);

  it.concurrent('cleans up by the history limits only what is settled', async () => {
    const limits = { successfulJobsHistoryLimit: 2, failedJobsHistoryLimit: 0 };
    const good = await deliver({ spec: limits });
    const bad = await deliver({ spec: limits, delivery: { maxAttempts: 3 }, pod: { outcome: 'fail' } });

    await good.send(tasks(12));
    await bad.send(['bad']);

    await until(good.length, length => length === 0);
    await good.waitFor(all => all.length === 2);
    // The number of the next attempt is counted from it.
    const [spared] = await bad.waitFor(([job]) => job?.task.settled === 'released');
    expect(spared?.state).toBe('failed');
    await until(bad.length, length => length === 0, { timeoutMs: 90_000 });
    await bad.waitFor(all => all.length === 0);
    const { peekedMessageItems } = await bad.poison.peekMessages();
    expect(peekedMessageItems.map(({ messageText }) => messageText)).toEqual(['bad']);
  }, 180_000);

  it('complains of nothing but what failed', () => {
    const complaints = operator.log.split('\n').filter(line => /WARN|ERROR/.test(line));

    // What is deleted by hand in these tests may be written to before that is known.
    const expected = /message was dead-lettered|not found/;
    expect(complaints.filter(line => !expected.test(line))).toEqual([]);
  });
});
