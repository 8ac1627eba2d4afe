import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { certificatesIn, issueCertificate, makeAuthority, readCertificate } from '../../src/base/x509.ts';
import { injectCa } from '../../src/kube/ca-injection.ts';
import { type Cluster, type ClusterObject, clusterOf, until } from './bed.ts';
import { clientOf } from './kube-bed.ts';
import {
  apiServicePath,
  certificatesFor,
  metricsPath,
  type ServedMetrics,
  serveMetrics,
  service,
} from './served-metrics.ts';

const day = 86_400_000;
const second = () => AbortSignal.timeout(20_000);
const secretPath = (namespace: string) => `/api/v1/namespaces/${namespace}/secrets/kedaorg-certs`;

const base64 = (text: string) => Buffer.from(text).toString('base64');
const dataIn = (secret: ClusterObject | undefined, name: string): string =>
  Buffer.from(secret?.['data']?.[name] ?? '', 'base64').toString();

/** Certificates as somebody else would have put them there, made a day ago. */
async function foreign(namespace: string, days: { authority: number; server: number }) {
  const now = Date.now();
  const services = ['keda-operator', service, 'keda-admission-webhooks'];
  const authority = await makeAuthority({
    commonName: 'KEDA',
    organization: 'KEDAORG',
    notBefore: now - day,
    notAfter: now + days.authority * day,
  });
  const server = await issueCertificate(authority, {
    commonName: 'keda-operator',
    dnsNames: services.flatMap(name =>
      ['', `.${namespace}`, `.${namespace}.svc`, `.${namespace}.svc.cluster.local`].map(
        end => `${name}${end}`,
      ),
    ),
    notBefore: now - day,
    notAfter: now + days.server * day,
  });
  return {
    'ca.crt': base64(authority.cert),
    'ca.key': base64(authority.key.reveal()),
    'tls.crt': base64(server.cert),
    'tls.key': base64(server.key.reveal()),
  };
}

async function store(cluster: Cluster, namespace: string, data: object): Promise<ClusterObject> {
  return cluster.create(
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'kedaorg-certs', namespace }, data },
    namespace,
  );
}

/** The certificate that a new connection is shown, as PEM. */
function shownAt({ port }: ServedMetrics): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.toString() ?? '');
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

