import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import process from 'node:process';
import { Fault } from '../base/errors.ts';
import { startTimeOf } from './process-table.ts';

/**
 * Makes a state folder ours until it is disposed or this process ends, however it ends.
 *
 * @throws Fault WORLD_FAILED while another process has it
 */
export async function lockState(folder: string): Promise<AsyncDisposable> {
  const lock = `${folder}/lock`;
  const own = `${lock}.${process.pid}`;
  const text = `${process.pid} ${await startTimeOf(process.pid)}\n`;
  await writeFile(own, text, { mode: 0o600 });
  try {
    for (;;) {
      if (await takes(own, lock)) break;
      const holder = await readFile(lock, 'utf8').catch(() => undefined);
      if (holder === undefined) continue;
      if (await isHeld(holder)) {
        const pid = holder.split(' ')[0];
        throw new Fault(
          'WORLD_FAILED',
          `another eventide (process ${pid}) runs with the state folder ${folder}; stop it, or give --state another folder`,
        );
      }
      await discard(lock, holder);
    }
  } finally {
    await rm(own, { force: true });
  }
  return {
    async [Symbol.asyncDispose]() {
      if ((await readFile(lock, 'utf8').catch(() => undefined)) === text) await rm(lock, { force: true });
    },
  };
}

/** A link appears with its content, so nobody ever reads an empty lock. */
async function takes(own: string, lock: string): Promise<boolean> {
  try {
    await link(own, lock);
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw thrown;
  }
}

async function isHeld(holder: string): Promise<boolean> {
  const [pid, ...since] = holder.trim().split(' ');
  return (await startTimeOf(Number(pid))) === since.join(' ');
}

/** Takes a stale lock away. Should somebody have replaced it meanwhile, theirs is put back. */
async function discard(lock: string, stale: string): Promise<void> {
  const aside = `${lock}.stale.${process.pid}`;
  try {
    await rename(lock, aside);
    if ((await readFile(aside, 'utf8')) !== stale) await takes(aside, lock);
    await rm(aside, { force: true });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
  }
}
