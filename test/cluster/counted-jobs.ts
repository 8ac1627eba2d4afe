import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Cluster, type ClusterObject, until } from './bed.ts';
import { podAnnotations } from './fake-kubelet.ts';
import { json } from './servers.ts';

/**
 * A queue for each namespace whose consumers are its pods: one that begins to run takes a message, one that ends has
 * done with it. Asked as a Prometheus is, for `<namespace> waiting` or `<namespace> all`, which counts those taken too.
 */
export interface PodQueues extends AsyncDisposable {
  readonly url: string;
  /** Queries so far, by namespace. */
  readonly asked: ReadonlyMap<string, number>;
  /** How many messages there were in all. */
  fill(namespace: string, messages: number): void;
}

export async function podQueues(cluster: Cluster): Promise<PodQueues> {
  const messages = new Map<string, number>();
  const asked = new Map<string, number>();
  const count = async ([namespace = '', what]: string[]) => {
    asked.set(namespace, (asked.get(namespace) ?? 0) + 1);
    // Asked of the pods themselves, so that it is never older than what an operator sees.
    const pods = await cluster.list(`/api/v1/namespaces/${namespace}/pods`);
    const done = pods.filter(({ status }) => status.phase === 'Succeeded').length;
    const taken = pods.filter(({ status }) => status.phase === 'Running').length;
    return Math.max((messages.get(namespace) ?? 0) - done - (what === 'all' ? 0 : taken), 0);
  };
  const server = createServer(async (request, response) => {
    const query = new URL(request.url ?? '', 'http://queues').searchParams.get('query') ?? '';
    const value = [Date.now() / 1000, String(await count(query.split(' ')))];
    json(response, { status: 'success', data: { resultType: 'vector', result: [{ metric: {}, value }] } });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    fill: (namespace, count) => void messages.set(namespace, count),
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A ScaledJob named `worker` in a namespace of its own, whose Jobs work on a queue of `podQueues`. */
export interface CountedJobs {
  readonly namespace: string;
  readonly path: string;
  readonly jobsPath: string;
  jobs(): Promise<ClusterObject[]>;
  /** Waits until the Jobs are as wanted, and returns them. */
  waitFor(wanted: (jobs: ClusterObject[]) => boolean, timeoutMs?: number): Promise<ClusterObject[]>;
  /** Waits until its source was asked again, twice: whatever is decided by the first answer was begun. */
  polled(): Promise<void>;
}

interface CountOptions {
  messages: number;
  /** Put over `spec` of the ScaledJob. */
  spec?: Record<string, unknown>;
  /** How a Job's pod fares, by `podAnnotations`. */
  pod?: { start?: string; work?: string; outcome?: 'succeed' | 'fail' | 'never' };
  counts?: 'waiting' | 'all';
}

export async function countJobs(
  cluster: Cluster,
  queues: PodQueues,
  { messages, spec = {}, pod = {}, counts = 'all' }: CountOptions,
): Promise<CountedJobs> {
  const namespace = await cluster.namespace();
  queues.fill(namespace, messages);
  await cluster.create(
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledJob',
      metadata: { name: 'worker' },
      spec: {
        pollingInterval: 1,
        successfulJobsHistoryLimit: 1_000,
        jobTargetRef: jobTemplate(pod),
        triggers: [
          {
            type: 'prometheus',
            metadata: { serverAddress: queues.url, query: `${namespace} ${counts}`, threshold: '1' },
          },
        ],
        ...spec,
      },
    },
    namespace,
  );
  const jobsPath = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  const jobs = () => cluster.list(jobsPath);
  return {
    namespace,
    path: `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledjobs/worker`,
    jobsPath,
    jobs,
    waitFor: (wanted, timeoutMs = 60_000) => until(jobs, wanted, { timeoutMs, everyMs: 250 }),
    async polled() {
      const before = queues.asked.get(namespace) ?? 0;
      await until(
        () => queues.asked.get(namespace) ?? 0,
        asked => asked >= before + 2,
        { timeoutMs: 60_000 },
      );
    },
  };
}

/** `jobTargetRef` with one pod that does nothing. */
export const jobTemplate = (pod: CountOptions['pod'] = {}, image = 'example.com/none') => ({
  backoffLimit: 0,
  template: {
    metadata: {
      annotations: Object.fromEntries(
        Object.entries(pod).map(([name, value]) => [
          podAnnotations[name as keyof typeof podAnnotations],
          value,
        ]),
      ),
    },
    spec: { restartPolicy: 'Never', containers: [{ name: 'main', image }] },
  },
});

export const hasSucceeded = ({ status }: ClusterObject): boolean =>
  status?.conditions?.some((each: { type: string }) => each.type === 'Complete') ?? false;
