/**
 * The engine alone in a process, over a world that does nothing, with 10,000 ScaledObjects. What it measures it
 * sends to its parent.
 */

import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { References } from '../src/auth/references.ts';
import { systemClock } from '../src/base/clock.ts';
import { silentLog } from '../src/base/log.ts';
import { keepHeapSmall } from '../src/cli/small-heap.ts';
import { createEngine } from '../src/engine/engine.ts';
import type { Job, World } from '../src/engine/ports.ts';
import { type AnyScaler, defineScaler } from '../src/scaler/define.ts';
import { p } from '../src/scaler/params.ts';
import { loadScaler } from '../src/scalers/index.gen.ts';
import { documentOf } from '../src/spec/documents.ts';
import { parseScaledJob } from '../src/spec/scaled-job.ts';
import { parseScaledObject } from '../src/spec/scaled-object.ts';
import type { ScaledJob, Workload } from '../src/spec/workload.ts';
import { noTokens } from '../test/no-tokens.ts';

const count = 10_000;
const pollingSeconds = 30;
const measuredSeconds = 60;
const pushes = 300;
const address = process.argv[2] ?? '';

const replicas = new Map<string, number>();
const decided = new Set<string>();
let failed = 0;
let onScale = (_key: string) => {};
let onJob = () => {};
const world: World = {
  readTarget: async ({ key }) => {
    const now = replicas.get(key) ?? 0;
    return { replicas: now, readyReplicas: now };
  },
  setReplicas: async ({ key }, to) => {
    replicas.set(key, to);
    onScale(key);
  },
  ensureAutoscaler: async () => undefined,
  readResource: async () => [],
  listJobs: async () => [...jobs.values()],
  createJob: async () => {
    onJob();
    return 'created';
  },
  updateTask: async () => {},
  deleteJob: async () => {},
  report: ({ key }, { triggers }) => {
    decided.add(key);
    for (const { fault } of triggers) if (fault !== undefined) failed += 1;
  },
};
const references: References = {
  clusterNamespace: 'keda',
  secret: async () => undefined,
  configMap: async () => undefined,
  triggerAuthentication: async () => undefined,
  podTemplate: async () => undefined,
  serviceAccount: async () => undefined,
  serviceAccountToken: () => Promise.reject(new Error('none')),
};

/** When the query of each workload was answered last, to measure from there; by the workload's number. */
const readAt = new Map<number, number>();
const numberIn = (text: string) => Number(/(?:service|web)-(\d+)/.exec(text)?.[1]);
let timing = false;

const timed = loadScaler('prometheus').then(withTimes);

async function timedScaler(type: string): Promise<AnyScaler | undefined> {
  return type === 'pushed' ? pushed : await timed;
}

function withTimes(scaler: AnyScaler | undefined): AnyScaler | undefined {
  if (scaler?.kind !== 'read') return scaler;
  return {
    ...scaler,
    async read(params, context) {
      const value = await scaler.read(params, context);
      if (timing) readAt.set(numberIn((params as { url: string }).url), performance.now());
      return value;
    },
  };
}

/** A source that tells by itself, for measuring how soon that is acted on. */
let current = 0;
let wakeWatcher = () => {};
const pushed = defineScaler({
  type: 'pushed',
  doc: 'A number that the bench sets.',
  testedWith: { kind: 'none-needed' },
  params: { target: p.number({ doc: 'Target value.' }) },
  target: 'target',
  metricName: () => 'pushed',
  endpoint: () => 'here',
  open: async () => ({}),
  read: async () => current,
  async *watch(_params, { signal }) {
    while (!signal.aborted) {
      await new Promise<void>(resolve => {
        wakeWatcher = resolve;
      });
      yield current;
    }
  },
});

