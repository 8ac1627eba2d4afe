import { spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { text } from 'node:stream/consumers';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { Api } from './api.ts';
import { type Cluster, clusterOf, podAnnotations } from './bed.ts';
import { deployment } from './kube-bed.ts';
import { Processes } from './processes.ts';
import { aggregatedApi, exposedServer, json, metricsServer, prometheusServer } from './servers.ts';

clusterOf('the test bed', { hpaSyncSeconds: 1, control: true }, cluster => {
  it('runs the pods of a Deployment', async () => {
    const namespace = await cluster().namespace();

    await cluster().apply(deployment('web', 3), namespace);

    await cluster().waitFor(pathOf(namespace, 'web'), web => web?.['status']?.readyReplicas === 3);
    const pods = await cluster().list(`/api/v1/namespaces/${namespace}/pods`);
    expect(pods.map(pod => pod['status'].phase)).toEqual(['Running', 'Running', 'Running']);
  });

  it.each<[string, Record<string, string>, string]>([
    ['succeed at once', {}, 'Complete'],
    ['take a while', { [podAnnotations.start]: '1s', [podAnnotations.work]: '1s' }, 'Complete'],
    ['fail', { [podAnnotations.outcome]: 'fail' }, 'Failed'],
  ])('lets Jobs %s', async (_title, annotations, outcome) => {
    const namespace = await cluster().namespace();
    const startedAt = Date.now();

    await cluster().apply(job('task', annotations), namespace);

    const ended = await cluster().waitFor(`/apis/batch/v1/namespaces/${namespace}/jobs/task`, task =>
      has(task?.['status']?.conditions, outcome),
    );
    if (annotations[podAnnotations.work]) expect(Date.now() - startedAt).toBeGreaterThanOrEqual(2_000);
    expect(has(ended?.['status'].conditions, outcome === 'Failed' ? 'Complete' : 'Failed')).toBe(false);
  });

  it('asks an API of this process for what an autoscaler wants to know', async () => {
    const namespace = await cluster().namespace();
    const group = 'external.metrics.k8s.io';
    const apiVersion = `${group}/v1beta1`;
    const asked: string[] = [];
    await using _api = await aggregatedApi(
      cluster(),
      { namespace, group, version: 'v1beta1' },
      ({ url = '' }, response) => {
        if (!url.includes('/namespaces/')) {
          return json(response, { kind: 'APIResourceList', groupVersion: apiVersion, resources: [] });
        }
        asked.push(url);
        const item = { metricName: 'orders', value: '40', timestamp: new Date().toISOString() };
        json(response, { kind: 'ExternalMetricValueList', apiVersion, metadata: {}, items: [item] });
      },
    );
    await cluster().apply(deployment('web', 1), namespace);

    const metric = { metric: { name: 'orders' }, target: { type: 'AverageValue', averageValue: '10' } };
    await cluster().apply(autoscaler({ type: 'External', external: metric }), namespace);

    await cluster().waitFor(pathOf(namespace, 'web'), web => web?.['spec'].replicas === 4);
    expect(asked[0]).toContain(`/apis/${apiVersion}/namespaces/${namespace}/orders`);
  });

  it('tells autoscalers what pods use', async () => {
    const namespace = await cluster().namespace();
    await using metrics = await metricsServer(cluster());
    await cluster().apply(deployment('web', 1), namespace);
    const cpu = { name: 'cpu', target: { type: 'AverageValue', averageValue: '100m' } };
    await cluster().apply(autoscaler({ type: 'Resource', resource: cpu }), namespace);

    metrics.set(namespace, { cpu: '200m', memory: '1Mi' });

    await cluster().waitFor(pathOf(namespace, 'web'), web => web?.['spec'].replicas === 2);
  });

  it('asks a webhook of this process', async () => {
    const namespace = await cluster().namespace();
    await using server = await exposedServer(
      cluster(),
      { namespace, name: 'judge' },
      async (request, response) => {
        const { uid, object } = JSON.parse(await text(request)).request;
        const allowed = object.data.good === 'yes';
        const answer = { uid, allowed, status: { message: 'it is not good' } };
        json(response, { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer });
      },
    );
    await cluster().apply({
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: namespace },
      webhooks: [
        {
          name: 'judge.bed.test',
          clientConfig: { service: { ...server.service, path: '/judge' }, caBundle: server.caBundle },
          rules: [
            { operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] },
          ],
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
          ...{ admissionReviewVersions: ['v1'], sideEffects: 'None', failurePolicy: 'Fail' },
        },
      ],
    });
    const create = (good: string) => cluster().create(configMap('judged', { good }), namespace);

    await expect.poll(() => create('no').catch(String), { timeout: 10_000 }).toContain('it is not good');
    await expect(create('yes')).resolves.toMatchObject({ data: { good: 'yes' } });
  });

  it('knows users by certificate and service accounts by token, without rights until RBAC gives some', async () => {
    const namespace = await cluster().namespace();
    await cluster().apply(
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'worker' } },
      namespace,
    );

    const token = await cluster().serviceAccountToken(namespace, 'worker');
    const user = await cluster().userCertificate({ user: 'jane', groups: ['team'] });

    const asWorker = await asked(cluster(), namespace, { token });
    expect(asWorker).toMatchObject({ status: 403 });
    expect(asWorker.message).toContain(`"system:serviceaccount:${namespace}:worker"`);
    const asJane = await asked(cluster(), namespace, user);
    expect(asJane).toMatchObject({ status: 403 });
    expect(asJane.message).toContain('"jane"');
  });

  it('keeps what it was told when its programs are stopped, killed and started again', async () => {
    const namespace = await cluster().namespace();
    const path = `/api/v1/namespaces/${namespace}/configmaps/kept`;
    await cluster().apply(configMap('kept', { told: 'yes' }), namespace);

    await cluster().kill('etcd');
    await cluster().start('etcd');
    await cluster().restart('kube-apiserver');
    for (const program of ['kube-controller-manager', 'kube-scheduler', 'kwok'] as const) {
      await cluster().restart(program);
    }

    expect(await cluster().get(path)).toMatchObject({ data: { told: 'yes' } });
    await cluster().apply(deployment('web', 2), namespace);
    await cluster().waitFor(pathOf(namespace, 'web'), web => web?.['status']?.readyReplicas === 2);
  }, 90_000);

  it('has an API server that can fall silent and speak again', async () => {
    cluster().pause('kube-apiserver');
    const silent = cluster().request('GET', '/version', { signal: AbortSignal.timeout(500) });
    await expect(silent).rejects.toThrow();

    cluster().resume('kube-apiserver');

    expect(await cluster().request('GET', '/version')).toMatchObject({ status: 200 });
  });
});

