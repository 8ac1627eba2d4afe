import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What the process list says of the workers, sampled until stopped. */
export interface WorkerWatch {
  /** At the last sample. */
  now(): number;
  readonly peak: number;
  readonly firstAtMs: number | undefined;
  /** Takes a last sample and stops. */
  stop(): Promise<void>;
}

/**
 * @param script what the command line of a worker has in it
 * @param elapsed milliseconds since the start
 */
export function watchWorkers(script: string, elapsed: () => number): WorkerWatch {
  let now = 0;
  let peak = 0;
  let firstAtMs: number | undefined;
  let sampling = Promise.resolve();

  async function sample(): Promise<void> {
    const { stdout } = await run('ps', ['-Ao', 'pid=,ppid=,args=']);
    // The shell that a worker runs under names the script as well, but does not begin with what runs it.
    const found = stdout.split('\n').flatMap(line => {
      const [, pid, parent, args = ''] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
      return /^\S*(node|python[\d.]*)\s/.test(args) && args.includes(script) ? [{ pid, parent }] : [];
    });
    // A worker that is about to start another program is there twice for a moment.
    now = found.filter(({ parent }) => !found.some(({ pid }) => pid === parent)).length;
    peak = Math.max(peak, now);
    if (now > 0) firstAtMs ??= elapsed();
  }

  const timer = setInterval(() => {
    sampling = sampling.then(sample, sample);
  }, 200);
  return {
    now: () => now,
    get peak() {
      return peak;
    },
    get firstAtMs() {
      return firstAtMs;
    },
    async stop() {
      clearInterval(timer);
      await sampling;
      await sample();
    },
  };
}
