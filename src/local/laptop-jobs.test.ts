import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventually, isAlive, startLaptop, taskManifest } from '../../test/laptop.ts';
import { manualClock } from '../base/clock.ts';
import type { Task } from '../engine/ports.ts';

const signal = new AbortController().signal;
const task: Task = {
  hash: 'h',
  attempt: 1,
  triggerIndex: 0,
  triggerType: 'azure-queue',
  queueId: 'q',
  messages: [{ id: 'm', receipt: 'r' }],
  claimedAt: 1,
};

describe('Jobs on a laptop', () => {
  it.each([
    ['succeeds with exit code 0', 'exit 0', 'succeeded'],
    ['fails with any other', 'exit 3', 'failed'],
    ['fails where the command does not exist', 'exec /no/such/thing', 'failed'],
    ['fails where a signal ends it', 'kill -9 $$', 'failed'],
    ['fails where its shell is killed with it', 'kill -9 0', 'failed'],
  ])('%s', async (_title, script, state) => {
    await using test = await startLaptop({ manifest: taskManifest(script) });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {}, task }, signal);
    const ended = await eventually(() => test.jobs.find(job => job.finishedAt !== undefined));

    expect(ended).toMatchObject({ name: 'one', state, task });
    expect(test.jobs.map(job => job.state)).toEqual(['running', state]);
  });

  it('creates a Job of one name once', async () => {
    await using test = await startLaptop({ manifest: taskManifest('echo ran >> ran') });

    const both = await Promise.all([
      test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal),
      test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal),
    ]);
    await eventually(() => test.jobs.some(job => job.state === 'succeeded'));

    expect(both.sort()).toEqual(['created', 'exists']);
    expect(await test.read('ran')).toBe('ran');
  });

  it('makes up a name where none is asked for', async () => {
    await using test = await startLaptop({ manifest: taskManifest('true') });

    await test.laptop.createJob(test.scaledJob, { env: {} }, signal);
    const [job] = await test.laptop.listJobs(test.scaledJob, signal);

    expect(job?.name).toMatch(/^task-[0-9a-f]{8}$/);
  });

  it('gives a Job its variables and a file that only its owner may read', async () => {
    const script =
      'echo "$KEDA_TASK_ID $(cat "$KEDA_TASK_FILE") $(ls -l "$KEDA_TASK_FILE" | cut -c1-10)" > got';
    await using test = await startLaptop({ manifest: taskManifest(script) });
    const file = { variable: 'KEDA_TASK_FILE', body: Buffer.from('the body') };

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: { KEDA_TASK_ID: '7' }, file }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'succeeded'));

    expect(await test.read('got')).toBe('7 the body -rw-------');
    await eventually(async () => (await readdir(join(test.folder, 'state/files'))).length === 0);
  });

  it('hands on what a Job printed, also without a last line break', async () => {
    await using test = await startLaptop({ manifest: taskManifest('echo one; echo two >&2; printf three') });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'succeeded'));

    const lines = test.output.map(({ stream, text }) => `${stream} ${text}`);
    expect(lines.sort()).toEqual(['stderr two', 'stdout one', 'stdout three']);
    expect(test.output[0]?.process).toMatch(/^one-\w+\/app$/);
  });

  it('tries a pod again as often as backoffLimit says, later each time', async () => {
    const clock = manualClock();
    const manifest = taskManifest('echo try >> tries; exit 1', { job: 'backoffLimit: 2' });
    await using test = await startLaptop({ manifest, clock });
    const tries = async () => (await test.read('tries')).split('\n').length;

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    const ended = () => test.jobs.some(job => job.state === 'failed');
    await eventually(async () => {
      if ((await tries()) < 2) await clock.advance(500);
      return (await tries()) === 2;
    });
    const waited = clock.elapsed();
    await eventually(async () => {
      await clock.advance(500);
      return ended();
    });

    expect(waited).toBeGreaterThanOrEqual(10_000);
    expect(clock.elapsed() - waited).toBeGreaterThanOrEqual(20_000);
    expect(await tries()).toBe(3);
  });

  it('starts a container again in its pod with OnFailure, until backoffLimit is reached', async () => {
    const manifest = taskManifest('echo try >> tries; exit 1', {
      job: 'backoffLimit: 1',
      restartPolicy: 'OnFailure',
    });
    await using test = await startLaptop({ manifest });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'failed'));

    expect(await test.read('tries')).toBe('try\ntry');
  });

  it('ends a Job, and all that it started, when activeDeadlineSeconds are over', async () => {
    const manifest = taskManifest('sleep 300 & echo $! > pid; wait', {
      job: 'backoffLimit: 3\nactiveDeadlineSeconds: 1',
    });
    await using test = await startLaptop({ manifest });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'failed'));

    const pid = Number(await test.read('pid'));
    expect(pid).toBeGreaterThan(1);
    expect(await isAlive(pid)).toBe(false);
  });

  it('ends what a process left behind in the background', async () => {
    await using test = await startLaptop({ manifest: taskManifest('sleep 300 & echo $! > pid') });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'succeeded'));

    const pid = Number(await test.read('pid'));
    expect(pid).toBeGreaterThan(1);
    await eventually(async () => !(await isAlive(pid)));
  });

  it('deletes a Job that runs by ending it', async () => {
    await using test = await startLaptop({ manifest: taskManifest('echo $$ > pid; exec sleep 300') });
    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    const pid = Number(await eventually(() => test.read('pid')));

    await test.laptop.deleteJob(test.scaledJob, 'one', signal);
    await eventually(() => test.gone.includes('one'));

    expect(await isAlive(pid)).toBe(false);
    expect(await test.laptop.listJobs(test.scaledJob, signal)).toEqual([]);
  });

  it('keeps changed task data, and finished Jobs until they are deleted, nothing after that', async () => {
    await using test = await startLaptop({ manifest: taskManifest('true') });
    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {}, task }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'succeeded'));
    const runs = join(test.folder, 'state/runs');

    await test.laptop.updateTask(test.scaledJob, 'one', { ...task, settled: 'acknowledged' }, signal);
    const [job] = await test.laptop.listJobs(test.scaledJob, signal);
    await test.laptop.deleteJob(test.scaledJob, 'one', signal);

    expect(job?.task?.settled).toBe('acknowledged');
    expect(test.gone).toEqual(['one']);
    await eventually(async () => (await readdir(runs)).length === 0);
    await eventually(async () => !(await test.read('state/state.json')).includes('"one"'));
  });

  it('keeps its state to itself', async () => {
    await using test = await startLaptop({ manifest: taskManifest('true') });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);

    expect((await stat(join(test.folder, 'state/state.json'))).mode & 0o077).toBe(0);
  });

  it('runs init containers in order before the others, and sidecars until the others have ended', async () => {
    const pod = `terminationGracePeriodSeconds: 1
initContainers:
  - { name: first, image: none, command: [/bin/sh, -c, "sleep 0.2; echo first >> order"] }
  - { name: second, image: none, command: [/bin/sh, -c, "echo second >> order"] }
  - { name: side, image: none, restartPolicy: Always, command: [/bin/sh, -c, "echo $$$$ > pid; exec sleep 300"] }`;
    const manifest = taskManifest('while ! [ -s pid ]; do sleep 0.05; done; echo main >> order', { pod });
    await using test = await startLaptop({ manifest });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'succeeded'));

    expect(await test.read('order')).toBe('first\nsecond\nmain');
    const pid = Number(await test.read('pid'));
    expect(pid).toBeGreaterThan(1);
    expect(await isAlive(pid)).toBe(false);
  });

  it('does not run the containers of a Job whose init container fails', async () => {
    const pod = `terminationGracePeriodSeconds: 1
initContainers: [{ name: first, image: none, command: [/bin/sh, -c, "exit 1"] }]`;
    await using test = await startLaptop({ manifest: taskManifest('echo main >> order', { pod }) });

    await test.laptop.createJob(test.scaledJob, { name: 'one', env: {} }, signal);
    await eventually(() => test.jobs.some(job => job.state === 'failed'));

    expect(await test.read('order')).toBe('');
  });
});
