import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Bench, BenchRow } from './bench.ts';

interface Quantiles {
  p50: number;
  p99: number;
  most: number;
}

/**
 * 10,000 ScaledObjects with a `prometheus` trigger each and a query of its own, one server, 30 s polling, a world
 * that does nothing. Server and engine have a process each, bundled as they would be shipped.
 */
export const engineBench: Bench = {
  name: 'engine',
  async run() {
    const folder = await mkdtemp(join(tmpdir(), 'eventide-bench-'));
    try {
      await build({
        entryPoints: ['engine-process', 'prometheus-process'].map(name =>
          fileURLToPath(new URL(`${name}.ts`, import.meta.url)),
        ),
        outdir: folder,
        outExtension: { '.js': '.mjs' },
        bundle: true,
        splitting: true,
        format: 'esm',
        platform: 'node',
        target: 'node20.19',
        banner: {
          js: "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);",
        },
      });
      return await measure(folder);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

async function measure(folder: string): Promise<BenchRow[]> {
  const server = fork(join(folder, 'prometheus-process.mjs'));
  const [{ port }] = (await once(server, 'message')) as [{ port: number }];
  const engine = fork(join(folder, 'engine-process.mjs'), [`http://127.0.0.1:${port}`]);
  const ask = <T>(child: ChildProcess, message: object): Promise<T> => {
    child.send(message);
    return once(child, 'message').then(([answer]) => answer as T);
  };
  const hear = async <T>(): Promise<T> => (await once(engine, 'message'))[0] as T;
  try {
    const steady = await hear<{
      firstPassMs: number;
      cores: number;
      cpuSeconds: number;
      rssMiB: number;
      failed: number;
    }>();
    const { connections, requests } = await ask<{ connections: number; requests: number }>(server, {});
    await hear();
    await ask(server, { value: 23 });
    engine.send({});
    const { waits } = await hear<{ waits: Quantiles }>();
    const { pushes } = await hear<{ pushes: Quantiles }>();
    const { jobs } = await hear<{ jobs: Quantiles }>();
    const ms = ({ p50, p99, most }: Quantiles) =>
      `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, most ${most.toFixed(2)} ms`;
    const { firstPassMs, cores, cpuSeconds, rssMiB, failed } = steady;
    return [
      {
        what: '10,000 objects, 30 s polling: CPU',
        measured: `${cores.toFixed(3)} core (${cpuSeconds.toFixed(2)} s of CPU in 60 s)`,
        wanted: '< 0.1 core',
        ok: cores < 0.1,
      },
      { what: 'the same: RSS', measured: `${rssMiB.toFixed(0)} MiB`, wanted: '< 220 MiB', ok: rssMiB < 220 },
      { what: 'the same: failed reads', measured: `${failed} of ${requests}`, wanted: '0', ok: failed === 0 },
      {
        what: 'the same: first pass over all',
        measured: `${(firstPassMs / 1000).toFixed(1)} s`,
        wanted: '< 30 s',
        ok: firstPassMs < 30_000,
      },
      {
        what: 'the same: connections at the server',
        measured: String(connections),
        wanted: '<= 10',
        ok: connections <= 10,
      },
      {
        what: 'all readings change at once: reading to decision',
        measured: ms(waits),
        wanted: 'p99 < 5 ms',
        ok: waits.p99 < 5,
      },
      { what: 'a push: to its decision', measured: ms(pushes), wanted: 'p99 < 10 ms', ok: pushes.p99 < 10 },
      {
        // The first 100 ms let whoever ended tell the source, so that no Job comes for work that is done.
        what: 'a job completion: to the next job',
        measured: ms(jobs),
        wanted: 'p99 < 110 ms',
        ok: jobs.p99 < 110,
      },
    ];
  } finally {
    engine.kill();
    server.disconnect();
  }
}
