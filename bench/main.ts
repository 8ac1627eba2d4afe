/** `npm run bench [-- NAME…]`: every promise of speed and size, measured and printed as a table. */
import process from 'node:process';
import type { Bench } from './bench.ts';

const modules: Record<string, () => Promise<Bench>> = {
  decide: async () => (await import('./decide.ts')).decideBench,
  engine: async () => (await import('./engine.ts')).engineBench,
  delivery: async () => (await import('./delivery.ts')).deliveryBench,
  start: async () => (await import('./start.ts')).startBench,
};
const chosen = process.argv.slice(2);
const names = Object.keys(modules).filter(name => chosen.length === 0 || chosen.includes(name));

const rows = [['bench', 'what', 'measured', 'wanted', '']];
for (const name of names) {
  const bench = await modules[name]?.();
  for (const { what, measured, wanted, ok } of (await bench?.run()) ?? []) {
    rows.push([name, what, measured, wanted, ok ? 'ok' : 'MISSED']);
    if (!ok) process.exitCode = 1;
  }
}
const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0))) ?? [];
for (const row of rows)
  console.log(
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
