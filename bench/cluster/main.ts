/**
 * `npm run bench -- --cluster [options] [row…]`: what is promised of the operator, measured on a control plane. It
 * drives any operator that takes KEDA's manifests, so KEDA is measured with the same command: `--operator keda`.
 */
import process from 'node:process';
import type { BenchRow } from '../bench.ts';
import { printTable } from '../table.ts';
import { measureCreation } from './create.ts';
import { type Ground, openGround } from './ground.ts';
import { measureHanging } from './hang.ts';
import { measureJobs } from './jobs.ts';
import { measureMetricsApi } from './metrics.ts';
import { type ClusterBenchOptions, readOptions } from './options.ts';
import { measureWaking } from './wake.ts';

type Measure = (ground: Ground, options: ClusterBenchOptions) => Promise<BenchRow[]>;

/** KEDA has no direct mode, so that is not asked of it. */
const onlyOurs = new Set(['direct100', 'direct500']);

/** The wanted times to ten replicas are KEDA's at 100, and half of KEDA's at 500; in direct mode those to one. */
const measures: Record<string, Measure> = {
  create: measureCreation,
  wake100: ground =>
    measureWaking(ground, { count: 100, direct: false, wanted: { one: 5_500, ten: 48_700 } }),
  wake500: ground =>
    measureWaking(ground, { count: 500, direct: false, wanted: { one: 6_000, ten: 91_000 } }),
  direct100: ground =>
    measureWaking(ground, { count: 100, direct: true, wanted: { one: 5_500, ten: 5_500 } }),
  direct500: ground =>
    measureWaking(ground, { count: 500, direct: true, wanted: { one: 6_000, ten: 6_000 } }),
  jobs: measureJobs,
  metrics: measureMetricsApi,
  hang: measureHanging,
};

/** Measures what is asked for, each on a cluster and an operator of its own, and prints one table. */
export async function clusterBench(args: readonly string[]): Promise<void> {
  let options: ClusterBenchOptions;
  try {
    options = readOptions(args, Object.keys(measures));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 2;
    return;
  }
  const asked = Object.keys(measures).filter(name =>
    options.rows.length === 0
      ? options.operator !== 'keda' || !onlyOurs.has(name)
      : options.rows.includes(name),
  );
  const found: [string, BenchRow][] = [];
  for (const name of asked) {
    const begun = performance.now();
    process.stderr.write(`${name} … `);
    try {
      await using ground = await openGround(options);
      for (const row of (await measures[name]?.(ground, options)) ?? []) found.push([name, row]);
    } catch (error) {
      const measured = `not measured: ${(error as Error).message}`;
      found.push([name, { what: name, measured, wanted: '', ok: false }]);
    }
    process.stderr.write(`${((performance.now() - begun) / 1000).toFixed(0)} s\n`);
  }
  printTable(found);
  // Sockets of the watches may linger for a moment; nothing is to be waited for any more.
  process.exit();
}
