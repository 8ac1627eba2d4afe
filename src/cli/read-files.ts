import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import type { Problem } from '../spec/problem.ts';

/** One manifest file as it was read. */
export interface ReadFile {
  /** As the user named it; `<stdin>` for standard input. */
  file: string;
  bytes: Uint8Array;
}

/** A file larger than this is not read at all; the parser has a limit of its own. */
const mostBytes = 16 * 1024 * 1024;

/**
 * Reads manifest files: a path, a folder (its .yaml, .yml and .json files, by name), or `-`.
 * What cannot be read is a problem, not an error.
 */
export async function readFiles(
  names: readonly string[],
): Promise<{ files: ReadFile[]; problems: Problem[] }> {
  const files: ReadFile[] = [];
  const problems: Problem[] = [];
  for (const name of names) {
    try {
      if (name === '-') files.push({ file: '<stdin>', bytes: await readStdin() });
      else for (const file of await filesAt(name)) files.push({ file, bytes: await readOne(file) });
    } catch (thrown) {
      problems.push({ problem: sentenceOf(thrown), place: { file: name } });
    }
  }
  return { files, problems };
}

async function filesAt(name: string): Promise<string[]> {
  if (!(await stat(name)).isDirectory()) return [name];
  const found = (await readdir(name)).filter(each => /\.(ya?ml|json)$/.test(each)).sort();
  if (found.length === 0) throw new Error('no .yaml, .yml or .json file in this folder');
  return found.map(each => join(name, each));
}

async function readOne(file: string): Promise<Uint8Array> {
  const { size } = await stat(file);
  if (size > mostBytes) throw new Error(`larger than ${mostBytes} bytes`);
  return readFile(file);
}

async function readStdin(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > mostBytes) throw new Error(`larger than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const sentences: Record<string, string> = {
  ENOENT: 'there is no such file',
  EACCES: 'this file may not be read',
  EISDIR: 'this is a folder',
};

function sentenceOf(thrown: unknown): string {
  const { code = '', message } = thrown as { code?: string; message: string };
  return sentences[code] ?? message;
}
