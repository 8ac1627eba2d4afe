import type { Bench, BenchRow } from './bench.ts';
import { printTable } from './table.ts';

/** One file per family of sources under bench/sources/; each starts the server it measures against. */
const families: Record<string, () => Promise<Bench>> = {
  kafka: async () => (await import('./sources/kafka.ts')).kafkaBench,
  rabbitmq: async () => (await import('./sources/rabbitmq.ts')).rabbitBench,
  redis: async () => (await import('./sources/redis.ts')).redisBench,
  sql: async () => (await import('./sources/sql.ts')).sqlBench,
};

/** Those that take minutes, and are measured only when they are named. */
const long: Record<string, () => Promise<Bench>> = {
  spike: async () => (await import('./sources/spike.ts')).spikeBench,
};

/**
 * `npm run bench -- --sources [FAMILY…]`: a thousand triggers on one real server of each family.
 *
 * @param chosen the families to measure; all but `spike` unless given
 */
export async function sourcesBench(chosen: readonly string[]): Promise<void> {
  const found: [string, BenchRow][] = [];
  const all = { ...families, ...long };
  for (const name of chosen.length === 0 ? Object.keys(families) : chosen) {
    const bench = await all[name]?.();
    if (bench === undefined)
      throw new Error(`there is no "${name}"; there are ${Object.keys(all).join(', ')}`);
    for (const row of await bench.run()) found.push([name, row]);
  }
  printTable(found);
}
