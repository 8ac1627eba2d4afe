/**
 * A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and
 * KWOK as the kubelet of nodes on which pods run at once (`podAnnotations` say otherwise for a pod).
 *
 *     clusterOf('the operator on a cluster', {}, cluster => {
 *       it('scales', async () => {
 *         const namespace = await cluster().namespace();
 *         await cluster().apply(deployment, namespace);
 *         const path = `/apis/apps/v1/namespaces/${namespace}/deployments/web`;
 *         await cluster().waitFor(path, web => web?.status?.readyReplicas === 3);
 *       });
 *     });
 *
 * `cluster().kubeconfig` is the administrator's; `userKubeconfig` and `serviceAccountKubeconfig` make others.
 * `stop`, `start`, `restart`, `pause`, `resume` and `kill` act on one program: ask for `{ control: true }`.
 * Servers of the test are reached through a Service of type ExternalName (`expose`, in servers.ts).
 * It takes 3 s and 620 MB, so share one in a file, and use a namespace in each test. The programs are built once
 * (binaries.ts). EVENTIDE_TEST_KUBECONFIG names a cluster to use instead. With neither Go nor that variable, the
 * tests are skipped.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe } from 'vitest';
import { parse } from 'yaml';
import { freeze } from '../freeze.ts';
import { Api, type ApiOptions } from './api.ts';
import { clusterBinaries, hasGo } from './binaries.ts';
import { type Credential, kubeconfigOf, makeCertificate } from './credentials.ts';
import { fakeNode } from './fake-kubelet.ts';
import { Processes } from './processes.ts';
import {
  type Component,
  type ControlPlane,
  components,
  type ExtraFlags,
  prepareControlPlane,
} from './programs.ts';

export { type ApiAnswer, type ClusterObject, type Manifest, until } from './api.ts';
export { podAnnotations } from './fake-kubelet.ts';
export type { Component } from './programs.ts';

export interface ClusterOptions {
  /** Fake nodes, for 10,000 pods each; 1 unless given. */
  nodes?: number;
  /** How often HorizontalPodAutoscalers are looked at; 15 s, as in any cluster, unless given. */
  hpaSyncSeconds?: number;
  /** More flags for the programs; they win over the bed's. */
  flags?: ExtraFlags;
}

interface ClusterOfOptions extends ClusterOptions {
  /** Its programs are stopped, paused or killed: impossible with a cluster that is there already. */
  control?: boolean;
}

const external = process.env['EVENTIDE_TEST_KUBECONFIG'];
const startable = external !== undefined || process.env['CI'] === 'true' || (await hasGo());

/** A `describe` with one cluster for all its tests, skipped where there can be none. */
export function clusterOf(
  name: string,
  options: ClusterOfOptions,
  body: (cluster: () => Cluster) => void,
): void {
  const possible = startable && !(options.control && external !== undefined);
  describe.skipIf(!possible)(name, () => {
    let cluster: Cluster | undefined;
    // Building the programs takes minutes, once.
    beforeAll(async () => {
      cluster = await startCluster(options);
    }, 1_800_000);
    afterAll(async () => {
      await cluster?.[Symbol.asyncDispose]();
    });
    body(() => {
      if (cluster === undefined) throw new Error('the cluster is there in tests and hooks only');
      return cluster;
    });
  });
}

/** Starts a cluster, or takes the one EVENTIDE_TEST_KUBECONFIG names; ready when its API server is. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const folder = await mkdtemp(join(tmpdir(), 'eventide-bed-'));
  if (external !== undefined) return new Cluster(folder, await optionsOf(external), undefined);
  const processes = new Processes(folder);
  try {
    const controlPlane = await startPrograms(folder, processes, options);
    const { url, authority, admin } = controlPlane;
    const api = { url, ca: authority.cert, cert: admin.cert, key: admin.key };
    const cluster = new Cluster(folder, api, { controlPlane, processes });
    for (let node = 0; node < (options.nodes ?? 1); node += 1) {
      const answer = await cluster.request('POST', '/api/v1/nodes', { body: fakeNode(`node-${node}`) });
      if (answer.status !== 201) throw new Error(`no node was made: ${JSON.stringify(answer.body)}`);
    }
    return cluster;
  } catch (error) {
    await processes[Symbol.asyncDispose]();
    throw error;
  }
}

async function startPrograms(
  folder: string,
  processes: Processes,
  { hpaSyncSeconds = 15, flags = {} }: ClusterOptions,
): Promise<ControlPlane> {
  const binaries = await clusterBinaries();
  const extraFlags = {
    ...flags,
    'kube-controller-manager': [
      `--horizontal-pod-autoscaler-sync-period=${hpaSyncSeconds}s`,
      ...(flags['kube-controller-manager'] ?? []),
    ],
  };
  for (let attempt = 1; ; attempt += 1) {
    const within = join(folder, String(attempt));
    await mkdir(within);
    const controlPlane = await prepareControlPlane(within, binaries, extraFlags);
    try {
      for (const component of components) await processes.start(controlPlane.programs[component]);
      return controlPlane;
    } catch (error) {
      // Someone may have taken a port since it was found free.
      if (attempt === 3 || !String(error).includes('address already in use')) throw error;
      await processes.killAll();
    }
  }
}

interface Own {
  controlPlane: ControlPlane;
  processes: Processes;
}

/** A running cluster, and the administrator's client of it. */
export class Cluster extends Api {
  readonly url: string;
  /** PEM text. */
  readonly ca: string;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  /** PEM texts of the administrator, as far as a certificate is what makes one. */
  readonly clientCert: string | undefined;
  readonly clientKey: string | undefined;
  /** Where kubeconfigs are put, and the logs of the programs, until the cluster is disposed. */
  readonly folder: string;
  readonly #own: Own | undefined;
  readonly #namespaces: string[] = [];

