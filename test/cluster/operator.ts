/**
 * The operator as a user installs it: deploy/eventide.yaml as it is, and the bundled command as its service account.
 * It runs beside the cluster instead of in a pod, so its Services are made to lead to this machine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import process from 'node:process';
import { type Installed, install } from '../e2e/eventide.ts';
import { type Cluster, type ClusterObject, until } from './bed.ts';
import { freePorts } from './processes.ts';

const apiServicePath = '/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io';
const webhookPath = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/keda-admission';

/** The ports an operator serves at. */
export interface OperatorPorts {
  metricsApi: number;
  webhooks: number;
  prometheus: number;
  health: number;
}

export interface OperatorOptions {
  args?: readonly string[];
  environment?: Readonly<Record<string, string>>;
  /** Its ServiceAccount's unless given. */
  kubeconfig?: string;
  /** Whether the API server is led to this one; it is unless told. */
  routed?: boolean;
  /** Those of one before it; others unless given. */
  ports?: OperatorPorts;
  /** Whether its wall clock is one that `setClock` can set. */
  ownClock?: boolean;
}

/** A running `eventide operator`. Disposing it kills what is left. */
export interface RunningOperator extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly ports: OperatorPorts;
  /** Everything it has logged. */
  readonly log: string;
  readonly ended: Promise<number | null>;
  /** Ends when its readiness probe says so. @throws with its log where it ends before, or takes 30 s */
  ready(): Promise<void>;
  /** Ends when it decides. @throws as `ready` */
  leads(): Promise<void>;
  /** One sample of its metrics; undefined where there is none. */
  metric(series: string): Promise<number | undefined>;
  /** Sets its wall clock this far from this machine's, in milliseconds; timers go on as they were. */
  setClock(aheadMs: number): void;
}

/** Run before the command: a wall clock that is as its parent says. */
const clockOfParent = `
  const Real = Date;
  let ahead = 0;
  globalThis.Date = class Date extends Real {
    static now() { return Real.now() + ahead; }
    constructor(...given) {
      if (given.length === 0) super(Real.now() + ahead);
      else super(...given);
    }
  };
  process.on('message', message => { ahead = message; });
  process.channel.unref();
`;

/** Applies what a user applies, and leads the Services to this machine once an operator is routed. */
export async function installOperator(cluster: Cluster): Promise<Installed> {
  await cluster.apply(await readFile(new URL('../../deploy/eventide.yaml', import.meta.url), 'utf8'));
  // Its pods are fake; two that say they are ready would be taken for the operator.
  await cluster.patch('/apis/apps/v1/namespaces/keda/deployments/eventide', { spec: { replicas: 0 } });
  return await install();
}

