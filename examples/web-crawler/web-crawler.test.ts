import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Installed, install } from '../../test/e2e/eventide.ts';
import { eventually } from '../../test/laptop.ts';
import { type CrawlerCloud, startCrawlerCloud } from './cloud.ts';
import { crawlerPath, hasCrawlerPackages } from './python.ts';
import { type Sites, startSites } from './sites.ts';

const pagesEach = 5;
const installedPackages = await hasCrawlerPackages();
const manifest = join(import.meta.dirname, '..', 'web-crawler.yaml');

let installed: Installed;
let folder: string;
let cloud: CrawlerCloud;
let sites: Sites;

beforeAll(async () => {
  installed = await install();
  folder = await mkdtemp(join(tmpdir(), 'eventide-crawler-'));
  cloud = await startCrawlerCloud();
  sites = await startSites({ pagesEach, answerMs: 5 });
  await writeFile(join(folder, 'sites.yaml'), cloud.secret);
});
afterAll(async () => {
  await sites[Symbol.asyncDispose]();
  await cloud[Symbol.asyncDispose]();
  await installed[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function eventide(...args: string[]) {
  const command = [installed.entry, ...args, manifest, join(folder, 'sites.yaml')];
  const child = spawn(process.execPath, command, {
    cwd: folder,
    env: { ...process.env, PATH: crawlerPath() },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  const ended = once(child, 'close');
  return {
    ended,
    said: () => text,
    /** Ends it as Ctrl-C does, with all that it has started. */
    async [Symbol.asyncDispose]() {
      child.kill('SIGINT');
      await ended;
    },
  };
}

describe('the web crawler', () => {
  it('has a manifest with nothing wrong in it, and only the article’s spelling to note', async () => {
    const check = eventide('check');

    const [code] = await check.ended;

    expect(check.said()).toContain('nothing is wrong, 1 notice');
    expect(code).toBe(0);
  });

  it.skipIf(!installedPackages)(
    'crawls every site, starts none for other events, and is gone at the end',
    async () => {
      cloud.sendOthers(20);
      await using run = eventide('run', '--json');
      await eventually(() => run.said().includes('No trigger is active; stays at 0.'), 30_000);
      const early = run.said();

      cloud.sendSites(Array.from({ length: 8 }, (_, index) => sites.address(index + 1)));
      await eventually(async () => (await cloud.unprocessed()) === 0, 150_000, run.said);
      await eventually(() => run.said().includes('the cooldown is over: goes from'), 30_000);
      const stored = [...(await cloud.stored()).values()];

      expect(stored.map(pages => pages.length)).toEqual(Array.from({ length: 8 }, () => pagesEach));
      expect(early).not.toContain('goes from 0 to');
      expect(run.said()).toContain('goes from 0 to');
    },
    240_000,
  );
});
