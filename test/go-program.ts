import { createHash } from 'node:crypto';
import { access, mkdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { build, go, locked } from './cluster/binaries.ts';

interface Cached {
  /** Differs when what is built differs; part of the name of its folder. */
  key: string;
  /** Said before it is built, with how long that takes. */
  what: string;
  /** Builds it in a folder of its own. @returns where it is */
  into(folder: string): Promise<string>;
}

/**
 * A program in the user's cache folder, built when it is not there, by one process however many ask.
 *
 * @throws what the build printed, when it fails
 */
export async function cachedProgram({ key, what, into }: Cached): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const folder = join(cache, 'eventide', `${key}-${process.arch}`);
  const path = join(folder, 'program');
  const isThere = () =>
    access(path).then(
      () => true,
      () => false,
    );
  if (await isThere()) return path;
  await mkdir(folder, { recursive: true });
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  await using _lock = await locked(join(folder, 'building'), say);
  if (await isThere()) return path;
  say(`building ${what}`);
  await build(path, into);
  return path;
}

/** The Go program in a folder beside this file. */
export async function goProgram(name: string, what: string): Promise<string> {
  const sources = join(import.meta.dirname, name);
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(await readFile(join(sources, file)));
  return await cachedProgram({
    key: `${name}-${hash.digest('hex').slice(0, 16)}`,
    what,
    async into(folder) {
      const built = join(folder, name);
      await go(['build', '-trimpath', '-ldflags', '-s -w', '-o', built, '.'], { cwd: sources });
      return built;
    },
  });
}
