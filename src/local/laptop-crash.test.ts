import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, isAlive, startLaptop, taskManifest, webManifest } from '../../test/laptop.ts';
import { manualClock } from '../base/clock.ts';
import type { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';

const signal = new AbortController().signal;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eventide-crash-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A laptop in a process of its own, that can be killed: it runs the manifest, and so many Jobs. */
async function host(manifest: string, jobs: number) {
  await writeFile(join(folder, 'app.yaml'), manifest);
  const program = join(import.meta.dirname, '../../test/laptop-host.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', program, folder, String(jobs)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  const up = new Promise<void>(resolve => {
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      resolve();
    });
  });
  const ended = new Promise<string>(resolve => child.once('close', () => resolve(said)));
  return { child, up, ended };
}

/** Leaves what a laptop leaves that is killed at some moment. */
async function crash(manifest: string, { jobs = 0, when }: { jobs?: number; when(): Promise<unknown> }) {
  const { child, up, ended } = await host(manifest, jobs);
  await up;
  await when();
  child.kill('SIGKILL');
  await ended;
}

const lines = async (name: string) =>
  (await readFile(join(folder, name), 'utf8').catch(() => '')).split('\n').filter(line => line !== '');
const pids = async () => (await lines('pids')).map(Number);
const started = (count: number) => eventually(async () => (await pids()).length === count);
const sleeper = 'echo $$ >> pids; exec sleep 300';

describe('a laptop that is killed', () => {
  it('has run each of 150 Jobs exactly once, after ten kills at random points', async () => {
    const manifest = taskManifest('echo "$TASK" >> started; sleep 0.1; echo "$TASK" >> done');
    for (let kill = 0; kill < 10; kill += 1)
      await crash(manifest, { jobs: 150, when: () => sleep(Math.random() * 200) });

    const said = await (await host(manifest, 150)).ended;

    const names = Array.from({ length: 150 }, (_, index) => `task-${index + 1}`).sort();
    expect(JSON.parse(said.split('\n')[1] ?? '')).toEqual(names.map(() => 'succeeded'));
    expect((await lines('started')).sort()).toEqual(names);
    expect((await lines('done')).sort()).toEqual(names);
    expect(await readdir(join(folder, 'state/runs'))).toEqual([]);
  }, 120_000);

  it('is taken up where it was: its pods run on, and end with its successor', async () => {
    const manifest = webManifest(sleeper, { replicas: 2 });
    await crash(manifest, { when: () => started(2) });
    const test = await startLaptop({ manifest, folder });

    const state = await eventually(async () => {
      const found = await test.laptop.readTarget(test.scaledObject, signal);
      return found.readyReplicas === 2 ? found : undefined;
    });
    const alive = await Promise.all((await pids()).map(isAlive));
    await test[Symbol.asyncDispose]();

    expect(state).toEqual({ replicas: 2, readyReplicas: 2 });
    expect(alive).toEqual([true, true]);
    for (const pid of await pids()) await eventually(async () => !(await isAlive(pid)));
  });

  it('has its pods replaced where the manifest has changed', async () => {
    const manifest = webManifest(sleeper, { replicas: 1 });
    await crash(manifest, { when: () => started(1) });
    const [before = 0] = await pids();

    await using _test = await startLaptop({ manifest: manifest.replace('300', '301'), folder });

    await eventually(async () => !(await isAlive(before)));
    await started(2);
  });

  it('has its pods ended where they are no longer in the manifest', async () => {
    await crash(webManifest(sleeper, { replicas: 1 }), { when: () => started(1) });
    const [before = 0] = await pids();

    await using _test = await startLaptop({ manifest: taskManifest('true'), folder });

    await eventually(async () => !(await isAlive(before)));
  });

  it('begins the containers of a pod where they were, restarts counted', async () => {
    const manifest = taskManifest('echo $$ >> pids; [ $(wc -l < pids) -ge 2 ] || exit 1; sleep 1; exit 1', {
      job: 'backoffLimit: 1',
      restartPolicy: 'OnFailure',
    });
    await crash(manifest, { jobs: 1, when: () => started(2) });

    await using test = await startLaptop({ manifest, folder });

    await eventually(() => test.jobs.some(job => job.state === 'failed'));
    expect(await pids()).toHaveLength(2);
  });

  it('counts a Job whose process is gone without a word as failed', async () => {
    const manifest = taskManifest(sleeper);
    await crash(manifest, { jobs: 1, when: () => started(1) });
    process.kill(-(await leader()), 'SIGKILL');

    await using test = await startLaptop({ manifest, folder });

    await eventually(() => test.jobs.some(job => job.name === 'task-1' && job.state === 'failed'));
  });

  it('forgets a Job that was ended with everything else, so that it does not count as failed', async () => {
    const manifest = taskManifest(sleeper);
    const before = await startLaptop({ manifest, folder });
    await before.laptop.createJob(before.scaledJob, { name: 'one', env: {} }, signal);
    await started(1);
    await before[Symbol.asyncDispose]();

    await using after = await startLaptop({ manifest, folder });

    expect(await after.laptop.listJobs(after.scaledJob, signal)).toEqual([]);
    expect(await after.laptop.createJob(after.scaledJob, { name: 'one', env: {} }, signal)).toBe('created');
  });

  it('has the files removed that it was about to remove', async () => {
    const before = await startLaptop({ manifest: taskManifest('true'), folder });
    await before[Symbol.asyncDispose]();
    await writeFile(join(folder, 'state/runs/gone.app.0.out'), 'what it printed');

    await using _after = await startLaptop({ manifest: taskManifest('true'), folder });

    expect(await readdir(join(folder, 'state/runs'))).toEqual([]);
  });

  it('has its links to volumes removed by its successor', async () => {
    const path = join(folder, 'keys');
    const manifest = webManifest(sleeper, {
      replicas: 1,
      pod: 'terminationGracePeriodSeconds: 1\nvolumes: [{ name: keys, emptyDir: {} }]',
      container: `volumeMounts: [{ name: keys, mountPath: ${path} }]`,
    });
    await crash(manifest, { when: () => started(1) });
    const linked = await readlink(path);

    const test = await startLaptop({ manifest: taskManifest('true'), folder });
    await test[Symbol.asyncDispose]();

    expect(linked).toContain('/state/pods/');
    await expect(readlink(path)).rejects.toThrow('ENOENT');
    expect(await readdir(join(folder, 'state/pods'))).toEqual([]);
  });
});

