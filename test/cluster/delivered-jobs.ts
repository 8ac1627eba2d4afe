import { randomUUID } from 'node:crypto';
import { type QueueClient, QueueServiceClient } from '@azure/storage-queue';
import type { Task } from '../../src/engine/ports.ts';
import type { Azurite } from '../azurite.ts';
import { type Cluster, type ClusterObject, until } from './bed.ts';
import { podAnnotations } from './fake-kubelet.ts';

/** A Job that was made of messages, as a user and the source see it. */
export interface DeliveredJob {
  name: string;
  state: 'unfinished' | 'succeeded' | 'failed';
  /** What its first container finds in its environment. */
  env: Readonly<Record<string, string>>;
  /** `KEDA_TASK_DATA` of it. */
  data: string | undefined;
  task: Task;
  /** Whether our finalizer keeps it. */
  kept: boolean;
  object: ClusterObject;
}

/** A ScaledJob named `tasks` in a namespace of its own, and the queue whose messages are delivered to it. */
export interface DeliveredJobs {
  readonly namespace: string;
  /** Where the ScaledJob is. */
  readonly path: string;
  readonly jobsPath: string;
  readonly queue: QueueClient;
  readonly poison: QueueClient;
  send(texts: readonly string[]): Promise<void>;
  /** Messages at the source, those that are being processed included. */
  length(): Promise<number>;
  jobs(): Promise<DeliveredJob[]>;
  /** Waits until the Jobs are as wanted, looking twice a second, and returns them. */
  waitFor(wanted: (jobs: DeliveredJob[]) => boolean, timeoutMs?: number): Promise<DeliveredJob[]>;
}

interface DeliveryOptions {
  /** Put over `spec` of the ScaledJob. */
  spec?: Record<string, unknown>;
  delivery?: { batchSize?: number; maxAttempts?: number; as?: 'env' | 'file' };
  /** How a Job's pod fares, by `podAnnotations`. */
  pod?: { start?: string; work?: string; outcome?: 'succeed' | 'fail' | 'never' };
  /** Of the pod template; one container unless given. */
  podSpec?: Record<string, unknown>;
}

/** Makes an empty queue and a ScaledJob, looked at every second, that its messages are delivered to. */
export async function deliverJobs(
  cluster: Cluster,
  { connectionString }: Azurite,
  { spec = {}, delivery = {}, pod = {}, podSpec = {} }: DeliveryOptions = {},
): Promise<DeliveredJobs> {
  const namespace = await cluster.namespace();
  const queueName = `q-${randomUUID()}`;
  const service = QueueServiceClient.fromConnectionString(connectionString);
  const queue = service.getQueueClient(queueName);
  await queue.create();
  const annotations = Object.fromEntries(
    Object.entries(pod).map(([name, value]) => [podAnnotations[name as keyof typeof podAnnotations], value]),
  );
  const { eventide, ...rest } = spec;
  const objects = [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'storage' },
      stringData: { connection: connectionString },
    },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'TriggerAuthentication',
      metadata: { name: 'storage' },
      spec: { secretTargetRef: [{ parameter: 'connection', name: 'storage', key: 'connection' }] },
    },
    {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledJob',
      metadata: { name: 'tasks' },
      spec: {
        pollingInterval: 1,
        maxReplicaCount: 50,
        // Kept, so that a test can count them.
        successfulJobsHistoryLimit: 1_000,
        failedJobsHistoryLimit: 1_000,
        eventide: { delivery, ...(eventide as object) },
        jobTargetRef: {
          backoffLimit: 0,
          template: {
            metadata: { annotations },
            spec: {
              restartPolicy: 'Never',
              containers: [{ name: 'main', image: 'example.com/none' }],
              ...podSpec,
            },
          },
        },
        triggers: [
          {
            type: 'azure-queue',
            metadata: { queueName, queueLength: '1' },
            authenticationRef: { name: 'storage' },
          },
        ],
        ...rest,
      },
    },
  ];
  for (const object of objects) await cluster.create(object, namespace);
  const jobsPath = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  const jobs = async () => (await cluster.list(jobsPath)).map(jobOf);
  return {
    namespace,
    path: `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledjobs/tasks`,
    jobsPath,
    queue,
    poison: service.getQueueClient(`${queueName}-poison`),
    async send(texts) {
      for (let at = 0; at < texts.length; at += 20) {
        await Promise.all(texts.slice(at, at + 20).map(text => queue.sendMessage(text)));
      }
    },
    length: async () => (await queue.getProperties()).approximateMessagesCount ?? Number.NaN,
    jobs,
    waitFor: (wanted, timeoutMs = 60_000) => until(jobs, wanted, { timeoutMs, everyMs: 500 }),
  };
}

function jobOf(object: ClusterObject): DeliveredJob {
  const { metadata, spec, status } = object as ClusterObject & { spec: JobSpec; status?: JobStatus };
  const [container] = spec.template.spec.containers;
  const env = Object.fromEntries((container?.env ?? []).map(({ name, value = '' }) => [name, value]));
  const ended = status?.conditions?.find(({ type }) => type === 'Complete' || type === 'Failed');
  return {
    name: metadata.name,
    state: ended === undefined ? 'unfinished' : ended.type === 'Complete' ? 'succeeded' : 'failed',
    env,
    data: env['KEDA_TASK_DATA'],
    task: JSON.parse(metadata.annotations?.['eventide.dev/task'] ?? '{}') as Task,
    kept: metadata.finalizers?.includes('eventide.dev/task') ?? false,
    object,
  };
}

interface JobSpec {
  template: { spec: { containers: { env?: { name: string; value?: string }[] }[] } };
}

interface JobStatus {
  conditions?: { type: string; status: string }[];
}

/** `task-1` to `task-<count>`. */
export const tasks = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `task-${index + 1}`);

/** Whether all have ended, and what became of their messages is kept with them. */
export const allSettled = (jobs: readonly DeliveredJob[]): boolean =>
  jobs.every(({ state, task, kept }) => state !== 'unfinished' && task.settled !== undefined && !kept);

/** Of how many Jobs that succeeded each message was the data, by message. */
export function successes(jobs: readonly DeliveredJob[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { data = '', state } of jobs) {
    if (state === 'succeeded') counts[data] = (counts[data] ?? 0) + 1;
  }
  return counts;
}

/** What `successes` is when each message was done exactly once. */
export const onceEach = (texts: readonly string[]): Record<string, number> =>
  Object.fromEntries(texts.map(text => [text, 1]));
