import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ClusterObject, clusterOf, until } from '../test/cluster/bed.ts';
import { installOperator, type RunningOperator, startOperator } from '../test/cluster/operator.ts';
import type { Installed } from '../test/e2e/eventide.ts';
import { startVmCloud, type VmCloud } from './vm-schedule/cloud.ts';
import { type CrawlerCloud, startCrawlerCloud } from './web-crawler/cloud.ts';

const manifest = (name: string) => readFile(join(import.meta.dirname, name), 'utf8');

clusterOf('the examples in a cluster, from the same files', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;
  let hub: CrawlerCloud;
  let vms: VmCloud;

  beforeAll(async () => {
    hub = await startCrawlerCloud();
    vms = await startVmCloud(['vm-1'], 50);
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
    await vms?.[Symbol.asyncDispose]();
    await hub?.[Symbol.asyncDispose]();
  });

  it('start five crawlers for the sites in the hub, and none for other events', async () => {
    const namespace = await cluster().namespace();
    const deployment = `/apis/apps/v1/namespaces/${namespace}/deployments/web-crawler`;
    const scaledObject = `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects/web-crawler`;
    hub.sendOthers(20);
    await cluster().apply(hub.secret, namespace);
    await cluster().apply(await manifest('web-crawler.yaml'), namespace);
    await cluster().waitFor(scaledObject, isNotActive);

    hub.sendSites(Array.from({ length: 20 }, (_, index) => `http://sites.example.com/${index}/`));

    await cluster().waitFor(deployment, object => object?.spec?.replicas === 5, { timeoutMs: 60_000 });
  }, 120_000);

  it('make one Job of each action for a machine', async () => {
    const namespace = await cluster().namespace();
    await cluster().apply(vms.manifests([]), namespace);
    await cluster().apply(await manifest('vm-schedule.yaml'), namespace);
    const action = JSON.stringify({ vm: 'vm-1', resourceGroup: 'offices', action: 'start' });

    vms.put(action);

    const jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
    const [job] = await cluster().waitForList(jobs, ({ length }) => length === 1, { timeoutMs: 60_000 });
    const [container] = job?.['spec'].template.spec.containers ?? [];
    expect(container.env).toContainEqual({ name: 'KEDA_TASK_DATA', value: action });
    // The pods of these nodes run nothing, and succeed.
    await until(
      () => vms.queue.messages.length,
      length => length === 0,
    );
    expect(vms.queue.deadLetters).toEqual([]);
  }, 120_000);
});

function isNotActive(object: ClusterObject | undefined): boolean {
  const conditions = (object?.status?.conditions ?? []) as { type: string; status: string }[];
  return conditions.some(({ type, status }) => type === 'Active' && status === 'False');
}
