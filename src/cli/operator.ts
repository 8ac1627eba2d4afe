import { homedir } from 'node:os';
import process from 'node:process';
import about from '../../package.json' with { type: 'json' };
import { type Clock, systemClock } from '../base/clock.ts';
import { type Fault, faultOf } from '../base/errors.ts';
import type { HttpOptions } from '../base/http.ts';
import type { Log } from '../base/log.ts';
import { createEngine } from '../engine/engine.ts';
import { type KubeClient, kubeClient } from '../kube/client.ts';
import { createCluster } from '../kube/cluster.ts';
import { type KubeConfig, loadKubeConfig } from '../kube/kubeconfig.ts';
import { type Leadership, leadership } from '../kube/lease.ts';
import { loadScaler } from '../scalers/index.gen.ts';
import { AdmissionCounts } from '../serve/admission-counts.ts';
import { checkFormula } from './check-formula.ts';
import { hostHttp, hostStores, hostTokens } from './host.ts';
import { lineLog } from './line-log.ts';
import { idleFlags, operatorFlags } from './operator-flags.ts';
import { type Operator, startServers } from './operator-servers.ts';
import { type Flags, type OperatorSettings, operatorSettings } from './operator-settings.ts';
import { readRoots } from './roots.ts';
import { keepHeapSmall } from './small-heap.ts';

/** How long the last writes may take when we are told to end, in milliseconds. */
const flushMs = 3_000;
/** We are gone by then, whatever hangs; a kubelet waits for 30 s and a leader's successor for nobody. */
const lastMs = 10_000;

/**
 * `eventide operator`: runs the ScaledObjects and ScaledJobs of a cluster until it is told to end.
 *
 * @returns 1 where somebody else took the lead
 */
export async function operator(options: Readonly<Record<string, unknown>>): Promise<0 | 1> {
  keepHeapSmall();
  const settings = operatorSettings(flagsOf(options), process.env);
  const clock = systemClock;
  const { logLevel: level, logFormat: format } = settings;
  const log = lineLog({ clock, level, format, write: line => process.stderr.write(line) });
  for (const name of idleFlags.filter(each => options[attribute(each)] !== undefined))
    log.info('a flag of KEDA has no meaning here', { flag: `--${name}` });
  const { kubeconfig: file, context } = settings;
  const config = await loadKubeConfig({ file, context, environment: process.env, home: homedir() });
  const roots = await readRoots(settings.caFolders);
  const { minTlsVersion } = settings;
  const http = { ...hostHttp(), ...(roots.length === 0 ? {} : { roots }), minTlsVersion };
  return await run(settings, { config, clock, log, http });
}

const attribute = (name: string) => name.replace(/-(\w)/g, (_dash, letter: string) => letter.toUpperCase());

function flagsOf(options: Readonly<Record<string, unknown>>): Flags {
  return Object.fromEntries(
    operatorFlags.map(({ name }) => [name, options[attribute(name)] as Flags[string]]),
  );
}

interface Means {
  config: KubeConfig;
  clock: Clock;
  log: Log;
  http: HttpOptions;
}

