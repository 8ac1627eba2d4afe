import { beforeAll, describe, expect, it } from 'vitest';
import { clusterOf, podAnnotations } from '../../test/cluster/bed.ts';
import { clusterReader } from '../../test/cluster/cluster-reader.ts';
import { bind, faultFrom, mustBind, readOnce } from '../../test/scaler-contract.ts';
import type { ClusterReader } from '../scaler/context.ts';
import kubernetesWorkload from './kubernetes-workload.ts';

const given = (params: Record<string, string> = {}) => ({
  params: { podSelector: 'app=web', value: '2', ...params },
});

describe('kubernetes-workload', () => {
  it.each([
    ['a selector that is none', { podSelector: 'app web' }, 'metadata.podSelector'],
    ['no value', { value: '0' }, 'metadata.value'],
    ['a negative value', { value: '-1' }, 'metadata.value'],
  ])('refuses %s', (_title, params, field) => {
    expect(bind(kubernetesWorkload, given(params))).toMatchObject({ problems: [{ place: { field } }] });
  });

  it('needs no value where it feeds a formula', () => {
    expect(bind(kubernetesWorkload, given({ value: '0' }), { asMetricSource: true }).ok).toBe(true);
  });

  it('is named after the namespace', () => {
    expect(mustBind(kubernetesWorkload, given(), { namespace: 'shop' }).metricName).toBe('s0-workload-shop');
  });

  it('is not there outside a cluster', async () => {
    const fault = await faultFrom(readOnce(mustBind(kubernetesWorkload, given())));

    expect(fault.code).toBe('NOT_SUPPORTED');
  });
});

clusterOf('kubernetes-workload in a cluster', { nodes: 2 }, cluster => {
  let reader: ClusterReader;
  let namespace: string;
  const count = (params: Record<string, string>) =>
    readOnce(mustBind(kubernetesWorkload, given(params), { namespace }), { cluster: reader });

  const pod = (name: string, labels: Record<string, string>, annotations: Record<string, string> = {}) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels, annotations },
    spec: { restartPolicy: 'Never', containers: [{ name: 'app', image: 'none' }] },
  });

  beforeAll(async () => {
    reader = await clusterReader(cluster());
    namespace = await cluster().namespace();
    const web = Array.from({ length: 700 }, (_each, index) => pod(`web-${index}`, { app: 'web' }));
    const ended = { [podAnnotations.outcome]: 'fail' };
    const others = [
      pod('front', { app: 'site', tier: 'front' }),
      pod('back', { app: 'site', tier: 'back' }),
      pod('done', { app: 'site', tier: 'done' }, ended),
    ];
    await cluster().apply([...web, ...others], namespace);
    const done = `/api/v1/namespaces/${namespace}/pods/done`;
    await cluster().waitFor(done, seen => seen?.['status']?.phase === 'Failed', { timeoutMs: 60_000 });
  }, 120_000);

  it.each([
    ['all pods that match, also where they do not fit on one page', { podSelector: 'app=web' }, 700],
    ['none where none match', { podSelector: 'app=none' }, 0],
    ['those that have not ended', { podSelector: 'app=site' }, 2],
    ['those of a set', { podSelector: 'tier in (front,other),app' }, 1],
    ['those without a label', { podSelector: 'app,!tier' }, 700],
    ['the nodes they are on', { podSelector: 'app=web', groupByNode: 'true' }, 2],
  ])('counts %s', async (_title, params, expected) => {
    expect(await count(params)).toBe(expected);
  });
});
