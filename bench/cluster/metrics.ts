import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiOptions } from '../../test/cluster/api.ts';
import type { BenchRow } from '../bench.ts';
import { quantile, usageOf } from './figures.ts';
import type { Ground } from './ground.ts';
import { load } from './load.ts';
import { createDeployments, createReady } from './workloads.ts';

const objects = 200;
const connections = 50;
const warmUpMs = 3_000;
const measureMs = 15_000;

/** What the HPA controller asks for, 50 at a time: each answer is a new reading of the source. */
export async function measureMetricsApi(ground: Ground): Promise<BenchRow[]> {
  const namespace = await ground.namespace();
  await ground.source.tell({ set: { metrics: 5 } });
  await createDeployments(ground, { namespace, count: objects, replicas: 1 });
  await createReady(ground, { namespace, group: 'metrics', pollingSeconds: 30 }, objects);
  const paths = Array.from({ length: objects }, (_, index) => {
    const selector = encodeURIComponent(`scaledobject.keda.sh/name=web-${index}`);
    return `/apis/external.metrics.k8s.io/v1beta1/namespaces/${namespace}/s0-prometheus?labelSelector=${selector}`;
  });
  await sleep(15_000);

  const { metricsUrl } = ground.operator;
  const direct =
    metricsUrl === undefined
      ? []
      : await measure(ground, paths, {
          url: metricsUrl,
          ca: undefined,
          token: await tokenOf(ground, namespace),
        });
  return [...direct, ...(await measure(ground, paths, { ...ground.apiOptions, through: true }))];
}

/** Of a ServiceAccount that may read metrics: operators need not believe the certificate that we have. */
async function tokenOf({ api }: Ground, namespace: string): Promise<string> {
  const name = 'bench';
  const apiGroup = 'rbac.authorization.k8s.io';
  await api.apply([
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } },
    {
      apiVersion: `${apiGroup}/v1`,
      kind: 'Role',
      metadata: { name, namespace },
      rules: [{ apiGroups: ['external.metrics.k8s.io'], resources: ['*'], verbs: ['get', 'list'] }],
    },
    {
      apiVersion: `${apiGroup}/v1`,
      kind: 'RoleBinding',
      metadata: { name, namespace },
      roleRef: { apiGroup, kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
  ]);
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
  const answer = await api.request('POST', path, { body });
  return (answer.body as { status: { token: string } }).status.token;
}

interface Way extends ApiOptions {
  /** Through the API server, which takes a good part of the two processors for itself: said, not judged. */
  through?: boolean;
}

async function measure(ground: Ground, paths: readonly string[], way: Way): Promise<BenchRow[]> {
  const { through = false } = way;
  const plan = { server: way, paths, connections };
  const { pids } = ground.operator;
  await load({ ...plan, forMs: warmUpMs });
  const [before, read] = [await usageOf(pids), await ground.source.tell({})];
  const { requests, failed, waits, seconds } = await load({ ...plan, forMs: measureMs });
  const [after, readAfter] = [await usageOf(pids), await ground.source.tell({})];
  const perSecond = requests / seconds;
  const p99 = quantile(waits, 0.99);
  const cpu = after && before && ((after.cpuSeconds - before.cpuSeconds) / requests) * 1000;
  const bad = failed > 0 ? `, ${failed} failed` : '';
  const reads = `${((readAfter.reads - read.reads) / requests).toFixed(2)} reads each`;
  const what = through ? 'metrics API through the API server' : 'metrics API';
  return [
    {
      what: `${what}, live reads, 50 at a time`,
      measured: `${perSecond.toFixed(0)} requests/s, ${reads}${bad}`,
      wanted: through ? '-' : '> 3000 requests/s',
      ok: failed === 0 && (through || perSecond > 3_000),
    },
    {
      what: 'the same: time to an answer',
      measured: `p50 ${quantile(waits, 0.5).toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
      wanted: through ? '-' : 'p99 < 40 ms',
      ok: through || p99 < 40,
    },
    {
      what: 'the same: CPU of the operator for 1,000',
      measured: cpu === undefined ? 'unknown (--pid)' : `${cpu.toFixed(2)} s`,
      wanted: through ? '-' : '< 0.4 s',
      ok: through || cpu === undefined || cpu < 0.4,
    },
  ];
}
