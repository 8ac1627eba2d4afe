import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf, type Manifest } from './bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';

const widgets: Manifest = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.example.com' },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { kind: 'Widget', plural: 'widgets', singular: 'widget', listKind: 'WidgetList' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        subresources: {
          status: {},
          scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas' },
        },
      },
    ],
  },
};

const awake = { timezone: 'UTC', start: '0 0 * * *', end: '59 23 * * *', desiredReplicas: '3' };

clusterOf('a target of a kind that nobody knew', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;
  let namespace: string;

  const widget = (name: string) => `/apis/example.com/v1/namespaces/${namespace}/widgets/${name}`;
  const pair = (name: string): Manifest[] => [
    { apiVersion: 'example.com/v1', kind: 'Widget', metadata: { name }, spec: { replicas: 0 } },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
      metadata: { name },
      spec: {
        scaleTargetRef: { apiVersion: 'example.com/v1', kind: 'Widget', name },
        pollingInterval: 1,
        triggers: [{ type: 'cron', metadata: awake }],
      },
    },
  ];

  beforeAll(async () => {
    installed = await installOperator(cluster());
    await cluster().apply(widgets);
    namespace = await cluster().namespace();
    operator = await startOperator(cluster(), installed);
    await operator.leads();
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

  it('is woken through its /scale, though the operator may not read it, and that is said', async () => {
    await cluster().apply(pair('closed'), namespace);

    await cluster().waitFor(widget('closed'), found => found?.['spec'].replicas >= 1);
    await expect.poll(() => operator.log, { timeout: 10_000 }).toMatch(/cannot list Widget: .* is forbidden/);
  }, 60_000);

  it('is followed once a role with the label allows it', async () => {
    await cluster().apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: {
        name: 'eventide-targets-widgets',
        labels: { 'eventide.dev/aggregate-to-targets': 'true' },
      },
      rules: [{ apiGroups: ['example.com'], resources: ['widgets'], verbs: ['get', 'list', 'watch'] }],
    });
    const [, scaledObject] = pair('open');
    await cluster().apply(scaledObject ?? [], namespace);
    const path = `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects/open`;
    await cluster().waitFor(path, found =>
      JSON.stringify(found?.['status'] ?? '').includes('there is no Widget'),
    );

    await cluster().apply(pair('open')[0] ?? [], namespace);

    await cluster().waitFor(widget('open'), found => found?.['spec'].replicas >= 1);
  }, 90_000);
});
