import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Installed, install } from '../../test/e2e/eventide.ts';
import { eventually } from '../../test/laptop.ts';
import { startVmCloud, type VmCloud } from './cloud.ts';
import { machineFor } from './soon.ts';
import { startVmApi, type VmApi } from './vm-api.ts';

const here = import.meta.dirname;
const manifest = join(here, '..', 'vm-schedule.yaml');

/** Disposing it ends it as Ctrl-C does, with all that it has started. */
interface Program extends AsyncDisposable {
  child: ReturnType<typeof spawn>;
  ended: Promise<number | null>;
  said(): string;
}

function start(args: readonly string[], env: Record<string, string> = {}, cwd = here): Program {
  const child = spawn(process.execPath, args, { cwd, env: { ...process.env, ...env } });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return {
    child,
    ended,
    said: () => text,
    async [Symbol.asyncDispose]() {
      child.kill('SIGINT');
      await ended;
    },
  };
}

describe('an action', () => {
  const operationMs = 50;
  let api: VmApi;

  beforeAll(async () => {
    api = await startVmApi({ machines: ['vm-1', 'vm-2', 'vm-3'], operationMs });
  });
  afterAll(() => api[Symbol.asyncDispose]());

  const act = (vm: string, over: Record<string, string> = {}, until = '2099-01-01T00:00:00Z') =>
    start([join(here, 'vm-action.mjs')], {
      ARM_ENDPOINT: api.endpoint,
      ARM_TOKEN: api.token,
      SUBSCRIPTION: api.subscription,
      KEDA_TASK_DATA: JSON.stringify({
        vm,
        resourceGroup: 'offices',
        action: 'start',
        due: '2026-01-15T07:00:00Z',
        until,
      }),
      ...over,
    });

  it('waits until the machine has done it', async () => {
    const action = act('vm-1');

    const code = await action.ended;

    expect(action.said()).toBe('vm-1: start done\n');
    expect(code).toBe(0);
    expect(api.machines.get('vm-1')).toEqual({ state: 'running', busy: undefined });
  });

  it('does nothing once the next one is due', async () => {
    const action = act('vm-2', {}, '2026-01-15T18:00:00Z');

    expect(await action.ended).toBe(0);
    expect(action.said()).toContain('is over');
    expect(api.operations.map(({ vm }) => vm)).not.toContain('vm-2');
  });

  it.each([
    ['a machine that is not there', 'vm-9', {}, '404'],
    ['a token that is not good', 'vm-2', { ARM_TOKEN: 'another' }, '401'],
  ])('fails for %s', async (_title, vm, over, problem) => {
    const action = act(vm, over);

    expect(await action.ended).toBe(1);
    expect(action.said()).toContain(`${vm}: Azure answered ${problem}`);
  });

  it('fails while the machine does something else, so that it is tried again', async () => {
    await using slow = await startVmApi({ machines: ['vm-1'], operationMs: 60_000 });
    const over = { ARM_ENDPOINT: slow.endpoint, ARM_TOKEN: slow.token, SUBSCRIPTION: slow.subscription };
    const first = act('vm-1', over);
    await eventually(() => slow.operations.length === 1);

    const second = act('vm-1', over);
    const code = await second.ended;
    first.child.kill();
    await first.ended;

    expect(code).toBe(1);
    expect(second.said()).toContain('409');
    expect(slow.operations).toHaveLength(1);
  });

  it('shows its token to nobody but the API', async () => {
    const asked: string[] = [];
    const other = createServer((req, res) => {
      asked.push(String(req.headers.authorization));
      res.end('{"status":"Succeeded"}');
    });
    const liar = createServer((_req, res) => {
      const address = `http://127.0.0.1:${(other.address() as AddressInfo).port}/operations/1`;
      res.writeHead(202, { 'azure-asyncoperation': address, 'retry-after': '0' }).end();
    });
    for (const server of [other, liar]) await once(server.listen(0, '127.0.0.1'), 'listening');

    const action = act('vm-3', { ARM_ENDPOINT: `http://127.0.0.1:${(liar.address() as AddressInfo).port}` });
    const code = await action.ended;
    for (const server of [other, liar]) server.close();

    expect(code).toBe(1);
    expect(asked).toEqual([]);
  });
});

describe('the machines of the schedule', () => {
  let installed: Installed;
  let folder: string;
  let cloud: VmCloud;

  beforeAll(async () => {
    installed = await install();
    folder = await mkdtemp(join(tmpdir(), 'eventide-vms-'));
    cloud = await startVmCloud(['vm-1', 'vm-2', 'vm-3'], 50);
  });
  afterAll(async () => {
    await cloud[Symbol.asyncDispose]();
    await installed[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it('have manifests with nothing wrong in them', async () => {
    const secret = join(folder, 'secret.yaml');
    await writeFile(secret, cloud.manifests([]).split('---')[0] ?? '');

    const check = start([installed.entry, 'check', manifest, join(here, 'machines.yaml'), secret]);

    expect(await check.ended).toBe(0);
    expect(check.said()).toContain('nothing is wrong');
  });

  it('start and stop once each, though the scheduler is killed and started again', async () => {
    const { api, queue } = cloud;
    const [startAt, stopAt] = [Date.now() + 5000, Date.now() + 20_000];
    const schedule = ['vm-1', 'vm-2', 'vm-3'].map((_, index) => machineFor(index + 1, startAt, stopAt));
    const files = join(folder, 'cloud.yaml');
    await writeFile(files, cloud.manifests(schedule));
    const settled = (operations: number, said: () => string) =>
      eventually(() => api.operations.length >= operations && queue.messages.length === 0, 90_000, said);

    const command = [installed.entry, 'run', '--json', manifest, files];
    {
      await using first = start(command, {}, folder);
      await settled(3, first.said);
    }
    {
      await using second = start(command, {}, folder);
      await eventually(() => cloud.duplicates >= 3, 30_000);
      await settled(6, second.said);
    }

    expect(api.operations.map(({ vm, action }) => `${action} ${vm}`).sort()).toEqual([
      ...[1, 2, 3].map(number => `deallocate vm-${number}`),
      ...[1, 2, 3].map(number => `start vm-${number}`),
    ]);
    expect([...api.machines.values()].map(({ state }) => state)).toEqual([
      'deallocated',
      'deallocated',
      'deallocated',
    ]);
    expect(queue.deadLetters).toEqual([]);
  }, 240_000);
});
