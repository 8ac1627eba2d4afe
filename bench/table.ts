import process from 'node:process';
import type { BenchRow } from './bench.ts';

/** Prints a table of rows by the name of their bench; a missed limit makes the process fail. */
export function printTable(found: readonly (readonly [bench: string, row: BenchRow])[]): void {
  const rows = [['bench', 'what', 'measured', 'wanted', '']];
  for (const [bench, { what, measured, wanted, ok }] of found) {
    rows.push([bench, what, measured, wanted, ok ? 'ok' : 'MISSED']);
    if (!ok) process.exitCode = 1;
  }
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0))) ?? [];
  for (const row of rows) {
    const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
    console.log(cells.join('  ').trimEnd());
  }
}
