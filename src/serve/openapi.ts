import { group, version } from './discovery.ts';

const groupVersion = `${group}/${version}`;
const path = `/apis/${groupVersion}/namespaces/{namespace}/{metric}`;
const title = 'Eventide external metrics';
const prefix = 'io.k8s.metrics.pkg.apis.external_metrics.v1beta1';
const kind = 'ExternalMetricValueList';

type Schema = Record<string, unknown>;

const text = (description: string, more: Schema = {}): Schema => ({ description, type: 'string', ...more });

/** The kinds of the API; `at` says where the others are found. */
const schemas = (at: string): Record<string, Schema> => ({
  [`${prefix}.ExternalMetricValue`]: {
    description: 'One value of a metric.',
    type: 'object',
    required: ['metricName', 'metricLabels', 'timestamp', 'value'],
    properties: {
      apiVersion: text('The version of this representation of the object.'),
      kind: text('The kind of this object.'),
      metricName: text('The name of the metric.'),
      metricLabels: {
        description: 'Labels that tell several values of one metric apart.',
        type: 'object',
        additionalProperties: { type: 'string' },
      },
      timestamp: text('When the value was read.', { format: 'date-time' }),
      window: {
        description: 'Over how many seconds before its time the value was computed; of a moment if absent.',
        type: 'integer',
        format: 'int64',
      },
      value: text('The value, as a quantity.'),
    },
    'x-kubernetes-group-version-kind': [{ group, version, kind: 'ExternalMetricValue' }],
  },
  [`${prefix}.${kind}`]: {
    description: 'The values of a metric.',
    type: 'object',
    required: ['items'],
    properties: {
      apiVersion: text('The version of this representation of the object.'),
      kind: text('The kind of this object.'),
      metadata: { description: 'Nothing, of such a list.', type: 'object' },
      items: {
        description: 'The values.',
        type: 'array',
        items: { $ref: `${at}/${prefix}.ExternalMetricValue` },
      },
    },
    'x-kubernetes-group-version-kind': [{ group, version, kind }],
  },
});

const parameters: readonly { name: string; in: string; required?: boolean; description: string }[] = [
  { name: 'namespace', in: 'path', required: true, description: 'Where the ScaledObject is.' },
  { name: 'metric', in: 'path', required: true, description: 'The name of the metric.' },
  {
    name: 'labelSelector',
    in: 'query',
    description: 'Which ScaledObject: scaledobject.keda.sh/name=<name>.',
  },
];

const operation = {
  description: 'The values of a metric of a ScaledObject.',
  operationId: 'listExternalMetricsV1beta1NamespacedMetric',
  tags: ['externalMetrics_v1beta1'],
  'x-kubernetes-action': 'list',
  'x-kubernetes-group-version-kind': { group, version, kind: 'ExternalMetricValue' },
};

/** The API in words for machines, as the aggregation layer merges it into the cluster's own: OpenAPI 2. */
export const openapiV2: object = {
  swagger: '2.0',
  info: { title, version },
  paths: {
    [path]: {
      get: {
        ...operation,
        consumes: ['*/*'],
        produces: ['application/json'],
        schemes: ['https'],
        parameters: parameters.map(one => ({ ...one, type: 'string', uniqueItems: true })),
        responses: {
          200: { description: 'OK', schema: { $ref: `#/definitions/${prefix}.${kind}` } },
          401: { description: 'Unauthorized' },
        },
      },
    },
  },
  definitions: schemas('#/definitions'),
};

/** The same as OpenAPI 3, which has a document for each version of a group. */
export const openapiV3: object = {
  openapi: '3.0.0',
  info: { title, version },
  paths: {
    [path]: {
      get: {
        ...operation,
        parameters: parameters.map(one => ({ ...one, schema: { type: 'string', uniqueItems: true } })),
        responses: {
          200: {
            description: 'OK',
            content: {
              'application/json': { schema: { $ref: `#/components/schemas/${prefix}.${kind}` } },
            },
          },
          401: { description: 'Unauthorized' },
        },
      },
    },
  },
  components: { schemas: schemas('#/components/schemas') },
};

/** Where the document is; the hash in its address changes with it, so that nobody reads an old one. */
export const openapiV3Index = (hash: string): object => ({
  paths: {
    [`apis/${groupVersion}`]: {
      serverRelativeURL: `/openapi/v3/apis/${groupVersion}?hash=${hash}`,
    },
  },
});

export const openapiV3Path = `/openapi/v3/apis/${groupVersion}`;
