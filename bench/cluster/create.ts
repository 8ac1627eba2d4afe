import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchRow } from '../bench.ts';
import { seconds, usageOf } from './figures.ts';
import { forEach, type Ground, waitUntil } from './ground.ts';
import type { ClusterBenchOptions } from './options.ts';
import { createDeployments, scaledObject, watchReadiness } from './workloads.ts';
import { countWrites } from './writes.ts';

const count = 1_000;
const createdWithinMs = 3_000;
const settleMs = 60_000;
const measureMs = 60_000;

/** 1,000 new ScaledObjects whose targets run already, and then the same left alone. */
export async function measureCreation(
  ground: Ground,
  { patience }: ClusterBenchOptions,
): Promise<BenchRow[]> {
  const namespace = await ground.namespace();
  const { pids } = ground.operator;
  await ground.source.tell({ set: { create: 5 } });
  await createDeployments(ground, { namespace, count, replicas: 1 });
  await using readiness = await watchReadiness(ground, namespace);

  const before = await usageOf(pids);
  const begun = performance.now();
  const plan = { namespace, group: 'create', pollingSeconds: 30 };
  await forEach(count, createdWithinMs, index => ground.api.create(scaledObject(ground, plan, index)));
  const createdMs = performance.now() - begun;
  const all = () => readiness.ready() === count && readiness.autoscalers() === count;
  const done = (await waitUntil(all, patience * 1000)) !== undefined;
  const tookMs = performance.now() - begun;
  const after = await usageOf(pids);
  const cpu = after && before && after.cpuSeconds - before.cpuSeconds;
  const progress = `${readiness.ready()} Ready, ${readiness.autoscalers()} HPAs after ${seconds(tookMs)}`;
  return [
    {
      what: `1,000 ScaledObjects created in ${seconds(createdMs)}: all Ready with their HPA`,
      measured: done ? seconds(tookMs) : progress,
      wanted: '< 60 s',
      ok: done && tookMs < 60_000,
    },
    {
      what: 'the same: CPU of the operator',
      measured: cpu === undefined ? 'unknown (--pid)' : `${cpu.toFixed(1)} s`,
      wanted: '< 40 s',
      ok: cpu === undefined || cpu < 40,
    },
    ...(await measureSteadyState(ground)),
  ];
}

async function measureSteadyState(ground: Ground): Promise<BenchRow[]> {
  const { pids } = ground.operator;
  await sleep(settleMs);
  const before = await usageOf(pids);
  const writesBefore = await countWrites(ground.api);
  await sleep(measureMs);
  const after = await usageOf(pids);
  const writes = (await countWrites(ground.api)).since(writesBefore);
  const cores = after && before && (after.cpuSeconds - before.cpuSeconds) / (measureMs / 1000);
  return [
    {
      what: '1,000 in steady state, 30 s polling: RSS',
      measured: after === undefined ? 'unknown (--pid)' : `${after.rssMiB.toFixed(0)} MiB`,
      wanted: '< 150 MiB',
      ok: after === undefined || after.rssMiB < 150,
    },
    {
      what: 'the same: CPU',
      measured: cores === undefined ? 'unknown (--pid)' : `${cores.toFixed(3)} core`,
      wanted: '< 0.05 core',
      ok: cores === undefined || cores < 0.05,
    },
    {
      what: 'the same: writes',
      measured: writes.describe(measureMs / 1000),
      wanted: 'none',
      ok: writes.total === 0,
    },
  ];
}
