import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../base/errors.ts';

/**
 * Reads every certificate in these folders, as PEM texts; what begins with two dots is the kubelet's own.
 * A folder that is not there is none, as in KEDA.
 *
 * @throws Fault USAGE naming a file that cannot be read
 */
export async function readRoots(folders: readonly string[]): Promise<string[]> {
  const roots: string[] = [];
  for (const folder of folders) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names.filter(each => !each.startsWith('..')).sort()) {
      const file = join(folder, name);
      try {
        roots.push(await readFile(file, 'utf8'));
      } catch (cause) {
        throw new Fault('USAGE', `--ca-dir: ${file} cannot be read`, { cause });
      }
    }
  }
  return roots;
}
