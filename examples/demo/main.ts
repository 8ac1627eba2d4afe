/**
 * `npm start`: real Azure Storage queues (Azurite, in this process), `eventide run` with the two examples as a
 * user would start it, a spike of images and tasks, and at the end a summary that is counted from outside: from
 * the queues, the blobs and the process list, not from what Eventide says of itself.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAzurite } from '../../test/azurite.ts';
import { type Counts, countOutcome, makePicture, openStorage, sendImages, sendTasks } from './storage.ts';
import { watchWorkers } from './workers.ts';

const keep = process.argv.includes('--keep');
const waves = [
  { atMs: 4000, images: 150, tasks: 24, badTasks: 1 },
  { atMs: 68_000, images: 60, tasks: 8, badTasks: 0 },
];
const longestMs = 120_000;

const folder = await mkdtemp(join(tmpdir(), 'eventide-demo-'));
const azurite = await startAzurite({ dataDir: join(folder, 'azurite') });
const storage = await openStorage(azurite.connectionString);
const picture = await makePicture();
const secretFile = join(folder, 'storage.yaml');
await writeFile(secretFile, secretManifest(azurite.connectionString));

const startedAt = performance.now();
const elapsed = () => performance.now() - startedAt;
const workers = watchWorkers('image-processing/worker.mjs', elapsed);
const manifests = ['examples/image-processing.yaml', 'examples/task-processing.yaml', secretFile];
const command = ['--import', 'tsx', 'src/cli/main.ts', 'run', ...manifests, '--state', join(folder, 'state')];
const eventide = spawn(process.execPath, command, { stdio: 'inherit' });
const ended = new Promise<number>(resolve => eventide.once('exit', code => resolve(code ?? 1)));
// Ctrl-C reaches the child too, which stops what it started; this process waits for it and then cleans up.
let interrupted = false;
process.on('SIGINT', () => {
  interrupted = true;
});

let firstMessageMs = 0;
const sent: Counts = { images: 0, tasks: 0, badTasks: 0 };
const running = () => !interrupted && eventide.exitCode === null;
for (const wave of waves) {
  while (running() && elapsed() < wave.atMs) await sleep(100);
  if (!running()) break;
  firstMessageMs ||= elapsed();
  await Promise.all([
    sendImages(storage, { picture, count: wave.images, from: sent.images }),
    sendTasks(storage, wave, sent.tasks),
  ]);
  sent.images += wave.images;
  sent.tasks += wave.tasks;
  sent.badTasks += wave.badTasks;
}
while (running() && (keep || elapsed() < longestMs)) {
  await sleep(1000);
  if (!keep && workers.now() === 0 && (await storage.isDrained())) break;
}

const backAtZeroMs = elapsed();
const workersAtTheEnd = workers.now();
eventide.kill('SIGINT');
const code = await ended;
await workers.stop();
const outcome = await countOutcome(storage);
await azurite.stop();
await rm(folder, { recursive: true, force: true });

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const firstWorker = workers.firstAtMs === undefined ? 'never' : seconds(workers.firstAtMs - firstMessageMs);
console.log(`
Counted from outside, in the queues, the blobs and the process list:
  images      ${outcome.thumbnails} of ${sent.images} resized to 256x256${outcome.wrongSize > 0 ? `, ${outcome.wrongSize} of another size` : ''}
  tasks       ${outcome.tasksOnce} of ${sent.tasks} done exactly once${outcome.tasksTwice > 0 ? `, ${outcome.tasksTwice} more than once` : ''}
  bad task    ${outcome.poisoned} of ${sent.badTasks} in the poison queue
  workers     ${workers.peak} at the most, the first ${firstWorker} after the first message, ${workersAtTheEnd} at the end (${seconds(backAtZeroMs)})
  left behind ${workers.now()} worker processes`);
const asPromised =
  outcome.thumbnails === sent.images &&
  outcome.tasksOnce === sent.tasks &&
  outcome.tasksTwice === 0 &&
  outcome.poisoned === sent.badTasks &&
  workersAtTheEnd === 0 &&
  workers.now() === 0;
process.exitCode = interrupted || (asPromised && code === 0) ? 0 : 1;

function secretManifest(connection: string): string {
  return `apiVersion: v1
kind: Secret
metadata:
  name: storage
stringData:
  connection: ${JSON.stringify(connection)}
`;
}
