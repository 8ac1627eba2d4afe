import { randomBytes } from 'node:crypto';
import { homedir } from 'node:os';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { type KubeClient, kubeClient } from '../../src/kube/client.ts';
import type { KubeConfig } from '../../src/kube/kubeconfig.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import type { KubeObject, Resource } from '../../src/kube/objects.ts';
import { type Reflector, reflect } from '../../src/kube/reflector.ts';
import { Api, type ApiOptions } from '../../test/cluster/api.ts';
import { startCluster } from '../../test/cluster/bed.ts';
import { type Operator, startOperator } from './operators.ts';
import type { ClusterBenchOptions } from './options.ts';
import { type Source, startSource } from './source.ts';

/** A cluster with an operator in it and a source beside it, to measure on. */
export interface Ground extends AsyncDisposable {
  readonly api: Api;
  /** Where the API server is, and whom we are to it. */
  readonly apiOptions: ApiOptions;
  readonly operator: Operator;
  readonly source: Source;
  /** A new namespace; it goes with the ground. */
  namespace(): Promise<string>;
  /** The objects of one kind in a namespace, kept up to date by a watch. */
  watch<T extends KubeObject, K>(watched: Watched<T, K>): Promise<Reflector<K>>;
}

interface Watched<T extends KubeObject, K> {
  resource: Resource;
  namespace: string;
  keep(object: T): K | undefined;
  onSet?(name: string, kept: K, before: K | undefined): void;
}

/** Starts what the options ask for, or takes what is there. */
export async function openGround(options: ClusterBenchOptions): Promise<Ground> {
  const opened: AsyncDisposable[] = [];
  const dispose = async () => {
    for (const each of opened.splice(0).reverse()) await each[Symbol.asyncDispose]();
  };
  const open = <T extends AsyncDisposable>(resource: T): T => {
    opened.push(resource);
    return resource;
  };
  try {
    const file = options.kubeconfig ?? open(await startCluster()).kubeconfig;
    const config = await loadKubeConfig({ file, environment: process.env, home: homedir() });
    const apiOptions = await apiOptionsOf(config);
    const api = open(new Api(apiOptions));
    const client = open(kubeClient(config, { clock: systemClock, log: silentLog }));
    const source = open(await startSource(options.sourceHost));
    const operator = open(await startOperator({ options, api, kubeconfig: file }));
    const namespaces: string[] = [];
    if (options.kubeconfig !== undefined) {
      open({
        async [Symbol.asyncDispose]() {
          for (const name of namespaces) await api.delete(`/api/v1/namespaces/${name}`);
        },
      });
    }
    return {
      api,
      apiOptions,
      operator,
      source,
      async namespace() {
        const name = `bench-${randomBytes(3).toString('hex')}`;
        await api.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
        namespaces.push(name);
        return name;
      },
      watch: watched => watch(client, watched),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function apiOptionsOf(config: KubeConfig): Promise<ApiOptions> {
  const { ca, cert, key, authorization } = await config.credentials(false);
  return {
    url: config.server,
    ca,
    cert,
    key: key?.reveal(),
    token: authorization?.reveal().replace(/^Bearer /, ''),
  };
}

async function watch<T extends KubeObject, K>(
  client: KubeClient,
  { resource, namespace, keep, onSet }: Watched<T, K>,
): Promise<Reflector<K>> {
  const nameIn = (path: string) => path.slice(path.indexOf('/') + 1);
  const reflector = reflect<T, K>({
    client,
    clock: systemClock,
    log: silentLog,
    resource,
    namespace,
    keep,
    onSet: (path, kept, before) => onSet?.(nameIn(path), kept, before),
  });
  await reflector.whenSynced(AbortSignal.timeout(60_000));
  return reflector;
}

/**
 * Looks every 50 ms until it is so.
 *
 * @returns how long that took, in milliseconds; undefined where it was not so in time
 */
export async function waitUntil(so: () => boolean, limitMs: number): Promise<number | undefined> {
  const begun = performance.now();
  while (!so()) {
    if (performance.now() - begun > limitMs) return undefined;
    await sleep(50);
  }
  return performance.now() - begun;
}

/** Does the same for each number below `count`, at most 20 at a time, spread evenly over `overMs`. */
export async function forEach(
  count: number,
  overMs: number,
  work: (index: number) => Promise<unknown>,
): Promise<void> {
  const begun = performance.now();
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) {
      const wait = begun + (index * overMs) / count - performance.now();
      if (wait > 0) await sleep(wait);
      await work(index);
    }
  };
  await Promise.all(Array.from({ length: 20 }, worker));
}
