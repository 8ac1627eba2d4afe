import { readdir, readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { Secret } from '../../src/base/secret.ts';
import { checkFormula } from '../../src/cli/check-formula.ts';
import { kubeAutoscalers } from '../../src/kube/autoscalers.ts';
import { type KubeObject, resources } from '../../src/kube/objects.ts';
import { reflect } from '../../src/kube/reflector.ts';
import { ClusterSurroundings } from '../../src/kube/surroundings.ts';
import { admission, admissionBodyLimit } from '../../src/serve/admission.ts';
import { AdmissionCounts } from '../../src/serve/admission-counts.ts';
import { type Listening, listenTls } from '../../src/serve/listen.ts';
import { documentOf } from '../../src/spec/documents.ts';
import { parseScaledObject } from '../../src/spec/scaled-object.ts';
import { authority, serverCertificate, serverKey } from '../certificates.ts';
import { type ApiAnswer, type Cluster, clusterOf, type Manifest, until } from './bed.ts';
import { clientOf, deployment } from './kube-bed.ts';

const cron = {
  type: 'cron',
  metadata: { timezone: 'UTC', start: '0 6 * * *', end: '0 8 * * *', desiredReplicas: '1' },
};
const cpu = { type: 'cpu', metricType: 'Utilization', metadata: { value: '50' } };

const scaledObject = (name: string, spec: Record<string, unknown> = {}): Manifest => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  metadata: { name },
  spec: { scaleTargetRef: { name: 'web' }, triggers: [cron], ...spec },
});

const scaledJob = (triggers: object[]): Manifest => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledJob',
  metadata: { name: 'mail' },
  spec: {
    jobTargetRef: {
      template: { spec: { restartPolicy: 'Never', containers: [{ name: 'a', image: 'none' }] } },
    },
    triggers,
  },
});

const authentication = (kind: string, podIdentity: object): Manifest => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind,
  metadata: { name: 'login' },
  spec: { podIdentity },
});

const eventSource = (kind: string, eventSubscription: object): Manifest => ({
  apiVersion: 'eventing.keda.sh/v1alpha1',
  kind,
  metadata: { name: 'events' },
  spec: { destination: { http: { uri: 'http://events' } }, eventSubscription },
});

const autoscaler = (target: string): Manifest => ({
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'old' },
  spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: target }, maxReplicas: 3 },
});

const path = (namespace: string, plural: string, group = 'keda.sh') =>
  `/apis/${group}/v1alpha1/namespaces/${namespace}/${plural}`;

/** The webhooks as they are deployed, with a port of this machine in the place of the Service. */
async function register(cluster: Cluster, port: number): Promise<void> {
  const text = await readFile(new URL('../../deploy/eventide.yaml', import.meta.url), 'utf8');
  const found = parseAllDocuments(text)
    .map(document => document.toJS() as Manifest)
    .find(({ kind }) => kind === 'ValidatingWebhookConfiguration');
  if (found === undefined) throw new Error('no webhooks are deployed');
  type Webhook = { clientConfig: { service: { path: string } } };
  const webhooks = (found['webhooks'] as Webhook[]).map(({ clientConfig, ...webhook }) => ({
    ...webhook,
    failurePolicy: 'Fail',
    clientConfig: {
      url: `https://127.0.0.1:${port}${clientConfig.service.path}`,
      caBundle: Buffer.from(authority).toString('base64'),
    },
  }));
  await cluster.apply({ ...found, webhooks });
}

