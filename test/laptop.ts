import { mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../src/base/clock.ts';
import { type Log, silentLog } from '../src/base/log.ts';
import type { Job } from '../src/engine/ports.ts';
import type { OutputLine } from '../src/local/console.ts';
import { createLaptop, type Laptop } from '../src/local/laptop.ts';
import { startTimeOf } from '../src/local/process-table.ts';
import { readDocuments } from '../src/spec/documents.ts';
import { parseManifest } from '../src/spec/manifest.ts';
import type { ScaledJob, ScaledObject, Workload } from '../src/spec/workload.ts';

/** A started laptop in a folder of its own, and all that it told. */
export interface TestLaptop extends AsyncDisposable {
  laptop: Laptop;
  folder: string;
  jobs: Job[];
  gone: string[];
  output: OutputLine[];
  scaledJob: ScaledJob;
  scaledObject: ScaledObject;
  /** The file's text; empty where it is not there. */
  read(name: string): Promise<string>;
}

interface Setting {
  manifest: string;
  /** One that is there already, and stays. */
  folder?: string;
  clock?: Clock;
  log?: Log;
  environment?: Readonly<Record<string, string>>;
}

/** Reads a manifest as if it stood in the folder. */
export function readManifest(manifest: string, folder: string) {
  const { documents } = readDocuments(manifest, join(folder, 'app.yaml'));
  const workloads = documents.flatMap(document => {
    const parsed = parseManifest(document);
    if (parsed?.ok === false) throw new Error(JSON.stringify(parsed.problems));
    const value = parsed?.value;
    return value?.kind === 'ScaledObject' || value?.kind === 'ScaledJob' ? [value as Workload] : [];
  });
  return { documents, workloads };
}

/** Starts a laptop. Disposing it ends its processes, and removes the folder where it was made for it. */
export async function startLaptop(setting: Setting): Promise<TestLaptop> {
  const folder = setting.folder ?? (await realpath(await mkdtemp(join(tmpdir(), 'eventide-laptop-'))));
  const { documents, workloads } = readManifest(setting.manifest, folder);
  const jobs: Job[] = [];
  const gone: string[] = [];
  const output: OutputLine[] = [];
  const laptop = await createLaptop({
    documents,
    workloads,
    stateFolder: join(folder, 'state'),
    images: new Map(),
    environment: { PATH: process.env['PATH'] ?? '', ...setting.environment },
    clock: setting.clock ?? systemClock,
    log: setting.log ?? silentLog,
    onJob: (_key, job) => jobs.push(job),
    onJobGone: (_key, name) => gone.push(name),
    onOutput: line => output.push(line),
  });
  await laptop.start();
  return {
    laptop,
    folder,
    jobs,
    gone,
    output,
    scaledJob: workloads.find(each => each.kind === 'ScaledJob') as ScaledJob,
    scaledObject: workloads.find(each => each.kind === 'ScaledObject') as ScaledObject,
    read: async name => (await readFile(join(folder, name), 'utf8').catch(() => '')).trim(),
    async [Symbol.asyncDispose]() {
      await laptop[Symbol.asyncDispose]();
      if (setting.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

/**
 * Looks again and again, for the end of a process sends no event to a test.
 *
 * @param said what was heard meanwhile, for whoever has to find out why it never came true
 */
export async function eventually<T>(
  look: () => T | Promise<T>,
  withinMs = 10_000,
  said = () => '',
): Promise<NonNullable<T>> {
  const end = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > end)
      throw new Error(`not so within ${withinMs} ms: ${look}\n${said().slice(-8000)}`);
    await sleep(20);
  }
}

/** Whether a process runs; one that has ended and whose end nobody has asked for yet does not. */
export async function isAlive(pid: number): Promise<boolean> {
  return (await startTimeOf(pid)) !== undefined;
}

const triggers = `triggers: [{ type: cron, metadata: { timezone: UTC, start: 0 8 * * *, end: 0 9 * * *, desiredReplicas: "1" } }]`;

/** As a manifest has to spell a script, for a cluster reads `$$` as one dollar sign. */
export const commandText = (script: string) => JSON.stringify(script.replaceAll('$', () => '$$'));

/** A Deployment `web` of one container that runs a shell command, and the ScaledObject that scales it. */
export function webManifest(
  script: string,
  { container = '', pod = '', replicas = 0, kind = 'Deployment' }: WebOptions = {},
): string {
  return `apiVersion: apps/v1
kind: ${kind}
metadata: { name: web }
spec:
  replicas: ${replicas}
  template:
    metadata: { labels: { app: web }, annotations: { team: shop } }
    spec:
      ${pod === '' ? 'terminationGracePeriodSeconds: 1' : pod.replaceAll('\n', '\n      ')}
      containers:
        - name: app
          image: none
          command: [/bin/sh, -c, ${commandText(script)}]
          ${container.replaceAll('\n', '\n          ')}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: web }
spec: { scaleTargetRef: { name: web, kind: ${kind} }, ${triggers} }
`;
}

interface WebOptions {
  container?: string;
  pod?: string;
  replicas?: number;
  kind?: 'Deployment' | 'StatefulSet';
}

/** A ScaledJob `task` of one container that runs a shell command. */
export function taskManifest(
  script: string,
  { job = 'backoffLimit: 0', restartPolicy = 'Never', pod = 'terminationGracePeriodSeconds: 1' } = {},
): string {
  return `apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: { name: task }
spec:
  ${triggers}
  jobTargetRef:
    ${job.replaceAll('\n', '\n    ')}
    template:
      spec:
        restartPolicy: ${restartPolicy}
        ${pod.replaceAll('\n', '\n        ')}
        containers:
          - { name: app, image: none, command: [/bin/sh, -c, ${commandText(script)}] }
`;
}
