import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { documentOf, readDocuments } from './documents.ts';
import { type Manifest, parseManifest } from './manifest.ts';
import { formatProblem } from './problem.ts';
import type { Parsed } from './workload.ts';

function parse(text: string): Parsed<Manifest> {
  const [document] = readDocuments(text, 'f.yaml').documents;
  if (document === undefined) throw new Error('the text holds no document');
  const parsed = parseManifest(document);
  if (parsed === undefined) throw new Error('the kind is not ours');
  return parsed;
}

/** What became of the first document of a text, with problems and notices as lines. */
function read(text: string) {
  const parsed = parse(text);
  return {
    value: parsed.ok ? parsed.value : undefined,
    problems: parsed.ok ? [] : parsed.problems.map(formatProblem),
    notices: parsed.notices.map(formatProblem),
  };
}

const scaledObject = (
  spec: string,
  triggers = '  - { type: cron, metadata: {} }',
) => `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: web }
spec:
  scaleTargetRef: { name: web }
${spec}
  triggers:
${triggers}
`;

const scaledJob = (spec: string, container = '{ name: main }') => `apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: { name: work, namespace: jobs }
spec:
  jobTargetRef: { template: { spec: { containers: [${container}] } } }
  triggers: [{ type: cron, metadata: {} }]
${spec}
`;