async function run(settings: OperatorSettings, { config, clock, log, http }: Means): Promise<0 | 1> {
  const client = kubeClient(config, { clock, log, userAgent: `eventide/${about.version}` });
  const namespace = settings.namespace ?? config.namespace;
  log.info('eventide operator', { version: about.version, cluster: config.origin, namespace });
  const ending = new AbortController();
  const { signal } = ending;
  const end = (reason: 'told' | Fault) => ending.abort(reason);
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => end('told'));

  const tokens = hostTokens(clock, http);
  const stores = hostStores(clock, http, tokens);
  const cluster = createCluster({
    client,
    clock,
    log,
    version: about.version,
    instance: settings.identity.slice(0, settings.identity.lastIndexOf('_')),
    ...watched(settings),
    clusterNamespace: settings.clusterNamespace ?? namespace,
    restrictSecrets: settings.restrictSecrets,
    tokenLifeMs: settings.tokenLifeMs,
    checkFormula,
    onSet: (workload, remembered) => engine.set(workload, remembered),
    onRemove: key => engine.remove(key),
    onTarget: key => engine.targetChanged(key),
    onAutoscaler: key => engine.wake(key),
    onJob: (key, job) => engine.jobChanged(key, job),
    onJobGone: (key, name) => engine.jobGone(key, name),
    onReference: (kind, of, name) => engine.referenceChanged(kind, of, name),
  });
  const engine = createEngine({
    world: cluster,
    references: cluster.references,
    loadScaler,
    tokens,
    stores,
    cluster: {
      get: (path, stop, accept) =>
        client.raw({ method: 'GET', path, signal: stop, ...(accept === undefined ? {} : { accept }) }),
    },
    clock,
    log,
    http,
    autoscaler: settings.autoscaler,
    standby: true,
    readTimeoutMs: settings.readTimeoutMs,
    ...(settings.fileRoot === undefined ? {} : { fileRoot: settings.fileRoot }),
  });
  const election = stand(settings, { client, clock, log, namespace, onLost: end });
  const counts = new AdmissionCounts();
  const parts: Operator = {
    settings,
    client,
    clock,
    log,
    namespace,
    cluster,
    engine,
    counts,
    ending: signal,
    election,
  };
  const servers = startServers(parts);
  void lead(parts).catch(thrown => {
    if (!signal.aborted) end(faultOf(thrown));
  });
  void servers.failed.catch(thrown => end(faultOf(thrown)));
  await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }));
  const { reason } = signal as { reason: 'told' | Fault };
  // Whatever is still open then, or hangs, ends with us.
  setTimeout(() => process.exit(1), lastMs).unref();
  try {
    if (reason !== 'told') throw reason;
    log.info('ending');
    await handOver(parts);
    await servers[Symbol.asyncDispose]();
    await cluster[Symbol.asyncDispose]();
    await stores[Symbol.asyncDispose]();
    await tokens[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();
    return 0;
  } catch (thrown) {
    // Somebody else may lead from now on: whatever is under way must not go on.
    const fault = faultOf(thrown);
    log.error('ending', { fault });
    process.exit(1);
  }
}

function watched({ watchNamespaces, labelSelector, authLabelSelector }: OperatorSettings) {
  return {
    ...(watchNamespaces === undefined ? {} : { namespaces: watchNamespaces }),
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(authLabelSelector === undefined ? {} : { authLabelSelector }),
  };
}

interface Candidate {
  client: KubeClient;
  clock: Clock;
  log: Log;
  namespace: string;
  onLost(fault: Fault): void;
}

function stand({ lease, identity, before }: OperatorSettings, candidate: Candidate): Leadership | undefined {
  if (lease === undefined) return undefined;
  const { name, durationMs, renewDeadlineMs, retryPeriodMs } = lease;
  return leadership({
    ...candidate,
    name,
    identity,
    ...(before === undefined ? {} : { before }),
    leaseDurationMs: durationMs,
    renewDeadlineMs,
    retryPeriodMs,
  });
}

/** Begins to decide once all is known and nobody else does. */
async function lead({ cluster, engine, election, log, ending }: Operator): Promise<void> {
  await cluster.whenSynced(ending);
  log.info('everything is known', { workloads: engine.snapshot().length });
  if (election !== undefined) await election.whenLeading(ending);
  cluster.lead();
  engine.lead();
}

/** Finishes what is being applied, writes what is not written yet, and lets the next one begin. */
async function handOver({ cluster, engine, election, log }: Operator): Promise<void> {
  await engine[Symbol.asyncDispose]();
  const leading = election?.leading ?? true;
  if (leading) {
    await cluster.flush(AbortSignal.timeout(flushMs)).catch(thrown => {
      log.warn('not everything was written', { fault: faultOf(thrown) });
    });
  }
  await election?.release(AbortSignal.timeout(flushMs)).catch(thrown => {
    log.warn('the lease could not be given back', { fault: faultOf(thrown) });
  });
  await election?.[Symbol.asyncDispose]();
}
