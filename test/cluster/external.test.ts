import { expect, it } from 'vitest';
import { startExternal } from '../external-scaler.ts';
import { type ClusterObject, clusterOf } from './bed.ts';
import { operated, promptly } from './scaling-ground.ts';

interface ExternalMetric {
  external: { metric: { name: string }; target: { averageValue: string } };
}

clusterOf('an external scaler, in a cluster', { hpaSyncSeconds: 2 }, cluster => {
  const on = operated(cluster);

  const metricsOf = (hpa: ClusterObject | undefined): [string, string][] =>
    (hpa?.['spec'].metrics ?? []).map(({ external }: ExternalMetric) => [
      external.metric.name,
      external.target.averageValue,
    ]);

  it('wakes its target by itself, and has the autoscaler follow its name and target', async () => {
    await using server = await startExternal({ active: false, values: [] }, { specStream: true });
    await server.fill?.(0);
    const triggers = [
      { type: 'external-push', metadata: { scalerAddress: server.address, queue: 'orders' } },
    ];
    // Nothing is read in time: what happens is the server's doing.
    const spec = { ...promptly, triggers, pollingInterval: 3600 };
    await on.ground.scale('pushed', { spec });
    await expect.poll(() => server.streams('StreamIsActive'), { timeout: 20_000 }).toBe(1);

    await server.fill?.(20);
    server.tellActive(true);
    await on.ground.replicas('pushed', 4);
    const before = await cluster().get(on.ground.paths.autoscaler('pushed'));
    server.tellSpecs([{ metricName: 'orders-now', targetSizeFloat: 2.5 }]);
    await on.ground.replicas('pushed', 8);
    const after = await cluster().get(on.ground.paths.autoscaler('pushed'));

    expect(metricsOf(before)).toEqual([['s0-orders', '5']]);
    expect(metricsOf(after)).toEqual([['s0-orders-now', '2500m']]);
    expect(server.asked).toContainEqual({
      method: 'StreamIsActive',
      ref: {
        name: 'pushed',
        namespace: on.ground.namespace,
        scalerMetadata: { scalerAddress: server.address, queue: 'orders' },
      },
    });
  }, 90_000);
});
