import process from 'node:process';
import about from '../../package.json' with { type: 'json' };
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Identity } from '../base/x509.ts';
import type { Engine } from '../engine/engine.ts';
import { injectCa } from '../kube/ca-injection.ts';
import { keepCertificates } from '../kube/certificates.ts';
import type { KubeClient } from '../kube/client.ts';
import { watchClientTrust } from '../kube/client-trust.ts';
import type { Cluster } from '../kube/cluster.ts';
import type { Leadership } from '../kube/lease.ts';
import { reviewsOf } from '../kube/reviews.ts';
import { admission, admissionBodyLimit } from '../serve/admission.ts';
import type { AdmissionCounts } from '../serve/admission-counts.ts';
import { openCertificateFolder } from '../serve/certificate-folder.ts';
import { decisions } from '../serve/decisions-api.ts';
import { delegatedAuth } from '../serve/delegated-auth.ts';
import type { Handler } from '../serve/handler.ts';
import { health, type ReadinessCheck } from '../serve/health.ts';
import { type Listening, type ListeningTls, listen, listenTls } from '../serve/listen.ts';
import { metricsApi } from '../serve/metrics-api.ts';
import { prometheus } from '../serve/prometheus.ts';
import { labelValue } from '../spec/label-value.ts';
import { everywhere } from './listen-address.ts';
import type { Address, OperatorSettings } from './operator-settings.ts';

/** The parts of a running operator. */
export interface Operator {
  settings: OperatorSettings;
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** Where we are. */
  namespace: string;
  cluster: Cluster;
  engine: Engine;
  counts: AdmissionCounts;
  /** Aborted when we are to end. */
  ending: AbortSignal;
  /** Undefined where nobody else can lead. */
  election: Leadership | undefined;
}

/** The servers of an operator. */
export interface Servers extends AsyncDisposable {
  /** Never ends unless something cannot be served; then it throws why. */
  readonly failed: Promise<never>;
}

/** Names that had to be shortened end near 63 characters; below this nobody has to look for one. */
const shortestHashed = 50;
/** A name of the API's own making. */
const apiService = 'v1beta1.external.metrics.k8s.io';

/** Begins to serve: probes and metrics at once, what needs certificates as soon as there are any. */
export function startServers(operator: Operator): Servers {
  const { settings, ending } = operator;
  /** Ended in the reverse order. */
  const started: AsyncDisposable[] = [];
  const missing = new Set<string>();
  const checks: ReadinessCheck[] = [
    {
      name: 'caches',
      missing: () => (operator.cluster.synced ? undefined : 'the cluster is not all known yet'),
    },
  ];
  const expect = (name: string, address: Address | undefined) => {
    if (address === undefined) return;
    missing.add(name);
    checks.push({ name, missing: () => (missing.has(name) ? 'it does not listen yet' : undefined) });
  };
  expect('metrics API', settings.metricsApi);
  expect('webhooks', settings.webhooks);

  function keep<T extends AsyncDisposable>(part: T): T {
    started.push(part);
    return part;
  }

  async function plain(address: Address | undefined, handler: Handler): Promise<void> {
    if (address === undefined) return;
    const { host = everywhere(), port } = address;
    keep(await bound(address, listen({ host, port, handler })));
  }

  async function secure(): Promise<void> {
    if (settings.metricsApi === undefined && settings.webhooks === undefined) return;
    const listening: ListeningTls[] = [];
    const reload = () => {
      for (const each of listening) each.reload();
    };
    const certificates = keep(await certificatesOf(operator, reload));
    const certificate = () => certificates.current();
    if (settings.metricsApi !== undefined) {
      const trust = keep(watchClientTrust({ ...operator, onChange: reload }));
      await trust.whenReady(ending);
      const { host = everywhere(), port } = settings.metricsApi;
      const handler = metricsHandler(operator, () => trust.current);
      const clientCas = () => [...trust.current.clientCas, ...(trust.current.frontProxy?.cas ?? [])];
      const api = listenTls({ host, port, handler, certificate, clientCas });
      listening.push(keep(await bound(settings.metricsApi, api)));
      missing.delete('metrics API');
    }
    if (settings.webhooks !== undefined) {
      const { host = everywhere(), port } = settings.webhooks;
      const { surroundings: neighbourhood } = operator.cluster;
      const handler = admission({ neighbourhood, counts: operator.counts, log: operator.log });
      const webhooks = listenTls({ host, port, handler, certificate, bodyLimit: admissionBodyLimit });
      listening.push(keep(await bound(settings.webhooks, webhooks)));
      missing.delete('webhooks');
    }
  }

  const all = Promise.all([
    plain(settings.health, health(checks)),
    plain(settings.prometheus, prometheus(metricsView(operator))),
    secure(),
  ]);
  return {
    failed: all.then(
      () => new Promise<never>(() => {}),
      thrown => {
        if (ending.aborted) return new Promise<never>(() => {});
        throw thrown;
      },
    ),
    async [Symbol.asyncDispose]() {
      await all.catch(() => {});
      for (const each of started.reverse()) await each[Symbol.asyncDispose]();
    },
  };
}

