import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { bundle } from '../../scripts/bundle.ts';
import { Fault } from '../../src/base/errors.ts';
import { type KafkaClient, kafkaClient } from '../../src/scaler/families/kafka.ts';
import { readPositions } from '../../src/scaler/families/kafka-offsets.ts';
import { type Kafka, startKafka } from '../../test/kafka/server.ts';
import type { Bench } from '../bench.ts';
import { drawSpike, type Sample } from './spike-chart.ts';
import { spikeCaption, spikeRows } from './spike-figures.ts';
import { compilePrograms, type Produced, readLedger } from './spike-programs.ts';

const events = 5_000_000;
const seconds = 60;
const partitions = 8;
const mostReplicas = 8;
/** Each consumer does so many events a second: four of eight keep up with the spike. */
const consumerRate = 25_000;
const lagThreshold = 50_000;
const lookMs = 250;
const topic = 'spike';
const group = 'spike';
/** How long all of it may take after the spike's begin. */
const mostMs = 150_000;
const picture = fileURLToPath(new URL('../../docs/spike.svg', import.meta.url));

const manifest = (server: string, command: readonly string[]) => `
apiVersion: apps/v1
kind: Deployment
metadata: { name: consumer }
spec:
  replicas: 0
  selector: { matchLabels: { app: consumer } }
  template:
    metadata: { labels: { app: consumer } }
    spec:
      containers:
        - name: consumer
          image: example.com/consumer:1
          command: ${JSON.stringify(command)}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: consumer }
spec:
  scaleTargetRef: { name: consumer }
  pollingInterval: 1
  cooldownPeriod: 10
  minReplicaCount: 0
  maxReplicaCount: ${mostReplicas}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: { stabilizationWindowSeconds: 10 }
  triggers:
    - type: kafka
      metadata:
        bootstrapServers: "${server}"
        topic: ${topic}
        consumerGroup: ${group}
        lagThreshold: "${lagThreshold}"
        offsetResetPolicy: earliest
`;

/** Five million events in a minute into one topic, and consumers that `eventide run` starts for them. */
export const spikeBench: Bench = {
  name: 'spike',
  async run() {
    const folder = await mkdtemp(join(tmpdir(), 'eventide-spike-'));
    try {
      await using broker = await startKafka();
      const server = broker.address.plaintext;
      const programs = await compilePrograms(folder);
      await broker.tool('create', `alone,${topic}`, partitions);
      console.log('measuring the broker alone');
      const alone = await programs.produce(server, 'alone', { most: 1e9, perSecond: 1e9, seconds: 15 });
      await programs.rehearse(server, 'alone');
      await broker.tool('delete', 'alone');
      const ledgers = join(folder, 'ledgers');
      await mkdir(ledgers);
      const command = [...programs.consumer, server, topic, group, String(consumerRate), ledgers];
      await using scaled = await startEventide(folder, manifest(server, command));
      console.log(`sending ${events} events`);
      const limits = { most: events, perSecond: events / seconds, seconds: seconds * 1.25 };
      const { samples, produced } = await watch(broker, scaled, () =>
        programs.produce(server, topic, limits),
      );
      await scaled.stop();
      const run = { alone, produced, samples, ledger: await readLedger(ledgers) };
      await writeFile(picture, drawSpike(samples, spikeCaption(run, consumerRate)));
      return spikeRows(run);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** What was started with `eventide run`. */
interface Scaled extends AsyncDisposable {
  /** As it said last. */
  replicas(): number;
  stop(): Promise<void>;
}

async function startEventide(folder: string, text: string): Promise<Scaled> {
  await bundle(join(folder, 'eventide'));
  const file = join(folder, 'spike.yaml');
  await writeFile(file, text);
  const state = join(folder, 'state');
  const child = spawn(
    process.execPath,
    [join(folder, 'eventide', 'eventide.js'), 'run', file, '--json', '--state', state],
    { cwd: folder },
  );
  child.stderr.pipe(process.stderr);
  let replicas = 0;
  let begun = () => {};
  const ready = new Promise<void>(resolve => {
    begun = resolve;
  });
  createInterface({ input: child.stdout }).on('line', line => {
    const said = JSON.parse(line) as { kind: string; replicas?: number; why?: string; text?: string };
    if (said.kind === 'output') console.log(said.text);
    if (said.kind !== 'decision') return;
    if (said.replicas !== undefined && said.replicas !== replicas)
      console.log(`${replicas} -> ${said.replicas}: ${said.why}`);
    replicas = said.replicas ?? replicas;
    begun();
  });
  await Promise.race([ready, once(child, 'exit').then(() => Promise.reject(new Error('eventide ended')))]);
  const stop = () => ended(child);
  return { replicas: () => replicas, stop, [Symbol.asyncDispose]: stop };
}

async function ended(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await exit;
}

/** Looks once a second from shortly before the spike until all is done and nobody is left. */
async function watch(
  broker: Kafka,
  scaled: Scaled,
  spike: () => Promise<Produced>,
): Promise<{ samples: Sample[]; produced: Produced }> {
  const { hostname, port } = new URL(`kafka://${broker.address.plaintext}`);
  const address = { host: hostname, port: Number(port) };
  await using client = kafkaClient([address], { connectionName: 'the bench' });
  const found: (Omit<Sample, 'second'> & { at: number })[] = [];
  let produced: Produced | undefined;
  let failed: unknown;
  let begin: number | undefined;
  const sending = spike().then(
    done => {
      produced = done;
    },
    (thrown: unknown) => {
      failed = thrown;
    },
  );
  const first = performance.now();
  for (let turn = 0; ; turn += 1) {
    await pause(first + turn * lookMs - performance.now());
    const at = performance.now();
    const { written, done } = await look(client);
    if (failed !== undefined) throw failed;
    if (written > 0) begin ??= at;
    found.push({ at, written, done, replicas: scaled.replicas() });
    if (produced !== undefined && written === done && scaled.replicas() === 0) break;
    if (at - (begin ?? at) > mostMs) break;
  }
  await sending;
  if (produced === undefined) throw new Error('the spike did not end');
  return { samples: found.map(each => ({ ...each, second: (each.at - (begin ?? 0)) / 1000 })), produced };
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, Math.max(0, ms)));

async function look(client: KafkaClient): Promise<{ written: number; done: number }> {
  const signal = AbortSignal.timeout(10_000);
  const ask = { group, topics: [topic], partitions: undefined };
  const [positions] = await readPositions(client, [ask], { now: Date.now(), signal });
  if (positions === undefined || positions instanceof Fault) throw positions ?? new Error('no positions');
  let written = 0;
  let done = 0;
  for (const { end, committed } of positions) {
    written += end;
    done += Math.max(0, committed);
  }
  return { written, done };
}