describe('programs in the background', () => {
  it('end with the process that started them, even if it is killed', async () => {
    const program = [
      `import { Processes } from ${JSON.stringify(new URL('./processes.ts', import.meta.url).href)};`,
      `const processes = new Processes('/nonexistent');`,
      `const sleep = { name: 'sleep', command: 'sleep', args: ['600'], logFile: '/dev/null' };`,
      `await processes.start({ ...sleep, ready: async () => true });`,
      `process.stdout.write(String(processes.pid('sleep')));`,
      'setInterval(() => {}, 1_000);',
    ].join('\n');
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [pid] = (await once(child.stdout, 'data')) as [Buffer];
    expect(isAlive(Number(pid))).toBe(true);

    child.kill('SIGKILL');

    await expect.poll(() => isAlive(Number(pid)), { timeout: 10_000 }).toBe(false);
  });

  it('show the end of what they printed when they do not start', async () => {
    await using processes = new Processes('/nonexistent');
    const program = { name: 'broken', command: 'ls', args: ['/nowhere'], logFile: '/dev/null' };

    const start = processes.start({ ...program, ready: async () => false });

    await expect(start).rejects.toThrow('broken did not start: it ended with 2');
  });
});

describe('the Prometheus of tests', () => {
  it('answers, hangs, refuses, babbles, and answers again', async () => {
    await using prometheus = await prometheusServer();
    const ask = async (query: string) => {
      const url = `${prometheus.url}/api/v1/query?query=${query}`;
      // On a connection of its own, as one that was cut must not be taken for silence.
      const options = { reset: true, signal: AbortSignal.timeout(500) };
      const answer = await request(url, options).catch(() => undefined);
      return answer?.body.text();
    };
    prometheus.set(7);
    prometheus.set(undefined, 'none');

    const answers: unknown[] = [await ask('any'), await ask('none')];
    for (const conduct of ['hang', 'refuse', 'garbage', 'answer'] as const) {
      await prometheus.behave(conduct);
      answers.push(await ask('any'));
    }

    const seven = expect.stringMatching(/"result":\[\{"metric":\{\},"value":\[[\d.]+,"7"\]\}\]/);
    const none = expect.stringContaining('"result":[]');
    expect(answers).toEqual([seven, none, undefined, undefined, '<html>{"status":', seven]);
    expect(prometheus.seen.requests).toBe(5);
  });
});

const pathOf = (namespace: string, name: string) =>
  `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;

const configMap = (name: string, data: Record<string, string>) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
});

const autoscaler = (metric: object) => ({
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'web' },
  spec: {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
    ...{ minReplicas: 1, maxReplicas: 4, metrics: [metric] },
  },
});

const job = (name: string, annotations: Record<string, string>) => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name },
  spec: {
    backoffLimit: 0,
    template: {
      metadata: { annotations },
      spec: { containers: [{ name: 'main', image: 'none' }], restartPolicy: 'Never' },
    },
  },
});

function has(conditions: { type: string; status: string }[] | undefined, wanted: string): boolean {
  return conditions?.some(({ type, status }) => type === wanted && status === 'True') ?? false;
}

/** What the API server says to someone who asks for the Secrets of a namespace. */
async function asked(
  { url, ca }: Cluster,
  namespace: string,
  who: { token?: string; cert?: string; key?: string },
): Promise<{ status: number; message: string }> {
  const { cert, key, token } = who;
  await using api = new Api({ url, ca, cert, key, token });
  const { status, body } = await api.request('GET', `/api/v1/namespaces/${namespace}/secrets`);
  return { status, message: (body as { message: string }).message };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
