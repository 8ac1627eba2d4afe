import { describe, expect, it } from 'vitest';
import { documentOf, readDocuments } from './documents.ts';
import { parseManifest } from './manifest.ts';
import { type Snapshot, snapshotOf, surroundingsOf } from './surroundings.ts';
import { reasonOf, rules, validate } from './validate.ts';
import type { ScaledObject } from './workload.ts';

interface Given {
  spec?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  triggers?: Record<string, unknown>[];
}

const metadata = { name: 'web', namespace: 'shop' };
const cron = { type: 'cron', metadata: {} };
const cpu = { type: 'cpu', metadata: { value: '50' }, metricType: 'Utilization' };

const scaledObject = ({ spec = {}, triggers = [cron], ...more }: Given = {}) => ({
  apiVersion: 'keda.sh/v1alpha1',
  kind: 'ScaledObject',
  metadata: { ...metadata, ...more.metadata },
  spec: { scaleTargetRef: { name: 'app' }, triggers, ...spec },
});

const deployment = (resources: object = {}) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'app', namespace: 'shop' },
  spec: {
    template: {
      spec: {
        containers: [
          { name: 'main', resources },
          { name: 'side', resources },
        ],
      },
    },
  },
});

const hpa = (over: object = {}) => ({
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'old', namespace: 'shop', ...over },
  spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'app' } },
});

const range = (limit: object) => ({
  apiVersion: 'v1',
  kind: 'LimitRange',
  metadata: { name: 'r', namespace: 'shop' },
  spec: { limits: [limit] },
});

interface World {
  others?: Record<string, unknown>[];
  dryRun?: boolean;
  complete?: boolean;
  triggerTypes?: readonly string[];
  checkFormula?: (text: string, names: readonly string[]) => { problem: string }[];
}

/** Validates an object among others, and says which rules it broke with what. */
function check(object: Record<string, unknown>, world: World = {}) {
  const { others = [], dryRun = false, complete = false, checkFormula = () => [], ...more } = world;
  const documents = [object, ...others].map(each => documentOf(each));
  const parsed = documents.flatMap(document => {
    const result = parseManifest(document);
    return result?.ok ? [{ document, manifest: result.value }] : [];
  });
  const [subject] = parsed;
  if (subject === undefined || subject.document !== documents[0])
    throw new Error('the object does not parse');
  const scaledObjects = parsed.flatMap(({ manifest }) =>
    manifest.kind === 'ScaledObject' ? [manifest] : [],
  );
  const snapshot: Snapshot = { ...snapshotOf(documents, scaledObjects as ScaledObject[]), complete };
  const around = surroundingsOf(snapshot, { operation: 'create', dryRun, checkFormula, ...more });
  const { problems, notices } = validate(subject, around);
  return {
    broken: problems.map(({ rule }) => rule),
    reasons: problems.map(({ rule = '' }) => reasonOf(rule)),
    sentences: problems.map(({ problem }) => problem),
    fields: problems.map(({ place }) => place?.field),
    noticed: notices.map(({ rule }) => rule),
  };
}

