import { beforeAll, describe, expect, it } from 'vitest';
import { clusterOf } from '../../test/cluster/bed.ts';
import { clusterReader } from '../../test/cluster/cluster-reader.ts';
import { bind, faultFrom, mustBind, readOnce } from '../../test/scaler-contract.ts';
import type { ClusterReader } from '../scaler/context.ts';
import kubernetesResource from './kubernetes-resource.ts';

const given = (params: Record<string, string> = {}) => ({
  params: { resourceKind: 'ConfigMap', resourceName: 'load', key: 'waiting', targetValue: '5', ...params },
});

describe('kubernetes-resource', () => {
  it.each([
    ['another kind', { resourceKind: 'Pod' }, 'metadata.resourceKind'],
    ['no target', { targetValue: '0' }, 'metadata.targetValue'],
    ['a location in a number', { valueLocation: 'a' }, 'metadata.valueLocation'],
    ['JSON without a location', { format: 'json' }, 'metadata.valueLocation'],
  ])('refuses %s', (_title, params, field) => {
    expect(bind(kubernetesResource, given(params))).toMatchObject({ problems: [{ place: { field } }] });
  });

  it('is named after what it reads', () => {
    expect(mustBind(kubernetesResource, given()).metricName).toBe('s0-configmap-load-waiting');
  });
});

const json = (valueType: string) => ({ format: 'json', valueLocation: 'a', valueType });
const yaml = (valueType: string) => ({ format: 'yaml', valueLocation: 'a', valueType });

clusterOf('kubernetes-resource in a cluster', {}, cluster => {
  let reader: ClusterReader;
  let namespace: string;
  const read = (params: Record<string, string>) =>
    readOnce(mustBind(kubernetesResource, given(params), { namespace }), { cluster: reader });

  /** Writes a value where it is read, and reads it. */
  async function written(value: string, params: Record<string, string>): Promise<number> {
    const { resourceKind: kind = 'ConfigMap' } = params;
    const name = `load-${crypto.randomUUID()}`;
    const data = { waiting: kind === 'Secret' ? Buffer.from(value).toString('base64') : value };
    await cluster().apply([{ apiVersion: 'v1', kind, metadata: { name }, data }], namespace);
    return await read({ resourceName: name, ...params });
  }

  beforeAll(async () => {
    reader = await clusterReader(cluster());
    namespace = await cluster().namespace();
  });

  it.each([
    ['a number', '12.5\n', {}, 12.5],
    ['a number of a Secret', '12.5', { resourceKind: 'Secret' }, 12.5],
    [
      'JSON of a Secret',
      '{"a":{"b":3}}',
      { ...json('float64'), valueLocation: 'a.b', resourceKind: 'Secret' },
      3,
    ],
    ['the number that a text begins with', '5Gi', {}, 5],
    ['a number with groups of digits', '1_000 jobs', {}, 1000],
    ['the whole number that a text begins with', '12.7', { valueType: 'int64' }, 12],
    ['a quantity', '1500m\n', { valueType: 'quantity' }, 1.5],
    ['a number of JSON', '{"a":[1,7]}', { ...json('float64'), valueLocation: 'a.1' }, 7],
    ['a quantity of JSON', '{"a":"2k"}', json('float64'), 2000],
    ['a number of JSON, cut', '{"a":-7.9}', json('int64'), -7],
    ['a number of YAML', 'a:\n  b: 4\n', { ...yaml('float64'), valueLocation: 'a.b' }, 4],
    ['a number of YAML, which is not cut', 'a: 7.9', yaml('int64'), 7.9],
    ['the number that a text of YAML begins with', 'a: 500m', yaml('float64'), 500],
    ['a quantity of YAML', 'a: 500m', yaml('quantity'), 0.5],
  ])('reads %s', async (_title, value, params, expected) => {
    expect(await written(value, params)).toBe(expected);
  });

  it.each([
    ['a text', 'many', {}, 'SOURCE_ANSWER_INVALID'],
    ['a number that is not one to its end', '5eggs', {}, 'SOURCE_ANSWER_INVALID'],
    ['nothing', '', {}, 'SOURCE_ANSWER_INVALID'],
    ['too large a whole number', '9223372036854775808', { valueType: 'int64' }, 'SOURCE_ANSWER_INVALID'],
    ['a quantity with something behind it', '5 Gi', { valueType: 'quantity' }, 'SOURCE_ANSWER_INVALID'],
    ['JSON that is none', '{', json('float64'), 'SOURCE_ANSWER_INVALID'],
    ['a text of JSON as a whole number', '{"a":"5"}', json('int64'), 'SOURCE_ANSWER_INVALID'],
    ['a place with nothing in it', '{}', json('float64'), 'SOURCE_NOT_FOUND'],
    ['YAML that is none', 'a: [', yaml('float64'), 'SOURCE_ANSWER_INVALID'],
    ['a date of YAML', 'a: 2024-01-01', yaml('float64'), 'SOURCE_ANSWER_INVALID'],
    ['a key that is not there', '1', { key: 'other' }, 'SOURCE_NOT_FOUND'],
    ['a ConfigMap that is not there', '1', { resourceName: 'other' }, 'KUBE_NOT_FOUND'],
    ['a Secret that is not there', '1', { resourceKind: 'Secret', resourceName: 'other' }, 'KUBE_NOT_FOUND'],
  ])('does not take %s for 0', async (_title, value, params, code) => {
    expect((await faultFrom(written(value, params))).code).toBe(code);
  });

  it('reads what stands there now, and only in its own namespace', async () => {
    const now = async (value: string, place: string) => {
      const data = { waiting: value };
      const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'load' }, data };
      await cluster().apply([configMap], place);
      return await read({});
    };

    const seen = [await now('1', namespace), await now('2', namespace)];

    expect([...seen, await now('3', await cluster().namespace())]).toEqual([1, 2, 2]);
  });
});