function scaledObject(name: string, trigger: object): Workload {
  const spec = {
    scaleTargetRef: { name },
    pollingInterval: pollingSeconds,
    maxReplicaCount: 100,
    triggers: [trigger],
  };
  const parsed = parseScaledObject(
    documentOf({ apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledObject', metadata: { name }, spec }),
  );
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.value;
}

keepHeapSmall();
const engine = createEngine({
  world,
  references,
  loadScaler: timedScaler,
  tokens: noTokens,
  clock: systemClock,
  log: silentLog,
});
const jobs = new Map<string, Job>();

/** Alone and settled, then measured for a minute. */
async function measureSteadily(): Promise<void> {
  const begun = performance.now();
  for (let index = 0; index < count; index += 1) {
    const query = `sum(rate(http_requests_total{service="service-${index}"}[2m]))`;
    const metadata = { serverAddress: address, query, threshold: '5' };
    engine.set(scaledObject(`web-${index}`, { type: 'prometheus', metadata }));
  }
  while (decided.size < count) await sleep(50);
  const firstPassMs = performance.now() - begun;
  await sleep(Math.max(0, 2 * pollingSeconds * 1000 - firstPassMs));
  const cpu = process.cpuUsage();
  const from = performance.now();
  await sleep(measuredSeconds * 1000);
  const used = process.cpuUsage(cpu);
  const seconds = (performance.now() - from) / 1000;
  const cpuSeconds = (used.user + used.system) / 1e6;
  process.send?.({
    firstPassMs,
    cores: cpuSeconds / seconds,
    cpuSeconds,
    rssMiB: process.memoryUsage().rss / 2 ** 20,
    failed,
  });
}

/** All are read again at once, and every number is another than before. */
async function measureChange(): Promise<void> {
  timing = true;
  const waits: number[] = [];
  onScale = key => {
    const at = readAt.get(numberIn(key));
    if (at !== undefined) waits.push(performance.now() - at);
  };
  process.send?.({ change: true });
  await new Promise(resolve => process.once('message', resolve));
  for (const { key } of engine.snapshot()) engine.wake(key);
  while (waits.length < count) await sleep(20);
  timing = false;
  process.send?.({ waits: quantiles(waits) });
}

/** Beside the 10,000 that go on. */
async function measurePush(): Promise<void> {
  const waits: number[] = [];
  let told = 0;
  let acted = () => {};
  onScale = key => {
    if (key !== 'ScaledObject/default/pushed') return;
    waits.push(performance.now() - told);
    acted();
  };
  engine.set(scaledObject('pushed', { type: 'pushed', metadata: { target: '1' } }));
  while (!decided.has('ScaledObject/default/pushed')) await sleep(20);
  for (let push = 0; push < pushes; push += 1) {
    await sleep(10);
    const done = new Promise<void>(resolve => {
      acted = resolve;
    });
    current = push + 1 > 100 ? (push % 100) + 1 : push + 1;
    replicas.set('ScaledObject/default/pushed', 0);
    told = performance.now();
    wakeWatcher();
    await done;
  }
  process.send?.({ pushes: quantiles(waits) });
}

async function measureJobs(): Promise<void> {
  const waits: number[] = [];
  const template = { spec: { containers: [{ name: 'job', image: 'none' }] } };
  const trigger = { type: 'pushed', metadata: { target: '1' } };
  const spec = {
    jobTargetRef: { template },
    pollingInterval: pollingSeconds,
    maxReplicaCount: 1,
    triggers: [trigger],
  };
  const parsed = parseScaledJob(
    documentOf({ apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledJob', metadata: { name: 'jobs' }, spec }),
  );
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const job: ScaledJob = parsed.value;
  let created = 0;
  let told = 0;
  let acted = () => {};
  onJob = () => {
    created += 1;
    jobs.clear();
    jobs.set(`job-${created}`, { name: `job-${created}`, state: 'running', pods: [], createdAt: Date.now() });
    acted();
  };
  engine.set(job);
  while (created === 0) await sleep(20);
  for (let round = 0; round < pushes; round += 1) {
    await sleep(10);
    const done = new Promise<void>(resolve => {
      acted = resolve;
    });
    const [running] = jobs.values();
    if (running === undefined) break;
    const finished: Job = { ...running, state: 'succeeded', finishedAt: Date.now() };
    jobs.set(finished.name, finished);
    told = performance.now();
    engine.jobChanged(job.key, finished);
    await done;
    waits.push(performance.now() - told);
  }
  process.send?.({ jobs: quantiles(waits) });
}

function quantiles(values: number[]): { p50: number; p99: number; most: number } {
  const sorted = values.sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), most: at(1) };
}

await measureSteadily();
await measureChange();
await measurePush();
await measureJobs();
await engine[Symbol.asyncDispose]();
process.exit(0);