describe('a ScaledObject', () => {
  it("gets KEDA's defaults", () => {
    const { value, problems, notices } = read(scaledObject(''));

    expect([...problems, ...notices]).toEqual([]);
    expect(value).toEqual({
      kind: 'ScaledObject',
      key: 'ScaledObject/default/web',
      namespace: 'default',
      name: 'web',
      uid: 'ScaledObject/default/web',
      generation: 1,
      createdAt: 0,
      labels: {},
      annotations: {},
      target: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
      pollingIntervalMs: 30_000,
      cooldownPeriodMs: 300_000,
      initialCooldownPeriodMs: 0,
      maxReplicaCount: 100,
      maxReplicaCountGiven: false,
      restoreToOriginalReplicaCount: false,
      horizontalPodAutoscalerConfig: { name: 'keda-hpa-web' },
      triggers: [{ index: 0, type: 'cron', metadata: {}, secrets: {}, useCachedMetrics: false }],
    });
  });

  it('reads every field', () => {
    const { value, problems, notices } = read(`apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: web
  namespace: shop
  uid: "1-2"
  generation: 7
  creationTimestamp: "2026-01-01T00:00:00Z"
  labels: { a: b }
  annotations: { autoscaling.keda.sh/paused: "true" }
spec:
  scaleTargetRef: { apiVersion: example.com/v1, kind: Thing, name: thing, envSourceContainerName: main }
  pollingInterval: 5
  cooldownPeriod: 6
  initialCooldownPeriod: 7
  idleReplicaCount: 0
  minReplicaCount: 2
  maxReplicaCount: 9
  advanced:
    restoreToOriginalReplicaCount: true
    horizontalPodAutoscalerConfig:
      name: mine
      behavior:
        scaleUp: { selectPolicy: Min, policies: [{ type: Pods, value: 4, periodSeconds: 60 }], tolerance: 0.05 }
        scaleDown: { stabilizationWindowSeconds: 60, tolerance: 50m }
    scalingModifiers: { formula: a + 1, target: "2", activationTarget: "1", metricType: Value }
  fallback: { failureThreshold: 3, replicas: 6 }
  triggers:
    - type: kafka
      name: a
      useCachedMetrics: true
      metricType: Value
      metadata: { lagThreshold: "5" }
      authenticationRef: { name: kafka }
    - { type: cpu, metricType: Utilization, metadata: { value: "50" }, authenticationRef: { name: k, kind: ClusterTriggerAuthentication } }
  eventide: { autoscaler: direct }
status: { anything: [1] }
`);

    expect([...problems, ...notices]).toEqual([]);
    expect(value).toMatchObject({
      key: 'ScaledObject/shop/web',
      uid: '1-2',
      generation: 7,
      createdAt: Date.UTC(2026, 0, 1),
      labels: { a: 'b' },
      annotations: { 'autoscaling.keda.sh/paused': 'true' },
      target: { apiVersion: 'example.com/v1', kind: 'Thing', name: 'thing' },
      envSourceContainerName: 'main',
      pollingIntervalMs: 5000,
      cooldownPeriodMs: 6000,
      initialCooldownPeriodMs: 7000,
      idleReplicaCount: 0,
      minReplicaCount: 2,
      maxReplicaCount: 9,
      maxReplicaCountGiven: true,
      restoreToOriginalReplicaCount: true,
      horizontalPodAutoscalerConfig: {
        name: 'mine',
        behavior: {
          scaleUp: {
            selectPolicy: 'Min',
            policies: [{ type: 'Pods', value: 4, periodSeconds: 60 }],
            tolerance: '0.05',
          },
          scaleDown: { stabilizationWindowSeconds: 60, tolerance: '50m' },
        },
      },
      scalingModifiers: { formula: 'a + 1', target: '2', activationTarget: '1', metricType: 'Value' },
      fallback: { failureThreshold: 3, replicas: 6, behavior: 'static' },
      triggers: [
        {
          index: 0,
          name: 'a',
          useCachedMetrics: true,
          metricType: 'Value',
          authenticationRef: { name: 'kafka', kind: 'TriggerAuthentication' },
        },
        { index: 1, type: 'cpu', authenticationRef: { kind: 'ClusterTriggerAuthentication' } },
      ],
      autoscaler: 'direct',
    });
  });

  it('hears of everything that is wrong with it at once', () => {
    const { problems } = read(
      scaledObject(
        '  maxReplicaCount: "5"\n  minReplicaCount: -1\n  pollingIntervall: 3',
        '  - { type: cron }',
      ),
    );

    expect(problems).toEqual([
      'f.yaml:6:3: spec.maxReplicaCount: must be a whole number, is a text: write 5 without quotes',
      'f.yaml:7:3: spec.minReplicaCount: -1 is too small: the least is 0',
      'f.yaml:8:3: spec.pollingIntervall: there is no field "pollingIntervall" here, did you mean "pollingInterval"?',
      'f.yaml:10:5: spec.triggers[0]: "metadata" is missing: The trigger\'s parameters, each a text.',
    ]);
  });

  it.each([
    ['a name with capitals', scaledObject('').replace('name: web }', 'name: Web }'), '"Web" is not a name'],
    ['no name', scaledObject('').replace('{ name: web }', '{}'), '"name" is missing'],
    ['a null list', scaledObject('', '').trimEnd(), '"triggers" is missing'],
    ['no triggers', scaledObject('', '    []'), 'should have at least 1 items'],
    [
      'an annotation that is no text',
      scaledObject('').replace('web }', 'web, annotations: { a: true } }'),
      'write "true" with quotes',
    ],
    [
      'a wrong choice',
      scaledObject('  fallback: { failureThreshold: 1, replicas: 1, behavior: statik }'),
      'did you mean "static"?',
    ],
    ['a fraction', scaledObject('  maxReplicaCount: 1.5'), 'must be a whole number, is a number (1.5)'],
    ['too much', scaledObject('  maxReplicaCount: 99999999999'), '99999999999 is too large'],
    [
      'too slow a window',
      scaledObject(
        '  advanced: { horizontalPodAutoscalerConfig: { behavior: { scaleUp: { stabilizationWindowSeconds: 3601 } } } }',
      ),
      'the most is 3600',
    ],
    ['an unknown version', scaledObject('').replace('v1alpha1', 'v1'), 'use keda.sh/v1alpha1'],
    [
      'a misspelled kind',
      scaledObject('').replace('ScaledObject', 'ScaledObjct'),
      'did you mean "ScaledObject"?',
    ],
    [
      'a parameter that is a list',
      scaledObject('', '  - { type: cron, metadata: { a: [1] } }'),
      'must be a text, is a list',
    ],
    [
      'half a reference',
      scaledObject('', '  - { type: cron, metadata: { a: { name: x } } }'),
      'secretKeyRef: { name: …, key: … }',
    ],
  ])('is refused with %s', (_title, text, sentence) => {
    const { problems } = read(text);

    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(sentence);
  });
});

