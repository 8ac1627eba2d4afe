/**
 * `npm run example:vm-schedule`: a Service Bus queue and Azure's API for virtual machines on loopback ports, a schedule
 * whose working hours begin in ten seconds and end half a minute later in six time zones, `eventide run` as a user
 * would start it, and at the end a summary that is counted from outside: from the API's own books and the queue.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchWorkers } from '../demo/workers.ts';
import { startVmCloud } from './cloud.ts';
import { machineFor } from './soon.ts';

const machineCount = 12;
const longestMs = 150_000;

const names = Array.from({ length: machineCount }, (_, index) => `vm-${index + 1}`);
const folder = await mkdtemp(join(tmpdir(), 'eventide-vms-'));
const cloud = await startVmCloud(names, 2000);
const { api, queue } = cloud;
const [startAt, stopAt] = [Date.now() + 10_000, Date.now() + 40_000];
const schedule = names.map((_, index) => machineFor(index + 1, startAt, stopAt));
// It is in the schedule, and somebody has deleted it.
const missing = { ...machineFor(machineCount + 1, startAt, stopAt + 3_600_000), vm: 'vm-deleted' };
const cloudFile = join(folder, 'cloud.yaml');
await writeFile(cloudFile, cloud.manifests([...schedule, missing]));

const startedAt = performance.now();
const elapsed = () => performance.now() - startedAt;
const workers = watchWorkers('vm-schedule/vm-action.mjs', elapsed);
const command = ['--import', 'tsx', 'src/cli/main.ts', 'run', 'examples/vm-schedule.yaml', cloudFile];
const eventide = spawn(process.execPath, [...command, '--state', join(folder, 'state')], {
  stdio: 'inherit',
});
const ended = new Promise<number>(resolve => eventide.once('exit', code => resolve(code ?? 1)));
let interrupted = false;
process.on('SIGINT', () => {
  interrupted = true;
});
const running = () => !interrupted && eventide.exitCode === null && elapsed() < longestMs;
const inState = (state: string) => [...api.machines.values()].filter(each => each.state === state).length;

let ran = 0;
while (running() && Date.now() < stopAt) {
  ran = Math.max(ran, inState('running'));
  await sleep(100);
}
while (running() && (queue.messages.length > 0 || workers.now() > 0)) await sleep(500);

eventide.kill('SIGINT');
const code = await ended;
await workers.stop();
const stopped = inState('deallocated');
const late = api.operations.map(({ action, at }) => at - (action === 'start' ? startAt : stopAt));
const deadLetters = queue.deadLetters.length;
await cloud[Symbol.asyncDispose]();
await rm(folder, { recursive: true, force: true });

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
console.log(`
Counted from outside, in the books of the API, in the queue and in the process list:
  machines     ${ran} of ${machineCount} ran within their hours, ${stopped} of ${machineCount} are stopped after them
  operations   ${api.operations.length} for ${2 * machineCount} moments; first ${seconds(Math.min(...late))} after it was due, last ${seconds(Math.max(...late))}
  deleted one  ${deadLetters} of 1 action in the dead-letter queue: ${queue.deadLetters[0]?.reason ?? 'none'}
  jobs         ${workers.peak} at once at the most
  left behind  ${workers.now()} jobs`);
const asPromised =
  ran === machineCount &&
  stopped === machineCount &&
  api.operations.length === 2 * machineCount &&
  Math.min(...late) > -1000 &&
  deadLetters === 1 &&
  workers.peak <= 4 &&
  workers.now() === 0;
process.exitCode = interrupted || (asPromised && code === 0) ? 0 : 1;