describe('the state of a laptop', () => {
  it('is refused to a second one while the first lives', async () => {
    await using _first = await startLaptop({ manifest: taskManifest('true'), folder });

    const second = startLaptop({ manifest: taskManifest('true'), folder });

    await expect(second).rejects.toThrow(
      `another eventide (process ${process.pid}) runs with the state folder ${folder}/state; stop it, or give --state another folder`,
    );
  });

  it.each([
    ['a process that is gone', '999999999 1\n'],
    ['a process whose number another one has now', `${process.pid} 1\n`],
    ['nobody that can be read', 'garbage'],
  ])('is taken over from %s', async (_title, lock) => {
    const first = await startLaptop({ manifest: taskManifest('true'), folder });
    await first[Symbol.asyncDispose]();
    await writeFile(join(folder, 'state/lock'), lock);

    await using second = await startLaptop({ manifest: taskManifest('true'), folder });

    expect(await second.laptop.listJobs(second.scaledJob, signal)).toEqual([]);
  });

  it('is not guessed at where it cannot be read', async () => {
    const first = await startLaptop({ manifest: taskManifest('true'), folder });
    await first[Symbol.asyncDispose]();
    await writeFile(join(folder, 'state/state.json'), '{"format":');

    const second = startLaptop({ manifest: taskManifest('true'), folder });

    await expect(second).rejects.toThrow('state.json is not a state file of this version of eventide');
  });

  it('goes on in memory while the disk is full, says so once, and is written when there is room again', async () => {
    const errors: unknown[] = [];
    const infos: string[] = [];
    const log = {
      ...silentLog,
      error: (_sentence: string, facts?: Record<string, unknown>) => errors.push(facts?.['fault']),
      info: (sentence: string) => infos.push(sentence),
    };
    const clock = manualClock();
    await using test = await startLaptop({ manifest: taskManifest('true'), folder, log, clock });
    const temporary = join(folder, 'state/state.json.tmp');
    await symlink('/dev/full', temporary);

    for (const name of ['one', 'two']) {
      await test.laptop.createJob(test.scaledJob, { name, env: {} }, signal);
      await eventually(() => test.jobs.some(job => job.name === name && job.state === 'succeeded'));
    }
    await clock.advance(60_000);
    await sleep(50);
    const whileFull = [...infos];
    await rm(temporary, { force: true });
    await eventually(async () => {
      await clock.advance(30_000);
      return infos.length > 0;
    });

    expect(errors.map(fault => (fault as Fault).code)).toEqual(['STATE_UNWRITABLE']);
    expect(whileFull).toEqual([]);
    expect(await test.read('state/state.json')).toContain('"name":"two"');
  });
});

/** The process that a mark names. */
async function leader(): Promise<number> {
  const [mark = ''] = (await readdir(join(folder, 'state/runs'))).filter(name => /\.\d+$/.test(name));
  return Number((await lines(join('state/runs', mark)))[0]);
}
