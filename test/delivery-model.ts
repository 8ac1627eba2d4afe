import type { Clock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import type { DeliverySource } from '../src/engine/deliver/source.ts';
import type { Job, JobRequest, Task, World } from '../src/engine/ports.ts';
import type { BoundRead } from '../src/scaler/bind.ts';
import { bindTrigger } from '../src/scaler/bind.ts';
import { type AnyScaler, defineScaler } from '../src/scaler/define.ts';
import type { Claim, Delivery } from '../src/scaler/delivery.ts';
import { p } from '../src/scaler/params.ts';
import { noIdentity } from '../src/spec/pod-identity.ts';
import type { ScaledJob } from '../src/spec/workload.ts';

/** Called around every call: before it is carried out, and before its answer is given. */
export type Around = <T>(name: string, call: () => T) => Promise<T>;

export const straight: Around = async (_name, call) => call();

interface QueuedMessage {
  id: string;
  body: Uint8Array;
  visibleAt: number;
  receipt: string | undefined;
  count: number;
}

/** A queue in memory with peek-locks that end by the clock; every claim and extension has a new receipt. */
export interface ModelQueue {
  readonly name: string;
  readonly lockMs: number;
  readonly delivery: Delivery<unknown, ModelConnection>;
  send(id: string, body?: string | Uint8Array): void;
  /** Hands a claimed message out again at the next claim, as if its lock had ended. */
  letGo(id: string): void;
  readonly waiting: number;
  /** Told of every settlement, for rules that must hold at that moment. */
  onSettle: (verb: 'acknowledge' | 'release' | 'dead-letter', id: string) => void;
  readonly acknowledged: string[];
  readonly dead: { id: string; body: string | undefined; attempts: number }[];
}

interface ModelConnection {
  around: Around;
}

export function modelQueue(clock: Clock, name = 'orders', lockMs = 60_000): ModelQueue {
  const messages = new Map<string, QueuedMessage>();
  const acknowledged: string[] = [];
  const dead: ModelQueue['dead'] = [];
  let receipts = 0;
  const newReceipt = () => {
    receipts += 1;
    return `r${receipts}`;
  };

  function held(receipt: string): QueuedMessage {
    const message = [...messages.values()].find(one => one.receipt === receipt);
    if (message === undefined) throw new Fault('MESSAGE_LOST', `${receipt} does not hold`);
    return message;
  }

  function claim(most: number): Claim[] {
    const visible = [...messages.values()].filter(({ visibleAt }) => visibleAt <= clock.elapsed());
    return visible.slice(0, most).map(message => {
      message.receipt = newReceipt();
      message.count += 1;
      message.visibleAt = clock.elapsed() + lockMs;
      const { id, body, receipt, count } = message;
      return { messageId: id, body, receipt, deliveryCount: count, lockedUntil: clock.now() + lockMs };
    });
  }

  const delivery: Delivery<unknown, ModelConnection> = {
    promise: 'Whatever the test says.',
    lockMs,
    queueId: () => name,
    claim: (_, { conn }, most) => conn.around('claim', () => claim(most)),
    extend: (_, { conn }, receipt) =>
      conn.around('extend', () => {
        const message = held(receipt);
        message.receipt = newReceipt();
        message.visibleAt = clock.elapsed() + lockMs;
        return { receipt: message.receipt, lockedUntil: clock.now() + lockMs };
      }),
    acknowledge: (_, { conn }, receipt) =>
      conn.around('acknowledge', () => {
        const { id } = held(receipt);
        queue.onSettle('acknowledge', id);
        messages.delete(id);
        acknowledged.push(id);
      }),
    release: (_, { conn }, receipt, delayMs) =>
      conn.around('release', () => {
        const message = held(receipt);
        queue.onSettle('release', message.id);
        message.receipt = undefined;
        message.visibleAt = clock.elapsed() + delayMs;
      }),
    deadLetter: (_, { conn }, { receipt, body, attempts }) =>
      conn.around('deadLetter', () => {
        const { id } = held(receipt);
        queue.onSettle('dead-letter', id);
        messages.delete(id);
        const text = body === undefined ? undefined : Buffer.from(body).toString('utf8');
        dead.push({ id, body: text, attempts });
      }),
  };

  const queue: ModelQueue = {
    name,
    lockMs,
    delivery,
    acknowledged,
    dead,
    onSettle() {},
    send(id, body = id) {
      const bytes = typeof body === 'string' ? Buffer.from(body) : body;
      messages.set(id, { id, body: bytes, visibleAt: clock.elapsed(), receipt: undefined, count: 0 });
    },
    letGo(id) {
      const message = messages.get(id);
      if (message !== undefined) message.visibleAt = clock.elapsed();
    },
    get waiting() {
      return messages.size;
    },
  };
  return queue;
}

/** The type of trigger that reads a model queue. */
export function modelScaler(queue: ModelQueue, around: Around): AnyScaler {
  return defineScaler({
    type: 'model-queue',
    doc: 'A queue in memory.',
    testedWith: { kind: 'none-needed' },
    params: { length: p.number({ doc: 'Messages per Job.', default: '1' }) },
    target: 'length',
    metricName: () => `model-queue-${queue.name}`,
    endpoint: () => queue.name,
    open: async () => ({ around }),
    read: async () => queue.waiting,
    deliver: queue.delivery,
  }) as never;
}

/** A trigger on a model queue, bound as the engine binds one. */
export function modelSource(queue: ModelQueue, clock: Clock, around: Around = straight): DeliverySource {
  const trigger = { index: 0, type: 'model-queue', metadata: {}, secrets: {}, useCachedMetrics: false };
  const context = {
    podIdentity: noIdentity,
    namespace: 'shop',
    workload: 'app',
    triggerIndex: 0,
    asMetricSource: false,
  };
  const binding = bindTrigger(
    modelScaler(queue, around),
    trigger,
    { metadata: {}, auth: {}, env: {} },
    context,
  );
  if (!binding.ok) throw new Error('the model trigger does not bind');
  const cluster = { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) };
  return {
    trigger: binding.bound as BoundRead,
    use: (work, signal) => work({ conn: { around }, signal, now: clock.now(), namespace: 'shop', cluster }),
  };
}

