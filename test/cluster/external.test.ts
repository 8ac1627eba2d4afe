import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Installed } from '../e2e/eventide.ts';
import { startExternal } from '../external-scaler.ts';
import { type ClusterObject, clusterOf } from './bed.ts';
import { installOperator, type RunningOperator, startOperator } from './operator.ts';
import { promptly, type ScalingGround, scalingGround } from './scaling-ground.ts';

interface ExternalMetric {
  external: { metric: { name: string }; target: { averageValue: string } };
}

clusterOf('an external scaler, in a cluster', { hpaSyncSeconds: 2 }, cluster => {
  let installed: Installed;
  let operator: RunningOperator;
  let ground: ScalingGround;

  beforeAll(async () => {
    installed = await installOperator(cluster());
    operator = await startOperator(cluster(), installed);
    await operator.leads();
    ground = await scalingGround(cluster());
  }, 120_000);
  afterAll(async () => {
    await operator?.[Symbol.asyncDispose]();
    await ground?.[Symbol.asyncDispose]();
    await installed?.[Symbol.asyncDispose]();
  });

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
    await ground.scale('pushed', { spec });
    await expect.poll(() => server.streams('StreamIsActive'), { timeout: 20_000 }).toBe(1);

    await server.fill?.(20);
    server.tellActive(true);
    await ground.replicas('pushed', 4);
    const before = await cluster().get(ground.paths.autoscaler('pushed'));
    server.tellSpecs([{ metricName: 'orders-now', targetSizeFloat: 2.5 }]);
    await ground.replicas('pushed', 8);
    const after = await cluster().get(ground.paths.autoscaler('pushed'));

    expect(metricsOf(before)).toEqual([['s0-orders', '5']]);
    expect(metricsOf(after)).toEqual([['s0-orders-now', '2500m']]);
    expect(server.asked).toContainEqual({
      method: 'StreamIsActive',
      ref: {
        name: 'pushed',
        namespace: ground.namespace,
        scalerMetadata: { scalerAddress: server.address, queue: 'orders' },
      },
    });
  }, 90_000);
});
