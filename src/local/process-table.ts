import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import process from 'node:process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What a process group uses, its finished children included in the time. */
export interface GroupUse {
  cpuSeconds: number;
  memoryBytes: number;
}

// Linux answers from /proc without starting anything; elsewhere `ps` does.
const hasProc = process.platform === 'linux';

/** The command line of a process; empty where there is none, or where it has ended and nobody has noticed yet. */
export async function commandOf(pid: number): Promise<string> {
  if (hasProc) {
    const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    return text.replaceAll('\0', ' ');
  }
  return (await ps(['-ww', '-o', 'command=', '-p', String(pid)])).trim();
}

/** The process with this text in its command line, other than the one that asks. */
export async function findByCommand(text: string): Promise<number | undefined> {
  const pids = hasProc
    ? (await readdir('/proc')).filter(name => /^\d+$/.test(name)).map(Number)
    : (await ps(['-axo', 'pid='])).split('\n').map(Number);
  for (const pid of pids)
    if (pid > 0 && pid !== process.pid && (await commandOf(pid)).includes(text)) return pid;
  return undefined;
}

/**
 * When a process started, in a form to compare only: together with its id it is never the same twice.
 * Undefined where there is no such process.
 */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  if (!hasProc) return (await ps(['-o', 'lstart=', '-p', String(pid)])).trim() || undefined;
  const fields = await statOf(pid);
  return fields === undefined || fields[0] === 'Z' ? undefined : fields[19];
}

/**
 * Sends a signal to a process group.
 *
 * @returns whether there was one
 */
export function signalGroup(leader: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-leader, signal);
    return true;
  } catch (thrown) {
    // Who may not be signalled is none of ours.
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** What each of these process groups uses; those that are gone are left out. */
export async function usesOf(leaders: ReadonlySet<number>): Promise<Map<number, GroupUse>> {
  const uses = new Map<number, GroupUse>();
  const add = (leader: number, cpuSeconds: number, memoryBytes: number) => {
    const sum = uses.get(leader) ?? { cpuSeconds: 0, memoryBytes: 0 };
    uses.set(leader, {
      cpuSeconds: sum.cpuSeconds + cpuSeconds,
      memoryBytes: sum.memoryBytes + memoryBytes,
    });
  };
  if (hasProc) {
    for (const name of await readdir('/proc')) {
      const fields = /^\d+$/.test(name) ? await statOf(Number(name)) : undefined;
      const leader = Number(fields?.[2]);
      if (fields === undefined || !leaders.has(leader)) continue;
      const ticks = [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0);
      add(leader, ticks / ticksPerSecond, await residentBytes(Number(name)));
    }
    return uses;
  }
  for (const line of (await ps(['-axo', 'pgid=,rss=,time='])).split('\n')) {
    const [leader, kilobytes, time = ''] = line.trim().split(/\s+/);
    if (leaders.has(Number(leader))) add(Number(leader), secondsOf(time), Number(kilobytes) * 1024);
  }
  return uses;
}

/** The kernel counts for user space in hundredths of a second on every architecture that Node runs on. */
const ticksPerSecond = 100;

/** The fields of /proc/PID/stat from the third on, the state. */
async function statOf(pid: number): Promise<string[] | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The second field is the name in brackets, which may itself hold spaces and brackets.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ');
}

async function residentBytes(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
}

/** `1-02:03:04.5`, days and hours only where there are any. */
function secondsOf(time: string): number {
  const [days, clock] = time.includes('-') ? time.split('-') : ['0', time];
  const seconds = (clock ?? '').split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
  return Number(days) * 86_400 + seconds;
}

/** The output of `ps`; empty where it finds nothing, which it calls an error. */
async function ps(args: readonly string[]): Promise<string> {
  return await run('ps', args).then(
    ({ stdout }) => stdout,
    () => '',
  );
}
