import { spawn } from 'node:child_process';
import { readFile, unlink } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { commandOf, findByCommand, signalGroup } from './process-table.ts';

/**
 * Every process of a workload runs below a shell that outlives us and keeps, in one file (the mark), what a later
 * `eventide run` must know: that it was started, by which process, and how it ended.
 *
 * - `set -C` makes the first line exclusive: of two shells that were told to run the same thing, the second one
 *   fails to create the mark and ends. So after a crash a thing without a mark may be started again, and even if
 *   the shell of the first try is only now about to begin, it runs once.
 * - The traps let the shell live through a SIGTERM to the group, so that it can note how its child took it.
 * - Output goes to files: a pipe would break with us, and take the process along.
 * - The last line ends whatever the process left behind in its group, as the end of a container does, and is
 *   reached only when the exit code is on disk. Where it cannot be written, we are told as the parent.
 * - What the shell itself has to say of a child that was killed goes nowhere: it is no output of the workload.
 * - Nothing in it forks but the process itself.
 */
const script = `set -C; trap _eventide_stop=1 TERM INT HUP
exec 3>"$1" >>"$1.out" 4>>"$1.err" 2>/dev/null
echo $$ >&3; shift
if [ "$_eventide_stop" ]; then _eventide_code=143; else "$@" 2>&4 3>&- 4>&-; _eventide_code=$?; fi
echo $_eventide_code 2>/dev/null >&3 || exit $_eventide_code
kill -9 0`;

/** How a process ended. */
export interface Exit {
  /** Undefined where it was killed together with its shell. */
  code: number | undefined;
  /** Why it has not even begun: the machine would not start it. It may be tried again under the same mark. */
  notBegun?: string;
}

/** A process that runs, or ran, below the shell. */
export interface HostRun {
  /** The leader of its process group. */
  readonly pid: number | undefined;
  readonly ended: Promise<Exit>;
  /** Signals the whole group; nothing where it has ended. */
  signal(signal: NodeJS.Signals): void;
}

export interface Launch {
  /** The file for the mark; `.out` and `.err` beside it take the output. An absolute path used for no other process. */
  mark: string;
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd: string;
}

/**
 * Starts a process; nothing happens where its mark is there already, and the one that made it is followed.
 *
 * @throws what `spawn` throws for arguments that the system does not take
 */
export function startRun({ mark, argv, env, cwd }: Launch, clock: Clock): HostRun {
  const { variables, words } = throughShell(argv, env);
  const child = spawn('/bin/sh', ['-c', script, 'eventide', mark, ...words], {
    cwd,
    env: variables,
    detached: true,
    stdio: 'ignore',
  });
  let current = child.pid;
  let over = false;
  const ended = new Promise<Exit>(resolve => {
    child.once('error', ({ message }) => resolve({ code: undefined, notBegun: message }));
    child.once('exit', code => {
      resolve(
        afterShell({ mark, pid: child.pid, code: code ?? undefined }, pid => {
          current = pid;
          return follow({ mark, pid }, clock);
        }),
      );
    });
  }).finally(() => {
    over = true;
  });
  return {
    get pid() {
      return current;
    },
    ended,
    signal(signal) {
      if (!over && current !== undefined) signalGroup(current, signal);
    },
  };
}

/**
 * Takes up a process that an earlier `eventide run` started.
 *
 * @returns undefined where it was never started
 */
export async function adoptRun(mark: string, clock: Clock): Promise<HostRun | undefined> {
  const found = await readMark(mark);
  if (found === undefined) return undefined;
  if (found.code !== undefined) return endedRun(found.code);
  const pid = found.pid ?? (await findByCommand(mark));
  if (pid === undefined) return endedRun((await readMark(mark))?.code);
  let over = false;
  const ended = follow({ mark, pid }, clock).finally(() => {
    over = true;
  });
  return {
    pid,
    ended,
    signal(signal) {
      if (!over) signalGroup(pid, signal);
    },
  };
}

