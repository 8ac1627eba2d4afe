import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { requestOf } from '../../test/server-request.ts';
import { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { checkFormula } from '../cli/check-formula.ts';
import { documentOf } from '../spec/documents.ts';
import { parseManifest } from '../spec/manifest.ts';
import { snapshotOf, surroundingsOf } from '../spec/surroundings.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { admission, admissionPaths, type Neighbourhood } from './admission.ts';
import { AdmissionCounts } from './admission-counts.ts';
import type { ServerRequest } from './handler.ts';

type Json = Record<string, unknown>;

interface Given {
  metadata?: Json;
  triggers?: Json[];
  spec?: Json;
}

const cron = {
  type: 'cron',
  metadata: { timezone: 'UTC', start: '0 6 * * *', end: '0 8 * * *', desiredReplicas: '1' },
};
const cpu = { type: 'cpu', metricType: 'Utilization', metadata: { value: '50' } };

const scaledObject = ({ metadata = {}, triggers = [cron], spec = {} }: Given = {}): Json => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  metadata: { name: 'web', namespace: 'shop', uid: 'u1', generation: 1, ...metadata },
  spec: { scaleTargetRef: { name: 'app' }, triggers, ...spec },
});

const scaledJob = (triggers: Json[]): Json => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledJob',
  metadata: { name: 'mail', namespace: 'shop' },
  spec: { jobTargetRef: { template: { spec: { containers: [{ name: 'main' }] } } }, triggers },
});

const authentication = (spec: Json, kind = 'TriggerAuthentication'): Json => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind,
  metadata: kind.startsWith('Cluster') ? { name: 'login' } : { name: 'login', namespace: 'shop' },
  spec,
});

const eventSource = (eventSubscription: Json, kind = 'CloudEventSource'): Json => ({
  apiVersion: 'eventing.keda.sh/v1alpha1',
  kind,
  metadata: { name: 'events' },
  spec: { destination: { http: { uri: 'http://events' } }, eventSubscription },
});

const deployment = (resources: Json = {}): Json => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'app', namespace: 'shop' },
  spec: { template: { spec: { containers: [{ name: 'main', resources }] } } },
});

const hpa = (annotations: Json = {}): Json => ({
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'old', namespace: 'shop', annotations },
  spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'app' } },
});

/** The webhooks of a cluster in which there are these objects. */
function cluster(objects: readonly Json[] = [], over: Partial<Neighbourhood> = {}) {
  const documents = objects.map(each => documentOf(each));
  const scaledObjects = documents.flatMap(document => {
    const parsed = parseManifest(document);
    return parsed?.ok && parsed.value.kind === 'ScaledObject' ? [parsed.value] : [];
  });
  const snapshot = { ...snapshotOf(documents, scaledObjects), complete: true };
  const counts = new AdmissionCounts();
  const admitted: ScaledObject[] = [];
  const neighbourhood: Neighbourhood = {
    around: async (_manifest, circumstances) => surroundingsOf(snapshot, { ...circumstances, checkFormula }),
    admitted: workload => void admitted.push(workload),
    ...over,
  };
  return { handler: admission({ neighbourhood, counts, log: silentLog }), counts, admitted };
}

const pathOf = (object: Json) =>
  Object.entries(admissionPaths).find(([, { kind }]) => kind === object['kind'])?.[0] ?? '/';

function reviewOf(object: Json, over: Json = {}): Json {
  const [group = '', version = ''] = String(object['apiVersion']).split('/');
  const { namespace = '', name } = object['metadata'] as Json;
  const request = {
    uid: 'r1',
    kind: { group, version, kind: object['kind'] },
    operation: 'CREATE',
    namespace,
    name,
    dryRun: false,
    object,
    oldObject: null,
    ...over,
  };
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request };
}

const posted = (path: string, body: string | Buffer, over: Partial<ServerRequest> = {}) =>
  requestOf(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(body),
    ...over,
  });