  constructor(folder: string, options: ApiOptions, own: Own | undefined) {
    super(options);
    this.url = options.url;
    this.ca = options.ca ?? '';
    this.clientCert = options.cert;
    this.clientKey = options.key;
    this.folder = folder;
    this.kubeconfig = own?.controlPlane.adminKubeconfig ?? String(external);
    this.#own = own;
  }

  /** Makes a namespace of a name nobody has used and returns the name. */
  async namespace(): Promise<string> {
    const name = `bed-${randomBytes(4).toString('hex')}`;
    await this.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    this.#namespaces.push(name);
    return name;
  }

  /** Starts a program that was stopped or killed; resolves when it is ready. */
  async start(component: Component): Promise<void> {
    const { controlPlane, processes } = this.#control();
    await processes.start(controlPlane.programs[component]);
  }

  /** Ends a program as an update would, by SIGTERM; resolves when it is gone. */
  stop(component: Component): Promise<void> {
    return this.#control().processes.stop(component);
  }

  /** Stops and starts a program, on the same ports and with the same data. */
  async restart(component: Component): Promise<void> {
    await this.stop(component);
    await this.start(component);
  }

  /** Ends a program with SIGKILL. */
  kill(component: Component): Promise<void> {
    return this.#control().processes.kill(component);
  }

  /** Makes a program silent without closing its connections, until `resume`. */
  pause(component: Component): void {
    const pid = this.pid(component);
    if (pid !== undefined) freeze(pid);
  }

  resume(component: Component): void {
    this.#control().processes.signal(component, 'SIGCONT');
  }

  /** The process id of a program, to measure it. */
  pid(component: Component): number | undefined {
    return this.#control().processes.pid(component);
  }

  /** What a program has printed so far. */
  log(component: Component): Promise<string> {
    return readFile(this.#control().controlPlane.programs[component].logFile, 'utf8');
  }

  /** Path of a kubeconfig for a user with no rights but those RBAC gives it or its groups. */
  async userKubeconfig({ user, groups = [] }: { user: string; groups?: string[] }): Promise<string> {
    if (this.#own === undefined) {
      const admin = await userOf(parse(await readFile(this.kubeconfig, 'utf8')));
      return this.#writeKubeconfig({ ...admin, as: user, asGroups: groups });
    }
    const { cert, key } = await this.userCertificate({ user, groups });
    return this.#writeKubeconfig({ cert, key });
  }

  /** A client certificate the API server takes for a user; not with a cluster that is there already. */
  userCertificate({ user, groups = [] }: { user: string; groups?: string[] }): Promise<Credential> {
    const request = {
      commonName: user,
      organizations: groups,
      issuer: this.#control().controlPlane.authority,
    };
    return makeCertificate(this.folder, `user-${randomBytes(4).toString('hex')}`, request);
  }

  /** Path of a kubeconfig with a token, valid for a day, of a service account that exists. */
  async serviceAccountKubeconfig(namespace: string, name: string): Promise<string> {
    return this.#writeKubeconfig({ token: await this.serviceAccountToken(namespace, name) });
  }

  async serviceAccountToken(namespace: string, name: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const body = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: 86_400 },
    };
    const answer = await this.request('POST', path, { body });
    const token = (answer.body as { status?: { token?: string } }).status?.token;
    if (token === undefined)
      throw new Error(`no token for ${namespace}/${name}: ${JSON.stringify(answer.body)}`);
    return token;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    if (this.#own === undefined) {
      for (const name of this.#namespaces) await this.delete(`/api/v1/namespaces/${name}`);
    }
    await super[Symbol.asyncDispose]();
    await this.#own?.processes[Symbol.asyncDispose]();
  }

  async #writeKubeconfig(user: Parameters<typeof kubeconfigOf>[1]): Promise<string> {
    const path = join(this.folder, `${randomBytes(4).toString('hex')}.kubeconfig`);
    await writeFile(path, kubeconfigOf(this, user), { mode: 0o600 });
    return path;
  }

  #control(): Own {
    if (this.#own === undefined) throw new Error('a cluster that was there already is not ours to control');
    return this.#own;
  }
}

interface Kubeconfig {
  'current-context': string;
  contexts: { name: string; context: { cluster: string; user: string } }[];
  clusters: { name: string; cluster: Record<string, string> }[];
  users: { name: string; user: Record<string, string> }[];
}

async function optionsOf(path: string): Promise<ApiOptions> {
  const config: Kubeconfig = parse(await readFile(path, 'utf8'));
  const { cluster: name } = contextOf(config);
  const cluster = config.clusters.find(entry => entry.name === name)?.cluster ?? {};
  const ca = await dataOrFile(cluster, 'certificate-authority');
  return { url: cluster['server'] ?? '', ca, ...(await userOf(config)) };
}

async function userOf(config: Kubeconfig): Promise<{ cert?: string; key?: string; token?: string }> {
  const user = config.users.find(entry => entry.name === contextOf(config).user)?.user ?? {};
  const [cert, key] = [await dataOrFile(user, 'client-certificate'), await dataOrFile(user, 'client-key')];
  return {
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(user['token'] !== undefined && { token: user['token'] }),
  };
}

function contextOf(config: Kubeconfig): { cluster: string; user: string } {
  const context = config.contexts.find(entry => entry.name === config['current-context'])?.context;
  if (context === undefined) throw new Error('EVENTIDE_TEST_KUBECONFIG has no current context');
  return context;
}

async function dataOrFile(from: Record<string, string>, field: string): Promise<string | undefined> {
  const data = from[`${field}-data`];
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
  const file = from[field];
  return file === undefined ? undefined : readFile(file, 'utf8');
}
