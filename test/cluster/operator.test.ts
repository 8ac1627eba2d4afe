import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { httpServer } from '../misbehaving-http.ts';
import { clusterOf, type Manifest, until } from './bed.ts';
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

  it("uses another variable of the target's pods for the next reading", async () => {
    const shown = new Set<string | undefined>();
    await using source = await httpServer((request, response) => {
      shown.add(request.headers.authorization);
      response.end('{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}');
    });
    const namespace = await cluster().namespace();
    const web = (value: string) => {
      const containers = [{ name: 'app', image: 'none', env: [{ name: 'TOKEN', value }] }];
      return deployment('web', 0, { spec: { containers } });
    };
    const spec = { env: [{ parameter: 'bearerToken', name: 'TOKEN' }] };
    const metadata = { authModes: 'bearer' };
    await cluster().apply([web('first'), { ...authentication, spec }], namespace);

    await cluster().apply(scaledObject(source.url, metadata), namespace);
    await until(
      async () => shown,
      seen => seen.has('Bearer first'),
    );
    await cluster().apply(web('second'), namespace);
    await until(
      async () => shown,
      seen => seen.has('Bearer second'),
    );

    expect([...shown]).toEqual(['Bearer first', 'Bearer second']);
  }, 60_000);
});

const authentication: Manifest = {
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'TriggerAuthentication',
  metadata: { name: 'nothing' },
  spec: { podIdentity: { provider: 'none' } },
};

const scaledObject = (serverAddress: string, more: object = {}): Manifest => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  metadata: { name: 'web' },
  spec: {
    scaleTargetRef: { name: 'web' },
    pollingInterval: 1,
    triggers: [
      {
        type: 'prometheus',
        metadata: { serverAddress, query: 'waiting', threshold: '2', ...more },
        authenticationRef: { name: 'nothing' },
      },
    ],
  },
});
