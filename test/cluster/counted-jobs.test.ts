import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { type ClusterObject, clusterOf, until } from './bed.ts';
import { countJobs, hasSucceeded, jobTemplate, type PodQueues, podQueues } from './counted-jobs.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';

clusterOf('ScaledJobs that count, in a cluster', {}, cluster => {
  let queues: PodQueues;
  let installed: Installed;
  let operator: RunningOperator;

  beforeAll(async () => {
    queues = await podQueues(cluster());
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
    await queues?.[Symbol.asyncDispose]();
  });

  const count = (options: Parameters<typeof countJobs>[2]) => countJobs(cluster(), queues, options);
  const uids = (jobs: readonly ClusterObject[]) => jobs.map(({ metadata }) => metadata.uid).sort();
  const pause = { metadata: { annotations: { 'autoscaling.keda.sh/paused': 'true' } } };
  const resume = { metadata: { annotations: { 'autoscaling.keda.sh/paused': null } } };
  const forever = { outcome: 'never' } as const;

  it.concurrent.each([
    ['default', 'all', { strategy: 'default' }],
    ['custom', 'all', { strategy: 'custom', customScalingRunningJobPercentage: '1' }],
    ['accurate', 'waiting', { strategy: 'accurate' }],
    ['accurate, by conditions', 'waiting', { strategy: 'accurate', pendingPodConditions: ['Ready'] }],
    ['eager', 'waiting', { strategy: 'eager' }],
  ] as const)(
    'makes a Job for each of 80 messages, 20 at a time, and no other, though it polls once: %s',
    async (_title, counts, scalingStrategy) => {
      const counted = await count({
        messages: 80,
        counts,
        pod: { start: '500ms', work: '500ms' },
        spec: { pollingInterval: 300, maxReplicaCount: 20, scalingStrategy },
      });
      let most = 0;

      await until(
        async () => {
          const pods = await cluster().list(`/api/v1/namespaces/${counted.namespace}/pods`);
          most = Math.max(most, pods.filter(({ status }) => status.phase !== 'Succeeded').length);
          return (await counted.jobs()).filter(hasSucceeded).length;
        },
        done => done >= 80,
        { timeoutMs: 120_000, everyMs: 200 },
      );

      const jobs = await counted.jobs();
      expect(jobs).toHaveLength(80);
      expect(most).toBe(20);
    },
    180_000,
  );

  it.concurrent('replaces Jobs of an earlier template, unless that is to be gradual', async () => {
    const [at, gradual] = await Promise.all([
      count({ messages: 3, pod: forever }),
      count({ messages: 3, pod: forever, spec: { rollout: { strategy: 'gradual' } } }),
    ]);
    const before = await at.waitFor(jobs => jobs.length === 3);
    const kept = await gradual.waitFor(jobs => jobs.length === 3);

    const next = { spec: { jobTargetRef: jobTemplate(forever, 'example.com/next') } };
    for (const { path } of [at, gradual]) await cluster().patch(path, next);

    const imageOf = ({ spec }: ClusterObject) => spec.template.spec.containers[0].image;
    const after = await at.waitFor(
      jobs => jobs.length === 3 && jobs.every(job => imageOf(job) === 'example.com/next'),
    );
    expect(uids(after).some(uid => uids(before).includes(uid))).toBe(false);
    await gradual.polled();
    expect(uids(await gradual.jobs())).toEqual(uids(kept));
  }, 120_000);

  it.concurrent('creates nothing while it is paused, and goes on afterwards', async () => {
    const counted = await count({ messages: 2, pod: forever });
    const before = await counted.waitFor(jobs => jobs.length === 2);

    await cluster().patch(counted.path, pause);
    await cluster().waitFor(
      counted.path,
      each =>
        each?.['status']?.conditions?.find(({ type }: { type: string }) => type === 'Paused')?.status ===
        'True',
    );
    queues.fill(counted.namespace, 5);
    for (const { metadata } of before) await cluster().delete(`${counted.jobsPath}/${metadata.name}`);
    const whilePaused = await counted.waitFor(jobs => jobs.length === 0);
    await cluster().patch(counted.path, resume);

    const after = await counted.waitFor(jobs => jobs.length === 5);
    expect(whilePaused).toEqual([]);
    expect(uids(after)).toHaveLength(5);
  }, 120_000);

  it('leaves the Jobs that run alone over an edit of something else, and over a restart', async () => {
    const counted = await count({ messages: 3, pod: forever });
    const before = await counted.waitFor(jobs => jobs.length === 3);

    await cluster().patch(counted.path, {
      metadata: { annotations: { note: 'edited' } },
      spec: { maxReplicaCount: 7, pollingInterval: 2 },
    });
    await counted.polled();
    const edited = await counted.jobs();
    operator.child.kill('SIGTERM');
    await operator.ended;
    operator = await startOperator(cluster(), installed);
    await operator.leads();
    await counted.polled();

    expect(uids(edited)).toEqual(uids(before));
    expect(uids(await counted.jobs())).toEqual(uids(before));
  }, 120_000);

  it('cleans up 2,000 finished Jobs, while others are made at once and in little memory', async () => {
    const history = { successfulJobsHistoryLimit: 20 };
    const counted = await count({ messages: 0, spec: history });
    await cluster().patch(counted.path, pause);
    const owner = await cluster().get(counted.path);
    const job = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: {
        generateName: 'worker-',
        labels: { 'scaledjob.keda.sh/name': 'worker' },
        ownerReferences: [
          {
            apiVersion: 'keda.sh/v1alpha1',
            kind: 'ScaledJob',
            name: 'worker',
            uid: owner?.metadata.uid,
            controller: true,
          },
        ],
      },
      // Done as soon as it is there, without a pod.
      spec: { completions: 0, parallelism: 0, template: jobTemplate().template },
    };
    for (let made = 0; made < 2_000; made += 50) {
      await Promise.all(Array.from({ length: 50 }, () => cluster().create(job, counted.namespace)));
    }
    await counted.waitFor(jobs => jobs.filter(hasSucceeded).length === 2_000, 120_000);

    await cluster().patch(counted.path, resume);
    const beside = await count({ messages: 10 });
    await beside.waitFor(jobs => jobs.filter(hasSucceeded).length === 10);
    const left = await counted.waitFor(jobs => jobs.length <= 20, 120_000);

    expect(left).toHaveLength(20);
    expect(operator.log).not.toMatch(/WARN|ERROR/);
    const status = await readFile(`/proc/${operator.child.pid}/status`, 'utf8');
    expect(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024).toBeLessThan(200);
  }, 300_000);
});