/** What the world of a test has seen of one Job. */
export interface ModelJob extends Job {
  request: JobRequest;
}

/** A world in memory whose Jobs end when a test says so, or by a script. */
export interface ModelWorld {
  readonly jobs: ReadonlyMap<string, ModelJob>;
  /** Message ids of the Jobs that succeeded, in order. */
  readonly succeeded: string[];
  readonly failed: string[];
  /** Rules that were broken. */
  readonly violations: string[];
  /** The port, as one process sees it. */
  port(around?: Around): World;
  finish(name: string, state: 'succeeded' | 'failed'): Job | undefined;
  start(name: string): Job | undefined;
  /** By hand or by a cleanup. */
  remove(name: string): void;
  onChange: (job: Job) => void;
  onDelete: (name: string) => void;
  onCreate: (job: ModelJob) => void;
}

export function modelWorld(clock: Clock): ModelWorld {
  const jobs = new Map<string, ModelJob>();
  const world: ModelWorld = {
    jobs,
    succeeded: [],
    failed: [],
    violations: [],
    onChange() {},
    onDelete() {},
    onCreate() {},
    start: name => change(name, 'running'),
    finish(name, state) {
      const job = jobs.get(name);
      if (job === undefined || job.state === 'succeeded' || job.state === 'failed') return undefined;
      for (const { id } of job.task?.messages ?? []) world[state].push(id);
      return change(name, state);
    },
    remove(name) {
      if (jobs.delete(name)) world.onDelete(name);
    },
    port: (around = straight) => ({
      listJobs: () => around('listJobs', () => [...jobs.values()].map(job => ({ ...job }))),
      createJob: (_, request) => around('createJob', () => create(request)),
      updateTask: (_, name, task) => around('updateTask', () => update(name, task)),
      deleteJob: (_, name) => around('deleteJob', () => world.remove(name)),
      readTarget: unused,
      setReplicas: unused,
      ensureAutoscaler: unused,
      readResource: unused,
      report() {},
    }),
  };
  const unused = () => Promise.reject(new Fault('INTERNAL', 'delivery does not need this'));

  function change(name: string, state: Job['state']): Job | undefined {
    const job = jobs.get(name);
    if (job === undefined) return undefined;
    job.state = state;
    if (state === 'succeeded' || state === 'failed') job.finishedAt = clock.now();
    world.onChange({ ...job });
    return job;
  }

  function create(request: JobRequest): 'created' | 'exists' {
    const { name = '', task } = request;
    if (jobs.has(name)) return 'exists';
    const ids = task?.messages.map(({ id }) => id) ?? [];
    for (const other of jobs.values()) {
      if (other.state === 'failed') continue;
      const shared = other.task?.messages.find(({ id }) => ids.includes(id));
      if (shared !== undefined) world.violations.push(`${name} runs ${shared.id} beside ${other.name}`);
    }
    for (const id of ids) if (world.succeeded.includes(id)) world.violations.push(`${name} runs ${id} again`);
    const job: ModelJob = { name, state: 'pending', pods: [], createdAt: clock.now(), request };
    if (task !== undefined) job.task = task;
    jobs.set(name, job);
    world.onCreate(job);
    return 'created';
  }

  function update(name: string, task: Task): void {
    const job = jobs.get(name);
    if (job === undefined) throw new Fault('WORLD_FAILED', `there is no Job ${name}`);
    job.task = task;
  }

  return world;
}

export const scaledJob = (over: Partial<ScaledJob> = {}): ScaledJob => ({
  kind: 'ScaledJob',
  key: 'ScaledJob/shop/tasks',
  namespace: 'shop',
  name: 'tasks',
  uid: 'u1',
  generation: 1,
  createdAt: 0,
  labels: {},
  annotations: {},
  pollingIntervalMs: 30_000,
  maxReplicaCount: 10,
  maxReplicaCountGiven: true,
  triggers: [],
  jobTargetRef: {},
  successfulJobsHistoryLimit: 100,
  failedJobsHistoryLimit: 100,
  rollout: { propagationPolicy: 'background' },
  scalingStrategy: { strategy: 'default', pendingPodConditions: [], multipleScalersCalculation: 'max' },
  delivery: { as: 'env', batchSize: 1, maxAttempts: 3 },
  ...over,
});
