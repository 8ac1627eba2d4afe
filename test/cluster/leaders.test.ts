import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Azurite, startAzurite } from '../azurite.ts';
import type { Installed } from '../e2e/eventide.ts';
import { freeze } from '../freeze.ts';
import { type ClusterObject, clusterOf, until } from './bed.ts';
import { allSettled, deliverJobs, onceEach, successes, tasks } from './delivered-jobs.ts';
import {
  installOperator,
  type OperatorOptions,
  type RunningOperator,
  route,
  startOperator,
} from './operator.ts';
import { type PrometheusServer, prometheusServer } from './servers.ts';

/** A lease of seconds, for what waits until it is over. */
const quickLease = {
  KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION: '3s',
  KEDA_OPERATOR_LEADER_ELECTION_RENEW_DEADLINE: '2s',
  KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD: '500ms',
};
const policy = fileURLToPath(new URL('audit-policy.yaml', import.meta.url));
const flags = { 'kube-apiserver': [`--audit-policy-file=${policy}`, '--audit-log-path=-'] };

clusterOf('operators of which one leads', { control: true, flags }, cluster => {
  let azurite: Azurite;
  let prometheus: PrometheusServer;
  let installed: Installed;
  const running = new Set<RunningOperator>();

  beforeAll(async () => {
    azurite = await startAzurite();
    prometheus = await prometheusServer();
    installed = await installOperator(cluster());
  }, 120_000);
  afterEach(async () => {
    for (const each of running) await each[Symbol.asyncDispose]();
    running.clear();
    await cluster().delete(leasePath);
  }, 60_000);
  afterAll(async () => {
    await installed?.[Symbol.asyncDispose]();
    await prometheus?.[Symbol.asyncDispose]();
    await azurite?.stop();
  });

  const leasePath = '/apis/coordination.k8s.io/v1/namespaces/keda/leases/operator.keda.sh';

  async function start(options: OperatorOptions = {}): Promise<RunningOperator> {
    const operator = await startOperator(cluster(), installed, options);
    running.add(operator);
    return operator;
  }

  /** One that leads and is asked by the API server, and one that stands by. */
  async function startTwo(environment: Record<string, string> = {}, standby: OperatorOptions = {}) {
    const first = await start({ environment });
    await first.leads();
    const second = await start({ environment, routed: false, ...standby });
    await second.ready();
    return [first, second] as const;
  }

  /** Kills without a word, as a node that goes does. */
  async function kill(operator: RunningOperator): Promise<void> {
    operator.child.kill('SIGKILL');
    await operator.ended;
    running.delete(operator);
  }

  const deployment = (name: string) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: 'main', image: 'example.com/none' }] },
      },
    },
  });

  const scaledObject = (name: string, query: string, over: object = {}) => ({
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name },
    spec: {
      scaleTargetRef: { name },
      pollingInterval: 1,
      triggers: [{ type: 'prometheus', metadata: { serverAddress: prometheus.url, query, threshold: '1' } }],
      ...over,
    },
  });

  const pathOf = (namespace: string, name: string) =>
    `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects/${name}`;
  const conditionOf = (object: ClusterObject | undefined, type: string): string | undefined =>
    object?.['status']?.conditions?.find((each: { type: string }) => each.type === type)?.status;

  it('does each of 200 messages once, however often the leader is killed', async () => {
    let [leader, standby] = await startTwo(quickLease);
    const delivered = await deliverJobs(cluster(), azurite, { pod: { start: '500ms', work: '1s' } });
    const texts = tasks(200);
    const tookMs: number[] = [];

    await delivered.send(texts);
    for (const there of [7, 60, 110, 160]) {
      await until(delivered.jobs, jobs => jobs.length >= there, { timeoutMs: 90_000 });
      const killedAt = Date.now();
      await kill(leader);
      await standby.leads();
      tookMs.push(Date.now() - killedAt);
      [leader, standby] = [standby, await start({ environment: quickLease, routed: false })];
      await standby.ready();
    }
    // What was taken when there was no Job of it yet comes back after a minute.
    const jobs = await delivered.waitFor(all => all.length >= 200 && allSettled(all), 180_000);

    expect(successes(jobs)).toEqual(onceEach(texts));
    expect(jobs).toHaveLength(200);
    expect(await delivered.length()).toBe(0);
    expect(Math.max(...tookMs)).toBeLessThan(3_000 + 5_000);
  }, 400_000);

  it('wakes 100 targets while the leader is killed, and puts none back to sleep', async () => {
    const [leader, standby] = await startTwo(quickLease);
    const namespace = await cluster().namespace();
    const names = Array.from({ length: 100 }, (_, index) => `web-${index}`);
    prometheus.set(0, namespace);
    for (const name of names) {
      await cluster().create(deployment(name), namespace);
      await cluster().create(scaledObject(name, namespace), namespace);
    }
    const objects = `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects`;
    await cluster().waitForList(
      objects,
      all => all.filter(each => conditionOf(each, 'Active') === 'False').length === 100,
      { timeoutMs: 90_000 },
    );
    const awake = new Set<string>();
    const back: string[] = [];
    const look = async () => {
      for (const { metadata, spec } of (await cluster().list(
        `/apis/apps/v1/namespaces/${namespace}/deployments`,
      )) as (ClusterObject & { spec: { replicas: number } })[]) {
        if (spec.replicas > 0) awake.add(metadata.name);
        else if (awake.has(metadata.name)) back.push(metadata.name);
      }
      return awake.size;
    };

    prometheus.set(1, namespace);
    await until(look, size => size > 5, { everyMs: 20 });
    await kill(leader);
    await route(cluster(), standby.ports);
    const atKill = await look();
    await until(look, size => size === 100, { timeoutMs: 60_000 });
    const { requests } = prometheus.seen;
    await until(
      async () => {
        await look();
        return prometheus.seen.requests;
      },
      seen => seen > requests + 10,
    );

    expect(atKill).toBeLessThan(100);
    expect(back).toEqual([]);
  }, 240_000);

  it('hands over at once when the leader is told to end, and loses nothing that is under way', async () => {
    // With the usual lease of 15 s: it is not what is waited for.
    const [leader, standby] = await startTwo();
    const namespace = await cluster().namespace();
    prometheus.set(1, namespace);
    await cluster().create(deployment('web'), namespace);
    await cluster().create(scaledObject('web', namespace), namespace);
    await cluster().waitFor(pathOf(namespace, 'web'), each => conditionOf(each, 'Active') === 'True');
    const delivered = await deliverJobs(cluster(), azurite, {
      spec: { maxReplicaCount: 20 },
      pod: { work: '2s' },
    });
    const texts = tasks(80);
    await delivered.send(texts);
    await delivered.waitFor(all => all.length > 20);

    const toldAt = Date.now();
    leader.child.kill('SIGTERM');
    await standby.leads();
    const leadsAfterMs = Date.now() - toldAt;
    const code = await leader.ended;
    const goneAfterMs = Date.now() - toldAt;
    await route(cluster(), standby.ports);
    const object = await cluster().get(pathOf(namespace, 'web'));
    const jobs = await delivered.waitFor(all => all.length >= 80 && allSettled(all), 120_000);

    expect(code).toBe(0);
    expect(leadsAfterMs).toBeLessThan(3_000);
    expect(goneAfterMs).toBeLessThan(10_000);
    expect(object?.['status'].lastActiveTime).toBeDefined();
    expect(successes(jobs)).toEqual(onceEach(texts));
    expect(jobs).toHaveLength(80);
  }, 240_000);

  it('ends a leader that was frozen for longer than its lease, and does nothing twice for it', async () => {
    const [leader, standby] = await startTwo(quickLease);
    const delivered = await deliverJobs(cluster(), azurite, {
      spec: { maxReplicaCount: 20 },
      pod: { work: '1s' },
    });
    const texts = tasks(100);
    await delivered.send(texts);
    await delivered.waitFor(all => all.length > 20);

    freeze(leader.child.pid ?? 0);
    await standby.leads();
    leader.child.kill('SIGCONT');
    const code = await leader.ended;
    const jobs = await delivered.waitFor(all => all.length >= 100 && allSettled(all), 180_000);

    expect(code).toBe(1);
    expect(successes(jobs)).toEqual(onceEach(texts));
    expect(jobs).toHaveLength(100);
  }, 300_000);

  it('answers and judges while it stands by, and writes nothing', async () => {
    await cluster().create(
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'standby' } },
      'keda',
    );
    for (const path of [
      '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
      '/apis/rbac.authorization.k8s.io/v1/rolebindings',
    ]) {
      for (const binding of await cluster().list(path)) {
        const { name, namespace } = binding.metadata;
        if (!binding['subjects']?.some((each: { name: string }) => each.name === 'keda-operator')) continue;
        const subject = { kind: 'ServiceAccount', name: 'standby', namespace: 'keda' };
        const at = namespace === undefined ? path : path.replace('/v1/', `/v1/namespaces/${namespace}/`);
        await cluster().patch(`${at}/${name}`, { subjects: [...binding['subjects'], subject] });
      }
    }
    const kubeconfig = await cluster().serviceAccountKubeconfig('keda', 'standby');
    const [leader, standby] = await startTwo({}, { kubeconfig });
    const namespace = await cluster().namespace();
    prometheus.set(3, namespace);
    await cluster().create(deployment('web'), namespace);
    await cluster().create(scaledObject('web', namespace, { maxReplicaCount: 5 }), namespace);
    const delivered = await deliverJobs(cluster(), azurite, { spec: { maxReplicaCount: 5 } });
    await cluster().waitFor(
      `/apis/apps/v1/namespaces/${namespace}/deployments/web`,
      web => web?.['status']?.readyReplicas === 3,
      {
        timeoutMs: 90_000,
      },
    );
    const metric = `/apis/external.metrics.k8s.io/v1beta1/namespaces/${namespace}/s0-prometheus?labelSelector=scaledobject.keda.sh/name%3Dweb`;
    /** Another one for the same target, which only the webhook finds. */
    const refused = async () => {
      const path = `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects?dryRun=All`;
      const body = scaledObject('other', namespace, { scaleTargetRef: { name: 'web' } });
      return (await cluster().request('POST', path, { body })).body;
    };

    const answers = [await cluster().get(metric), await refused()];
    await route(cluster(), standby.ports);
    await until(
      async () =>
        (await leader.metric('eventide_leader')) === 1 &&
        (await cluster().request('GET', metric)).status === 200,
      ok => ok,
    );
    answers.push(await cluster().get(metric), await refused());
    await delivered.send(tasks(20));
    await delivered.waitFor(all => all.length === 20 && allSettled(all));
    await leader.ready();
    await standby.ready();

    const [ofLeader, refusalOfLeader, ofStandby, refusalOfStandby] = answers;
    expect(ofStandby).toMatchObject({ items: [{ metricName: 's0-prometheus', value: '3' }] });
    expect(ofLeader).toMatchObject({ items: [{ metricName: 's0-prometheus', value: '3' }] });
    expect(refusalOfStandby).toMatchObject({ status: 'Failure', message: expect.stringContaining('web') });
    expect(refusalOfStandby).toEqual(refusalOfLeader);
    const audited = (await cluster().log('kube-apiserver'))
      .split('\n')
      .filter(line => line.startsWith('{"kind":"Event"'))
      .map(line => JSON.parse(line) as { user: { username: string }; verb: string; requestURI: string });
    const writesOf = (name: string) =>
      audited
        .filter(({ user }) => user.username === `system:serviceaccount:keda:${name}`)
        .map(({ verb, requestURI }) => `${verb} ${requestURI}`)
        // Questions, in the form of something to be created.
        .filter(each => !/^create \/apis\/auth(entication|orization)\.k8s\.io\//.test(each));
    expect(writesOf('keda-operator').length).toBeGreaterThan(20);
    expect(writesOf('standby')).toEqual([]);
  }, 240_000);
});
