import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, isAlive } from '../../test/laptop.ts';
import { systemClock } from '../base/clock.ts';
import { adoptRun, discardRun, startRun } from './shim.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eventide-shim-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const start = (argv: string[], env: Record<string, string> = {}) =>
  startRun(
    { mark: join(folder, 'mark'), argv, env: { PATH: process.env['PATH'] ?? '', ...env }, cwd: folder },
    systemClock,
  );
const text = (name: string) => readFile(join(folder, name), 'utf8').catch(() => '');

describe('the shell around a process', () => {
  it('keeps the exit code and the output in files', async () => {
    const { code } = await start(['/bin/sh', '-c', 'echo out; echo err >&2; exit 5']).ended;

    expect(code).toBe(5);
    expect(await text('mark')).toMatch(/^\d+\n5\n$/);
    expect([await text('mark.out'), await text('mark.err')]).toEqual(['out\n', 'err\n']);
  });

  it('starts one process though it is told twice at the same moment, and both learn how it ended', async () => {
    const script = ['/bin/sh', '-c', 'echo ran >> ran; sleep 0.3; exit 4'];

    const ends = await Promise.all([start(script).ended, start(script).ended]);

    expect(ends).toEqual([{ code: 4 }, { code: 4 }]);
    expect(await text('ran')).toBe('ran\n');
  });

  it('notes how its process took a signal to the group', async () => {
    const run = start(['/bin/sh', '-c', 'trap "exit 9" TERM; echo up; while :; do sleep 0.02; done']);
    await eventually(() => text('mark.out'));

    run.signal('SIGTERM');

    expect(await run.ended).toEqual({ code: 9 });
    expect(await text('mark')).toMatch(/\n9\n$/);
  });

  it('passes on variables whose names no shell would take', async () => {
    await start(['env'], { 'odd.key': 'a value', plain: 'x' }).ended;

    expect((await text('mark.out')).split('\n')).toEqual(
      expect.arrayContaining(['odd.key=a value', 'plain=x']),
    );
  });

  it('passes on none of its own', async () => {
    await start(['env']).ended;

    expect(await text('mark.out')).not.toMatch(/^(m|c|t|_eventide.*)=/m);
  });

  it.each([
    [['echo', 'a\\nb'], 0, 'a\\nb\n'],
    [['printf', '%s', 'x'], 0, 'x'],
    [['pwd'], 0, expect.stringMatching(/eventide-shim-/)],
    [['true'], 0, ''],
    [['false'], 1, ''],
    [['exit', '3'], 127, ''],
    [['exec', 'true'], 127, ''],
    [['set', '-e'], 127, ''],
  ])('starts the program %j, not what the shell makes of the word', async (argv, code, output) => {
    const end = await start(argv).ended;

    expect(end).toEqual({ code });
    expect(await text('mark.out')).toEqual(output);
    expect(await text('mark')).toMatch(new RegExp(`\\n${code}\\n$`));
  });

  it('tells what could not be started at all from what failed', async () => {
    const end = await startRun(
      { mark: join(folder, 'none/mark'), argv: ['true'], env: {}, cwd: folder },
      systemClock,
    ).ended;

    expect(end.code).toBeUndefined();
    expect(end.notBegun).toBeDefined();
  });

  it('finds a process again that it is not the parent of, and its end', async () => {
    start(['/bin/sh', '-c', 'echo up; sleep 0.3; exit 6']);
    await eventually(() => text('mark.out'));

    const adopted = await adoptRun(join(folder, 'mark'), systemClock);

    expect(adopted?.pid).toBeGreaterThan(1);
    expect(await adopted?.ended).toEqual({ code: 6 });
  });

  it.each([
    ['was never started', undefined, undefined],
    ['has ended', '77\n3\n', { code: 3 }],
    ['is gone without a word', '999999999\n', { code: undefined }],
    ['is another process now', `${process.pid}\n`, { code: undefined }],
    ['left an empty mark', '', { code: undefined }],
    ['was killed while it noted its end', '999999999\n12', { code: undefined }],
  ])('knows of a process that %s', async (_title, mark, end) => {
    if (mark !== undefined) await writeFile(join(folder, 'mark'), mark);

    const adopted = await adoptRun(join(folder, 'mark'), systemClock);

    expect(await adopted?.ended).toEqual(end);
  });

  it('finds the process of a mark that could not be written, as on a full disk', async () => {
    const run = start(['/bin/sh', '-c', 'echo up; sleep 300']);
    await eventually(() => text('mark.out'));
    await writeFile(join(folder, 'mark'), '');

    const adopted = await adoptRun(join(folder, 'mark'), systemClock);
    run.signal('SIGKILL');

    expect(adopted?.pid).toBe(run.pid);
    await adopted?.ended;
  });

  it('ends what is left of a process whose shell was killed alone', async () => {
    const run = start(['/bin/sh', '-c', 'echo $$; exec sleep 300']);
    const pid = Number(await eventually(() => text('mark.out')));

    process.kill(run.pid ?? 0, 'SIGKILL');

    expect(await run.ended).toEqual({ code: undefined });
    await eventually(async () => !(await isAlive(pid)));
  });

  it('discards a run with its process and its files', async () => {
    const run = start(['/bin/sh', '-c', 'echo $$; exec sleep 300']);
    const pid = Number(await eventually(() => text('mark.out')));

    await discardRun(join(folder, 'mark'));
    await run.ended;

    await eventually(async () => !(await isAlive(pid)));
    expect(await readdir(folder)).toEqual([]);
  });
});
