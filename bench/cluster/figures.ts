import { readFile } from 'node:fs/promises';

/** What processes used since they started, and what they hold. */
export interface Usage {
  cpuSeconds: number;
  rssMiB: number;
}

/** The kernel counts CPU in these, on every Linux there is (sysconf CLK_TCK). */
const ticksPerSecond = 100;

/** Of processes on this machine together; undefined where none is known. */
export async function usageOf(pids: readonly number[]): Promise<Usage | undefined> {
  if (pids.length === 0) return undefined;
  const each = await Promise.all(pids.map(usageOfOne));
  return each.reduce((sum, { cpuSeconds, rssMiB }) => ({
    cpuSeconds: sum.cpuSeconds + cpuSeconds,
    rssMiB: sum.rssMiB + rssMiB,
  }));
}

async function usageOfOne(pid: number): Promise<Usage> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The name, in brackets, may have spaces in it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
    rssMiB: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024,
  };
}

/** @param share from 0 to 1 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