clusterOf('certificates in a real cluster', {}, cluster => {
  it('are made where there are none, once, however many replicas begin at the same time', async () => {
    const namespace = await cluster().namespace();
    await using client = await clientOf(cluster());
    const keepers = Array.from({ length: 5 }, () => certificatesFor(client, namespace));

    const all = await Promise.all(keepers.map(keeper => keeper.whenReady(second())));
    const secret = await cluster().get(secretPath(namespace));

    await until(
      () => new Set(keepers.map(keeper => keeper.current?.cert)).size,
      size => size === 1,
    );
    expect(keepers[0]?.current?.cert).toBe(dataIn(secret, 'tls.crt'));
    expect(all.every(({ ca }) => certificatesIn(ca).length === 1)).toBe(true);
    for (const name of [service, 'keda-operator', 'keda-admission-webhooks']) {
      const host = `${name}.${namespace}.svc`;
      expect(readCertificate(dataIn(secret, 'tls.crt'))?.checkHost(host)).toBe(host);
    }
    for (const keeper of keepers) await keeper[Symbol.asyncDispose]();
  });

  it('are taken over as they are from a KEDA that was there before, with the empty secret that it begins with too', async () => {
    const [kept, begun] = [await cluster().namespace(), await cluster().namespace()];
    await using client = await clientOf(cluster());
    const before = await store(cluster(), kept, await foreign(kept, { authority: 3000, server: 300 }));
    await store(cluster(), begun, {});

    await using keeper = certificatesFor(client, kept);
    await using another = certificatesFor(client, begun);
    const certificates = await keeper.whenReady(second());
    await another.whenReady(second());
    const after = await cluster().get(secretPath(kept));

    expect(certificates.cert).toBe(dataIn(before, 'tls.crt'));
    expect(after?.metadata.resourceVersion).toBe(before.metadata.resourceVersion);
  });

  it('are put back when somebody deletes the secret', async () => {
    const namespace = await cluster().namespace();
    await using client = await clientOf(cluster());
    await using keeper = certificatesFor(client, namespace);
    const { cert } = await keeper.whenReady(second());

    await cluster().delete(secretPath(namespace));

    await cluster().waitFor(secretPath(namespace), secret => dataIn(secret, 'tls.crt') === cert);
  });

  describe('of the metrics API', () => {
    let served: ServedMetrics;
    let offsetMs = 0;
    const clock = { ...systemClock, now: () => Date.now() + offsetMs };

    beforeAll(async () => {
      served = await serveMetrics(
        cluster(),
        {
          ready: true,
          readMetric: async () => ({ kind: 'values', values: [{ metricName: 's0', value: 1 }] }),
        },
        clock,
      );
    }, 120_000);
    afterAll(() => served?.[Symbol.asyncDispose]());

    /** Reads a metric again and again, ten at a time, until it is told to end; says how it went. */
    function load(): { end(): Promise<Record<number, number>> } {
      const path = `${metricsPath}/namespaces/default/s0?labelSelector=scaledobject.keda.sh%2Fname%3Dweb`;
      const statuses: Record<number, number> = {};
      let going = true;
      const readers = Array.from({ length: 10 }, async () => {
        while (going) {
          const { status } = await cluster().request('GET', path);
          statuses[status] = (statuses[status] ?? 0) + 1;
        }
      });
      return {
        async end() {
          going = false;
          await Promise.all(readers);
          return statuses;
        },
      };
    }

    const bundleOf = async () => {
      const found = await cluster().get(apiServicePath);
      return certificatesIn(Buffer.from(found?.['spec'].caBundle ?? '', 'base64').toString());
    };

    it('are renewed in time, authority and all, and no request fails', async () => {
      const { namespace } = served;
      const data = await foreign(namespace, { authority: 30, server: 20 });
      const old = Buffer.from(data['ca.crt'], 'base64').toString();
      const reading = load();

      // Somebody's certificates, which run out within 90 days: a new authority is due, and then a new server.
      await cluster().patch(secretPath(namespace), { data });
      await until(bundleOf, bundle => bundle.length === 2 && bundle[1] === old);
      const between = served.certificates.current;
      offsetMs = 360_000;
      await cluster().patch(secretPath(namespace), { metadata: { labels: { looked: 'at' } } });
      await until(
        () => served.certificates.current?.cert,
        cert => cert !== undefined && cert !== between?.cert,
      );
      // A connection that begins now is shown the new one.
      await until(
        () => shownAt(served),
        cert => cert === served.certificates.current?.cert,
      );
      const statuses = await reading.end();

      const { cert = '', ca = '' } = served.certificates.current ?? {};
      const issuer = readCertificate(ca);
      expect(between?.cert).toBe(Buffer.from(data['tls.crt'], 'base64').toString());
      expect(issuer && readCertificate(cert)?.checkIssued(issuer)).toBe(true);
      expect(Object.keys(statuses)).toEqual(['200']);
      expect(statuses[200]).toBeGreaterThan(100);
    });

    it('are told to the API server again when somebody takes them out', async () => {
      const bundle = await bundleOf();

      await cluster().patch(apiServicePath, { spec: { caBundle: null } });

      await until(bundleOf, found => found.join() === bundle.join());
    });
  });

  it('are told to webhooks, each of them, and nothing is written where they are known', async () => {
    const name = 'keda-admission';
    const path = `/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${name}`;
    const ca = (await makeAuthority({ commonName: 'a', organization: 'b', notBefore: 0, notAfter: day }))
      .cert;
    const webhook = (one: string) => ({
      name: `${one}.keda.sh`,
      clientConfig: { service: { namespace: 'keda', name: 'keda-admission-webhooks', path: `/${one}` } },
      rules: [
        { apiGroups: ['nobody.example'], apiVersions: ['v1'], operations: ['CREATE'], resources: [one] },
      ],
      sideEffects: 'None',
      admissionReviewVersions: ['v1'],
    });
    await cluster().create({
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name },
      webhooks: [webhook('one'), webhook('two')],
    });
    await using client = await clientOf(cluster());
    await using injection = injectCa({
      client,
      clock: systemClock,
      log: silentLog,
      ca: () => ca,
      validatingWebhook: name,
    });
    const told = (object: ClusterObject | undefined): boolean =>
      object?.['webhooks'].every(
        ({ clientConfig }: { clientConfig: { caBundle?: string } }) => clientConfig.caBundle === base64(ca),
      );

    const first = await cluster().waitFor(path, told);
    await cluster().patch(path, { metadata: { labels: { edited: 'elsewhere' } } });
    injection.caChanged();
    await cluster().patch(path, [{ op: 'remove', path: '/webhooks/1/clientConfig/caBundle' }], 'json');
    await cluster().waitFor(path, told);

    expect(first?.['webhooks'].map((one: { name: string }) => one.name)).toEqual([
      'one.keda.sh',
      'two.keda.sh',
    ]);
    expect(client.requests.filter(one => one.startsWith('PATCH'))).toHaveLength(2);
    await cluster().delete(path);
  });
});