interface Answer {
  uid: string;
  allowed: boolean;
  warnings?: string[];
  status?: { code: number; message: string; reason: string };
}

async function ask({ handler }: ReturnType<typeof cluster>, object: Json, over: Json = {}): Promise<Answer> {
  const answer = await handler(posted(pathOf(object), JSON.stringify(reviewOf(object, over))));
  expect(answer.status).toBe(200);
  return (JSON.parse(String(answer.body)) as { response: Answer }).response;
}

describe('admission of ScaledObjects', () => {
  it('lets a plain one in and echoes the uid', async () => {
    expect(await ask(cluster(), scaledObject())).toEqual({ uid: 'r1', allowed: true });
  });

  it('answers in the form of admission.k8s.io/v1', async () => {
    const object = scaledObject({ spec: { idleReplicaCount: 3 } });

    const answer = await cluster().handler(posted(pathOf(object), JSON.stringify(reviewOf(object))));

    expect(JSON.parse(String(answer.body))).toMatchObject({
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: 'r1', allowed: false, status: { code: 403, reason: 'Forbidden' } },
    });
  });

  const other = scaledObject({ metadata: { name: 'first' } });
  const fallback = { failureThreshold: 3, replicas: 2 };
  const modifiers = (given: Json) => ({ advanced: { scalingModifiers: given } });
  const hpaNamed = (name: string) => ({ advanced: { horizontalPodAutoscalerConfig: { name } } });
  const transfer = { annotations: { 'scaledobject.keda.sh/transfer-hpa-ownership': 'true' } };
  const queue = { type: 'prometheus', name: 'queue', metadata: {} };

  // The first sentences are those that KEDA's own end-to-end tests look for.
  it.each<[string, string, string | undefined, Json, Json[]]>([
    [
      'a target of another ScaledObject',
      "the workload 'app' of type 'apps/v1.Deployment' is already managed by the ScaledObject 'first'",
      'other-scaled-object',
      scaledObject(),
      [other],
    ],
    [
      'the HPA name of another ScaledObject',
      "the HPA 'mine' is already managed by the ScaledObject 'first'",
      'other-scaled-object-hpa',
      scaledObject({ spec: { ...hpaNamed('mine'), scaleTargetRef: { name: 'other' } } }),
      [scaledObject({ metadata: { name: 'first' }, spec: hpaNamed('mine') })],
    ],
    [
      "a stranger's HPA",
      "the workload 'app' of type 'apps/v1.Deployment' is already managed by the hpa 'old'",
      'other-hpa',
      scaledObject(),
      [hpa()],
    ],
    [
      'a transfer that does not name the HPA',
      "'old'",
      'transfer-ownership-missing-hpa-name',
      scaledObject({ metadata: transfer }),
      [hpa()],
    ],
    [
      'cpu without requests',
      "the scaledobject has a cpu trigger but the container main doesn't have the cpu request defined",
      'missing-requests',
      scaledObject({ triggers: [cpu], spec: { minReplicaCount: 1 } }),
      [deployment()],
    ],
    [
      'memory without requests',
      "the scaledobject has a memory trigger but the container main doesn't have the memory request defined",
      'missing-requests',
      scaledObject({ triggers: [{ ...cpu, type: 'memory' }], spec: { minReplicaCount: 1 } }),
      [deployment({ requests: { cpu: 1 } })],
    ],
    [
      'cpu that is to reach zero',
      'minReplicaCount to 1',
      'scale-to-zero-requirements-not-met',
      scaledObject({ triggers: [cpu] }),
      [deployment({ requests: { cpu: 1 } })],
    ],
    [
      'cpu of a target that is not there',
      'Deployment "app"',
      undefined,
      scaledObject({ triggers: [cpu] }),
      [],
    ],
    ['no triggers', 'at least 1 items', undefined, scaledObject({ triggers: [] }), []],
    [
      'a trigger name twice',
      '"queue" is there twice',
      'incorrect-triggers',
      scaledObject({ triggers: [queue, queue] }),
      [],
    ],
    [
      'cached metrics of cron',
      'property "useCachedMetrics" is not supported for "cron"',
      'incorrect-triggers',
      scaledObject({ triggers: [{ ...cron, useCachedMetrics: true }] }),
      [],
    ],
    [
      'a minimum above the maximum',
      'minReplicaCount 5 is more than maxReplicaCount 4',
      'incorrect-replicas',
      scaledObject({ spec: { minReplicaCount: 5, maxReplicaCount: 4 } }),
      [],
    ],
    [
      'idle replicas without a minimum',
      'idleReplicaCount 0',
      'incorrect-replicas',
      scaledObject({ spec: { idleReplicaCount: 0 } }),
      [],
    ],
    [
      'a fallback for cpu alone',
      'nothing to fall back for',
      'incorrect-fallback',
      scaledObject({ triggers: [cpu], spec: { fallback, minReplicaCount: 1 } }),
      [deployment({ requests: { cpu: 1 } })],
    ],
    [
      'a formula of names that are not there',
      'spec.advanced.scalingModifiers.formula',
      'scaling-modifiers',
      scaledObject({ triggers: [queue], spec: modifiers({ formula: 'queue + other', target: '5' }) }),
      [],
    ],
    [
      'a formula without target',
      'no target',
      'scaling-modifiers',
      scaledObject({ triggers: [queue], spec: modifiers({ formula: 'queue' }) }),
      [],
    ],
    [
      'a fallback by formula without one',
      'needs a formula',
      'scaling-modifiers-fallback',
      scaledObject({ spec: { fallback: { ...fallback, behavior: 'scalingModifiers' } } }),
      [],
    ],
  ])('refuses %s', async (_title, text, reason, object, others) => {
    const bed = cluster(others);

    const { allowed, status } = await ask(bed, object, { operation: 'UPDATE', oldObject: object });

    expect([allowed, status?.code]).toEqual([false, 403]);
    expect(status?.message).toContain(text);
    expect([...bed.counts.errors()]).toEqual(
      reason === undefined ? [] : [{ namespace: 'shop', action: 'update', reason, count: 1 }],
    );
    expect([...bed.counts.validations()]).toEqual([{ namespace: 'shop', action: 'update', count: 1 }]);
    expect(bed.admitted).toEqual([]);
  });

  it.each<[string, Json, Json[]]>([
    ['itself, a second time', scaledObject(), [scaledObject()]],
    [
      'the same name of another kind',
      scaledObject(),
      [
        scaledObject({
          metadata: { name: 'first' },
          spec: { scaleTargetRef: { name: 'app', kind: 'StatefulSet' } },
        }),
      ],
    ],
    [
      'the same target in another namespace',
      scaledObject(),
      [scaledObject({ metadata: { name: 'first', namespace: 'x' } })],
    ],
    [
      "a stranger's HPA that says so",
      scaledObject(),
      [hpa({ 'validations.keda.sh/hpa-ownership': 'false' })],
    ],
    ['a transfer that names the HPA', scaledObject({ metadata: transfer, spec: hpaNamed('old') }), [hpa()]],
    [
      'cpu of containers that only have limits',
      scaledObject({ triggers: [cpu], spec: { minReplicaCount: 1 } }),
      [deployment({ limits: { cpu: '500m' } })],
    ],
    [
      'a trigger type that nobody knows',
      scaledObject({ triggers: [{ type: 'tomorrow', metadata: {} }] }),
      [],
    ],
    [
      'parameters that nobody knows',
      scaledObject({ triggers: [{ ...cron, metadata: { nonsense: 'x' } }] }),
      [],
    ],
  ])('lets in %s', async (_title, object, others) => {
    const bed = cluster(others);

    expect(await ask(bed, object)).toEqual({ uid: 'r1', allowed: true });
    expect(bed.admitted.map(({ key }) => key)).toEqual(['ScaledObject/shop/web']);
  });

  it.each<[string, RegExp, Json]>([
    [
      'a polling interval without effect',
      /pollingInterval has no effect/,
      scaledObject({ spec: { pollingInterval: 5, minReplicaCount: 1 } }),
    ],
    [
      'a cooldown without effect',
      /cooldownPeriod has no effect/,
      scaledObject({ spec: { cooldownPeriod: 5, minReplicaCount: 1 } }),
    ],
    [
      'a name too long for a label',
      /KEDA refuses more than 63/,
      scaledObject({ metadata: { name: 'a'.repeat(64) } }),
    ],
    [
      'a metric type that the controller refuses',
      /"Sum" is not one of/,
      scaledObject({ triggers: [{ ...cron, metricType: 'Sum' }] }),
    ],
    [
      'a behavior that no HPA can have',
      /3601 is too large/,
      scaledObject({
        spec: {
          advanced: {
            horizontalPodAutoscalerConfig: {
              behavior: { scaleUp: { stabilizationWindowSeconds: 3601, selectPolicy: 'Some', policies: [] } },
            },
          },
        },
      }),
    ],
    [
      'a field that was not pruned',
      /there is no field "minReplica"/,
      scaledObject({ spec: { minReplica: 3 } }),
    ],
    [
      'a field and its other spelling',
      /are the same/,
      scaledObject({ spec: { minReplicas: 1, minReplicaCount: 1 } }),
    ],
    [
      'a number as a parameter',
      /is accepted as a text/,
      scaledObject({ triggers: [{ ...cron, metadata: { desiredReplicas: 3 } }] }),
    ],
  ])('warns of %s', async (_title, text, object) => {
    const { allowed, warnings } = await ask(cluster(), object);

    expect(allowed).toBe(true);
    expect(warnings).toEqual(expect.arrayContaining([expect.stringMatching(text)]));
  });

  it('judges what it warns of by the other rules all the same', async () => {
    const object = scaledObject({ triggers: [{ ...cron, metricType: 'Sum' }] });

    expect(await ask(cluster([other]), object)).toMatchObject({ allowed: false });
  });

  it('cuts warnings that are too long for a header, and keeps control characters out', async () => {
    const object = scaledObject({
      triggers: [{ ...cron, metadata: { [`a\n${'\u{1f600}'.repeat(200)}`]: 3 } }],
    });

    const { warnings = [] } = await ask(cluster(), object);

    expect(warnings).toHaveLength(1);
    expect(warnings[0]?.length).toBeLessThanOrEqual(250);
    expect(warnings[0]).not.toMatch(/\p{Cc}|\p{Cs}/u);
  });

  it('does not look at the target in a dry run, and remembers nothing', async () => {
    const bed = cluster();

    expect(await ask(bed, scaledObject({ triggers: [cpu] }), { dryRun: true })).toMatchObject({
      allowed: true,
    });
    expect(bed.admitted).toEqual([]);
  });

  it('says all that is wrong at once, up to ten things', async () => {
    const object = scaledObject({
      triggers: Array.from({ length: 13 }, () => ({ ...cron, useCachedMetrics: true })),
    });

    const { status } = await ask(cluster(), object);

    expect(status?.message.match(/not supported/g)).toHaveLength(10);
    expect(status?.message).toMatch(/; and 3 more$/);
  });

  it('leaves it to the failurePolicy when nobody can tell', async () => {
    const bed = cluster([], {
      around: async () => {
        throw new Fault('KUBE_UNREACHABLE', 'the API server does not answer');
      },
    });
    const object = scaledObject();

    const answer = await bed.handler(posted(pathOf(object), JSON.stringify(reviewOf(object))));

    expect(answer).toMatchObject({ status: 503, body: expect.stringContaining('does not answer') });
  });
});

