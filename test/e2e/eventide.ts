import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { bundle } from '../../scripts/bundle.ts';

/** The bundled command, as a user would install it. */
export interface Installed extends AsyncDisposable {
  entry: string;
}

export async function install(): Promise<Installed> {
  const folder = await mkdtemp(join(tmpdir(), 'eventide-e2e-'));
  await bundle(folder);
  return {
    entry: join(folder, 'eventide.js'),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** One line of `eventide run --json`. */
export interface Said {
  kind: 'decision' | 'output' | 'notice' | 'message';
  workload?: string;
  why?: string;
  replicas?: number;
  desired?: number;
  process?: string;
  text?: string;
  sentence?: string;
  problem?: string;
  triggers?: { value?: number; active: boolean; fault?: { code: string; message: string } }[];
}

/** A running `eventide run --json`. Disposing it kills what is left. */
export interface Running extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Everything it has said, oldest first. */
  readonly said: readonly Said[];
  /** What it wrote to standard error. */
  readonly complaints: string;
  /** Resolves with the first line, said already or yet to come, that is as wanted. @throws when it ends before */
  until(wanted: (said: Said) => boolean): Promise<Said>;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export function startEventide(installed: Installed, args: readonly string[], cwd: string): Running {
  const command = [installed.entry, 'run', '--json', '--keep', ...args];
  const child = spawn(process.execPath, command, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const said: Said[] = [];
  const waiting = new Set<() => void>();
  let complaints = '';
  let over = false;
  child.stderr.on('data', (chunk: Buffer) => {
    complaints += chunk.toString();
  });
  createInterface({ input: child.stdout }).on('line', line => {
    said.push(JSON.parse(line) as Said);
    for (const look of waiting) look();
  });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(resolve => {
    child.once('close', (code, signal) => {
      over = true;
      resolve({ code, signal });
      for (const look of waiting) look();
    });
  });
  return {
    child,
    said,
    get complaints() {
      return complaints;
    },
    ended,
    until(wanted) {
      return new Promise((resolve, reject) => {
        const look = () => {
          const found = said.find(wanted);
          if (found === undefined && !over) return;
          waiting.delete(look);
          if (found !== undefined) resolve(found);
          else reject(new Error(`it ended before it said what was wanted: ${complaints}`));
        };
        waiting.add(look);
        look();
      });
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGINT');
      const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await ended;
      clearTimeout(late);
    },
  };
}
