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
    const { stdout } = await run('ps', ['-Ao', 'args=']);
    // The shell that a worker runs under names the script as well, but does not begin with node.
    now = stdout.split('\n').filter(line => /^\S*node\s/.test(line) && line.includes(script)).length;
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
