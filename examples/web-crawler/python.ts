import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');

/** Where Python and the packages of the crawler are kept; the folder's name goes with requirements.txt. */
const folder = join(cache, 'eventide', 'web-crawler-1');
const requirements = join(import.meta.dirname, 'requirements.txt');

/** Whether the crawler can be run. */
export async function hasCrawlerPackages(): Promise<boolean> {
  return access(join(folder, 'installed')).then(
    () => true,
    () => false,
  );
}

/** Makes a virtual environment with the crawler's packages, where there is none yet. Needs python3 with venv. */
export async function installCrawlerPackages(): Promise<void> {
  if (await hasCrawlerPackages()) return;
  await run('python3', ['-m', 'venv', folder]);
  await run(join(folder, 'bin', 'pip'), ['install', '--quiet', '-r', requirements]);
  await run('touch', [join(folder, 'installed')]);
}

/** The PATH on which `python3` is the one with the packages. */
export function crawlerPath(): string {
  return `${join(folder, 'bin')}${delimiter}${process.env['PATH'] ?? ''}`;
}
