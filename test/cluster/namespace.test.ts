import { QueueServiceClient } from '@azure/storage-queue';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Azurite, startAzurite } from '../azurite.ts';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf, type Manifest, podAnnotations, until } from './bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';
import { scalingGround } from './scaling-ground.ts';

clusterOf('the operator, when a namespace is deleted', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let azurite: Azurite;
  let operator: RunningOperator;

  beforeAll(async () => {
    installed = await installOperator(cluster());
    azurite = await startAzurite();
    operator = await startOperator(cluster(), installed);
    await operator.leads();
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await azurite?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

  const delivered = (namespace: string): Manifest[] => [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'queue', namespace },
      stringData: { connection: azurite.connectionString },
    },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'TriggerAuthentication',
      metadata: { name: 'queue', namespace },
      spec: { secretTargetRef: [{ parameter: 'connection', name: 'queue', key: 'connection' }] },
    },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledJob',
      metadata: { name: 'tasks', namespace },
      spec: {
        pollingInterval: 1,
        eventide: { delivery: {} },
        jobTargetRef: {
          template: {
            metadata: { annotations: { [podAnnotations.outcome]: 'never' } },
            spec: { restartPolicy: 'Never', containers: [{ name: 'work', image: 'work' }] },
          },
        },
        triggers: [
          {
            type: 'azure-queue',
            metadata: { queueName: 'tasks', queueLength: '1' },
            authenticationRef: { name: 'queue' },
          },
        ],
      },
    },
  ];

  it('lets all of it go, forgets it, and keeps no message', async () => {
    await using ground = await scalingGround(cluster());
    const { namespace, prometheus } = ground;
    const queue = QueueServiceClient.fromConnectionString(azurite.connectionString).getQueueClient('tasks');
    await queue.create();
    for (const text of ['one', 'two', 'three']) await queue.sendMessage(text);
    for (const name of ['hpa-0', 'hpa-1', 'hpa-2', 'direct-0', 'direct-1', 'direct-2']) {
      prometheus.set(2, name);
      await ground.scale(name, {
        mode: name.startsWith('hpa') ? 'hpa' : 'direct',
        spec: { advanced: { restoreToOriginalReplicaCount: true } },
      });
    }
    prometheus.set(2, 'counted');
    await ground.jobs('counted');
    await cluster().apply(delivered(namespace));
    for (const name of ['hpa-0', 'direct-2']) await ground.replicas(name, 2);
    await cluster().waitForList(
      `/apis/batch/v1/namespaces/${namespace}/jobs`,
      items =>
        items.filter(({ metadata }) => (metadata.finalizers ?? []).some(each => each.includes('eventide')))
          .length === 3,
    );

    await cluster().delete(`/api/v1/namespaces/${namespace}`);
    await cluster().waitFor(`/api/v1/namespaces/${namespace}`, object => object === undefined, {
      timeoutMs: 60_000,
    });

    const scrape = async () =>
      await (await fetch(`http://127.0.0.1:${operator.ports.prometheus}/metrics`)).text();
    // How often webhooks were asked is a count for good.
    await until(scrape, text => !text.replace(/^keda_webhook.*$/gm, '').includes(namespace));
    await until(
      () => operator.metric('eventide_connections'),
      connections => connections === 0,
    );
    await until(
      async () => (await queue.getProperties()).approximateMessagesCount,
      count => count === 3,
    );
    expect(operator.log).not.toMatch(/ERROR/);
    // That nothing can be made any more is said once of each that would be.
    const warnings = [...operator.log.matchAll(/ WARN .*/g)].map(([said]) => said);
    expect(warnings).toEqual([...new Set(warnings)]);
  }, 120_000);
});
