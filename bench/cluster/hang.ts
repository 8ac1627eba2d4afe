import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../../src/kube/objects.ts';
import type { BenchRow } from '../bench.ts';
import { type Ground, waitUntil } from './ground.ts';
import { createDeployments, createReady } from './workloads.ts';

const count = 300;
const minuteMs = 60_000;

interface Deployment {
  metadata: { name: string; uid: string; resourceVersion: string };
  spec?: { replicas?: number };
}

/** A source that takes requests for a minute and answers none of them. */
export async function measureHanging(ground: Ground): Promise<BenchRow[]> {
  const namespace = await ground.namespace();
  await ground.source.tell({ set: { hang: 0 } });
  await createDeployments(ground, { namespace, count, replicas: 0 });
  await createReady(ground, { namespace, group: 'hang', pollingSeconds: 5, cooldownSeconds: 30 }, count);
  const awake = new Set<string>();
  const changes = new Map<string, number>();
  await using _deployments = await ground.watch<Deployment, number>({
    resource: resources.deployments,
    namespace,
    keep: ({ spec }) => spec?.replicas ?? 1,
    onSet(name, replicas, before) {
      if (replicas > 0) awake.add(name);
      if (before !== undefined && replicas !== before) changes.set(name, replicas);
    },
  });
  await ground.source.tell({ set: { hang: 5 } });
  if ((await waitUntil(() => awake.size === count, 300_000)) === undefined)
    throw new Error(`only ${awake.size} of ${count} targets woke in five minutes`);
  await sleep(15_000);
  changes.clear();
  const healthy = await ground.source.tell({});
  await sleep(minuteMs);
  const hanging = await ground.source.tell({ hang: true });
  await sleep(minuteMs);
  const over = await ground.source.tell({ hang: false });
  // Longer than the cooldown, so that what was decided in the meantime shows.
  await sleep(45_000);

  const readsHealthy = hanging.reads - healthy.reads;
  const reads = over.reads - hanging.reads;
  const connections = over.connections - hanging.connections;
  const atZero = [...changes.values()].filter(replicas => replicas === 0).length;
  return [
    {
      what: 'a source that hangs for a minute, 300 objects, 5 s polling: new connections',
      measured: String(connections),
      wanted: '< 60',
      ok: connections < 60,
    },
    {
      what: 'the same: reads',
      measured: `${reads}, ${readsHealthy} in a healthy minute`,
      wanted: 'fewer than when healthy',
      ok: reads < readsHealthy,
    },
    {
      what: 'the same: targets whose replicas changed',
      measured: `${changes.size}${atZero > 0 ? `, ${atZero} of them ended at zero` : ''}`,
      wanted: 'none',
      ok: changes.size === 0,
    },
  ];
}
