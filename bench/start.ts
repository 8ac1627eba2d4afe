import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { bundle } from '../scripts/bundle.ts';
import type { Bench } from './bench.ts';

const run = promisify(execFile);

/** How long the bundled command takes to print its help, beside a bare Node that does nothing. */
export const startBench: Bench = {
  name: 'start',
  async run() {
    const folder = await mkdtemp(join(tmpdir(), 'eventide-start-'));
    try {
      await bundle(folder);
      const bare = await median(['-e', '']);
      const help = await median([join(folder, 'eventide.js'), '--help']);
      const measured = `${help.toFixed(0)} ms, bare node ${bare.toFixed(0)} ms`;
      return [{ what: 'eventide --help', measured, wanted: '< 400 ms', ok: help < 400 }];
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

async function median(args: string[]): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 9; round += 1) {
    const begin = performance.now();
    await run(process.execPath, args);
    times.push(performance.now() - begin);
  }
  return times.sort((a, b) => a - b)[4] ?? Number.NaN;
}