describe('what is wrong with a ScaledObject', () => {
  const behavior = (policy: string) =>
    `  advanced: { horizontalPodAutoscalerConfig: { behavior: { scaleUp: { policies: [${policy}] } } } }`;
  const sum = '  - { type: cron, metadata: {}, metricType: Sum }';

  it.each<[string, string, { rest: boolean; admissible: boolean }]>([
    ['a field that does not exist', scaledObject('  pollingIntervall: 3'), { rest: true, admissible: true }],
    [
      'a field in two spellings',
      scaledObject('  minReplicas: 1\n  minReplicaCount: 1'),
      { rest: true, admissible: true },
    ],
    ['a metric type that does not exist', scaledObject('', sum), { rest: false, admissible: true }],
    [
      'a policy that no HPA takes',
      scaledObject(behavior('{ type: Some, value: 0, periodSeconds: 1801 }')),
      { rest: false, admissible: true },
    ],
    [
      'a value that the API server refuses',
      scaledObject('  pollingInterval: 0'),
      { rest: false, admissible: false },
    ],
  ])(
    'leaves something over to check or to admit, by what it is: %s',
    (_title, text, { rest, admissible }) => {
      const parsed = parse(text);

      expect(parsed.ok).toBe(false);
      expect(['rest' in parsed, 'admissible' in parsed]).toEqual([rest, admissible]);
    },
  );
});

describe('the loose spelling', () => {
  it.each([
    [
      'minReplicas',
      scaledObject('  minReplicas: 2'),
      { minReplicaCount: 2 },
      "KEDA's spelling is minReplicaCount",
    ],
    [
      'maxReplicas',
      scaledObject('  maxReplicas: 3'),
      { maxReplicaCount: 3, maxReplicaCountGiven: true },
      "KEDA's spelling is maxReplicaCount",
    ],
    [
      'azureeventhub',
      scaledObject('', '  - { type: azureeventhub, metadata: {} }'),
      { triggers: [{ type: 'azure-eventhub' }] },
      "KEDA's spelling is azure-eventhub",
    ],
    [
      'azurestoragequeue',
      scaledObject('', '  - { type: azurestoragequeue, metadata: {} }'),
      { triggers: [{ type: 'azure-queue' }] },
      "KEDA's spelling is azure-queue",
    ],
    [
      'AzureServiceBus',
      scaledObject('', '  - { type: AzureServiceBus, metadata: {} }'),
      { triggers: [{ type: 'azure-servicebus' }] },
      "KEDA's spelling is azure-servicebus",
    ],
    [
      'a number',
      scaledObject('', '  - { type: cron, metadata: { a: 5 } }'),
      { triggers: [{ metadata: { a: '5' } }] },
      `KEDA's spelling is a: "5"`,
    ],
    [
      'a fraction as written',
      scaledObject('', '  - { type: cron, metadata: { a: 1.0 } }'),
      { triggers: [{ metadata: { a: '1.0' } }] },
      `KEDA's spelling is a: "1.0"`,
    ],
    [
      'a boolean',
      scaledObject('', '  - { type: cron, metadata: { a: true } }'),
      { triggers: [{ metadata: { a: 'true' } }] },
      `KEDA's spelling is a: "true"`,
    ],
    [
      'a reference to a Secret',
      scaledObject('', '  - { type: cron, metadata: { connection: { name: s, key: k } } }'),
      { triggers: [{ metadata: {}, secrets: { connection: { name: 's', key: 'k' } } }] },
      'secretTargetRef { parameter: connection, name: s, key: k }',
    ],
    [
      'a secretKeyRef',
      scaledObject('', '  - { type: cron, metadata: { connection: { secretKeyRef: { name: s, key: k } } } }'),
      { triggers: [{ secrets: { connection: { name: 's', key: 'k' } } }] },
      'secretTargetRef',
    ],
    [
      'the target of a ScaledJob',
      scaledJob('  scaleTargetRef: { name: x }'),
      { kind: 'ScaledJob' },
      'KEDA makes its Jobs from jobTargetRef',
    ],
  ])('accepts %s with one notice', (_title, text, expected, notice) => {
    const { value, problems, notices } = read(text);

    expect(problems).toEqual([]);
    expect(value).toMatchObject(expected);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toContain(notice);
    expect(notices[0]).not.toContain('\n');
  });

  it('refuses a field in both spellings', () => {
    const { problems } = read(scaledObject('  minReplicas: 2\n  minReplicaCount: 2'));

    expect(problems).toEqual([
      'f.yaml:6:3: spec.minReplicas: "minReplicas" and "minReplicaCount" are the same: keep one of them',
    ]);
  });
});

