import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { type ClusterObject, clusterOf, podAnnotations } from './bed.ts';
import { type Keda, startKeda } from './keda.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';

/** A Prometheus: each query is the name of a number. */
const values = new Map<string, number>();
const source = createServer((request, response) => {
  const query = new URL(request.url ?? '', 'http://source').searchParams.get('query') ?? '';
  const result = [{ metric: {}, value: [1_700_000_000, String(values.get(query) ?? 0)] }];
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }));
});

const trigger = (query: string) => ({
  type: 'prometheus',
  metadata: {
    serverAddress: `http://127.0.0.1:${(source.address() as AddressInfo).port}`,
    query,
    threshold: '1',
  },
});

/** KEDA backs off, and the API server looks only now and then whether a metrics API is back. */
const patienceMs = 150_000;

clusterOf('a cluster that is handed over from KEDA and back', { hpaSyncSeconds: 2 }, cluster => {
  let namespace: string;
  let keda: Keda;
  let installed: Installed;
  let operator: RunningOperator;
  /** Every number of replicas that the target was seen with, in order. */
  const sizes: number[] = [];
  let watching: NodeJS.Timeout;

  const target = () => `/apis/apps/v1/namespaces/${namespace}/deployments/web`;
  const scaledObject = () => `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects/web`;
  const autoscaler = () =>
    `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/keda-hpa-web`;
  const jobs = async () => {
    const all = await cluster().list(`/apis/batch/v1/namespaces/${namespace}/jobs`);
    return all.map(({ metadata }) => metadata.uid as string).sort();
  };
  const replicasAre = (count: number) =>
    cluster().waitFor(target(), web => web?.['spec'].replicas === count, { timeoutMs: patienceMs });
  const conditionsOf = (object: ClusterObject | undefined): Record<string, string> =>
    Object.fromEntries(
      ((object?.['status']?.conditions ?? []) as { type: string; status: string }[]).map(each => [
        each.type,
        each.status,
      ]),
    );
  const startReal = () =>
    startKeda(cluster(), () => cluster().serviceAccountKubeconfig('keda', 'keda-operator'));

  beforeAll(async () => {
    await new Promise<void>(resolve => source.listen(0, '127.0.0.1', resolve));
    namespace = await cluster().namespace();
    keda = await startReal();
    values.set('web', 4).set('work', 3);
    await cluster().apply(manifests(), namespace);
    watching = setInterval(async () => {
      const web = await cluster()
        .get(target())
        .catch(() => undefined);
      const size = web?.['spec'].replicas as number | undefined;
      if (size !== undefined && size !== sizes.at(-1)) sizes.push(size);
    }, 100);
    await replicasAre(4);
    await cluster().waitForList(`/apis/batch/v1/namespaces/${namespace}/jobs`, all => all.length >= 3, {
      timeoutMs: patienceMs,
    });
  }, 1_800_000);

  afterAll(async () => {
    clearInterval(watching);
    await operator?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
    await keda?.[Symbol.asyncDispose]();
    source.close();
  }, 60_000);

  it('goes on under Eventide with the same autoscaler, replicas and Jobs', async () => {
    const hpa = await cluster().get(autoscaler());
    const before = await jobs();
    sizes.length = 0;

    await keda[Symbol.asyncDispose]();
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
    await cluster().waitFor(
      autoscaler(),
      now => conditionsOf(now)['ScalingActive'] === 'True' && now?.['status'].currentMetrics?.length > 0,
      { timeoutMs: patienceMs },
    );
    // KEDA may have made more than there was work for, where its cache was late.
    const wanted = before.length + 2;
    values.set('work', wanted);
    await cluster().waitForList(`/apis/batch/v1/namespaces/${namespace}/jobs`, all => all.length === wanted);
    values.set('web', 6);
    await replicasAre(6);

    const after = await cluster().get(autoscaler());
    expect(after?.metadata.uid).toBe(hpa?.metadata.uid);
    expect(conditionsOf(await cluster().get(scaledObject()))).toMatchObject({
      Ready: 'True',
      Active: 'True',
    });
    expect(await jobs()).toEqual(expect.arrayContaining(before));
    expect(await jobs()).toHaveLength(wanted);
    expect(Math.min(...sizes)).toBe(4);
    expect(operator.log).not.toContain('KUBE_REFUSED');
  }, 600_000);

  it('goes back to KEDA with the same autoscaler, replicas and Jobs', async () => {
    const hpa = await cluster().get(autoscaler());
    const before = await jobs();
    sizes.length = 0;

    operator.child.kill('SIGTERM');
    expect(await operator.ended).toBe(0);
    keda = await startReal();
    await cluster().waitFor(autoscaler(), now => conditionsOf(now)['ScalingActive'] === 'True', {
      timeoutMs: patienceMs,
    });
    values.set('work', before.length + 1);
    await cluster().waitForList(
      `/apis/batch/v1/namespaces/${namespace}/jobs`,
      all => all.length > before.length,
      {
        timeoutMs: patienceMs,
      },
    );
    values.set('web', 7);
    await replicasAre(7);

    const after = await cluster().get(autoscaler());
    expect(after?.metadata.uid).toBe(hpa?.metadata.uid);
    expect(await jobs()).toEqual(expect.arrayContaining(before));
    expect(Math.min(...sizes)).toBe(6);
  }, 600_000);
});

function manifests() {
  const labels = { app: 'web' };
  const containers = [{ name: 'main', image: 'example.com/none' }];
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        replicas: 0,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers } },
      },
    },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
      metadata: { name: 'web' },
      spec: {
        scaleTargetRef: { name: 'web' },
        pollingInterval: 1,
        // A moment without an operator must not be what puts it to sleep, so it may sleep at once.
        cooldownPeriod: 0,
        maxReplicaCount: 10,
        triggers: [trigger('web')],
      },
    },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledJob',
      metadata: { name: 'work' },
      spec: {
        pollingInterval: 1,
        maxReplicaCount: 10,
        jobTargetRef: {
          template: {
            metadata: { annotations: { [podAnnotations.outcome]: 'never' } },
            spec: { restartPolicy: 'Never', containers },
          },
        },
        triggers: [trigger('work')],
      },
    },
  ];
}
