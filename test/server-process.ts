import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freeze } from './freeze.ts';

const run = promisify(execFile);

/** Databases refuse to run as root: then they run as `nobody`. */
const isRoot = process.getuid?.() === 0;
const nobody = 65_534;
const unprivileged = isRoot ? { uid: nobody, gid: nobody } : {};

/** A new empty folder that the unprivileged user may write to. */
export async function serverFolder(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `${name}-`));
  if (isRoot) await chown(folder, nobody, nobody);
  return folder;
}

export const removeFolder = (folder: string): Promise<void> => rm(folder, { recursive: true, force: true });

/** Runs a program to its end as the unprivileged user. @returns what it printed @throws what it complained about */
export async function runProgram(command: string, args: readonly string[], cwd: string): Promise<string> {
  const { stdout } = await run(command, [...args], { ...unprivileged, cwd });
  return stdout;
}

/** A program that runs until it is told to stop. */
export interface ServerProcess extends AsyncDisposable {
  /** Whether it ended by itself. */
  readonly ended: boolean;
  /** Asks it to end, and waits. A second call does nothing. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Has it do nothing until `thaw`. */
  freeze(): void;
  thaw(): void;
}

/**
 * Starts a program as the unprivileged user, or as whoever runs the tests where it does not mind, and waits until
 * `isReady` says so.
 *
 * @throws what it printed, where it ends before
 */
export async function startProgram(
  command: readonly [program: string, ...args: string[]],
  { cwd, isReady, asOurselves = false }: { cwd: string; isReady(): Promise<boolean>; asOurselves?: boolean },
): Promise<ServerProcess> {
  const [program, ...args] = command;
  const child = spawn(program, args, {
    ...(asOurselves ? {} : unprivileged),
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed = `${printed}${text}`.slice(-4000);
    });
  }
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  child.once('exit', () => process.off('exit', kill));
  await once(child, 'spawn');
  while (!(await isReady())) {
    if (ended()) throw new Error(`${program} ended:\n${printed}`);
    await pause(20);
  }
  return handle(child, ended);
}

function handle(child: ChildProcess, ended: () => boolean): ServerProcess {
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    if (ended()) return;
    const exit = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill(signal);
    await exit;
  };
  return {
    get ended() {
      return ended();
    },
    stop,
    freeze() {
      if (child.pid !== undefined) freeze(child.pid);
    },
    thaw: () => void child.kill('SIGCONT'),
    [Symbol.asyncDispose]: () => stop('SIGKILL'),
  };
}

/** Writes a file that only the unprivileged user may read, as keys have to be. */
export async function privateFile(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600 });
  if (isRoot) await chown(path, nobody, nobody);
}
