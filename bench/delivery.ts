import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { type QueueClient, QueueServiceClient } from '@azure/storage-queue';
import { systemClock } from '../src/base/clock.ts';
import { silentLog } from '../src/base/log.ts';
import { hostTokens } from '../src/cli/host.ts';
import { createEngine } from '../src/engine/engine.ts';
import { createLaptop } from '../src/local/laptop.ts';
import { localReferences } from '../src/local/references.ts';
import { loadScaler } from '../src/scalers/index.gen.ts';
import { readManifest } from '../test/laptop.ts';
import type { Bench } from './bench.ts';

const messages = 1000;
const concurrency = 50;
const rounds = 3;

const manifest = (queueName: string) => `
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: { name: tasks }
spec:
  pollingInterval: 1
  maxReplicaCount: ${concurrency}
  eventide: { delivery: { batchSize: 1 } }
  jobTargetRef:
    backoffLimit: 0
    template:
      spec:
        restartPolicy: Never
        containers:
          - name: task
            image: example.com/task:1
            command: ["true"]
            env: [{ name: CONNECTION, valueFrom: { secretKeyRef: { name: storage, key: connection } } }]
  triggers:
    - type: azure-queue
      metadata: { queueName: ${queueName}, queueLength: "1", connectionFromEnv: CONNECTION }
`;

const secret = (connection: string) => `---
apiVersion: v1
kind: Secret
metadata: { name: storage }
stringData: { connection: "${connection}" }
`;

/**
 * 1,000 messages of a real queue as 1,000 Jobs that do nothing, beside the cost of starting as many processes
 * without any of it. Each delivery is compared with the spawning right before and after it, and the middle one of
 * the comparisons counts: whatever else the machine does then slows down both.
 */
export const deliveryBench: Bench = {
  name: 'delivery',
  async run() {
    const azurite = fork(new URL('./azurite-process.ts', import.meta.url), { execArgv: ['--import', 'tsx'] });
    try {
      const [connection] = (await once(azurite, 'message')) as [string];
      const compared: { times: number; spawnMs: number; delivered: Delivered }[] = [];
      let before = await spawnBare();
      for (let round = 0; round < rounds; round += 1) {
        const delivered = await deliver(connection, `bench-${round}`);
        const after = await spawnBare();
        const spawnMs = (before + after) / 2;
        compared.push({ times: delivered.finishedMs / spawnMs, spawnMs, delivered });
        before = after;
      }
      const middle = compared.sort((a, b) => a.times - b.times)[Math.floor(rounds / 2)];
      if (middle === undefined) throw new Error('there was no round');
      const { times, spawnMs, delivered } = middle;
      const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
      const finished = `${times.toFixed(2)} times: ${seconds(delivered.finishedMs)}, spawning alone ${seconds(spawnMs)}`;
      const measured = `${finished}; all acknowledged after ${seconds(delivered.settledMs)}`;
      const what = `${messages} messages to finished Jobs, ${concurrency} at once`;
      return [{ what, measured, wanted: '<= 1.5 times', ok: times <= 1.5 }];
    } finally {
      await ended(azurite);
    }
  },
};

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exit = once(child, 'exit');
  child.disconnect();
  await exit;
}

async function spawnBare(): Promise<number> {
  const begin = performance.now();
  let left = messages;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      await once(spawn('true', { stdio: 'ignore' }), 'exit');
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return performance.now() - begin;
}

interface Delivered {
  /** Until the last Job had finished. */
  finishedMs: number;
  /** Until the source knew of all. */
  settledMs: number;
}

async function deliver(connection: string, queueName: string): Promise<Delivered> {
  const queue = QueueServiceClient.fromConnectionString(connection).getQueueClient(queueName);
  await queue.create();
  await send(queue);
  const folder = await mkdtemp(join(tmpdir(), 'eventide-bench-'));
  const { documents, workloads } = readManifest(manifest(queueName) + secret(connection), folder);
  const finished = latch();
  const settled = latch();
  const ends = new Set<string>();
  const settlements = new Set<string>();
  const laptop = await createLaptop({
    documents,
    workloads,
    stateFolder: join(folder, 'state'),
    images: new Map(),
    environment: { PATH: process.env['PATH'] ?? '' },
    clock: systemClock,
    log: silentLog,
    onJob(key, job) {
      engine.jobChanged(key, job);
      if (job.state === 'failed') finished.reject(new Error(`${job.name} failed`));
      if (job.state === 'succeeded' && ends.add(job.name).size === messages) finished.resolve();
    },
    onJobGone: (key, name) => engine.jobGone(key, name),
  });
  const world = {
    ...laptop,
    async updateTask(...[workload, name, task, signal]: Parameters<typeof laptop.updateTask>) {
      await laptop.updateTask(workload, name, task, signal);
      if (task.settled === 'acknowledged' && settlements.add(name).size === messages) settled.resolve();
    },
  };
  await using tokens = hostTokens(systemClock, {});
  const engine = createEngine({
    world,
    references: localReferences(documents),
    loadScaler,
    tokens,
    clock: systemClock,
    log: silentLog,
  });
  try {
    await laptop.start();
    const begin = performance.now();
    for (const workload of workloads) engine.set(workload);
    await finished.promise;
    const finishedMs = performance.now() - begin;
    await settled.promise;
    return { finishedMs, settledMs: performance.now() - begin };
  } finally {
    await engine[Symbol.asyncDispose]();
    await laptop[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }
}

function latch() {
  let open = () => {};
  let fail = (_fault: Error) => {};
  const promise = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, resolve: () => open(), reject: (fault: Error) => fail(fault) };
}

async function send(queue: QueueClient): Promise<void> {
  for (let sent = 0; sent < messages; sent += concurrency) {
    await Promise.all(Array.from({ length: concurrency }, (_, n) => queue.sendMessage(`task ${sent + n}`)));
  }
}
