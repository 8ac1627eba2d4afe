import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';

/** How to start a program, and when it is ready to be used. */
export interface Program {
  name: string;
  command: string;
  args: string[];
  env?: Record<string, string>;
  /** What it prints is added to this file. */
  logFile: string;
  /** Asked again and again until it is true. */
  ready(signal: AbortSignal): Promise<boolean>;
}

/**
 * Programs that run in the background and end with this process, however it ends: a shell that waits for our
 * end of its standard input to close kills them and removes the folder.
 */
export class Processes implements AsyncDisposable {
  readonly #running = new Map<string, ChildProcess>();
  /** Those whose end is wanted. */
  readonly #ending = new WeakSet<ChildProcess>();
  readonly #watchdog: ChildProcess;

  constructor(folder: string) {
    const script = 'while read -r line; do pids=$line; done; kill -9 $pids 2>/dev/null; rm -rf "$1"';
    this.#watchdog = spawn('sh', ['-c', script, 'sh', folder], {
      stdio: ['pipe', 'ignore', 'ignore'],
      // A signal to the terminal's process group must not reach it before us.
      detached: true,
    });
    this.#watchdog.stdin?.on('error', () => undefined);
    this.#watchdog.unref();
  }

  /** @throws Error with the end of the log when it ends, or is not ready within a minute. */
  async start(program: Program): Promise<void> {
    if (this.#running.has(program.name)) return;
    const log = openSync(program.logFile, 'a');
    const child = spawn(program.command, program.args, {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...program.env },
    });
    closeSync(log);
    let failure: Error | undefined;
    child.once('error', error => {
      failure = error;
    });
    let started = false;
    child.once('exit', (code, signal) => {
      failure ??= new Error(`it ended with ${signal ?? code}`);
      if (this.#running.get(program.name) === child) this.#running.delete(program.name);
      this.#tellWatchdog();
      // Whatever waits for its work waits in vain, so say why.
      if (started && !this.#ending.has(child)) process.stderr.write(`${program.name}: ${failure.message}\n`);
    });
    this.#running.set(program.name, child);
    this.#tellWatchdog();
    const giveUpAt = Date.now() + 60_000;
    while (!(await program.ready(AbortSignal.timeout(5_000)).catch(() => false))) {
      if (failure !== undefined) throw new Error(await startFailure(program, failure.message));
      if (Date.now() > giveUpAt) {
        await this.kill(program.name);
        throw new Error(await startFailure(program, 'it was not ready in a minute'));
      }
      await pause(50);
    }
    started = true;
  }

  /** Ends it with SIGTERM, and after 10 seconds with SIGKILL; resolves when it is gone. */
  async stop(name: string): Promise<void> {
    const child = this.#running.get(name);
    if (child === undefined) return;
    const gone = once(child, 'exit');
    this.#ending.add(child);
    this.signal(name, 'SIGCONT');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(timer);
  }

  /** Resolves when it is gone. */
  async kill(name: string): Promise<void> {
    const child = this.#running.get(name);
    if (child === undefined) return;
    const gone = once(child, 'exit');
    this.#ending.add(child);
    child.kill('SIGKILL');
    await gone;
  }

  signal(name: string, signal: NodeJS.Signals): void {
    this.#running.get(name)?.kill(signal);
  }

  pid(name: string): number | undefined {
    return this.#running.get(name)?.pid;
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.#running.keys()].map(name => this.kill(name)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.killAll();
    this.#watchdog.stdin?.end();
  }

  #tellWatchdog(): void {
    const pids = [...this.#running.values()].map(child => child.pid).filter(pid => pid !== undefined);
    this.#watchdog.stdin?.write(`${pids.join(' ')}\n`);
  }
}

async function startFailure({ name, logFile }: Program, why: string): Promise<string> {
  const log = await readFile(logFile, 'utf8').catch(() => '');
  return `${name} did not start: ${why}. The end of ${logFile}:\n${log.split('\n').slice(-30).join('\n')}`;
}

/**
 * Ports of 127.0.0.1 nobody listens on. They lie below those that systems hand out to outgoing connections, so
 * that none takes one while its server restarts.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (!ports.includes(port) && (await isFree(port))) ports.push(port);
  }
  return ports;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const listening = new Promise<boolean>(resolve => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => resolve(true));
  });
  const free = await listening;
  if (free) await new Promise(resolve => server.close(resolve));
  return free;
}
