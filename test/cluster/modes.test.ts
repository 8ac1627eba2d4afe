import { expect, it, vi } from 'vitest';
import { type ClusterObject, clusterOf } from './bed.ts';
import { deployment } from './kube-bed.ts';
import { operated, promptly } from './scaling-ground.ts';
import { metricsServer } from './servers.ts';

vi.setConfig({ testTimeout: 90_000 });

const isFallen = (object: ClusterObject | undefined): boolean =>
  object?.['status']?.conditions?.some(
    ({ type, status }: { type: string; status: string }) => type === 'Fallback' && status === 'True',
  );

clusterOf('what a ScaledObject may ask for, in a cluster', { hpaSyncSeconds: 2 }, cluster => {
  const on = operated(cluster);

  const trigger = (query: string, more: object = {}) => ({
    type: 'prometheus',
    metadata: { serverAddress: on.ground.prometheus.url, query, threshold: '2' },
    ...more,
  });
  const autoscaler = (name: string) =>
    cluster().waitFor(on.ground.paths.autoscaler(name), found => found !== undefined);
  const metricNames = (hpa: ClusterObject | undefined) =>
    hpa?.['spec'].metrics.map(
      (each: { external?: { metric: { name: string } }; resource?: { name: string } }) =>
        each.external?.metric.name ?? each.resource?.name,
    );

  it('scales by cpu without an autoscaler in direct mode', async () => {
    await using metrics = await metricsServer(cluster());
    metrics.set(on.ground.namespace, { cpu: '300m', memory: '1Mi' });
    const triggers = [{ type: 'cpu', metricType: 'AverageValue', metadata: { value: '100m' } }];
    const spec = { triggers, minReplicaCount: 1, maxReplicaCount: 6 };
    await cluster().apply(deployment('cpu', 1), on.ground.namespace);
    await cluster().apply(on.ground.scaledObject('cpu', { mode: 'direct', spec }));

    // Each pod uses three times what it should, however many there are.
    await on.ground.replicas('cpu', 6, 60_000);

    expect(await cluster().get(on.ground.paths.autoscaler('cpu'))).toBeUndefined();
  });

  it('scales by a formula, which is the one metric of the autoscaler', async () => {
    on.ground.prometheus.set(8, 'first');
    on.ground.prometheus.set(4, 'second');
    const { advanced } = promptly;
    const scalingModifiers = { formula: 'one + two', target: '3' };
    const triggers = [trigger('first', { name: 'one' }), trigger('second', { name: 'two' })];
    await on.ground.scale('formula', { spec: { triggers, advanced: { ...advanced, scalingModifiers } } });

    await on.ground.replicas('formula', 4);

    expect(metricNames(await autoscaler('formula'))).toEqual(['composite-metric']);
  });

  it.each([['hpa'], ['direct']] as const)(
    'falls back where a source cannot be read any more, and comes back with it (%s)',
    async mode => {
      const name = `fallback-${mode}`;
      const fallback = { failureThreshold: 2, replicas: 5 };
      on.ground.prometheus.set(4, name);
      await on.ground.scale(name, { mode, spec: { ...promptly, fallback, triggers: [trigger(name)] } });
      await on.ground.replicas(name, 2);

      await on.ground.prometheus.behave('garbage');
      await on.ground.replicas(name, 5, 60_000);
      await cluster().waitFor(on.ground.paths.scaledObject(name), isFallen);
      await on.ground.prometheus.behave('answer');
      await on.ground.replicas(name, 2, 60_000);
      await cluster().waitFor(on.ground.paths.scaledObject(name), found => !isFallen(found));
    },
  );

  it('rests at idleReplicaCount, and wakes to the minimum', async () => {
    on.ground.prometheus.set(0, 'idle');
    await on.ground.scale('idle', { replicas: 3, spec: { idleReplicaCount: 0, minReplicaCount: 2 } });
    await on.ground.replicas('idle', 0, 60_000);

    on.ground.prometheus.set(1, 'idle');

    await on.ground.replicas('idle', 2);
  });

  it('is woken by force, though nothing waits', async () => {
    on.ground.prometheus.set(0, 'forced');
    const annotations = { 'autoscaling.keda.sh/force-activation': 'true' };
    await on.ground.scale('forced', { annotations });

    await on.ground.replicas('forced', 1);
  });

  it('does not sleep before its initial cooldown is over', async () => {
    on.ground.prometheus.set(0, 'young');
    await on.ground.scale('young', { replicas: 2, spec: { initialCooldownPeriod: 6, cooldownPeriod: 0 } });
    const begun = Date.now();

    await on.ground.replicas('young', 0, 60_000);

    expect(Date.now() - begun).toBeGreaterThan(4000);
  });

  it('answers the autoscaler with the last reading where it is told to, and asks the source no more often', async () => {
    on.ground.prometheus.set(6, 'cached');
    const spec = { pollingInterval: 3600, triggers: [trigger('cached', { useCachedMetrics: true })] };
    await on.ground.scale('cached', { spec: { ...promptly, ...spec } });
    await on.ground.replicas('cached', 3);
    on.ground.prometheus.set(10, 'cached');

    const path = `/apis/external.metrics.k8s.io/v1beta1/namespaces/${on.ground.namespace}/s0-prometheus?labelSelector=scaledobject.keda.sh%2Fname%3Dcached`;
    const answer = await cluster().get(path);

    expect(answer?.['items']).toMatchObject([{ metricName: 's0-prometheus', value: '6' }]);
  });
});
