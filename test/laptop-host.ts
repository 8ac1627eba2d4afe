import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { startLaptop } from './laptop.ts';

// A program to be killed: `laptop-host.ts FOLDER COUNT` runs FOLDER/app.yaml and creates Jobs task-1 to
// task-COUNT of its ScaledJob, ten at a time. When each of them has ended it says how; without any it runs on.
const [folder = '', given = '0'] = process.argv.slice(2);
const count = Number(given);
const signal = new AbortController().signal;
const manifest = await readFile(join(folder, 'app.yaml'), 'utf8');
const { laptop, scaledJob } = await startLaptop({ manifest, folder });
process.stdout.write('up\n');
for (let next = 1; ; ) {
  const jobs = count === 0 ? [] : await laptop.listJobs(scaledJob, signal);
  const states = jobs.map(({ state }) => state).filter(state => state === 'succeeded' || state === 'failed');
  if (count > 0 && states.length === count) {
    process.stdout.write(`${JSON.stringify(states)}\n`);
    break;
  }
  for (let free = 10 - (jobs.length - states.length); free > 0 && next <= count; next += 1) {
    const request = { name: `task-${next}`, env: { TASK: `task-${next}` } };
    if ((await laptop.createJob(scaledJob, request, signal)) === 'created') free -= 1;
  }
  await sleep(20);
}
await laptop[Symbol.asyncDispose]();
