import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../../src/kube/objects.ts';
import type { BenchRow } from '../bench.ts';
import { quantile, seconds } from './figures.ts';
import { type Ground, waitUntil } from './ground.ts';
import { createDeployments, createReady } from './workloads.ts';

interface Deployment {
  metadata: { name: string; uid: string; resourceVersion: string };
  spec?: { replicas?: number };
}

export interface WakePlan {
  count: number;
  direct: boolean;
  /** Milliseconds for the 95th percentile from the source's change to a replica, and to the ten that are needed. */
  wanted: { one: number; ten: number };
}

/** Targets at zero whose source's value changes to what takes ten replicas, all at the same moment. */
export async function measureWaking(
  ground: Ground,
  { count, direct, wanted }: WakePlan,
): Promise<BenchRow[]> {
  const namespace = await ground.namespace();
  await ground.source.tell({ set: { wake: 0 } });
  await createDeployments(ground, { namespace, count, replicas: 0 });
  await createReady(ground, { namespace, group: 'wake', pollingSeconds: 5, direct }, count);
  // Every object is polled at its own moment by now.
  await sleep(15_000);

  const one = new Map<string, number>();
  const ten = new Map<string, number>();
  await using _deployments = await ground.watch<Deployment, number>({
    resource: resources.deployments,
    namespace,
    keep: ({ spec }) => spec?.replicas ?? 1,
    onSet(name, replicas) {
      const now = Date.now();
      if (replicas >= 1 && !one.has(name)) one.set(name, now);
      if (replicas >= 10 && !ten.has(name)) ten.set(name, now);
    },
  });
  const awake = one.size;
  const { at } = await ground.source.tell({ set: { wake: 50 } });
  await waitUntil(() => ten.size === count, 300_000);

  const mode = direct ? ', direct mode' : '';
  const row = (what: string, reached: ReadonlyMap<string, number>, limit: number): BenchRow => {
    const waits = [...reached.values()].map(each => each - at);
    const p95 = quantile(waits, 0.95);
    const all = reached.size === count && awake === 0;
    const missing = all ? '' : `, only ${reached.size} of ${count}${awake > 0 ? `, ${awake} too early` : ''}`;
    return {
      what,
      measured: `p50 ${seconds(quantile(waits, 0.5))}, p95 ${seconds(p95)}${missing}`,
      wanted: `p95 < ${seconds(limit)}`,
      ok: all && p95 < limit,
    };
  };
  return [
    row(`${count} targets 0 to 1, 5 s polling${mode}`, one, wanted.one),
    row(`the same${mode}: to the 10 replicas needed`, ten, wanted.ten),
  ];
}
