import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { crdFiles, crds } from './crd.ts';
import { documentOf } from './documents.ts';
import { descend, type FieldPath, isRecord } from './field-path.ts';
import { parseManifest } from './manifest.ts';

interface Node {
  path: FieldPath;
  schema: Record<string, unknown>;
}

/** Every schema in a schema. */
function* nodes(schema: Record<string, unknown>, path: FieldPath = []): Generator<Node> {
  yield { path, schema };
  const { properties, items, additionalProperties } = schema;
  for (const [name, each] of Object.entries(isRecord(properties) ? properties : {})) {
    if (isRecord(each)) yield* nodes(each, [...path, name]);
  }
  if (isRecord(items)) yield* nodes(items, [...path, 0]);
  if (isRecord(additionalProperties)) yield* nodes(additionalProperties, [...path, '*']);
}

const schemas = crds().map(crd => ({
  name: String(descend(crd, ['metadata', 'name'])),
  schema: descend(crd, ['spec', 'versions', 0, 'schema', 'openAPIV3Schema']) as Record<string, unknown>,
}));
const schemaOf = (name: string) => schemas.find(each => each.name === name)?.schema ?? {};
const fieldsOf = (schema: unknown) => Object.keys((descend(schema, ['properties']) ?? {}) as object).sort();

describe('the CustomResourceDefinitions', () => {
  it('have the names, scopes and short names of KEDA', () => {
    const names = crds().map(crd => {
      const at = (...path: string[]) => descend(crd, ['spec', ...path]);
      return [descend(crd, ['metadata', 'name']), at('scope'), at('names', 'shortNames')];
    });

    expect(names).toEqual([
      ['scaledobjects.keda.sh', 'Namespaced', ['so']],
      ['scaledjobs.keda.sh', 'Namespaced', ['sj']],
      ['triggerauthentications.keda.sh', 'Namespaced', ['ta', 'triggerauth']],
      ['clustertriggerauthentications.keda.sh', 'Cluster', ['cta', 'clustertriggerauth']],
      ['cloudeventsources.eventing.keda.sh', 'Namespaced', undefined],
      ['clustercloudeventsources.eventing.keda.sh', 'Cluster', undefined],
    ]);
  });

  it.each(schemas)('$name is a structural schema', ({ schema }) => {
    const wrong = [...nodes(schema)].filter(({ schema: each }) => {
      const untyped =
        each['x-kubernetes-int-or-string'] === true || each['x-kubernetes-preserve-unknown-fields'] === true;
      const typed = typeof each['type'] === 'string' || untyped;
      const both = each['properties'] !== undefined && each['additionalProperties'] !== undefined;
      const listed = each['type'] !== 'array' || isRecord(each['items']);
      return !typed || both || !listed;
    });

    expect(wrong).toEqual([]);
  });

  it('let spec.triggers have texts, numbers, truth and references in their metadata', () => {
    for (const name of ['scaledobjects.keda.sh', 'scaledjobs.keda.sh']) {
      const path = ['properties', 'spec', 'properties', 'triggers', 'items', 'properties', 'metadata'];

      expect(descend(schemaOf(name), path)).toMatchObject({
        type: 'object',
        additionalProperties: { 'x-kubernetes-preserve-unknown-fields': true },
      });
    }
  });

  it('keep the loose spelling from being pruned', () => {
    const spec = (name: string) => fieldsOf(descend(schemaOf(name), ['properties', 'spec']));

    expect(spec('scaledobjects.keda.sh')).toEqual(
      expect.arrayContaining(['minReplicas', 'maxReplicas', 'eventide']),
    );
    expect(spec('scaledjobs.keda.sh')).toEqual(
      expect.arrayContaining(['minReplicas', 'maxReplicas', 'scaleTargetRef']),
    );
  });

  it('write only those defaults into objects that KEDA writes', () => {
    const defaults = schemas.flatMap(({ name, schema }) =>
      [...nodes(schema)].flatMap(({ path, schema: each }) =>
        'default' in each ? [[name, path.join('.'), each['default']]] : [],
      ),
    );

    expect(defaults).toEqual([
      ['scaledobjects.keda.sh', 'spec.fallback.behavior', 'static'],
      ['triggerauthentications.keda.sh', 'spec.oauth2.type', 'clientCredentials'],
      ['clustertriggerauthentications.keda.sh', 'spec.oauth2.type', 'clientCredentials'],
    ]);
  });

  it('has no metricType in a ScaledJob, as KEDA ships it', () => {
    const path = ['properties', 'spec', 'properties', 'triggers', 'items'];

    expect(fieldsOf(descend(schemaOf('scaledjobs.keda.sh'), path))).not.toContain('metricType');
    expect(fieldsOf(descend(schemaOf('scaledobjects.keda.sh'), path))).toContain('metricType');
  });

  it('leaves the limits to us that KEDA does not put into the schema', () => {
    const behavior = ['advanced', 'horizontalPodAutoscalerConfig', 'behavior', 'scaleUp'].flatMap(each => [
      'properties',
      each,
    ]);
    const rules = descend(schemaOf('scaledobjects.keda.sh'), [
      'properties',
      'spec',
      ...behavior,
      'properties',
    ]);

    expect(descend(rules, ['selectPolicy', 'enum'])).toBeUndefined();
    expect(descend(rules, ['policies', 'items', 'properties', 'value', 'minimum'])).toBeUndefined();
    expect(descend(rules, ['stabilizationWindowSeconds', 'maximum'])).toBeUndefined();
  });
});

