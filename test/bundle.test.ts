import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import type { Metafile } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundle } from '../scripts/bundle.ts';
import { closedPort } from './misbehaving-http.ts';

const run = promisify(execFile);

describe('the bundled command', () => {
  let folder: string;
  let metafile: Metafile;
  const entry = () => join(folder, 'eventide.js');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'eventide-bundle-'));
    metafile = (await bundle(folder)).metafile;
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('loads nothing but the command-line parser at start', () => {
    const start = Object.keys(metafile.outputs).find(path => path.endsWith('/eventide.js')) ?? '';

    const packages = new Set(
      inputsAtStart(metafile, start).flatMap(path => /node_modules\/([^/]+)/.exec(path)?.[1] ?? []),
    );

    expect([...packages]).toEqual(['commander']);
  });

  it.each([
    ['--help', /Usage: eventide/],
    ['--version', /^\d+\.\d+\.\d+\n$/],
    ['scalers', /azure-queue/],
  ])('answers %s', async (argument, answer) => {
    const { stdout } = await run(process.execPath, [entry(), argument]);

    expect(stdout).toMatch(answer);
  });

  it('loads the client library of a source that is asked', async () => {
    const port = await closedPort();
    const metadata = {
      connectionString: `mongodb://127.0.0.1:${port}/`,
      dbName: 'shop',
      collection: 'orders',
      query: '{"state":"waiting"}',
      queryValue: '5',
    };
    const manifest = {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
      metadata: { name: 'shop' },
      spec: { scaleTargetRef: { name: 'shop' }, triggers: [{ type: 'mongodb', metadata }] },
    };
    await writeFile(join(folder, 'manifest.yaml'), JSON.stringify(manifest));

    const check = run(process.execPath, [entry(), 'check', '--live', join(folder, 'manifest.yaml')]);

    // It got as far as the network.
    await expect(check).rejects.toMatchObject({ stdout: expect.stringContaining('refuses connections') });
  });
});

/** What is bundled into a file and everything it imports statically. */
function inputsAtStart({ outputs }: Metafile, start: string): string[] {
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const { path: next, kind } of outputs[path]?.imports ?? [])
      if (kind === 'import-statement') visit(next);
  };
  visit(start);
  return [...seen].flatMap(path => Object.keys(outputs[path]?.inputs ?? {}));
}