describe('the rules of replicas, names, fallback and triggers', () => {
  it('finds nothing wrong with a plain ScaledObject', () => {
    expect(check(scaledObject())).toMatchObject({ broken: [], noticed: [] });
  });

  const fallback = { failureThreshold: 1, replicas: 1 };
  it.each([
    ['min above max', { spec: { minReplicaCount: 5, maxReplicaCount: 4 } }, 'incorrect-replicas'],
    ['min above the default max', { spec: { minReplicaCount: 101 } }, 'incorrect-replicas'],
    ['idle as many as min', { spec: { minReplicaCount: 2, idleReplicaCount: 2 } }, 'incorrect-replicas'],
    ['idle without min', { spec: { idleReplicaCount: 0 } }, 'incorrect-replicas'],
    [
      'fallback with cpu only',
      { spec: { fallback, minReplicaCount: 1 }, triggers: [cpu] },
      'incorrect-fallback',
    ],
    ['cached cron', { triggers: [{ ...cron, useCachedMetrics: true }] }, 'incorrect-triggers'],
    [
      'a trigger name twice',
      {
        triggers: [
          { ...cron, name: 'a' },
          { ...cron, name: 'a' },
        ],
      },
      'incorrect-triggers',
    ],
    [
      'a formula fallback without formula',
      { spec: { fallback: { ...fallback, behavior: 'scalingModifiers' } } },
      'scaling-modifiers-fallback',
    ],
  ] satisfies [string, Given, string][])('refuses %s', (_title, given, reason) => {
    expect(check(scaledObject(given)).reasons).toEqual([reason]);
  });

  it.each([
    ['idle 0 with min 0', { spec: { minReplicaCount: 0, idleReplicaCount: 0 } }],
    ['idle 0 with min 1', { spec: { minReplicaCount: 1, idleReplicaCount: 0 } }],
    ['min as many as max', { spec: { minReplicaCount: 4, maxReplicaCount: 4 } }],
    ['cached kafka', { triggers: [{ ...cron, type: 'kafka', useCachedMetrics: true }] }],
    [
      'fallback with one trigger that is not cpu',
      { spec: { fallback, minReplicaCount: 1 }, triggers: [cpu, cron] },
    ],
  ] satisfies [string, Given][])('accepts %s', (_title, given) => {
    expect(check(scaledObject(given)).broken).toEqual([]);
  });

  it.each([
    [
      'a polling interval that does nothing',
      { minReplicaCount: 1, pollingInterval: 5 },
      ['polling-interval-relevant'],
    ],
    ['a cooldown that does nothing', { minReplicaCount: 1, cooldownPeriod: 5 }, ['cooldown-period-relevant']],
    ['both at zero', { minReplicaCount: 0, pollingInterval: 5, cooldownPeriod: 5 }, []],
    [
      'both with idle',
      { minReplicaCount: 1, idleReplicaCount: 0, pollingInterval: 5, cooldownPeriod: 5 },
      [],
    ],
  ])('takes notice of %s', (_title, spec, noticed) => {
    expect(check(scaledObject({ spec })).noticed).toEqual(noticed);
  });

  it.each([
    ['of the object', { metadata: { name: 'a'.repeat(64) } }, 'name-length'],
    ['of its HPA', { metadata: { name: 'a'.repeat(55) } }, 'hpa-name-length'],
  ] satisfies [string, Given, string][])(
    'takes notice of a long name %s, and refuses none',
    (_title, given, rule) => {
      const { broken, noticed } = check(scaledObject(given));

      expect(broken).toEqual([]);
      expect(noticed).toEqual([rule]);
    },
  );

  it('knows the trigger types it is told, and suggests one', () => {
    const triggerTypes = ['cron', 'kafka'];
    const object = scaledObject({ triggers: [{ ...cron, type: 'kafak' }, cron] });

    expect(check(object, { triggerTypes }).sentences).toEqual([
      'there is no trigger type "kafak", did you mean "kafka"?',
    ]);
    expect(check(object).sentences).toEqual([]);
  });

  it('applies the trigger rules to a ScaledJob', () => {
    const { spec } = scaledObject({ triggers: [{ ...cron, useCachedMetrics: true }] });
    const jobTargetRef = { template: { spec: { containers: [{ name: 'main' }] } } };
    const job = {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledJob',
      metadata,
      spec: { triggers: spec.triggers, jobTargetRef },
    };

    expect(check(job).fields).toEqual(['spec.triggers[0].useCachedMetrics']);
  });
});

