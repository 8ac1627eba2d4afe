import { setTimeout as sleep } from 'node:timers/promises';
import { resources } from '../../src/kube/objects.ts';
import { podAnnotations } from '../../test/cluster/fake-kubelet.ts';
import type { BenchRow } from '../bench.ts';
import { seconds } from './figures.ts';
import { type Ground, waitUntil } from './ground.ts';

const messages = 200;
const atOnce = 50;
/** 200 messages, 50 at a time, 30 s each. */
const floorMs = 120_000;

const strategies = ['default', 'accurate', 'eager'] as const;
type Strategy = (typeof strategies)[number];

/** So far apart they begin, in milliseconds: what each of them creates at once is not to wait for the others'. */
const apartMs = 10_000;

/** 200 messages, a Job each, by each of KEDA's strategies beside each other, in a namespace of its own each. */
export async function measureJobs(ground: Ground): Promise<BenchRow[]> {
  return Promise.all(strategies.map(strategy => measureStrategy(ground, strategy)));
}

interface Pod {
  metadata: { name: string; uid: string; resourceVersion: string };
  status?: { phase?: string };
}

async function measureStrategy(ground: Ground, strategy: Strategy): Promise<BenchRow> {
  const namespace = await ground.namespace();
  const queue = queueOf(ground, strategy);
  await queue.tell();
  const jobs = new Set<string>();
  let firstAt: number | undefined;
  await using _jobs = await ground.watch<Pod, boolean>({
    resource: resources.jobs,
    namespace,
    keep: () => true,
    onSet(name) {
      firstAt ??= Date.now();
      jobs.add(name);
    },
  });
  await using _pods = await ground.watch<Pod, string>({
    resource: resources.pods,
    namespace,
    keep: ({ status }) => status?.phase ?? 'Pending',
    onSet(name, phase, before) {
      if (phase !== before) queue.podIs(name, phase);
    },
  });
  await ground.api.create(scaledJob(ground, { namespace, strategy }));
  await sleep(10_000 + strategies.indexOf(strategy) * apartMs);
  const at = await queue.fill();
  const drained = await waitUntil(() => queue.drainedAt !== undefined, 420_000);
  // What is created without need comes with the next polls.
  await sleep(15_000);
  const tookMs = (queue.drainedAt ?? Number.NaN) - at;
  const polledMs = (firstAt ?? Number.NaN) - at;
  const done =
    drained !== undefined
      ? `drained in ${seconds(tookMs)}, ${seconds(polledMs)} of them before the first Job`
      : `${queue.left()} left after 7 minutes`;
  return {
    what: `200 messages, a Job each, 50 at a time (floor 120 s), strategy ${strategy}`,
    measured: `${jobs.size} Jobs, ${queue.idle()} with nothing to do, ${done}`,
    wanted: `200 Jobs, < ${seconds(floorMs + 5_000)}`,
    ok: jobs.size === messages && tookMs < floorMs + 5_000,
  };
}

/**
 * A queue whose consumers are pods: one that begins to run takes a message, one that ends has done with it. The
 * default strategy is made for a count with the messages that are being processed in it, the others for one without.
 */
function queueOf(ground: Ground, strategy: Strategy) {
  const taken = new Set<string>();
  let waiting = 0;
  let filled = false;
  let idle = 0;
  let drainedAt: number | undefined;
  const tell = async () => {
    const { at } = await ground.source.tell({
      set: {
        [`jobs${strategies.indexOf(strategy)}`]: strategy === 'default' ? waiting + taken.size : waiting,
      },
    });
    return at;
  };
  return {
    tell,
    async fill() {
      waiting = messages;
      filled = true;
      return tell();
    },
    podIs(name: string, phase: string) {
      if (phase === 'Running' && !taken.has(name)) {
        if (waiting === 0) idle += 1;
        else {
          waiting -= 1;
          taken.add(name);
        }
      }
      if (phase === 'Succeeded') taken.delete(name);
      if (filled && waiting === 0 && taken.size === 0) drainedAt ??= Date.now();
      void tell();
    },
    idle: () => idle,
    left: () => waiting + taken.size,
    get drainedAt() {
      return drainedAt;
    },
  };
}

const scaledJob = (ground: Ground, { namespace, strategy }: { namespace: string; strategy: Strategy }) => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledJob',
  metadata: { name: 'worker', namespace },
  spec: {
    pollingInterval: 5,
    maxReplicaCount: atOnce,
    successfulJobsHistoryLimit: 300,
    scalingStrategy: { strategy },
    jobTargetRef: {
      template: {
        metadata: { annotations: { [podAnnotations.start]: '20s', [podAnnotations.work]: '10s' } },
        spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'example.com/none' }] },
      },
    },
    triggers: [
      {
        type: 'prometheus',
        metadata: {
          serverAddress: ground.source.address,
          query: `jobs${strategies.indexOf(strategy)}_0`,
          threshold: '1',
        },
      },
    ],
  },
});
