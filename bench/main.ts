/**
 * `npm run bench [-- NAME…]`: every promise of speed and size, measured and printed as a table.
 * `npm run bench -- --cluster`: those of the operator, on a control plane; see bench/cluster/main.ts.
 * `npm run bench -- --sources [FAMILY…]`: those of the sources, on real servers; see bench/sources.ts.
 */
import process from 'node:process';
import type { Bench, BenchRow } from './bench.ts';
import { printTable } from './table.ts';

const modules: Record<string, () => Promise<Bench>> = {
  decide: async () => (await import('./decide.ts')).decideBench,
  engine: async () => (await import('./engine.ts')).engineBench,
  delivery: async () => (await import('./delivery.ts')).deliveryBench,
  start: async () => (await import('./start.ts')).startBench,
};

const given = process.argv.slice(2);
if (given.includes('--cluster')) {
  const { clusterBench } = await import('./cluster/main.ts');
  await clusterBench(given.filter(each => each !== '--cluster'));
} else if (given.includes('--sources')) {
  const { sourcesBench } = await import('./sources.ts');
  await sourcesBench(given.filter(each => each !== '--sources'));
} else {
  const found: [string, BenchRow][] = [];
  for (const name of Object.keys(modules).filter(each => given.length === 0 || given.includes(each))) {
    const bench = await modules[name]?.();
    for (const row of (await bench?.run()) ?? []) found.push([name, row]);
  }
  printTable(found);
}