describe('a ScaledJob', () => {
  it("gets KEDA's defaults", () => {
    const { value, problems, notices } = read(scaledJob(''));

    expect([...problems, ...notices]).toEqual([]);
    expect(value).toMatchObject({
      key: 'ScaledJob/jobs/work',
      pollingIntervalMs: 30_000,
      maxReplicaCount: 100,
      maxReplicaCountGiven: false,
      successfulJobsHistoryLimit: 100,
      failedJobsHistoryLimit: 100,
      rollout: { propagationPolicy: 'background' },
      scalingStrategy: { strategy: 'default', pendingPodConditions: [], multipleScalersCalculation: 'max' },
    });
    expect(value).not.toHaveProperty('delivery');
    expect(value).not.toHaveProperty('minReplicaCount');
  });

  it('reads every field, and rolloutStrategy before rollout.strategy', () => {
    const { value, problems } = read(
      scaledJob(`  pollingInterval: 1
  minReplicaCount: 1
  maxReplicaCount: 5
  successfulJobsHistoryLimit: 0
  failedJobsHistoryLimit: 2
  envSourceContainerName: main
  rolloutStrategy: gradual
  rollout: { strategy: immediate, propagationPolicy: foreground }
  scalingStrategy:
    strategy: custom
    customScalingQueueLengthDeduction: 1
    customScalingRunningJobPercentage: "0.5"
    pendingPodConditions: [Ready]
    multipleScalersCalculation: sum`),
    );

    expect(problems).toEqual([]);
    expect(value).toMatchObject({
      pollingIntervalMs: 1000,
      minReplicaCount: 1,
      maxReplicaCount: 5,
      successfulJobsHistoryLimit: 0,
      failedJobsHistoryLimit: 2,
      envSourceContainerName: 'main',
      rollout: { strategy: 'gradual', propagationPolicy: 'foreground' },
      scalingStrategy: {
        strategy: 'custom',
        customScalingQueueLengthDeduction: 1,
        customScalingRunningJobPercentage: '0.5',
        pendingPodConditions: ['Ready'],
        multipleScalersCalculation: 'sum',
      },
    });
  });

  const unasked = { as: 'env', batchSize: 1, maxAttempts: 5 };
  it.each([
    ['its args mention KEDA_TASK_DATA', scaledJob('', '{ name: a, args: ["$(KEDA_TASK_DATA)"] }'), unasked],
    ['its command does', scaledJob('', '{ name: a, command: [sh, -c, "echo $KEDA_TASK_DATA"] }'), unasked],
    [
      'its environment does',
      scaledJob('', '{ name: a, env: [{ name: X, value: $(KEDA_TASK_DATA) }] }'),
      unasked,
    ],
    ['it is asked for', scaledJob('  eventide: { delivery: {} }'), unasked],
    [
      'it is asked for in detail',
      scaledJob('  eventide: { delivery: { as: file, batchSize: 9, maxAttempts: 2 } }'),
      { as: 'file', batchSize: 9, maxAttempts: 2 },
    ],
  ])('has its messages delivered where %s', (_title, text, delivery) => {
    const { value } = read(text);

    expect(value).toHaveProperty('delivery', delivery);
  });

  it.each([
    [
      'a template without containers',
      scaledJob('').replace('containers: [{ name: main }]', ''),
      '"containers" is missing',
    ],
    ['no template', scaledJob('').replace(/template: .*\}$/m, '}'), '"template" is missing'],
    [
      'a metricType',
      scaledJob('').replace('type: cron', 'type: cron, metricType: Value'),
      'no field "metricType"',
    ],
    ['a batch of none', scaledJob('  eventide: { delivery: { batchSize: 0 } }'), 'the least is 1'],
  ])('is refused with %s', (_title, text, sentence) => {
    const { problems } = read(text);

    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(sentence);
  });
});