export async function startOperator(
  cluster: Cluster,
  installed: Installed,
  options: OperatorOptions = {},
): Promise<RunningOperator> {
  const ports = options.ports ?? (await operatorPorts());
  const { metricsApi, webhooks, prometheus, health } = ports;
  const kubeconfig = options.kubeconfig ?? (await cluster.serviceAccountKubeconfig('keda', 'keda-operator'));
  const args = [
    ...(options.ownClock ? [`--import=data:text/javascript,${encodeURIComponent(clockOfParent)}`] : []),
    ...[installed.entry, 'operator', `--kubeconfig=${kubeconfig}`],
    `--secure-port=${metricsApi}`,
    `--webhook-port=${webhooks}`,
    `--metrics-bind-address=127.0.0.1:${prometheus}`,
    `--health-probe-bind-address=127.0.0.1:${health}`,
    ...(options.args ?? []),
  ];
  const env = { PATH: process.env['PATH'], POD_NAMESPACE: 'keda', ...options.environment };
  if (options.routed ?? true) await route(cluster, ports);
  const child = spawn(process.execPath, args, {
    env,
    stdio: ['ignore', 'ignore', 'pipe', options.ownClock ? 'ipc' : 'ignore'],
  });
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const ended = new Promise<number | null>(resolve => child.once('close', resolve));
  let over = false;
  void ended.then(() => {
    over = true;
  });

  async function soon(what: string, look: () => Promise<boolean>): Promise<void> {
    const found = async () => (over ? 'ended' : await look().catch(() => false));
    const outcome = await until(found, seen => seen !== false).catch(() => 'late');
    if (outcome !== true) throw new Error(`the operator is not ${what} (${outcome}):\n${log}`);
  }

  const scrape = async () => await (await fetch(`http://127.0.0.1:${prometheus}/metrics`)).text();
  const metric = async (series: string) => {
    const line = (await scrape()).split('\n').find(each => each.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  };
  return {
    child,
    ports,
    get log() {
      return log;
    },
    ended,
    metric,
    setClock: aheadMs => void child.send(aheadMs),
    ready: () => soon('ready', async () => (await fetch(`http://127.0.0.1:${health}/readyz`)).ok),
    leads: () => soon('leading', async () => (await metric('eventide_leader')) === 1),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** An operator that is started again whenever it ends by itself, as a kubelet does. */
export interface KeptOperator extends AsyncDisposable {
  /** The one that runs, or ran last. */
  readonly current: RunningOperator;
  /** What it ended with, each time. */
  readonly exits: readonly (number | null)[];
  /** Everything that all of them logged. */
  readonly log: string;
}

/** Starts an operator and sees to it that there is one until it is disposed. */
export async function keepOperator(
  cluster: Cluster,
  installed: Installed,
  options: OperatorOptions = {},
): Promise<KeptOperator> {
  const kubeconfig = options.kubeconfig ?? (await cluster.serviceAccountKubeconfig('keda', 'keda-operator'));
  // What a pod keeps when its container starts again.
  const environment = { POD_NAME: `eventide-${randomUUID().slice(0, 8)}`, ...options.environment };
  const first = await startOperator(cluster, installed, { ...options, kubeconfig, environment });
  const all = [first];
  const exits: (number | null)[] = [];
  const ending = new AbortController();

  async function keep(): Promise<void> {
    for (let one = first; ; ) {
      exits.push(await one.ended);
      if (ending.signal.aborted) return;
      one = await startOperator(cluster, installed, {
        ...options,
        kubeconfig,
        environment,
        ports: first.ports,
        routed: false,
      });
      all.push(one);
      void one.ready().then(tellAggregator, () => {});
    }
  }

  /** Has the API server look whether we are available, as a ready pod's endpoints do; it would only in up to 30 s. */
  async function tellAggregator(): Promise<void> {
    const annotations = { 'bed/ready': String(exits.length) };
    await until(
      () => cluster.patch(apiServicePath, { metadata: { annotations } }),
      () => true,
    );
  }

  const current = () => all.at(-1) ?? first;
  const keeping = keep();
  return {
    get current() {
      return current();
    },
    exits,
    get log() {
      return all.map(({ log }) => log).join('');
    },
    async [Symbol.asyncDispose]() {
      ending.abort();
      await current()[Symbol.asyncDispose]();
      await keeping;
    },
  };
}

/** Leads the API server's questions to these ports of this machine. */
export async function route(cluster: Cluster, { metricsApi, webhooks }: OperatorPorts): Promise<void> {
  const services = '/api/v1/namespaces/keda/services';
  for (const [name, port] of [
    ['keda-metrics-apiserver', metricsApi],
    ['keda-admission-webhooks', webhooks],
  ] as const) {
    const current = await cluster.get(`${services}/${name}`);
    if (current?.['spec']?.type !== 'ExternalName') {
      await cluster.delete(`${services}/${name}`);
      await cluster.apply({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace: 'keda' },
        spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port }] },
      });
    }
  }
  await cluster.patch(apiServicePath, { spec: { service: { port: metricsApi } } });
  const configuration = await cluster.get(webhookPath);
  const hooks = (configuration?.['webhooks'] ?? []) as ClusterObject[];
  await cluster.patch(webhookPath, {
    webhooks: hooks.map(hook => ({
      ...hook,
      clientConfig: {
        ...hook['clientConfig'],
        service: { ...hook['clientConfig'].service, port: webhooks },
      },
    })),
  });
}

async function operatorPorts(): Promise<OperatorPorts> {
  const [metricsApi = 0, webhooks = 0, prometheus = 0, health = 0] = await freePorts(4);
  return { metricsApi, webhooks, prometheus, health };
}