describe('the removal of finalizers', () => {
  const bad = { idleReplicaCount: 3 };
  const job = scaledJob([cron, cron].map(each => ({ ...each, name: 'twice' })));
  const so = (finalizers: string[], spec: Json = bad) => scaledObject({ metadata: { finalizers }, spec });
  const sj = (finalizers: string[]) => ({ ...job, metadata: { ...(job['metadata'] as Json), finalizers } });

  it.each<[string, Json, Json, boolean]>([
    ['a ScaledObject that loses one of two', so(['a', 'b']), so(['a']), true],
    ['a ScaledObject that loses its only one', so(['a']), so([]), true],
    ['a ScaledObject that loses none', so(['a']), so(['b']), false],
    ['a ScaledObject that changes too', so(['a'], {}), so([]), false],
    ['a ScaledJob that loses its only one', sj(['a']), sj([]), true],
    ['a ScaledJob that loses one of two', sj(['a', 'b']), sj(['a']), false],
  ])('of %s', async (_title, oldObject, object, allowed) => {
    expect(await ask(cluster(), object, { operation: 'UPDATE', oldObject })).toMatchObject({ allowed });
  });
});

describe('admission of the other kinds', () => {
  const twice = [
    { ...cron, name: 'a' },
    { ...cron, name: 'a' },
  ];
  const escaped = { podIdentity: { provider: 'aws', externalID: 'x' } };
  const both = {
    includedEventTypes: ['keda.scaledobject.ready.v1'],
    excludedEventTypes: ['keda.scaledobject.failed.v1'],
  };

  it.each<[string, Json, string | undefined]>([
    ['a ScaledJob', scaledJob([cron]), undefined],
    ['a ScaledJob with a trigger name twice', scaledJob(twice), 'is there twice'],
    ['an authentication', authentication({ podIdentity: { provider: 'gcp' } }), undefined],
    [
      'an authentication with an empty tenant',
      authentication({ podIdentity: { provider: 'azure-workload', identityTenantId: '' } }),
      'identityTenantId is empty',
    ],
    [
      'a cluster-wide one with an external id',
      authentication(escaped, 'ClusterTriggerAuthentication'),
      'externalID needs roleArn',
    ],
    ['an event source', eventSource({}), undefined],
    ['an event source with two filters', eventSource(both), 'cannot be used together'],
    [
      'a cluster-wide one with two filters',
      eventSource(both, 'ClusterCloudEventSource'),
      'cannot be used together',
    ],
    [
      'an event source of a type that is not there',
      eventSource({ includedEventTypes: ['keda.coffee.ready.v1'] }),
      '"keda.coffee.ready.v1" is not',
    ],
  ])('judges %s', async (_title, object, text) => {
    const { allowed, status } = await ask(cluster(), object);

    expect([allowed, status?.message]).toEqual(
      text === undefined ? [true, undefined] : [false, expect.stringContaining(text)],
    );
  });

  it('counts the broken triggers of a ScaledJob among those of ScaledObjects, as KEDA does', async () => {
    const bed = cluster();

    await ask(bed, scaledJob(twice));

    expect([...bed.counts.errors()]).toMatchObject([{ reason: 'incorrect-triggers', action: 'create' }]);
    expect([...bed.counts.validations()]).toEqual([]);
  });

  it.each([
    ['deleted', { operation: 'DELETE', object: null }],
    ['connected to', { operation: 'CONNECT' }],
    ['given a new status', { operation: 'UPDATE', subResource: 'status' }],
  ])('lets an object be %s', async (_title, over) => {
    expect(await ask(cluster(), scaledObject({ triggers: [] }), over)).toEqual({ uid: 'r1', allowed: true });
  });
});

