import { existsSync, readdirSync, readFileSync } from 'node:fs';
import process from 'node:process';

const longestMs = 5000;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/**
 * Stops a process as it stands. Each of its threads hears the signal in its own time, and on a busy machine one could
 * still answer a request that was sent after it: this returns once all of them stand still.
 */
export function freeze(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  const tasks = `/proc/${pid}/task`;
  // Nothing says so elsewhere.
  if (!existsSync(tasks)) return;
  const until = performance.now() + longestMs;
  while (!readdirSync(tasks).every(task => isStopped(`${tasks}/${task}/stat`))) {
    if (performance.now() > until) throw new Error(`process ${pid} does not stand still`);
    Atomics.wait(sleeper, 0, 0, 1);
  }
}

/** The state comes after the name, which is in parentheses and may have anything in it. */
function isStopped(file: string): boolean {
  try {
    const text = readFileSync(file, 'utf8');
    return text.charAt(text.lastIndexOf(')') + 2) === 'T';
  } catch {
    // The thread has ended.
    return true;
  }
}
