/**
 * `npm run example:web-crawler`: an event hub, a storage account and some web sites on loopback ports, `eventide run`
 * with the manifest as a user would start it, and at the end a summary that is counted from outside: from the blobs,
 * the checkpoints, the sites' own books and the process list.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchWorkers } from '../demo/workers.ts';
import { startCrawlerCloud } from './cloud.ts';
import { crawlerPath, installCrawlerPackages } from './python.ts';
import { startSites } from './sites.ts';

const siteCount = 40;
const pagesEach = 12;
const others = 200;
const quietMs = 8000;
const longestMs = 150_000;

await installCrawlerPackages();
const folder = await mkdtemp(join(tmpdir(), 'eventide-crawler-'));
const cloud = await startCrawlerCloud();
const sites = await startSites({ pagesEach, answerMs: 150 });
const secretFile = join(folder, 'sites.yaml');
await writeFile(secretFile, cloud.secret);
// What is not for crawlers is there before anything runs, and is to start none.
cloud.sendOthers(others);

const startedAt = performance.now();
const elapsed = () => performance.now() - startedAt;
const crawlers = watchWorkers('web-crawler/crawler.py', elapsed);
const command = ['--import', 'tsx', 'src/cli/main.ts', 'run', 'examples/web-crawler.yaml', secretFile];
const eventide = spawn(process.execPath, [...command, '--state', join(folder, 'state')], {
  stdio: 'inherit',
  env: { ...process.env, PATH: crawlerPath() },
});
const ended = new Promise<number>(resolve => eventide.once('exit', code => resolve(code ?? 1)));
let interrupted = false;
process.on('SIGINT', () => {
  interrupted = true;
});
const running = () => !interrupted && eventide.exitCode === null && elapsed() < longestMs;

while (running() && elapsed() < quietMs) await sleep(100);
const early = crawlers.peak;
const addresses = Array.from({ length: siteCount }, (_, index) => sites.address(index + 1));
cloud.sendSites(addresses);
const sentMs = elapsed();
while (running() && (await cloud.unprocessed()) > 0) await sleep(500);
const processedMs = elapsed();
while (running() && crawlers.now() > 0) await sleep(500);

const backAtZeroMs = elapsed();
const left = crawlers.now();
eventide.kill('SIGINT');
const code = await ended;
await crawlers.stop();
const stored = await cloud.stored();
const whole = [...stored.values()].filter(pages => pages.length === pagesEach).length;
const again = [...sites.asked.values()].filter(times => times > 1).length;
await sites[Symbol.asyncDispose]();
await cloud[Symbol.asyncDispose]();
await rm(folder, { recursive: true, force: true });

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
console.log(`
Counted from outside, in the blobs, the checkpoints, the sites and the process list:
  other events ${others}, and ${early} crawlers while there were no others
  sites        ${whole} of ${siteCount} crawled whole, ${pagesEach} pages each, ${seconds(processedMs - sentMs)} after they were sent
  pages        ${again} asked for more than once: a partition that changes hands is read again from its checkpoint
  crawlers     ${crawlers.peak} at the most, the first ${seconds((crawlers.firstAtMs ?? 0) - sentMs)} after the events, ${left} at the end (${seconds(backAtZeroMs)})
  left behind  ${crawlers.now()} crawlers`);
const asPromised =
  early === 0 && whole === siteCount && crawlers.peak <= 5 && left === 0 && crawlers.now() === 0;
process.exitCode = interrupted || (asPromised && code === 0) ? 0 : 1;