describe('scaling modifiers', () => {
  const modifiers = (scalingModifiers: object, triggers: Record<string, unknown>[] = [cron]) =>
    scaledObject({ spec: { advanced: { scalingModifiers } }, triggers });

  it.each([
    ['a target without formula', { target: '1' }, ['scalingModifiers have no formula']],
    ['a formula without target', { formula: 'a' }, ['scalingModifiers have a formula but no target']],
    ['a target of nothing', { formula: 'a', target: '0' }, ['"0" is not a number above 0']],
    ['a target that is no number', { formula: 'a', target: 'x' }, ['"x" is not a number above 0']],
    ['nothing at all', {}, []],
    ['empty texts', { formula: '', target: '' }, []],
    ['a formula with a target', { formula: 'a', target: '2.5' }, []],
  ])('judges %s', (_title, given, sentences) => {
    expect(check(modifiers(given)).sentences).toEqual(sentences);
  });

  it('gives the formula the names of all triggers but cpu and memory, and passes on what is wrong with it', () => {
    const asked: unknown[] = [];
    const checkFormula = (...args: unknown[]) => {
      asked.push(args);
      return [{ problem: 'unknown name b' }];
    };
    const triggers = [{ ...cron, name: 'a' }, { ...cpu, name: 'c' }, cron];

    const { sentences, fields } = check(modifiers({ formula: 'a + b', target: '1' }, triggers), {
      checkFormula,
      dryRun: true,
    });

    expect(asked).toEqual([['a + b', ['a']]]);
    expect(sentences).toEqual(['unknown name b']);
    expect(fields).toEqual(['spec.advanced.scalingModifiers.formula']);
  });
});

describe('the rules that look around', () => {
  const other = (name: string, given: Given = {}) =>
    scaledObject({ ...given, metadata: { ...given.metadata, name } });

  it('refuses a second ScaledObject for one target in the words that KEDA uses', () => {
    const { sentences, reasons } = check(scaledObject(), { others: [other('first')] });

    expect(sentences).toEqual([
      "the workload 'app' of type 'apps/v1.Deployment' is already managed by the ScaledObject 'first'",
    ]);
    expect(reasons).toEqual(['other-scaled-object']);
  });

  it.each([
    ['in another namespace', other('first', { metadata: { namespace: 'elsewhere' } })],
    ['for another kind', other('first', { spec: { scaleTargetRef: { name: 'app', kind: 'StatefulSet' } } })],
    ['for another name', other('first', { spec: { scaleTargetRef: { name: 'else' } } })],
    ['that is the same one', other('web')],
  ])('accepts a ScaledObject %s', (_title, first) => {
    expect(check(scaledObject(), { others: [first] }).broken).toEqual([]);
  });

  it('refuses a second owner of one HPA', () => {
    const advanced = { horizontalPodAutoscalerConfig: { name: 'keda-hpa-web' } };
    const first = other('first', { spec: { scaleTargetRef: { name: 'else' }, advanced } });

    const { sentences, reasons } = check(scaledObject(), { others: [first] });

    expect(sentences).toEqual(["the HPA 'keda-hpa-web' is already managed by the ScaledObject 'first'"]);
    expect(reasons).toEqual(['other-scaled-object-hpa']);
  });

  it("refuses a target with somebody's own HPA", () => {
    const { sentences, reasons } = check(scaledObject(), { others: [hpa()] });

    expect(sentences).toEqual([
      "the workload 'app' of type 'apps/v1.Deployment' is already managed by the hpa 'old'",
    ]);
    expect(reasons).toEqual(['other-hpa']);
  });

  const transfer = { annotations: { 'scaledobject.keda.sh/transfer-hpa-ownership': 'true' } };
  const named = { advanced: { horizontalPodAutoscalerConfig: { name: 'old' } } };
  it.each([
    [
      'it belongs to this ScaledObject',
      scaledObject(),
      hpa({ ownerReferences: [{ kind: 'ScaledObject', name: 'web' }] }),
      [],
    ],
    [
      'it belongs to another',
      scaledObject(),
      hpa({ ownerReferences: [{ kind: 'ScaledObject', name: 'x' }] }),
      ['other-hpa'],
    ],
    [
      'it opts out',
      scaledObject(),
      hpa({ annotations: { 'validations.keda.sh/hpa-ownership': 'false' } }),
      [],
    ],
    [
      'it gives no version',
      scaledObject(),
      { ...hpa(), spec: { scaleTargetRef: { kind: 'Deployment', name: 'app' } } },
      ['other-hpa'],
    ],
    ['it is taken over by name', scaledObject({ metadata: transfer, spec: named }), hpa(), []],
    [
      'it is taken over without a name',
      scaledObject({ metadata: transfer }),
      hpa(),
      ['transfer-ownership-missing-hpa-name'],
    ],
  ])('judges an HPA of the target where %s', (_title, object, existing, reasons) => {
    expect(check(object, { others: [existing] }).reasons).toEqual(reasons);
  });
});