clusterOf('the admission webhooks', {}, cluster => {
  const open: AsyncDisposable[] = [];
  const use = <T extends AsyncDisposable>(resource: T): T => {
    open.unshift(resource);
    return resource;
  };
  const counts = new AdmissionCounts();
  let server: Listening;
  let surroundings: ClusterSurroundings;
  let namespace: string;
  /** Whether the watch tells of ScaledObjects at all. */
  let watching = true;

  const create = async (manifest: Manifest, query = ''): Promise<ApiAnswer> => {
    const place = (await cluster().path(manifest, namespace)).split('/').slice(0, -1).join('/');
    return cluster().request('POST', `${place}${query}`, { body: manifest });
  };
  const messageOf = ({ body }: ApiAnswer) => (body as { message?: string }).message;

  beforeAll(async () => {
    const folder = new URL('../../deploy/crds/', import.meta.url);
    for (const name of await readdir(folder))
      await cluster().apply(await readFile(new URL(name, folder), 'utf8'));
    const client = use(await clientOf(cluster()));
    const base = { client, clock: systemClock, log: silentLog };
    const autoscalers = use(kubeAutoscalers({ ...base, version: 'test', onChange: () => {} }));
    surroundings = new ClusterSurroundings({
      client,
      clock: systemClock,
      autoscalersByTarget: (...place) => autoscalers.byTarget(...place),
      checkFormula,
    });
    const scaledObjects = use(
      reflect<KubeObject, string>({
        ...base,
        resource: resources.scaledObjects,
        keep(object) {
          const parsed = parseScaledObject(documentOf({ ...object, ...kind }));
          if (!parsed.ok) return undefined;
          if (watching) surroundings.set(parsed.value);
          return parsed.value.key;
        },
        onDelete: (_key, workload) => surroundings.remove(workload),
      }),
    );
    await scaledObjects.whenSynced(AbortSignal.timeout(60_000));
    await autoscalers.whenSynced(AbortSignal.timeout(60_000));
    server = use(
      await listenTls({
        host: '127.0.0.1',
        port: 0,
        handler: admission({ neighbourhood: surroundings, counts, log: silentLog }),
        bodyLimit: admissionBodyLimit,
        certificate: () => ({ cert: serverCertificate, key: new Secret(serverKey) }),
      }),
    );
    await register(cluster(), server.port);
    // An API server asks a new webhook as soon as it has heard of it.
    const probe = scaledObject('probe', { triggers: [{ ...cron, useCachedMetrics: true }] });
    await until(
      () => create({ ...probe, metadata: { name: 'probe', namespace: 'default' } }, '?dryRun=All'),
      ({ status }) => status === 403,
    );
  }, 120_000);

  const kind = { apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledObject' };

  afterAll(async () => {
    for (const resource of open) await resource[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    watching = true;
    namespace = await cluster().namespace();
  });

  it('let a ScaledObject in, and refuse another one for its target in the words of KEDA', async () => {
    const first = await create(scaledObject('first'));
    const second = await create(scaledObject('second'));

    expect(first.status).toBe(201);
    expect(second.status).toBe(403);
    expect(messageOf(second)).toMatch(/^admission webhook "vscaledobject\.kb\.io" denied the request: /);
    expect(messageOf(second)).toContain(
      "the workload 'web' of type 'apps/v1.Deployment' is already managed by the ScaledObject 'first'",
    );
    expect([...counts.errors()]).toContainEqual({
      namespace,
      action: 'create',
      reason: 'other-scaled-object',
      count: 1,
    });
  });

  it('refuse a ScaledObject for the HPA of another', async () => {
    const named = { advanced: { horizontalPodAutoscalerConfig: { name: 'mine' } } };
    await create(scaledObject('first', named));

    const second = await create(scaledObject('second', { ...named, scaleTargetRef: { name: 'other' } }));

    expect(messageOf(second)).toContain("the HPA 'mine' is already managed by the ScaledObject 'first'");
  });

  it('refuse a target that a stranger’s HPA scales, unless it is taken over by name', async () => {
    await cluster().create(autoscaler('web'), namespace);
    const refused = await until(
      () => create(scaledObject('so'), '?dryRun=All'),
      ({ status }) => status === 403,
    );
    const transfer = { name: 'so', annotations: { 'scaledobject.keda.sh/transfer-hpa-ownership': 'true' } };
    const named = { advanced: { horizontalPodAutoscalerConfig: { name: 'old' } } };

    const unnamed = await create({ ...scaledObject('so'), metadata: transfer });
    const taken = await create({ ...scaledObject('so', named), metadata: transfer });

    expect(messageOf(refused)).toContain(
      "the workload 'web' of type 'apps/v1.Deployment' is already managed by the hpa 'old'",
    );
    expect([unnamed.status, taken.status]).toEqual([403, 201]);
  });

  it('look at the requests of the target and the limits of the namespace for cpu and memory', async () => {
    await cluster().create(deployment('web', 1), namespace);
    const memory = scaledObject('so', { minReplicaCount: 1, triggers: [{ ...cpu, type: 'memory' }] });

    const missing = await create(scaledObject('a', { scaleTargetRef: { name: 'none' }, triggers: [cpu] }));
    const dry = await create(memory, '?dryRun=All');
    const refused = await create(memory);
    const range = { type: 'Container', default: { memory: '1Gi' } };
    await cluster().create(
      { apiVersion: 'v1', kind: 'LimitRange', metadata: { name: 'r' }, spec: { limits: [range] } },
      namespace,
    );
    const limited = await create(memory);

    expect([missing.status, dry.status, refused.status, limited.status]).toEqual([403, 201, 403, 201]);
    expect(messageOf(refused)).toContain(
      "the scaledobject has a memory trigger but the container app doesn't have the memory request defined",
    );
  });

  it('let only one of two in that come at the same moment, also when the watch is far behind', async () => {
    watching = false;
    const pairs = Array.from({ length: 8 }, (_, index) => ({ scaleTargetRef: { name: `web-${index}` } }));

    const answers = await Promise.all(
      pairs.map((spec, index) =>
        Promise.all(['a', 'b'].map(each => create(scaledObject(`${each}-${index}`, spec)))),
      ),
    );

    const statuses = answers.map(pair => pair.map(({ status }) => status).sort());
    expect(statuses).toEqual(pairs.map(() => [201, 403]));
  });

  it('refuse nobody because of an object that was let in and never stored', async () => {
    watching = false;
    const parsed = parseScaledObject(
      documentOf({ ...scaledObject('ghost'), metadata: { name: 'ghost', namespace } }),
    );
    if (parsed.ok) surroundings.admitted(parsed.value);

    const answer = await create(scaledObject('so'));

    expect(answer.status).toBe(201);
  });

  it('let a finalizer go from an object that breaks a rule by now', async () => {
    await create({
      ...scaledObject('so'),
      metadata: { name: 'so', finalizers: ['example.com/a', 'example.com/b'] },
    });
    await cluster().create(autoscaler('web'), namespace);
    const place = `${path(namespace, 'scaledobjects')}/so`;
    const label = { metadata: { labels: { a: 'b' } } };
    await until(
      () =>
        cluster().request('PATCH', `${place}?dryRun=All`, {
          body: label,
          contentType: 'application/merge-patch+json',
        }),
      ({ status }) => status === 403,
    );

    await cluster().delete(place);
    await cluster().patch(place, { metadata: { finalizers: ['example.com/a'] } });
    await cluster().patch(place, { metadata: { finalizers: null } });

    expect(await cluster().get(place)).toBeUndefined();
  });

  it('warn of what is only worth a word', async () => {
    const { status, headers } = await create(
      scaledObject('so', {
        minReplicaCount: 1,
        pollingInterval: 5,
        triggers: [{ ...cron, metricType: 'Sum' }],
      }),
    );

    expect(status).toBe(201);
    expect(String(headers['warning'])).toMatch(/pollingInterval has no effect/);
    expect(String(headers['warning'])).toMatch(/is not one of AverageValue, Value, Utilization/);
  });

  it.each<[string, Manifest, string | undefined]>([
    ['a ScaledJob', scaledJob([cron]), undefined],
    ['a ScaledJob with cached cron', scaledJob([{ ...cron, useCachedMetrics: true }]), 'useCachedMetrics'],
    [
      'an authentication with an external id',
      authentication('TriggerAuthentication', { provider: 'aws', externalID: 'x' }),
      'externalID needs roleArn',
    ],
    [
      'a cluster-wide one with an empty identity',
      authentication('ClusterTriggerAuthentication', { provider: 'azure-workload', identityId: '' }),
      'identityId is empty',
    ],
    [
      'an event source with two filters',
      eventSource('CloudEventSource', {
        includedEventTypes: ['keda.scaledobject.ready.v1'],
        excludedEventTypes: ['keda.scaledobject.failed.v1'],
      }),
      'cannot be used together',
    ],
    [
      'a cluster-wide event source with two filters',
      eventSource('ClusterCloudEventSource', {
        includedEventTypes: ['keda.scaledobject.ready.v1'],
        excludedEventTypes: ['keda.scaledobject.failed.v1'],
      }),
      'cannot be used together',
    ],
  ])('judge %s', async (_title, manifest, text) => {
    const answer = await create(manifest);

    if (text === undefined) expect(answer.status).toBe(201);
    else expect([answer.status, messageOf(answer)]).toEqual([403, expect.stringContaining(text)]);
  });

  it.each<[string, number, Record<string, string>, string]>([
    ['no JSON', 400, { 'content-type': 'application/json' }, '\u0000garbage'],
    ['no review', 400, { 'content-type': 'application/json' }, '{"kind":"Pod"}'],
    ['another content type', 415, { 'content-type': 'application/yaml' }, '{}'],
    ['ten megabytes', 413, { 'content-type': 'application/json' }, ' '.repeat(10 * 1024 * 1024)],
  ])('answer %s without going down', async (_title, status, headers, body) => {
    const dispatcher = new Agent({ connect: { ca: authority } });
    const url = `https://127.0.0.1:${server.port}/validate-keda-sh-v1alpha1-scaledobject`;

    const answer = await request(url, { method: 'POST', headers, body, dispatcher });
    const text = await answer.body.text();
    await dispatcher.destroy();

    expect(answer.statusCode).toBe(status);
    expect(text).not.toMatch(/\.[tj]s:\d/);
    expect((await create(scaledObject('after'), '?dryRun=All')).status).toBe(201);
  });
});
