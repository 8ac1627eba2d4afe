import { execFileSync } from 'node:child_process';
import { renameSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromFile } from './file.ts';

let folder: string;
let root: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auth-'));
  root = join(folder, 'root');
  await mkdir(join(root, 'sub'), { recursive: true });
  await mkdir(join(folder, 'root-of-others'));
  await writeFile(join(root, 'sub', 'db.json'), '{"userName":"ann","password":"p..w"}');
  await writeFile(join(root, 'broken.json'), 'password: hunter2');
  await writeFile(join(root, 'numbers.json'), '{"pin":1234}');
  await writeFile(join(root, 'list.json'), '["hunter2"]');
  await writeFile(join(root, 'large.json'), `{"a":"${'x'.repeat(1024 * 1024)}"}`);
  await writeFile(join(folder, 'outside.json'), '{"password":"hunter2"}');
  await writeFile(join(folder, 'root-of-others', 'x.json'), '{"password":"hunter2"}');
  await symlink(join(folder, 'outside.json'), join(root, 'link.json'));
  await symlink(join(folder, 'root-of-others'), join(root, 'folder-link'));
  await symlink(join(root, 'sub', 'db.json'), join(root, 'inner-link.json'));
  execFileSync('sh', ['-c', 'mkfifo "$0"', join(root, 'pipe')]);
});

afterAll(() => rm(folder, { recursive: true }));

it.each(['sub/db.json', './sub/db.json', 'inner-link.json'])('reads all parameters from %s', async path => {
  const found = await fromFile(root, path);

  expect(Object.entries(found).map(([name, secret]) => [name, secret.reveal()])).toEqual([
    ['userName', 'ann'],
    ['password', 'p..w'],
  ]);
});

it.each([
  ['../outside.json', 'MANIFEST_INVALID', 'leads out of its folder'],
  ['sub/../../outside.json', 'MANIFEST_INVALID', 'leads out of its folder'],
  ['/etc/passwd', 'MANIFEST_INVALID', 'leads out of its folder'],
  ['link.json', 'MANIFEST_INVALID', 'leads out of its folder'],
  ['folder-link/x.json', 'MANIFEST_INVALID', 'leads out of its folder'],
  ['gone.json', 'AUTH_MISSING', 'there is no file "gone.json"'],
  ['sub/db.json/x', 'AUTH_MISSING', 'there is no file'],
  ['sub', 'AUTH_FAILED', 'is not a file'],
  ['pipe', 'AUTH_FAILED', 'is not a file'],
  ['broken.json', 'AUTH_FAILED', 'is not JSON'],
  ['numbers.json', 'AUTH_FAILED', 'not a JSON object of texts'],
  ['list.json', 'AUTH_FAILED', 'not a JSON object of texts'],
  ['large.json', 'AUTH_FAILED', 'larger than 1 MiB'],
])('refuses %s with %s', async (path, code, sentence) => {
  const thrown = await fromFile(root, path).catch((error: unknown) => error);

  expect(thrown).toMatchObject({ code, message: expect.stringContaining(sentence) });
  expect(String(thrown)).not.toContain('hunter2');
});

it('reads no file where no folder is configured', async () => {
  await expect(fromFile(undefined, 'sub/db.json')).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
});

it('finds a file of a mounted Secret while that is replaced', async () => {
  const at = (name: string) => join(root, name);
  const prepare = async (round: number) => {
    await mkdir(at(`mount-${round}`));
    await writeFile(join(at(`mount-${round}`), 'db.json'), `{"round":"${round}"}`);
    await symlink(`mount-${round}`, at(`link-${round}`));
  };
  const replace = (round: number) => {
    renameSync(at(`link-${round}`), at('data'));
    rmSync(at(`mount-${round - 1}`), { recursive: true, force: true });
  };
  await prepare(0);
  replace(0);
  await symlink('data/db.json', at('mounted.json'));

  for (let round = 1; round <= 200; round += 1) {
    await prepare(round);
    const reading = fromFile(root, 'mounted.json');
    for (let turns = round % 8; turns > 0; turns -= 1) await new Promise(setImmediate);
    replace(round);
    const found = await reading;

    expect([round, round - 1].map(String)).toContain(found['round']?.reveal());
  }
});
