import { beforeAll, expect, it } from 'vitest';
import type { Task } from '../../src/engine/ports.ts';
import type { ScaledJob } from '../../src/spec/workload.ts';
import { type ClusterObject, clusterOf, until } from './bed.ts';
import {
  applyCrds,
  pathOf,
  type RunningLifecycle,
  scaledJob,
  scaledJobOf,
  startLifecycle,
} from './lifecycle-bed.ts';

const signal = AbortSignal.timeout(600_000);
const forever = { 'bed/outcome': 'never' };

const task = (over: Partial<Task> = {}): Task => ({
  hash: 'abc',
  attempt: 1,
  triggerIndex: 0,
  triggerType: 'azure-queue',
  queueId: 'q',
  messages: [{ id: 'm1', receipt: 'r1' }],
  claimedAt: 1000,
  ...over,
});

clusterOf('Jobs of ScaledJobs on a real control plane', {}, cluster => {
  beforeAll(() => applyCrds(cluster()), 120_000);

  async function begin(manifest: Parameters<ReturnType<typeof cluster>['create']>[0]) {
    const namespace = await cluster().namespace();
    const running = await startLifecycle(cluster(), { namespaces: [namespace] });
    await cluster().create(manifest, namespace);
    const workload = await known(running, `ScaledJob/${namespace}/work`);
    return { namespace, running, workload };
  }

  async function known(running: RunningLifecycle, key: string): Promise<ScaledJob> {
    await until(
      async () => running.workload(key),
      workload => workload !== undefined,
    );
    return scaledJobOf(running, key);
  }

  const jobsIn = (namespace: string) => cluster().list(pathOf.jobs(namespace));
  const isOver = (job: ClusterObject | undefined) => job?.['status']?.succeeded === 1;

  it('creates a Job by count, lists it at once, and tells when it has run', async () => {
    const metadata = { labels: { team: 'blue' }, annotations: { note: 'yes' } };
    const { namespace, running, workload } = await begin(scaledJob('work', { metadata }));
    await using _running = running;

    await running.lifecycle.createJob(workload, { env: {} }, signal);
    const listed = await running.lifecycle.listJobs(workload, signal);
    const [job] = await jobsIn(namespace);
    await until(
      async () => running.heard.jobs.at(-1)?.job.state,
      state => state === 'succeeded',
    );

    expect(listed).toMatchObject([
      { name: expect.stringMatching(/^work-.{5}$/), state: 'pending', generation: 1 },
    ]);
    expect(job?.metadata.labels).toEqual({
      'app.kubernetes.io/name': 'work',
      'app.kubernetes.io/version': '1.2.3',
      'app.kubernetes.io/part-of': 'work',
      'app.kubernetes.io/managed-by': 'keda-operator',
      'scaledjob.keda.sh/name': 'work',
      team: 'blue',
    });
    expect(job?.metadata.annotations).toMatchObject({ 'scaledjob.keda.sh/generation': '1', note: 'yes' });
    expect(job?.metadata.finalizers).toBeUndefined();
    expect(job?.metadata.ownerReferences).toMatchObject([
      { kind: 'ScaledJob', uid: workload.uid, controller: true },
    ]);
    expect(job?.['spec'].template.spec.restartPolicy).toBe('OnFailure');
    expect(job?.['spec'].template.metadata.labels['scaledjob.keda.sh/name']).toBe('work');
    const after = await running.lifecycle.listJobs(workload, signal);
    expect(after[0]?.finishedAt).toBeGreaterThan(0);
  });

  it('gives a Job its message, once, and keeps it until that is settled', async () => {
    const spec = {
      jobTargetRef: {
        ttlSecondsAfterFinished: 0,
        template: { spec: { containers: [{ name: 'main', image: 'none' }] } },
      },
    };
    const { namespace, running, workload } = await begin(scaledJob('work', { spec }));
    await using _running = running;
    const { lifecycle, heard } = running;
    const path = pathOf.job(namespace, 'work-abc-1');
    const env = { KEDA_TASK_DATA: 'costs $5, $(HOME) or $$' };
    const request = { name: 'work-abc-1', env, task: task() };

    const outcomes = [
      await lifecycle.createJob(workload, request, signal),
      await lifecycle.createJob(workload, request, signal),
    ];
    const created = await cluster().get(path);
    await lifecycle.updateTask(
      workload,
      'work-abc-1',
      task({ messages: [{ id: 'm1', receipt: 'r2' }] }),
      signal,
    );
    const listed = await lifecycle.listJobs(workload, signal);
    // The TTL of the Job is over as soon as it is; only our finalizer keeps it.
    await cluster().waitFor(path, job => isOver(job) && job?.metadata.deletionTimestamp !== undefined);
    await until(
      async () => heard.jobs.at(-1)?.job.state,
      state => state === 'succeeded',
    );
    const heldWhileOpen = heard.gone.length;
    await lifecycle.updateTask(workload, 'work-abc-1', task({ settled: 'acknowledged' }), signal);
    await cluster().waitFor(path, job => job === undefined);
    await until(
      async () => heard.gone.length,
      length => length === 1,
    );

    expect(outcomes).toEqual(['created', 'exists']);
    expect(created?.metadata.finalizers).toEqual(['eventide.dev/task']);
    expect(created?.['spec'].template.spec.containers[0].env).toEqual([
      { name: 'KEDA_TASK_DATA', value: 'costs $$5, $$(HOME) or $$$$' },
    ]);
    expect(listed[0]?.task?.messages).toEqual([{ id: 'm1', receipt: 'r2' }]);
    expect(heldWhileOpen).toBe(0);
    expect(await lifecycle.listJobs(workload, signal)).toEqual([]);
  });

  it('hands a large message over in a Secret that goes with the Job', async () => {
    const { namespace, running, workload } = await begin(scaledJob('work', { annotations: forever }));
    await using _running = running;
    const body = new Uint8Array([0, 255, 1]);
    const request = { name: 'work-abc-1', env: {}, file: { variable: 'KEDA_TASK_FILE', body }, task: task() };

    // What a try that broke off has left behind is no obstacle.
    const left = { metadata: { name: 'work-abc-1-task' }, data: { body: 'b2xk' } };
    await cluster().create({ apiVersion: 'v1', kind: 'Secret', ...left }, namespace);
    const first = await running.lifecycle.createJob(workload, request, signal);
    const second = await running.lifecycle.createJob(workload, request, signal);
    const job = await cluster().get(pathOf.job(namespace, 'work-abc-1'));
    const secret = await cluster().get(`/api/v1/namespaces/${namespace}/secrets/work-abc-1-task`);
    await running.lifecycle.deleteJob(workload, 'work-abc-1', signal);
    await cluster().waitFor(pathOf.job(namespace, 'work-abc-1'), each => each === undefined);
    await cluster().waitFor(
      `/api/v1/namespaces/${namespace}/secrets/work-abc-1-task`,
      each => each === undefined,
    );

    const [container] = job?.['spec'].template.spec.containers ?? [];
    const [mount] = container.volumeMounts;
    expect(container.env).toEqual([{ name: 'KEDA_TASK_FILE', value: `${mount.mountPath}/body` }]);
    expect(job?.['spec'].template.spec.volumes[0]).toMatchObject({
      name: mount.name,
      secret: { secretName: 'work-abc-1-task' },
    });
    expect([first, second]).toEqual(['created', 'exists']);
    expect(secret?.['data']).toEqual({ body: Buffer.from(body).toString('base64') });
    expect(secret?.metadata.ownerReferences).toMatchObject([{ kind: 'Job', uid: job?.metadata.uid }]);
  }, 60_000);

  it('lets a Job that is deleted by hand go, and says so', async () => {
    const { namespace, running, workload } = await begin(scaledJob('work', { annotations: forever }));
    await using _running = running;
    await running.lifecycle.createJob(workload, { name: 'work-abc-1', env: {}, task: task() }, signal);

    await cluster().delete(pathOf.job(namespace, 'work-abc-1'));

    await cluster().waitFor(pathOf.job(namespace, 'work-abc-1'), each => each === undefined);
    await until(
      async () => running.heard.gone,
      gone => gone.length === 1,
    );
    expect(running.heard.gone).toEqual([{ key: workload.key, name: 'work-abc-1' }]);
  });

  it('lets the Jobs of a deleted ScaledJob go with it', async () => {
    const { namespace, running, workload } = await begin(scaledJob('work', { annotations: forever }));
    await using _running = running;
    await running.lifecycle.createJob(workload, { name: 'work-abc-1', env: {}, task: task() }, signal);
    await cluster().waitFor(
      pathOf.scaledJob(namespace, 'work'),
      each => each?.metadata.finalizers !== undefined,
    );

    await cluster().delete(pathOf.scaledJob(namespace, 'work'));

    await cluster().waitFor(pathOf.scaledJob(namespace, 'work'), each => each === undefined);
    // The garbage collector looks for new kinds every 30 seconds.
    await cluster().waitForList(pathOf.jobs(namespace), jobs => jobs.length === 0, { timeoutMs: 80_000 });
    await running.lifecycle.flush(signal);
    const events = await cluster().list(pathOf.events(namespace));
    expect(events.find(each => each['reason'] === 'ScaledJobDeleted')?.['type']).toBe('Warning');
  }, 120_000);

  it('frees Jobs that are held for a ScaledJob that went while nobody was there', async () => {
    const namespace = await cluster().namespace();
    const labels = { 'scaledjob.keda.sh/name': 'work' };
    const annotations = { 'eventide.dev/task': JSON.stringify(task()) };
    const pod = { containers: [{ name: 'main', image: 'none' }], restartPolicy: 'Never' };
    await cluster().create(
      {
        apiVersion: 'batch/v1',
        kind: 'Job',
        metadata: { name: 'left', labels, annotations, finalizers: ['eventide.dev/task'] },
        spec: { template: { metadata: { annotations: forever }, spec: pod } },
      },
      namespace,
    );

    await using _running = await startLifecycle(cluster(), { namespaces: [namespace] });

    await cluster().waitFor(pathOf.job(namespace, 'left'), job => job?.metadata.finalizers === undefined);
  });

  it('finds Jobs and their tasks again after a restart', async () => {
    const { namespace, running, workload } = await begin(scaledJob('work', { annotations: forever }));
    await running.lifecycle.createJob(workload, { name: 'work-abc-1', env: {}, task: task() }, signal);
    await running[Symbol.asyncDispose]();

    await using again = await startLifecycle(cluster(), { namespaces: [namespace] });
    const after = await known(again, workload.key);
    const listed = await again.lifecycle.listJobs(after, signal);

    expect(listed).toMatchObject([{ name: 'work-abc-1', task: task() }]);
    expect(listed[0]?.state).not.toBe('failed');
  });

  it('counts a Job as running when its pod is, with the pods where a strategy asks for them', async () => {
    const manifest = scaledJob('work', {
      annotations: forever,
      spec: { scalingStrategy: { strategy: 'accurate' } },
    });
    const { running, workload } = await begin(manifest);
    await using _running = running;
    await running.lifecycle.createJob(workload, { env: {} }, signal);

    const listed = await until(
      () => running.lifecycle.listJobs(workload, signal),
      jobs => jobs[0]?.state === 'running',
    );

    expect(listed[0]?.pods).toEqual([{ phase: 'Running', conditions: expect.arrayContaining(['Ready']) }]);
  });

  it.each([
    ['deletes running Jobs of an earlier template', { template: true }, true],
    ['leaves them where something else was changed', { template: false }, false],
    [
      'leaves them where the rollout is gradual',
      { template: true, spec: { rollout: { strategy: 'gradual' } } },
      false,
    ],
    ['leaves them where it is paused', { template: true, paused: true }, false],
  ])('%s', async (_title, change: { template: boolean; spec?: object; paused?: boolean }, isGone) => {
    const manifest = scaledJob('work', {
      annotations: forever,
      ...(change.spec === undefined ? {} : { spec: change.spec }),
    });
    const { namespace, running, workload } = await begin(manifest);
    await using _running = running;
    await running.lifecycle.createJob(workload, { env: {} }, signal);
    const [before] = await jobsIn(namespace);

    const template = { jobTargetRef: { ...workload.jobTargetRef, activeDeadlineSeconds: 7000 } };
    const annotations = change.paused ? { 'autoscaling.keda.sh/paused': 'true' } : {};
    const edit = { metadata: { annotations }, spec: change.template ? template : { maxReplicaCount: 7 } };
    await cluster().patch(pathOf.scaledJob(namespace, 'work'), edit);
    await until(
      async () => running.workload(workload.key)?.generation,
      generation => generation === 2,
    );
    if (isGone)
      await until(
        async () => running.heard.gone.length,
        length => length === 1,
      );
    const newer = scaledJobOf(running, workload.key);
    await running.lifecycle.createJob(newer, { env: {} }, signal);
    await running.lifecycle.flush(signal);

    const names = (await jobsIn(namespace)).map(({ metadata }) => metadata.name);
    const reasons = (await cluster().list(pathOf.events(namespace))).map(each => each['reason']);
    expect(names.includes(before?.metadata.name ?? '')).toBe(!isGone);
    expect(names).toHaveLength(isGone ? 1 : 2);
    const told = reasons.filter(reason => /^ScaledJobRollout/.test(reason));
    expect(told.sort()).toEqual(
      isGone ? ['ScaledJobRolloutCleanupCompleted', 'ScaledJobRolloutCleanupStarted'] : [],
    );
  });

  it('leaves Jobs alone that were made from another template before it started', async () => {
    const { namespace, running, workload } = await begin(scaledJob('work', { annotations: forever }));
    await running.lifecycle.createJob(workload, { env: {} }, signal);
    await running[Symbol.asyncDispose]();
    const template = { jobTargetRef: { ...workload.jobTargetRef, activeDeadlineSeconds: 7000 } };
    await cluster().patch(pathOf.scaledJob(namespace, 'work'), { spec: template });

    await using again = await startLifecycle(cluster(), { namespaces: [namespace] });
    await known(again, workload.key);
    await cluster().patch(pathOf.scaledJob(namespace, 'work'), { spec: { maxReplicaCount: 7 } });
    await until(
      async () => again.workload(workload.key)?.maxReplicaCount,
      most => most === 7,
    );
    await again.lifecycle.flush(signal);

    expect(await again.lifecycle.listJobs(scaledJobOf(again, workload.key), signal)).toHaveLength(1);
  });
});
