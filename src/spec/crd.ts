import { stringify } from 'yaml';
import { cloudEventSourceSpec, cloudEventSourceStatus } from './cloud-event-source.ts';
import { scaledJobSpec, scaledJobStatus } from './scaled-job.ts';
import { scaledObjectSpec, scaledObjectStatus } from './scaled-object.ts';
import type { Field, JsonSchema } from './schema.ts';
import { triggerAuthenticationSpec, triggerAuthenticationStatus } from './trigger-authentication.ts';

interface Column {
  name: string;
  jsonPath: string;
  type: 'string' | 'integer' | 'date';
  /** 1 shows it with `-o wide` only. */
  priority?: number;
}

interface Kind {
  kind: string;
  plural: string;
  group: string;
  scope: 'Namespaced' | 'Cluster';
  shortNames?: readonly string[];
  doc: string;
  spec: Field<unknown>;
  status: Field<unknown>;
  /** KEDA's ScaledJob may lack a spec. */
  specOptional?: boolean;
  /** Rules in CEL over the spec. */
  celRules?: readonly { rule: string; message: string }[];
  columns: readonly Column[];
}

const column = (name: string, jsonPath: string, type: Column['type'] = 'string'): Column => ({
  name,
  jsonPath,
  type,
});
const wide = (name: string, jsonPath: string): Column => ({ ...column(name, jsonPath), priority: 1 });
const condition = (type: string) => column(type, `.status.conditions[?(@.type=="${type}")].status`);

const replicaColumns = [
  column('Min', '.spec.minReplicaCount', 'integer'),
  column('Max', '.spec.maxReplicaCount', 'integer'),
];
const closingColumns = [
  column('Triggers', '.status.triggersTypes'),
  column('Authentications', '.status.authenticationsTypes'),
  column('Age', '.metadata.creationTimestamp', 'date'),
];
const sourceColumns = [
  column('PodIdentity', '.spec.podIdentity.provider'),
  column('Secret', '.spec.secretTargetRef[*].name'),
  column('Env', '.spec.env[*].name'),
];
const vaultAndUsers = [
  column('VaultAddress', '.spec.hashiCorpVault.address'),
  wide('ScaledObjects', '.status.scaledobjects'),
  wide('ScaledJobs', '.status.scaledjobs'),
];

const authentication = {
  group: 'keda.sh',
  spec: triggerAuthenticationSpec,
  status: triggerAuthenticationStatus,
};
const eventSource = {
  group: 'eventing.keda.sh',
  spec: cloudEventSourceSpec,
  status: cloudEventSourceStatus,
  columns: [condition('Active')],
};

const kinds: readonly Kind[] = [
  {
    kind: 'ScaledObject',
    plural: 'scaledobjects',
    group: 'keda.sh',
    scope: 'Namespaced',
    shortNames: ['so'],
    doc: 'Scales a workload by the events that wait for it.',
    spec: scaledObjectSpec,
    status: scaledObjectStatus,
    celRules: [
      {
        rule: '!has(self.minReplicaCount) || self.minReplicaCount <= (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)',
        message: 'minReplicaCount must be less than or equal to maxReplicaCount',
      },
    ],
    columns: [
      column('ScaleTargetKind', '.status.scaleTargetKind'),
      column('ScaleTargetName', '.spec.scaleTargetRef.name'),
      ...replicaColumns,
      ...['Ready', 'Active', 'Fallback', 'Paused'].map(condition),
      ...closingColumns,
    ],
  },
  {
    kind: 'ScaledJob',
    plural: 'scaledjobs',
    group: 'keda.sh',
    scope: 'Namespaced',
    shortNames: ['sj'],
    doc: 'Creates Jobs for the events that wait.',
    spec: scaledJobSpec,
    status: scaledJobStatus,
    specOptional: true,
    columns: [...replicaColumns, ...['Ready', 'Active', 'Paused'].map(condition), ...closingColumns],
  },
  {
    ...authentication,
    kind: 'TriggerAuthentication',
    plural: 'triggerauthentications',
    scope: 'Namespaced',
    shortNames: ['ta', 'triggerauth'],
    doc: 'The credentials of triggers in one namespace.',
    columns: [...sourceColumns, ...vaultAndUsers],
  },
  {
    ...authentication,
    kind: 'ClusterTriggerAuthentication',
    plural: 'clustertriggerauthentications',
    scope: 'Cluster',
    shortNames: ['cta', 'clustertriggerauth'],
    doc: 'The credentials of triggers in all namespaces.',
    columns: [...sourceColumns, column('FilePath', '.spec.filePath'), ...vaultAndUsers],
  },
  {
    ...eventSource,
    kind: 'CloudEventSource',
    plural: 'cloudeventsources',
    scope: 'Namespaced',
    doc: 'Sends what happens to scaled workloads as CloudEvents.',
  },
  {
    ...eventSource,
    kind: 'ClusterCloudEventSource',
    plural: 'clustercloudeventsources',
    scope: 'Cluster',
    doc: 'Sends what happens to scaled workloads as CloudEvents.',
  },
];

/** The six CustomResourceDefinitions, a superset of KEDA's: they accept every object that KEDA's accept. */
export function crds(): JsonSchema[] {
  return kinds.map(kind => ({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.plural}.${kind.group}` },
    spec: {
      group: kind.group,
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        ...(kind.shortNames === undefined ? {} : { shortNames: kind.shortNames }),
        singular: kind.kind.toLowerCase(),
      },
      scope: kind.scope,
      versions: [
        {
          name: 'v1alpha1',
          served: true,
          storage: true,
          additionalPrinterColumns: kind.columns,
          schema: { openAPIV3Schema: schemaOf(kind) },
          subresources: { status: {} },
        },
      ],
    },
  }));
}

function schemaOf({ doc, spec, status, specOptional, celRules }: Kind): JsonSchema {
  const rules = celRules === undefined ? {} : { 'x-kubernetes-validations': celRules };
  return {
    description: doc,
    type: 'object',
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      spec: { ...spec.schema(), ...rules },
      status: status.schema(),
    },
    ...(specOptional ? {} : { required: ['spec'] }),
  };
}

/** The files of deploy/crds, one per CustomResourceDefinition; the same declarations always give the same text. */
export function crdFiles(): { path: string; text: string }[] {
  return crds().map(crd => {
    const { name } = crd['metadata'] as { name: string };
    const [plural = '', ...group] = name.split('.');
    const text = stringify(crd, { lineWidth: 110, aliasDuplicateObjects: false });
    return { path: `deploy/crds/${group.join('.')}_${plural}.yaml`, text };
  });
}
