import type { Bench, BenchRow } from './bench.ts';
import { printTable } from './table.ts';

/** One file per family of sources under bench/sources/; each starts the server it measures against. */
const families: Record<string, () => Promise<Bench>> = {
  kafka: async () => (await import('./sources/kafka.ts')).kafkaBench,
  rabbitmq: async () => (await import('./sources/rabbitmq.ts')).rabbitBench,
  redis: async () => (await import('./sources/redis.ts')).redisBench,
  sql: async () => (await import('./sources/sql.ts')).sqlBench,
};

/**
 * `npm run bench -- --sources [FAMILY…]`: a thousand triggers on one real server of each family.
 *
 * @param chosen the families to measure; all unless given
 */
export async function sourcesBench(chosen: readonly string[]): Promise<void> {
  const found: [string, BenchRow][] = [];
  for (const name of Object.keys(families).filter(each => chosen.length === 0 || chosen.includes(each))) {
    const bench = await families[name]?.();
    for (const row of (await bench?.run()) ?? []) found.push([name, row]);
  }
  printTable(found);
}
