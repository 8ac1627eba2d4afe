import { type Clock, systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { type CaInjection, injectCa } from '../../src/kube/ca-injection.ts';
import { type CertificateKeeper, keepCertificates } from '../../src/kube/certificates.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { watchClientTrust } from '../../src/kube/client-trust.ts';
import { reviewsOf } from '../../src/kube/reviews.ts';
import { delegatedAuth } from '../../src/serve/delegated-auth.ts';
import { listenTls } from '../../src/serve/listen.ts';
import { type MetricSource, metricsApi } from '../../src/serve/metrics-api.ts';
import type { Cluster, ClusterObject } from './bed.ts';
import { clientOf } from './kube-bed.ts';

export const apiServiceName = 'v1beta1.external.metrics.k8s.io';
export const apiServicePath = `/apis/apiregistration.k8s.io/v1/apiservices/${apiServiceName}`;
export const metricsPath = '/apis/external.metrics.k8s.io/v1beta1';
export const service = 'keda-metrics-apiserver';

/** Certificates as the operator keeps them, in a namespace. */
export function certificatesFor(
  client: KubeClient,
  namespace: string,
  { onChange, clock = systemClock }: { onChange?: () => void; clock?: Clock } = {},
): CertificateKeeper {
  return keepCertificates({
    client,
    clock,
    log: silentLog,
    namespace,
    secretName: 'kedaorg-certs',
    services: ['keda-operator', service, 'keda-admission-webhooks'],
    clusterDomain: 'cluster.local',
    ...(onChange !== undefined && { onChange }),
  });
}

export interface ServedMetrics extends AsyncDisposable {
  namespace: string;
  port: number;
  certificates: CertificateKeeper;
}

/** The metrics API behind the aggregation layer of a cluster, in a namespace of its own, put together as the operator does. */
export async function serveMetrics(
  cluster: Cluster,
  source: MetricSource,
  clock = systemClock,
): Promise<ServedMetrics> {
  const opened: AsyncDisposable[] = [];
  const open = <T extends AsyncDisposable>(one: T): T => {
    opened.unshift(one);
    return one;
  };
  const signal = AbortSignal.timeout(60_000);
  const client = open(await clientOf(cluster));
  const namespace = await cluster.namespace();
  let reload = () => {};
  let injection: CaInjection | undefined;
  const certificates = open(
    certificatesFor(client, namespace, {
      clock,
      onChange() {
        reload();
        injection?.caChanged();
      },
    }),
  );
  const trust = open(
    watchClientTrust({ client, clock: systemClock, log: silentLog, onChange: () => reload() }),
  );
  const first = await certificates.whenReady(signal);
  await trust.whenReady(signal);
  const guard = delegatedAuth({
    reviewer: reviewsOf(client),
    trust: () => trust.current,
    clock: systemClock,
    log: silentLog,
  });
  const server = open(
    await listenTls({
      host: '127.0.0.1',
      port: 0,
      handler: guard(metricsApi({ source, clock: systemClock, version: 'v0.0.0-test' })),
      certificate: () => certificates.current ?? first,
      clientCas: () => [...trust.current.clientCas, ...(trust.current.frontProxy?.cas ?? [])],
    }),
  );
  reload = () => server.reload();
  await cluster.apply([
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: service, namespace },
      spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port: server.port }] },
    },
    {
      apiVersion: 'apiregistration.k8s.io/v1',
      kind: 'APIService',
      metadata: { name: apiServiceName },
      spec: {
        group: 'external.metrics.k8s.io',
        version: 'v1beta1',
        groupPriorityMinimum: 100,
        versionPriority: 100,
        service: { name: service, namespace, port: server.port },
      },
    },
  ]);
  injection = open(
    injectCa({
      client,
      clock: systemClock,
      log: silentLog,
      ca: () => certificates.current?.ca,
      apiService: apiServiceName,
    }),
  );
  await cluster.waitFor(apiServicePath, isAvailable);
  return {
    namespace,
    port: server.port,
    certificates,
    [Symbol.asyncDispose]: async () => {
      await cluster.delete(apiServicePath);
      for (const one of opened) await one[Symbol.asyncDispose]();
    },
  };
}

export function isAvailable(object: ClusterObject | undefined): boolean {
  const conditions: { type: string; status: string }[] = object?.['status']?.conditions ?? [];
  return conditions.some(({ type, status }) => type === 'Available' && status === 'True');
}
