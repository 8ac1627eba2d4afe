/** KEDA itself, as three processes beside a cluster: what is measured against, and swapped with. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { parseAllDocuments } from 'yaml';
import type { Api, Manifest } from './api.ts';
import { kedaBinaries } from './binaries.ts';
import { makeCertificate } from './credentials.ts';
import { freePorts, Processes, type Program } from './processes.ts';

const namespace = 'keda';
const services = ['keda-operator', 'keda-metrics-apiserver', 'keda-admission-webhooks'] as const;

/** A running KEDA. */
export interface Keda extends AsyncDisposable {
  /** Of its operator, metrics server and webhooks. */
  readonly pids: readonly number[];
  /** Where its metrics server answers, without the API server before it. */
  readonly metricsUrl: string;
  readonly folder: string;
  /** Ends its three programs as a Deployment scaled to zero does. */
  stop(): Promise<void>;
}

/**
 * Puts KEDA's manifests into a cluster and starts its programs with the flags of its manifests; what differs says
 * where they listen and how they find each other outside of pods.
 *
 * @param kubeconfigOf makes whom they act as, once the ServiceAccount is there
 */
export async function startKeda(api: Api, kubeconfigOf: () => Promise<string>): Promise<Keda> {
  const { module, ...programs } = await kedaBinaries();
  const folder = await mkdtemp(join(tmpdir(), 'eventide-keda-'));
  const names = services.flatMap(name => [name, `${name}.${namespace}`, `${name}.${namespace}.svc`]);
  const ca = await makeCertificate(folder, 'ca', { commonName: 'KEDA' });
  await makeCertificate(folder, 'tls', {
    commonName: 'keda',
    altNames: ['IP:127.0.0.1', 'DNS:localhost', ...names.map(name => `DNS:${name}`)],
    issuer: ca,
  });
  const [metricsApi = 0, webhook = 0, grpc = 0, ...others] = await freePorts(8);
  await applyKeda(api, { module, caBundle: Buffer.from(ca.cert).toString('base64'), metricsApi, webhook });

  const kubeconfig = await kubeconfigOf();
  const at = (index: number) => `127.0.0.1:${others[index]}`;
  const health = (name: string, command: string, args: string[], url: string): Program => ({
    name,
    command,
    args,
    env: {
      KUBECONFIG: kubeconfig,
      WATCH_NAMESPACE: '',
      POD_NAMESPACE: namespace,
      KEDA_CLUSTER_OBJECT_NAMESPACE: namespace,
      KEDA_HTTP_DEFAULT_TIMEOUT: '',
    },
    logFile: join(folder, `${name}.log`),
    ready: signal => answers(url, signal),
  });
  const processes = new Processes(folder);
  const operator = health(
    'operator',
    programs.operator,
    [
      ...['--leader-elect', '--zap-log-level=info', '--zap-encoder=console', '--zap-time-encoding=rfc3339'],
      ...[`--metrics-bind-address=${at(0)}`, `--health-probe-bind-address=${at(1)}`],
      ...[`--metrics-service-bind-address=127.0.0.1:${grpc}`, `--cert-dir=${folder}`],
    ],
    `http://${at(1)}/readyz`,
  );
  const adapter = health(
    'adapter',
    programs.adapter,
    [
      ...[`--secure-port=${metricsApi}`, '--bind-address=127.0.0.1', `--port=${others[2]}`],
      ...['--zap-log-level=error', `--client-ca-file=${folder}/ca.crt`, `--cert-dir=${folder}`],
      ...[`--tls-cert-file=${folder}/tls.crt`, `--tls-private-key-file=${folder}/tls.key`],
      ...[`--metrics-service-address=127.0.0.1:${grpc}`, `--lister-kubeconfig=${kubeconfig}`],
      ...[`--authentication-kubeconfig=${kubeconfig}`, `--authorization-kubeconfig=${kubeconfig}`],
    ],
    `https://127.0.0.1:${metricsApi}/readyz`,
  );
  const webhooks = health(
    'webhooks',
    programs.webhooks,
    [
      ...[`--port=${webhook}`, `--metrics-bind-address=${at(3)}`, `--health-probe-bind-address=${at(4)}`],
      ...['--zap-log-level=info', '--zap-encoder=console', `--cert-dir=${folder}`],
    ],
    `http://${at(4)}/readyz`,
  );
  const all = [operator, adapter, webhooks];
  try {
    for (const program of all) await processes.start(program);
  } catch (error) {
    await processes[Symbol.asyncDispose]();
    throw error;
  }
  const stop = async () => {
    await Promise.all(all.map(({ name }) => processes.stop(name)));
  };
  return {
    pids: all.flatMap(({ name }) => processes.pid(name) ?? []),
    metricsUrl: `https://127.0.0.1:${metricsApi}`,
    folder,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await processes[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function answers(url: string, signal: AbortSignal): Promise<boolean> {
  const agent = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const answer = await request(url, { dispatcher: agent, signal });
    await answer.body.dump();
    return answer.statusCode === 200;
  } finally {
    await agent.close();
  }
}

interface Places {
  module: string;
  caBundle: string;
  metricsApi: number;
  webhook: number;
}

/** KEDA's own manifests, with its Services leading to this machine. */
async function applyKeda(api: Api, { module, caBundle, metricsApi, webhook }: Places): Promise<void> {
  const read = async (path: string): Promise<Manifest[]> =>
    parseAllDocuments(await readFile(join(module, 'config', path), 'utf8')).map(
      document => document.toJS() as Manifest,
    );
  const bases = await readdir(join(module, 'config/crd/bases'));
  const crds = await Promise.all(bases.map(name => read(`crd/bases/${name}`)));
  const rights = await Promise.all(
    [
      'service_account/service_account.yaml',
      ...['rbac/role.yaml', 'rbac/role_binding.yaml'],
      ...['metrics-server/role.yaml', 'metrics-server/role_binding.yaml'],
    ].map(read),
  );
  const [apiService] = await read('metrics-server/api_service.yaml');
  const [hooks] = await read('webhooks/validation_webhooks.yaml');
  if (apiService === undefined || hooks === undefined) throw new Error("KEDA's manifests are not there");
  const spec = apiService['spec'] as { service: object };
  Object.assign(spec, { caBundle });
  Object.assign(spec.service, { port: metricsApi });
  for (const { clientConfig } of hooks['webhooks'] as { clientConfig: { service: object } }[]) {
    Object.assign(clientConfig, { caBundle });
    Object.assign(clientConfig.service, { port: webhook });
  }
  await api.apply([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    ...crds.flat(),
    ...rights.flat(),
    ...services.map(name => localService(name)),
    apiService,
    hooks,
  ]);
}

/** A Service behind which is this machine. */
const localService = (name: string): Manifest => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace },
  spec: { type: 'ExternalName', externalName: 'localhost' },
});