async function bound<T extends Listening>({ host, port }: Address, listening: Promise<T>): Promise<T> {
  try {
    return await listening;
  } catch (cause) {
    const where = `${host ?? ''}:${port}`;
    throw new Fault('USAGE', `nothing can be served at ${where}: ${faultOf(cause).message}`, { cause });
  }
}

/** Certificates that are there. */
interface Serving extends AsyncDisposable {
  current(): Identity;
}

async function certificatesOf(operator: Operator, reload: () => void): Promise<Serving> {
  const { settings, clock, log } = operator;
  const { folder, rotate } = settings.certificates;
  if (folder !== undefined) {
    const given = await openCertificateFolder(folder, { clock, log, onChange: reload });
    return { current: () => given.current, [Symbol.asyncDispose]: async () => given[Symbol.dispose]() };
  }
  if (!rotate) {
    throw new Fault('USAGE', '--enable-cert-rotation=false needs --cert-dir, where certificates are given');
  }
  return await ownCertificates(operator, reload);
}

async function ownCertificates(operator: Operator, reload: () => void): Promise<Serving> {
  const { settings, client, clock, log, namespace, ending } = operator;
  const { secretName, services, clusterDomain, patchApiService, patchWebhook } = settings.certificates;
  const keeper = keepCertificates({
    client,
    clock,
    log,
    namespace,
    secretName,
    services: [services.operator, services.metricsServer, services.webhooks],
    clusterDomain,
    onChange() {
      injection.caChanged();
      reload();
    },
  });
  const injection = injectCa({
    client,
    clock,
    log,
    ca: () => keeper.current?.ca,
    apiService: patchApiService && settings.metricsApi !== undefined ? apiService : undefined,
    validatingWebhook: settings.webhooks === undefined ? undefined : patchWebhook,
  });
  const close = async () => {
    await injection[Symbol.asyncDispose]();
    await keeper[Symbol.asyncDispose]();
  };
  try {
    const first = await keeper.whenReady(ending);
    return { current: () => keeper.current ?? first, [Symbol.asyncDispose]: close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

function metricsHandler(operator: Operator, trust: Parameters<typeof delegatedAuth>[0]['trust']): Handler {
  const { client, clock, log, cluster, engine, ending } = operator;
  const source = {
    // What nobody reads any more must not be taken for what is not there.
    get ready() {
      return cluster.synced && !ending.aborted;
    },
    readMetric: (key: string, metricName: string) => engine.readMetric(keyOf(key, engine), metricName),
  };
  const metrics = metricsApi({ source, clock, version: about.version });
  const told = {
    snapshot: engine.snapshot,
    records: engine.records,
    get leading() {
      return leads(operator);
    },
  };
  const guard = delegatedAuth({ reviewer: reviewsOf(client), trust, clock, log });
  return guard(request => decisions(told, request) ?? metrics(request));
}

/**
 * A ScaledObject's name is in the question as the value of a label, which is not the name itself where that is too
 * long for one.
 */
function keyOf(asked: string, engine: Engine): string {
  const [kind, namespace, label = ''] = asked.split('/');
  if (label.length < shortestHashed || engine.records(asked) !== undefined) return asked;
  const found = engine
    .snapshot()
    .find(each => each.kind === kind && each.namespace === namespace && labelValue(each.name) === label);
  return found?.key ?? asked;
}

const leads = ({ election, ending }: Operator) => !ending.aborted && (election?.leading ?? true);

function metricsView(operator: Operator): Parameters<typeof prometheus>[0] {
  const { engine, cluster, counts } = operator;
  return {
    build: { version: about.version, commit: process.env['EVENTIDE_COMMIT'] ?? 'unknown' },
    leads: () => leads(operator),
    workloads: engine.snapshot,
    connections: () => engine.connections,
    registered: cluster.registered,
    admission: counts,
  };
}
