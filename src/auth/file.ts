import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import { Fault, faultOf } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';

const mostBytes = 1024 * 1024;

/**
 * All parameters from one file that holds a JSON object of texts: `filePath`.
 *
 * @param root the folder the operator was told to read such files below; undefined where it was told of none
 * @param path relative to it
 * @throws Fault NOT_SUPPORTED without a root, MANIFEST_INVALID for a path that leads out of it, AUTH_MISSING
 *   where there is no file, AUTH_FAILED where it is not such an object
 */
export async function fromFile(root: string | undefined, path: string): Promise<Record<string, Secret>> {
  if (root === undefined || root === '') {
    throw new Fault('NOT_SUPPORTED', 'filePath needs a folder for such files, which is not configured here');
  }
  if (isAbsolute(path) || path.split(/[/\\]/).includes('..')) throw outside(path);
  // Where a folder is mounted from a Secret, the file that was found may be replaced before it is opened.
  const text = await readBelow(root, path).catch(thrown =>
    faultOf(thrown).code === 'AUTH_MISSING' ? readBelow(root, path) : Promise.reject(thrown),
  );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes what it read.
    throw new Fault('AUTH_FAILED', `the file "${path}" is not JSON`);
  }
  const entries = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  if (entries === undefined || Object.values(entries).some(each => typeof each !== 'string')) {
    throw new Fault('AUTH_FAILED', `the file "${path}" is not a JSON object of texts`);
  }
  return Object.fromEntries(Object.entries(entries).map(([name, each]) => [name, new Secret(String(each))]));
}

async function readBelow(root: string, path: string): Promise<string> {
  try {
    const [top, file] = await Promise.all([realpath(root), realpath(join(root, path))]);
    if (!file.startsWith(top.endsWith(sep) ? top : top + sep)) throw outside(path);
    await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { size } = await handle.stat().then(stat => (stat.isFile() ? stat : Promise.reject(noFile(path))));
    if (size > mostBytes) throw new Fault('AUTH_FAILED', `the file "${path}" is larger than 1 MiB`);
    return await handle.readFile('utf8');
  } catch (thrown) {
    if (thrown instanceof Fault) throw thrown;
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new Fault('AUTH_MISSING', `there is no file "${path}" where filePath is looked for`);
    }
    throw new Fault('AUTH_FAILED', `the file "${path}" cannot be read (${code ?? 'unknown'})`, {
      cause: thrown,
    });
  }
}

const noFile = (path: string) => new Fault('AUTH_FAILED', `"${path}" is not a file`);

const outside = (path: string) =>
  new Fault(
    'MANIFEST_INVALID',
    `filePath "${path}" leads out of its folder; it must be relative and without ".."`,
  );
