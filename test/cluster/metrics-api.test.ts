import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/errors.ts';
import type { MetricAnswer } from '../../src/engine/trigger-answers.ts';
import { Api } from './api.ts';
import { clusterOf, type Manifest } from './bed.ts';
import { deployment } from './kube-bed.ts';
import { metricsPath, type ServedMetrics, serveMetrics, service } from './served-metrics.ts';

const value = (metricName: string, number: number): MetricAnswer => ({
  kind: 'values',
  values: [{ metricName, value: number }],
});

const answers: Record<string, MetricAnswer> = {
  's0-mails': value('s0-mails', 6.5),
  's0-broken': { kind: 'failed', fault: new Fault('SOURCE_UNREACHABLE', 'mail.example refused') },
};

/** Every name that a ScaledObject called `web` has; all others are missing. */
const source = {
  ready: true,
  readMetric: async (key: string, metricName: string): Promise<MetricAnswer> =>
    (key.endsWith('/web') ? answers[metricName] : undefined) ?? { kind: 'missing' },
};

const selecting = (name: string) => `labelSelector=scaledobject.keda.sh%2Fname%3D${name}`;
const metric = (name: string, of = 'web') => `${metricsPath}/namespaces/default/${name}?${selecting(of)}`;

function autoscaler(name: string): Manifest {
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name },
    spec: {
      minReplicas: 1,
      maxReplicas: 10,
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name },
      metrics: [
        {
          type: 'External',
          external: {
            metric: {
              name: 's0-mails',
              selector: { matchLabels: { 'scaledobject.keda.sh/name': 'web' } },
            },
            target: { type: 'AverageValue', averageValue: '2' },
          },
        },
      ],
    },
  };
}

/** A request that does not come through the API server. */
async function askDirectly(
  { port, certificates }: ServedMetrics,
  path: string,
  { headers, ...identity }: { cert?: string | undefined; key?: string | undefined; headers: object },
): Promise<{ status: number; message?: string }> {
  const agent = new Agent({
    connect: { ca: certificates.current?.ca, servername: service, ...identity },
  });
  const answer = await request(`https://127.0.0.1:${port}${path}`, {
    dispatcher: agent,
    headers: { ...headers },
  });
  const { message } = (await answer.body.json()) as { message?: string };
  await agent.close();
  return { status: answer.statusCode, ...(message !== undefined && { message }) };
}