/** Kills what runs below a mark and removes its files. */
export async function discardRun(mark: string): Promise<void> {
  const found = await readMark(mark);
  if (found !== undefined && found.code === undefined) {
    const pid = found.pid ?? (await findByCommand(mark));
    if (pid !== undefined && (await commandOf(pid)).includes(mark)) signalGroup(pid, 'SIGKILL');
  }
  await removeRun(mark);
}

/** Removes the files of a process that has ended. */
export async function removeRun(mark: string): Promise<void> {
  await Promise.all(['', '.out', '.err'].map(end => unlink(mark + end).catch(() => {})));
}

function endedRun(code: number | undefined): HostRun {
  return { pid: undefined, ended: Promise.resolve({ code }), signal() {} };
}

/** What our own shell left: usually the code, but it may have come second, or been unable to write. */
async function afterShell(
  shell: { mark: string; pid: number | undefined; code: number | undefined },
  followOther: (pid: number) => Promise<Exit>,
): Promise<Exit> {
  const found = await readMark(shell.mark);
  if (found === undefined) {
    return { code: undefined, notBegun: `its shell ended with ${shell.code ?? 'a signal'} before it began` };
  }
  if (found.code !== undefined) return { code: found.code };
  const other = found.pid ?? (await findByCommand(shell.mark));
  if (other !== undefined && other !== shell.pid) return await followOther(other);
  if (shell.code === undefined && shell.pid !== undefined) signalGroup(shell.pid, 'SIGKILL');
  return { code: shell.code };
}

const lookEveryMs = 100;

/** Nobody tells us of the end of a process that is not our child. */
async function follow({ mark, pid }: { mark: string; pid: number }, clock: Clock): Promise<Exit> {
  for (;;) {
    const lives = (await commandOf(pid)).includes(mark);
    // The mark is read after the look at the process, so that an end in between is not taken for a loss.
    const code = (await readMark(mark))?.code;
    if (code !== undefined) return { code };
    if (!lives) {
      // The shell was killed alone. As long as its group has members its id is given to nobody else.
      if ((await commandOf(pid)) === '') signalGroup(pid, 'SIGKILL');
      return { code: undefined };
    }
    await new Promise<void>(resolve => clock.after(lookEveryMs, resolve));
  }
}

interface Mark {
  /** Undefined where the shell has created the file and not written to it, yet or for want of space. */
  pid: number | undefined;
  /** Undefined until the process has ended. */
  code: number | undefined;
}

async function readMark(mark: string): Promise<Mark | undefined> {
  const text = await readFile(mark, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  // A number without its line break may be cut short.
  const [pid, code] = text
    .split('\n')
    .slice(0, -1)
    .map(line => Number(line));
  return { pid, code };
}

/**
 * Words that one shell or another carries out itself, some of them unlike the program of that name: `echo` turns
 * `\n` into a line break, `exec` and `exit` end the shell before it has noted how its process ended. Not among
 * them are `true` and `false`, which cannot differ.
 */
const shellWords = new Set(
  (
    '. : [ [[ alias bg bind break builtin caller cd chdir command compgen complete compopt continue declare dirs ' +
    'disown echo enable eval exec exit export fc fg getopts hash help hist history jobs kill let local logout ' +
    'mapfile newgrp popd print printf pushd pwd read readarray readonly return set shift shopt source suspend ' +
    'test times trap type typeset ulimit umask unalias unset wait whence'
  ).split(' '),
);

/**
 * What to tell the shell, so that it starts exactly this program with exactly these variables. It would carry out
 * its own words itself, and pass on only variables whose names it could use: `env` goes behind its back in both.
 */
function throughShell(argv: readonly string[], env: Readonly<Record<string, string>>) {
  const odd = Object.entries(env).filter(([name]) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  if (odd.length === 0 && !shellWords.has(argv[0] ?? '')) return { variables: env, words: argv };
  const variables = { ...env };
  for (const [name] of odd) delete variables[name];
  return { variables, words: ['env', ...odd.map(([name, value]) => `${name}=${value}`), ...argv] };
}