describe('authentications and event sources', () => {
  const authentication = (kind: string, spec: string) =>
    `apiVersion: keda.sh/v1alpha1\nkind: ${kind}\nmetadata: { name: a, namespace: n }\nspec: ${spec}\n`;

  it('reads a TriggerAuthentication in its namespace', () => {
    const { value } = read(
      authentication('TriggerAuthentication', '{ secretTargetRef: [{ parameter: p, name: s, key: k }] }'),
    );

    expect(value).toEqual({
      kind: 'TriggerAuthentication',
      namespace: 'n',
      name: 'a',
      spec: { secretTargetRef: [{ parameter: 'p', name: 's', key: 'k' }] },
    });
  });

  it('reads a ClusterTriggerAuthentication, which has no namespace', () => {
    const { value } = read(authentication('ClusterTriggerAuthentication', '{ filePath: a.json }'));

    expect(value).toMatchObject({ kind: 'ClusterTriggerAuthentication', namespace: undefined });
  });

  it.each([
    ['{ podIdentity: {} }', '"provider" is missing'],
    ['{ podIdentity: { provider: azure } }', 'is not one of'],
    ['{ hashiCorpVault: { address: a, authentication: token, secrets: [] } }', 'at least 1 items'],
    ['{ secretTargetRefs: [] }', 'did you mean "secretTargetRef"?'],
  ])('refuses %s', (spec, sentence) => {
    const { problems } = read(authentication('TriggerAuthentication', spec));

    expect(problems[0]).toContain(sentence);
  });

  it('reads a CloudEventSource', () => {
    const { value, problems } = read(`apiVersion: eventing.keda.sh/v1alpha1
kind: CloudEventSource
metadata: { name: a }
spec:
  destination: { http: { uri: http://x } }
  eventSubscription: { includedEventTypes: [keda.scaledobject.ready.v1] }
`);

    expect(problems).toEqual([]);
    expect(value).toMatchObject({
      kind: 'CloudEventSource',
      spec: { destination: { http: { uri: 'http://x' } } },
    });
  });
});

it('leaves kinds that are not ours alone', () => {
  const { documents } = readDocuments('apiVersion: v1\nkind: Secret\nmetadata: { name: s }\n', 'f.yaml');

  const parsed: (Parsed<Manifest> | undefined)[] = documents.map(parseManifest);

  expect(parsed).toEqual([undefined]);
});

it('complains of a field that cannot be made a text like of any other', () => {
  const triggers = [{ type: { toString: 1 }, metadata: {} }];
  const spec = { scaleTargetRef: { name: 'web' }, triggers };
  const metadata = { name: 'web' };

  const parsed = parseManifest(
    documentOf({ apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledObject', metadata, spec }),
  );

  expect(parsed?.ok === false && parsed.problems.map(({ problem }) => problem)).toEqual([
    'must be a text, is an object',
  ]);
});

it('never throws, whatever stands in the fields', () => {
  const anything = fc.jsonValue({ maxDepth: 3 });
  const fields = [
    'scaleTargetRef',
    'triggers',
    'advanced',
    'fallback',
    'jobTargetRef',
    'eventide',
    'podIdentity',
  ];
  const spec = fc.dictionary(fc.oneof(fc.constantFrom(...fields), fc.string()), anything);
  const trigger = fc.record({ type: anything, metadata: anything, authenticationRef: anything });
  const kind = fc.constantFrom(
    'ScaledObject',
    'ScaledJob',
    'TriggerAuthentication',
    'ClusterTriggerAuthentication',
  );
  const object = fc.record({
    apiVersion: fc.constant('keda.sh/v1alpha1'),
    kind,
    metadata: fc.oneof(anything, fc.constant({ name: 'a' })),
    spec: fc.oneof(
      anything,
      spec,
      fc.tuple(spec, fc.array(trigger)).map(([rest, triggers]) => ({ ...rest, triggers })),
    ),
  });

  fc.assert(
    fc.property(object, value => {
      const parsed = parseManifest(documentOf(value));
      return parsed !== undefined && (parsed.ok || parsed.problems.length > 0);
    }),
    { numRuns: 1000 },
  );
});