clusterOf('the metrics API on a real control plane', { hpaSyncSeconds: 1 }, cluster => {
  let served: ServedMetrics;
  let logged = 0;
  beforeAll(async () => {
    served = await serveMetrics(cluster(), source);
    // Until it was told whom to trust, the API server had reason to complain.
    logged = (await cluster().log('kube-apiserver')).length;
  }, 120_000);
  afterAll(() => served?.[Symbol.asyncDispose]());

  it('tells a HorizontalPodAutoscaler what to make of a workload', async () => {
    const namespace = await cluster().namespace();
    await cluster().apply([deployment('web', 1), autoscaler('web')], namespace);

    const path = `/apis/apps/v1/namespaces/${namespace}/deployments/web`;
    await cluster().waitFor(path, web => web?.['spec']?.replicas === 4, { timeoutMs: 60_000 });
  });

  it.each([
    ['a value, as KEDA writes it', 's0-mails', 'web', 200, undefined, undefined],
    ['a metric that nobody has', 's0-none', 'web', 404, 'NotFound', /s0-none/],
    ['a ScaledObject that nobody has', 's0-mails', 'elsewhere', 404, 'NotFound', /elsewhere/],
    ['a source that does not answer', 's0-broken', 'web', 500, 'InternalError', /mail\.example refused/],
  ])('answers %s', async (_title, name, of, status, reason, message) => {
    const answer = await cluster().request('GET', metric(name, of));

    expect([answer.status, answer.headers['content-type']]).toEqual([status, 'application/json']);
    if (message === undefined) {
      expect(answer.body).toEqual({
        kind: 'ExternalMetricValueList',
        apiVersion: 'external.metrics.k8s.io/v1beta1',
        metadata: {},
        items: [
          {
            metricName: 's0-mails',
            metricLabels: null,
            timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
            value: '6500m',
          },
        ],
      });
    } else {
      const said = { kind: 'Status', code: status, reason, message: expect.stringMatching(message) };
      expect(answer.body).toMatchObject(said);
    }
  });

  it('makes a table for kubectl', async () => {
    const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

    const { body } = await cluster().request('GET', metric('s0-mails'), { headers: { accept } });

    expect(body).toMatchObject({
      kind: 'Table',
      rows: [{ cells: ['s0-mails', '6500m', expect.any(String)] }],
    });
  });

  it('is in the discovery of the cluster, in either form', async () => {
    const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
    const resource = { kind: 'ExternalMetricValueList', name: 'externalmetrics', namespaced: true };

    const plain = await cluster().request('GET', metricsPath);
    const whole = await cluster().request('GET', '/apis', { headers: { accept: aggregated } });

    expect(plain.body).toMatchObject({ resources: [{ ...resource, verbs: ['get'] }] });
    expect(whole.body).toMatchObject({
      items: expect.arrayContaining([
        expect.objectContaining({
          metadata: expect.objectContaining({ name: 'external.metrics.k8s.io' }),
          versions: [
            expect.objectContaining({
              freshness: 'Current',
              resources: [expect.objectContaining({ resource: 'externalmetrics' })],
            }),
          ],
        }),
      ]),
    });
  });

  it('is in the OpenAPI documents of the cluster', async () => {
    const path = `${metricsPath}/namespaces/{namespace}/{metric}`;
    const paths = async (document: string) => {
      const { body } = await cluster().request('GET', document);
      return (typeof body === 'string' ? JSON.parse(body) : body).paths;
    };

    // The aggregation layer asks for them when it pleases.
    await cluster().waitFor('/openapi/v2', document => path in (document?.['paths'] ?? {}), {
      timeoutMs: 60_000,
    });

    expect(await paths('/openapi/v3')).toHaveProperty([metricsPath.slice(1)]);
    expect(await paths(`/openapi/v3${metricsPath}`)).toHaveProperty([path]);
  });

  describe('with others than the administrator', () => {
    it('refuses who may not read metrics, and answers once they may', async () => {
      const user = `reader-${served.port}`;
      const { cert, key } = await cluster().userCertificate({ user });
      await using stranger = new Api({ url: cluster().url, ca: cluster().ca, cert, key });

      // The API server asks for itself, before it hands anything on.
      const refused = await stranger.request('GET', metric('s0-mails'));
      await cluster().apply([
        {
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'ClusterRole',
          metadata: { name: user },
          rules: [{ apiGroups: ['external.metrics.k8s.io'], resources: ['*'], verbs: ['*'] }],
        },
        {
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'ClusterRoleBinding',
          metadata: { name: user },
          roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: user },
          subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
        },
      ]);

      expect(refused.status).toBe(403);
      await expect.poll(async () => (await stranger.request('GET', metric('s0-mails'))).status).toBe(200);
    });

    it.each([
      [
        'a client certificate of the cluster',
        'certificate',
        403,
        /User "stranger" cannot list resource "s0-mails"/,
      ],
      ['a token of the cluster', 'token', 403, /User "system:serviceaccount:default:default" cannot list/],
      ['a token that nobody has', 'nonsense', 401, /Unauthorized/],
      ['nothing', 'nothing', 403, /User "system:anonymous" cannot list/],
      ['a certificate of an administrator', 'admin', 200, undefined],
    ])('answers who comes past the API server with %s', async (_title, kind, status, message) => {
      const { cert, key } =
        kind === 'certificate'
          ? await cluster().userCertificate({ user: 'stranger' })
          : { cert: cluster().clientCert, key: cluster().clientKey };
      const token = kind === 'token' ? await cluster().serviceAccountToken('default', 'default') : 'nonsense';

      const answer = await askDirectly(served, metric('s0-mails'), {
        ...(kind === 'certificate' || kind === 'admin' ? { cert, key } : {}),
        headers: {
          'x-remote-user': 'system:admin',
          'x-remote-group': 'system:masters',
          ...(kind === 'token' || kind === 'nonsense' ? { authorization: `Bearer ${token}` } : {}),
        },
      });

      expect(answer.status).toBe(status);
      if (message !== undefined) expect(answer.message).toMatch(message);
    });
  });

  it('gives the API server nothing to complain of', async () => {
    const lines = (await cluster().log('kube-apiserver')).slice(logged).split('\n');

    const complaints = lines.filter(
      line =>
        /^[EW]\d{4} /.test(line) &&
        /external\.metrics|keda-metrics-apiserver/.test(line) &&
        // Its own controllers, which write the status of an object that is being made.
        !/object has been modified/.test(line),
    );

    expect(complaints).toEqual([]);
  });
});
