import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { clusterOf, type Manifest } from './bed.ts';
import { deployment } from './kube-bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';
import { prometheusServer } from './servers.ts';

clusterOf('the operator on a cluster', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;

  beforeAll(async () => {
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

  it('is ready, and complains of nothing', async () => {
    await operator.ready();

    expect(operator.log).not.toMatch(/WARN|ERROR/);
  }, 60_000);

  it('wakes a target, and tells Prometheus what it goes by', async () => {
    await using source = await prometheusServer();
    const namespace = await cluster().namespace();
    source.set(7);
    await cluster().apply([deployment('web', 0), authentication, scaledObject(source.url)], namespace);

    await cluster().waitFor(
      `/apis/apps/v1/namespaces/${namespace}/deployments/web`,
      web => web?.['spec'].replicas > 0,
    );

    const labels = `namespace="${namespace}",metric="s0-prometheus",scaledObject="web",scaler="prometheusScaler",triggerIndex="0",type="scaledobject"`;
    expect(await operator.metric(`keda_scaler_metrics_value{${labels}}`)).toBe(7);
    expect(
      await operator.metric(
        `keda_resource_registered_total{type="trigger_authentication",namespace="${namespace}"}`,
      ),
    ).toBe(1);
  }, 60_000);
});

const authentication: Manifest = {
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'TriggerAuthentication',
  metadata: { name: 'nothing' },
  spec: { podIdentity: { provider: 'none' } },
};

const scaledObject = (serverAddress: string): Manifest => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  metadata: { name: 'web' },
  spec: {
    scaleTargetRef: { name: 'web' },
    pollingInterval: 1,
    triggers: [{ type: 'prometheus', metadata: { serverAddress, query: 'waiting', threshold: '2' } }],
  },
});
