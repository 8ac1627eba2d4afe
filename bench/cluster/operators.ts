import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { request } from 'undici';
import { parseAllDocuments } from 'yaml';
import { bundle } from '../../scripts/bundle.ts';
import type { Api, Manifest } from '../../test/cluster/api.ts';
import { startKeda } from '../../test/cluster/keda.ts';
import { freePorts, Processes } from '../../test/cluster/processes.ts';
import type { ClusterBenchOptions } from './options.ts';

/** The operator that is measured. */
export interface Operator extends AsyncDisposable {
  readonly name: string;
  /** Its processes, as far as they are known. */
  readonly pids: readonly number[];
  /** Where it serves external.metrics.k8s.io itself; undefined where that is not known. */
  readonly metricsUrl: string | undefined;
}

interface Start {
  options: ClusterBenchOptions;
  api: Api;
  /** Whom it acts as. */
  kubeconfig: string;
}

/** Starts the operator that is asked for, or takes the one that is there. */
export async function startOperator({ options, api, kubeconfig }: Start): Promise<Operator> {
  switch (options.operator) {
    case 'eventide':
      return startEventide(api, kubeconfig);
    case 'keda': {
      const keda = await startKeda(api, async () => kubeconfig);
      return {
        name: 'keda',
        pids: keda.pids,
        metricsUrl: keda.metricsUrl,
        [Symbol.asyncDispose]: () => keda[Symbol.asyncDispose](),
      };
    }
    case 'none':
      return {
        name: 'the operator of the cluster',
        pids: options.pids,
        metricsUrl: options.metricsUrl,
        [Symbol.asyncDispose]: async () => {},
      };
  }
}

/** The bundled command, as it is shipped, with the manifests of `deploy/` around it. */
async function startEventide(api: Api, kubeconfig: string): Promise<Operator> {
  const folder = await mkdtemp(join(tmpdir(), 'eventide-operator-'));
  await bundle(join(folder, 'dist'));
  const [metricsApi = 0, webhook = 0, prometheus = 0, health = 0] = await freePorts(4);
  await applyEventide(api, { metricsApi, webhook });
  const processes = new Processes(folder);
  const disposed = async () => {
    await processes.stop('eventide');
    await processes[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await processes.start({
      name: 'eventide',
      command: process.execPath,
      args: [
        ...[join(folder, 'dist/eventide.js'), 'operator', `--kubeconfig=${kubeconfig}`],
        ...[`--secure-port=${metricsApi}`, `--webhook-port=${webhook}`],
        ...[`--metrics-bind-address=127.0.0.1:${prometheus}`],
        ...[`--health-probe-bind-address=127.0.0.1:${health}`],
      ],
      env: { POD_NAMESPACE: 'keda' },
      logFile: join(folder, 'eventide.log'),
      ready: async signal => {
        const answer = await request(`http://127.0.0.1:${health}/readyz`, { signal });
        await answer.body.dump();
        return answer.statusCode === 200;
      },
    });
  } catch (error) {
    await disposed();
    throw error;
  }
  return {
    name: 'eventide',
    pids: [processes.pid('eventide') ?? 0],
    metricsUrl: `https://127.0.0.1:${metricsApi}`,
    [Symbol.asyncDispose]: disposed,
  };
}

/** `deploy/eventide.yaml`, with its Services leading to this machine instead of to pods. */
async function applyEventide(
  api: Api,
  { metricsApi, webhook }: { metricsApi: number; webhook: number },
): Promise<void> {
  const text = await readFile(new URL('../../deploy/eventide.yaml', import.meta.url), 'utf8');
  const manifests = parseAllDocuments(text)
    .map(document => document.toJS() as Manifest)
    .filter(({ kind }) => kind !== 'Deployment');
  for (const manifest of manifests) {
    if (manifest.kind === 'Service') manifest['spec'] = { type: 'ExternalName', externalName: 'localhost' };
    if (manifest.kind === 'APIService') Object.assign(serviceOf(manifest['spec']), { port: metricsApi });
    if (manifest.kind === 'ValidatingWebhookConfiguration') {
      for (const { clientConfig } of manifest['webhooks'] as { clientConfig: unknown }[])
        Object.assign(serviceOf(clientConfig), { port: webhook });
    }
  }
  await api.apply(manifests);
}

const serviceOf = (holder: unknown): object => (holder as { service: object }).service;