describe('cpu and memory triggers', () => {
  const object = (given: Given = {}) =>
    scaledObject({ triggers: [cpu], ...given, spec: { minReplicaCount: 1, ...given.spec } });

  it('need a request in every container, said in the words that KEDA uses', () => {
    const { sentences, reasons } = check(object(), { others: [deployment()] });

    expect(sentences).toEqual([
      "the scaledobject has a cpu trigger but the container main doesn't have the cpu request defined",
      "the scaledobject has a cpu trigger but the container side doesn't have the cpu request defined",
    ]);
    expect(new Set(reasons)).toEqual(new Set(['missing-requests']));
  });

  it.each([
    ['requests are set', object(), [deployment({ requests: { cpu: '100m' } })], []],
    ['only limits are set', object(), [deployment({ limits: { cpu: 1 } })], []],
    [
      'requests are zero',
      object({ triggers: [{ ...cpu, metadata: { containerName: 'side' } }] }),
      [deployment({ requests: { cpu: '0' } })],
      ['missing-requests'],
    ],
    [
      'one container counts',
      object({ triggers: [{ ...cpu, metadata: { containerName: 'none' } }] }),
      [deployment()],
      [],
    ],
    [
      'the namespace has a default',
      object(),
      [deployment(), range({ type: 'Container', default: { cpu: '1' } })],
      [],
    ],
    [
      'the namespace has a default request',
      object(),
      [deployment(), range({ type: 'Container', defaultRequest: { cpu: '1' } })],
      [],
    ],
    [
      'the default is for pods',
      object({ triggers: [{ ...cpu, metadata: { containerName: 'main' } }] }),
      [deployment(), range({ type: 'Pod', default: { cpu: '1' } })],
      ['missing-requests'],
    ],
    [
      'the target is of another kind',
      object({ spec: { scaleTargetRef: { name: 'app', apiVersion: 'x/v1', kind: 'Y' } } }),
      [deployment()],
      [],
    ],
    ['nobody knows the target', object(), [], []],
    [
      'nothing wakes it from zero',
      object({ spec: { minReplicaCount: 0 } }),
      [deployment({ requests: { cpu: 1 } })],
      ['scale-to-zero-requirements-not-met'],
    ],
    [
      'another trigger wakes it',
      object({ spec: { minReplicaCount: 0 }, triggers: [cpu, cron] }),
      [deployment({ requests: { cpu: 1 } })],
      [],
    ],
  ])('are judged where %s', (_title, subject, others, reasons) => {
    expect(check(subject, { others }).reasons).toEqual(reasons);
  });

  it('need their target, where the world is known completely', () => {
    expect(check(object(), { complete: true }).broken).toEqual(['resource-target-exists']);
  });

  it('are not looked at in a dry run', () => {
    expect(check(object(), { others: [deployment()], dryRun: true }).broken).toEqual([]);
  });
});

