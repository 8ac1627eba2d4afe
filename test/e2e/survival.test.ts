import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { QueueServiceClient } from '@azure/storage-queue';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Azurite, startAzurite } from '../azurite.ts';
import { isAlive } from '../laptop.ts';
import { type Installed, install, startEventide } from './eventide.ts';
import { taskFolder } from './tasks.ts';

const taskNames = (count: number) => Array.from({ length: count }, (_, index) => `task-${index + 1}`).sort();

let installed: Installed;
let data: string;
let azurite: Azurite;

beforeAll(async () => {
  installed = await install();
  data = await mkdtemp(join(tmpdir(), 'eventide-azurite-'));
  azurite = await startAzurite({ dataDir: data });
});
afterAll(async () => {
  await azurite.stop();
  await installed[Symbol.asyncDispose]();
  await rm(data, { recursive: true, force: true });
});

/** Looks again and again; the outside world sends no event when its work is done. */
async function eventually(isSo: () => Promise<boolean>, withinMs: number): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not so within ${withinMs} ms`);
    await sleep(100);
  }
}

const isEmpty = async (queue: { getProperties(): Promise<{ approximateMessagesCount?: number }> }) =>
  (await queue.getProperties()).approximateMessagesCount === 0;

describe('eventide run', () => {
  it('finishes 200 tasks, each by one successful job, though it is killed at twenty random points', async () => {
    await using tasks = await taskFolder({
      connectionString: azurite.connectionString,
      queueName: 'killed',
      work: 'sleep 0.2',
      maxReplicaCount: 10,
    });
    await tasks.send(200);

    for (let kill = 0; kill < 20; kill += 1) {
      const eventide = startEventide(installed, [tasks.manifest], tasks.folder);
      await sleep(150 + Math.random() * 700);
      eventide.child.kill('SIGKILL');
      await eventide.ended;
    }
    await using _last = startEventide(installed, [tasks.manifest], tasks.folder);
    await eventually(() => isEmpty(tasks.queue), 120_000);

    expect((await tasks.done()).sort()).toEqual(taskNames(200));
    expect(await tasks.poison.exists()).toBe(false);
  }, 240_000);

  it('holds its size, loses nothing and does nothing twice while the source is away for 30 seconds', async () => {
    await using tasks = await taskFolder({
      connectionString: azurite.connectionString,
      queueName: 'outage',
      work: 'sleep 1',
      maxReplicaCount: 4,
    });
    const service = QueueServiceClient.fromConnectionString(azurite.connectionString);
    const backlog = service.getQueueClient('backlog');
    await backlog.create();
    for (let message = 0; message < 20; message += 1) await backlog.sendMessage('waits');
    const workers = join(tasks.folder, 'workers.yaml');
    await writeFile(workers, workersManifest('backlog'));
    await using eventide = startEventide(installed, [tasks.manifest, workers], tasks.folder);
    await eventide.until(said => said.workload === 'ScaledObject/default/workers' && said.replicas === 3);
    await tasks.send(30);
    await eventually(async () => (await tasks.done()).length > 5, 30_000);

    await azurite.stop();
    const before = eventide.said.length;
    await sleep(30_000);
    azurite = await startAzurite({ dataDir: data, ports: azurite.ports });
    const meanwhile = eventide.said
      .slice(before)
      .filter(said => said.workload === 'ScaledObject/default/workers');
    await eventually(() => isEmpty(tasks.queue), 60_000);

    expect(meanwhile.some(said => said.triggers?.[0]?.fault?.code === 'SOURCE_UNREACHABLE')).toBe(true);
    expect(meanwhile.every(said => (said.desired ?? said.replicas ?? 3) === 3)).toBe(true);
    expect((await tasks.done()).sort()).toEqual(taskNames(30));

    await backlog.clearMessages();
    await eventide.until(said => said.workload === 'ScaledObject/default/workers' && said.replicas === 0);
  }, 180_000);

  it('sends a task whose job always fails to the poison queue, and goes on with the others', async () => {
    await using tasks = await taskFolder({
      connectionString: azurite.connectionString,
      queueName: 'failing',
      work: 'test "$KEDA_TASK_DATA" != task-2 || exit 1',
      maxReplicaCount: 2,
      maxAttempts: 2,
    });
    await tasks.send(3);
    await using _eventide = startEventide(installed, [tasks.manifest], tasks.folder);

    await eventually(() => isEmpty(tasks.queue), 60_000);

    expect((await tasks.done()).sort()).toEqual(['task-1', 'task-3']);
    const { peekedMessageItems } = await tasks.poison.peekMessages({ numberOfMessages: 32 });
    expect(peekedMessageItems.map(message => message.messageText)).toEqual(['task-2']);
  }, 120_000);

  it('uses a Secret that was edited on the next reading, without a restart', async () => {
    const right = azurite.connectionString;
    const wrong = right.replace(/AccountKey=[^;]+/, 'AccountKey=d3Jvbmc=');
    await using tasks = await taskFolder({
      connectionString: right,
      queueName: 'rotated',
      work: 'true',
      maxReplicaCount: 1,
    });
    await tasks.send(1);
    const manifest = await readFile(tasks.manifest, 'utf8');
    await writeFile(tasks.manifest, manifest.replace(right, wrong));
    await using eventide = startEventide(installed, [tasks.manifest], tasks.folder);
    await eventide.until(said => said.triggers?.[0]?.fault?.code === 'SOURCE_REFUSED');

    await writeFile(tasks.manifest, manifest);
    await eventually(() => isEmpty(tasks.queue), 30_000);

    expect(await tasks.done()).toEqual(['task-1']);
  }, 60_000);

  it('stops everything it started on Ctrl-C, also what ignores SIGTERM, and nothing else', async () => {
    await using tasks = await taskFolder({
      connectionString: azurite.connectionString,
      queueName: 'stubborn',
      work: 'trap "" TERM; echo $$ > pid; sleep 300 & wait; sleep 300',
      maxReplicaCount: 1,
    });
    await tasks.send(1);
    const eventide = startEventide(installed, [tasks.manifest], tasks.folder);
    const pidFile = join(tasks.folder, 'pid');
    await eventually(async () => (await readText(pidFile)) !== '', 30_000);
    const pid = Number(await readText(pidFile));

    eventide.child.kill('SIGINT');
    const { code } = await eventide.ended;

    expect(code).toBe(0);
    expect(eventide.complaints).toBe('');
    expect(pid).toBeGreaterThan(0);
    expect(await isAlive(pid)).toBe(false);
  }, 60_000);
});

async function readText(file: string): Promise<string> {
  return (await readFile(file, 'utf8').catch(() => '')).trim();
}

function workersManifest(queueName: string): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: { name: workers }
spec:
  replicas: 0
  selector: { matchLabels: { app: workers } }
  template:
    metadata: { labels: { app: workers } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: worker
          image: none
          command: ["/bin/sh", "-c", "exec sleep 600"]
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: workers }
spec:
  scaleTargetRef: { name: workers }
  pollingInterval: 1
  cooldownPeriod: 2
  maxReplicaCount: 3
  triggers:
    - type: azure-queue
      metadata: { queueName: ${queueName}, queueLength: "5" }
      authenticationRef: { name: storage }
`;
}