describe('what is no review', () => {
  const path = '/validate-keda-sh-v1alpha1-scaledobject';
  const good = JSON.stringify(reviewOf(scaledObject()));
  const review = (over: Json) => JSON.stringify(reviewOf(scaledObject(), over));
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;

  it.each<[string, number, Partial<ServerRequest>]>([
    ['another path', 404, { url: '/validate' }],
    ['a path of every object', 404, { url: '/constructor' }],
    ['a GET', 405, { method: 'GET' }],
    ['another content type', 415, { headers: { 'content-type': 'application/yaml' } }],
    ['no content type', 415, { headers: {} }],
    ['an empty body', 400, { body: Buffer.alloc(0) }],
    ['no JSON', 400, { body: Buffer.from('\xff{') }],
    ['a list', 400, { body: Buffer.from('[]') }],
    ['another object', 400, { body: Buffer.from('{"kind":"Pod"}') }],
    [
      'an older version',
      400,
      { body: Buffer.from(good.replace('admission.k8s.io/v1', 'admission.k8s.io/v1beta1')) },
    ],
    [
      'no request',
      400,
      { body: Buffer.from('{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}') },
    ],
    ['no uid', 400, { body: Buffer.from(review({ uid: '' })) }],
    ['no operation', 400, { body: Buffer.from(review({ operation: 5 })) }],
    ['no object', 400, { body: Buffer.from(review({ object: null })) }],
    ['an object of another kind', 400, { body: Buffer.from(review({ object: scaledJob([cron]) })) }],
    [
      'an object of another group',
      400,
      { body: Buffer.from(review({ object: { ...scaledObject(), apiVersion: 'v1' } })) },
    ],
    ["another webhook's object", 400, { url: '/validate-keda-sh-v1alpha1-scaledjob' }],
    [
      'a spec without end',
      400,
      {
        url: '/validate-keda-sh-v1alpha1-scaledjob',
        body: Buffer.from(
          JSON.stringify(reviewOf(scaledJob([cron]))).replace('"name":"main"', `"name":"main","env":${deep}`),
        ),
      },
    ],
  ])('is answered with a sentence: %s', async (_title, status, over) => {
    const answer = await cluster().handler({ ...posted(path, good), ...over });

    expect([answer.status, answer.headers?.['content-type']]).toEqual([status, 'text/plain; charset=utf-8']);
    expect(String(answer.body)).toMatch(/^[^\n]{10,200}$/);
    expect(String(answer.body)).not.toMatch(/\bat .*\.[tj]s|Error/);
  });

  it('never fails, whatever is sent', async () => {
    const { handler } = cluster([scaledObject({ metadata: { name: 'first' } })]);
    const answers = new Set([200, 400]);

    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.entries(admissionPaths)),
        fc.jsonValue(),
        async ([url, { group, kind }], value) => {
          const whole = Buffer.from(JSON.stringify(value));
          const object = { apiVersion: `${group}/v1alpha1`, kind, metadata: { name: 'a' }, spec: value };
          const inside = reviewOf(object, { oldObject: value, operation: 'UPDATE' });

          const first = await handler(posted(url, whole));
          const second = await handler(posted(url, JSON.stringify(inside)));

          expect([answers.has(first.status), second.status]).toEqual([true, 200]);
        },
      ),
    );
  });

  it('never fails on an object in which anything may be anything', async () => {
    const { handler } = cluster([scaledObject({ metadata: { name: 'first' } })]);
    const any = fc.oneof(fc.jsonValue(), fc.constant(null), fc.integer(), fc.string());
    const trigger = fc.record({
      type: any,
      metadata: any,
      name: any,
      metricType: any,
      useCachedMetrics: any,
      authenticationRef: any,
    });
    const spec = fc.record({
      scaleTargetRef: fc.oneof(any, fc.record({ name: any, kind: any })),
      triggers: fc.oneof(any, fc.array(fc.oneof(any, trigger))),
      minReplicaCount: any,
      idleReplicaCount: any,
      fallback: any,
      advanced: fc.oneof(
        any,
        fc.record({ scalingModifiers: fc.oneof(any, fc.record({ formula: any, target: any })) }),
      ),
    });

    await fc.assert(
      fc.asyncProperty(spec, async given => {
        const object = { ...scaledObject(), spec: given };

        const answer = await handler(posted(pathOf(object), JSON.stringify(reviewOf(object))));

        expect(answer.status).toBe(200);
      }),
    );
  });
});