it('writes one file per definition, always the same', () => {
  const files = crdFiles();

  expect(files).toEqual(crdFiles());
  expect(files.map(({ path }) => path)).toEqual([
    'deploy/crds/keda.sh_scaledobjects.yaml',
    'deploy/crds/keda.sh_scaledjobs.yaml',
    'deploy/crds/keda.sh_triggerauthentications.yaml',
    'deploy/crds/keda.sh_clustertriggerauthentications.yaml',
    'deploy/crds/eventing.keda.sh_cloudeventsources.yaml',
    'deploy/crds/eventing.keda.sh_clustercloudeventsources.yaml',
  ]);
  expect(files.map(({ text }) => parse(text))).toEqual(JSON.parse(JSON.stringify(crds())));
});

it('reads an object that has every field of its definition', () => {
  for (const { name, schema } of schemas) {
    const [plural, ...group] = name.split('.');
    const kind = descend(
      crds().find(crd => descend(crd, ['metadata', 'name']) === name),
      ['spec', 'names', 'kind'],
    );
    const object = {
      apiVersion: `${group.join('.')}/v1alpha1`,
      kind,
      metadata: { name: plural },
      spec: sample(descend(schema, ['properties', 'spec'])),
    };

    const parsed = parseManifest(documentOf(object));

    expect(parsed?.ok === false ? parsed.problems : []).toEqual([]);
  }
});

/** Texts of which only we know the choices, by the end of their path. */
const choices: readonly [string, string][] = [
  ['policies.0.type', 'Pods'],
  ['selectPolicy', 'Max'],
  ['triggers.0.metricType', 'Value'],
];

/** A value with every field of a schema, without the second spellings. */
function sample(schema: unknown, path = ''): unknown {
  if (!isRecord(schema)) return 'x';
  if (schema['x-kubernetes-int-or-string']) return '1';
  const { type, properties, items, additionalProperties, enum: listed } = schema;
  if (Array.isArray(listed)) return listed[0];
  if (type === 'integer') return schema['minimum'] ?? 1;
  if (type === 'boolean') return true;
  if (type === 'array') return [sample(items, `${path}.0`)];
  if (type !== 'object') return choices.find(([end]) => path.endsWith(end))?.[1] ?? 'x';
  if (isRecord(additionalProperties)) return { x: sample(additionalProperties) };
  const fields = Object.entries(isRecord(properties) ? properties : {}).filter(
    ([, each]) => !/^Read as /.test(String(descend(each, ['description']))),
  );
  return Object.fromEntries(fields.map(([name, each]) => [name, sample(each, `${path}.${name}`)]));
}
