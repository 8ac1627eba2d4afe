import { expect, it } from 'vitest';
import { clusterOf } from './bed.ts';
import { operated, promptly } from './scaling-ground.ts';

clusterOf('triggers that read the cluster itself', { hpaSyncSeconds: 2 }, cluster => {
  const on = operated(cluster);

  /** Writes a number to where `kubernetes-resource` reads it. */
  const write = (kind: 'ConfigMap' | 'Secret', value: string) => {
    const data = { waiting: kind === 'Secret' ? Buffer.from(value).toString('base64') : value };
    return cluster().apply(
      [{ apiVersion: 'v1', kind, metadata: { name: 'load' }, data }],
      on.ground.namespace,
    );
  };
  const resource = (resourceKind: string, more: Record<string, string> = {}) => ({
    type: 'kubernetes-resource',
    metadata: { resourceKind, resourceName: 'load', key: 'waiting', targetValue: '5', ...more },
  });

  it('scales by a number of a ConfigMap, and others by the pods that come of it', async () => {
    await write('ConfigMap', '0');
    const pods = { type: 'kubernetes-workload', metadata: { podSelector: 'app=leader', value: '2' } };
    await on.ground.scale('leader', { spec: { ...promptly, triggers: [resource('ConfigMap')] } });
    await on.ground.scale('follower', { spec: { ...promptly, triggers: [pods] } });

    await write('ConfigMap', '20');
    await on.ground.replicas('leader', 4);
    await on.ground.replicas('follower', 2);
    const leader = await cluster().get(on.ground.paths.autoscaler('leader'));
    await write('ConfigMap', '0');

    expect(leader?.['spec'].metrics).toMatchObject([
      { external: { metric: { name: 's0-configmap-load-waiting' }, target: { averageValue: '5' } } },
    ]);
    await on.ground.replicas('leader', 0);
    await on.ground.replicas('follower', 0);
  }, 120_000);

  it('scales by a number in the JSON of a Secret, and holds while it cannot be read', async () => {
    await write('Secret', '{"jobs":{"open":12}}');
    const triggers = [resource('Secret', { format: 'json', valueLocation: 'jobs.open' })];
    await on.ground.scale('secretive', { mode: 'direct', spec: { ...promptly, triggers } });
    await on.ground.replicas('secretive', 3);

    await write('Secret', '{"jobs":{}}');
    await cluster().waitFor(on.ground.paths.scaledObject('secretive'), seen =>
      JSON.stringify(seen?.['status'] ?? {}).includes('the replicas are left as they are'),
    );

    await on.ground.replicas('secretive', 3);
    await write('Secret', '{"jobs":{"open":2}}');
    await on.ground.replicas('secretive', 1);
  }, 120_000);
});
