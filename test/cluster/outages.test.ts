import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf, until } from './bed.ts';
import { installOperator, type KeptOperator, keepOperator } from './operator.ts';
import { promptly, type ScalingGround, scalingGround } from './scaling-ground.ts';

/** A dozen pods each would only make the machine busy. */
const workloads = [
  ...['awake-1', 'awake-2', 'awake-3', 'awake-4', 'awake-5'].map(name => ({ name, value: 3 })),
  ...['asleep-1', 'asleep-2', 'asleep-3', 'asleep-4', 'asleep-5'].map(name => ({ name, value: 0 })),
].flatMap(({ name, value }) =>
  (['hpa', 'direct'] as const).map(mode => ({ name: `${mode}-${name}`, mode, value })),
);

const rising = ['hpa-asleep-1', 'direct-asleep-1', 'hpa-awake-1', 'direct-awake-1'];

clusterOf('the operator, when the cluster fails', { control: true, hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: KeptOperator;
  let ground: ScalingGround;

  beforeAll(async () => {
    installed = await installOperator(cluster());
    operator = await keepOperator(cluster(), installed);
    await operator.current.leads();
    ground = await scalingGround(cluster());
    for (const { name, mode, value } of workloads) {
      ground.prometheus.set(value, name);
      await ground.scale(name, { mode, spec: promptly });
    }
    ground.prometheus.set(0, 'work');
    await ground.jobs('work', { maxReplicaCount: 5 });
  }, 180_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await ground?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') process.stderr.write(operator.log);
  });
  beforeEach(async () => {
    for (const { name, value } of workloads) ground.prometheus.set(value, name);
    ground.prometheus.set(0, 'work');
    // Whoever has read the value before this acts on it before all are read twice more.
    const enough = ground.prometheus.seen.requests + 3 * workloads.length;
    await until(
      () => ground.prometheus.seen.requests,
      requests => requests >= enough,
    );
    await cluster().delete(jobsPath());
    for (const { name, value } of workloads) await ground.replicas(name, value, 60_000);
  }, 120_000);

  /** What a metric did while nobody could act on it has its effect at once, and nothing else has any. */
  async function survives(outage: () => Promise<void>): Promise<void> {
    const before = await ground.standing();

    await outage();
    // It takes its time to find etcd again.
    await cluster().waitFor(ground.paths.scaledObject('hpa-awake-1'), () => true);

    for (const name of ['direct-asleep-1', 'direct-awake-1']) await ground.replicas(name, 5, 30_000);
    await cluster().waitForList(jobsPath(), items => items.length >= 2);
    await anotherIsTakenOn();
    // The controllers of Kubernetes wait up to half a minute before they try again.
    for (const name of ['hpa-asleep-1', 'hpa-awake-1']) await ground.replicas(name, 5, 60_000);
    const after = await ground.standing();
    for (const name of rising) {
      delete before[name];
      delete after[name];
    }
    expect(after).toEqual(before);
  }

  /** Of what is made after the outage is heard as of what was there before. */
  async function anotherIsTakenOn(): Promise<void> {
    ground.prometheus.set(2, 'another');
    await ground.scale('another', { mode: 'direct' });
    await ground.replicas('another', 2, 30_000);
    await cluster().delete(ground.paths.scaledObject('another'));
    await cluster().delete(ground.paths.deployment('another'));
  }

  const jobsPath = () => `/apis/batch/v1/namespaces/${ground.namespace}/jobs`;
  function metricsRise() {
    for (const name of rising) ground.prometheus.set(5, name);
    ground.prometheus.set(2, 'work');
  }

  it('changes nothing while the API server is away for a minute, and then acts at once', async () => {
    await survives(async () => {
      await cluster().stop('kube-apiserver');
      await pause(30_000);
      metricsRise();
      await pause(30_000);
      await cluster().start('kube-apiserver');
    });

    // Who cannot renew its lease must end, for others may lead; its pod starts it again, and it waits.
    expect(operator.exits).toEqual([1]);
  }, 240_000);

  it('goes on while the API server restarts', async () => {
    const exits = operator.exits.length;
    await survives(async () => {
      await cluster().stop('kube-apiserver');
      metricsRise();
      await cluster().start('kube-apiserver');
    });

    expect(operator.exits).toHaveLength(exits);
  }, 120_000);

  it.each<[string, () => Promise<void>]>([
    [
      'etcd is away',
      async () => {
        await cluster().stop('etcd');
        await pause(5_000);
        metricsRise();
        await pause(15_000);
        await cluster().start('etcd');
      },
    ],
    [
      'the API server answers nothing',
      async () => {
        cluster().pause('kube-apiserver');
        await pause(5_000);
        metricsRise();
        await pause(15_000);
        cluster().resume('kube-apiserver');
      },
    ],
    [
      'nobody manages controllers',
      async () => {
        await cluster().stop('kube-controller-manager');
        metricsRise();
        await pause(5_000);
        await cluster().start('kube-controller-manager');
      },
    ],
  ])(
    'changes nothing while %s, and then acts at once',
    async (_title, outage) => {
      await survives(outage);
    },
    120_000,
  );
});