describe('the rules of authentications and event sources', () => {
  const authentication = (spec: object) => ({
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'TriggerAuthentication',
    metadata,
    spec,
  });
  const azure = (more: object) => authentication({ podIdentity: { provider: 'azure-workload', ...more } });
  const aws = (more: object) => authentication({ podIdentity: { provider: 'aws', ...more } });
  const oauth = (tokenUrl: string, more: object = {}) =>
    authentication({ oauth2: { type: 'clientCredentials', clientId: 'c', tokenUrl }, ...more });
  const events = (eventSubscription: object) => ({
    apiVersion: 'eventing.keda.sh/v1alpha1',
    kind: 'CloudEventSource',
    metadata,
    spec: { destination: {}, eventSubscription },
  });
  const included = { includedEventTypes: ['keda.scaledobject.ready.v1'] };

  it.each([
    ['an Azure identity', azure({ identityId: 'a', identityTenantId: 't', identityAuthorityHost: 'h' }), []],
    ['an empty identityId', azure({ identityId: '' }), ['spec.podIdentity.identityId']],
    [
      'an authority host without tenant',
      azure({ identityAuthorityHost: 'h' }),
      ['spec.podIdentity.identityAuthorityHost'],
    ],
    ['an empty tenant', azure({ identityTenantId: '' }), ['spec.podIdentity.identityTenantId']],
    ['an AWS role', aws({ roleArn: 'r', externalID: 'e' }), []],
    [
      "a role of the workload's",
      aws({ roleArn: 'r', identityOwner: 'workload' }),
      ['spec.podIdentity.roleArn'],
    ],
    ['an external id without role', aws({ externalID: 'e' }), ['spec.podIdentity.externalID']],
    ['an OAuth server', oauth('https://login.example.com/token'), []],
    ['a token URL without scheme', oauth('login.example.com/token'), ['spec.oauth2.tokenUrl']],
    ['the same beside a GCP identity', oauth('x', { podIdentity: { provider: 'gcp' } }), []],
    ['included events', events(included), []],
    [
      'included and excluded events',
      events({ ...included, excludedEventTypes: included.includedEventTypes }),
      ['spec.eventSubscription.excludedEventTypes'],
    ],
  ])('judge %s', (_title, object, fields) => {
    expect(check(object).fields).toEqual(fields);
  });
});

describe('the list of rules', () => {
  it('has a name of its own for each', () => {
    const names = rules.map(({ name }) => name);

    expect(new Set(names).size).toBe(names.length);
  });

  it('uses the reasons of KEDA and no others', () => {
    const reasons = new Set(rules.flatMap(({ reason }) => (reason === undefined ? [] : [reason])));

    expect([...reasons].sort()).toEqual([
      'hpa-name-too-long',
      'incorrect-fallback',
      'incorrect-replicas',
      'incorrect-triggers',
      'missing-requests',
      'name-too-long',
      'other-hpa',
      'other-scaled-object',
      'other-scaled-object-hpa',
      'scale-to-zero-requirements-not-met',
      'scaling-modifiers',
      'scaling-modifiers-fallback',
      'transfer-ownership-missing-hpa-name',
    ]);
  });

  it('places what it finds in the file', () => {
    const text = JSON.stringify(scaledObject({ spec: { idleReplicaCount: 0 } }), undefined, 2);
    const [document] = readDocuments(text, 'f.json').documents;
    const parsed = document === undefined ? undefined : parseManifest(document);
    if (document === undefined || !parsed?.ok) throw new Error('the object does not parse');
    const around = surroundingsOf(snapshotOf([], []), {
      operation: 'create',
      dryRun: false,
      checkFormula: () => [],
    });

    const { problems } = validate({ manifest: parsed.value, document }, around);

    const line = text.split('\n').findIndex(each => each.includes('idleReplicaCount')) + 1;
    expect(problems[0]?.place).toMatchObject({ file: 'f.json', line, field: 'spec.idleReplicaCount' });
  });
});
