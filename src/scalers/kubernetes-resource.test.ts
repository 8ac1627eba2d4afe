import { describe, expect, it } from 'vitest';
import { bind, faultFrom, mustBind, readOnce } from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { ClusterReader } from '../scaler/context.ts';
import kubernetesResource from './kubernetes-resource.ts';

const given = (params: Record<string, string> = {}) => ({
  params: { resourceKind: 'ConfigMap', resourceName: 'load', key: 'waiting', targetValue: '5', ...params },
});

/** An API server with one ConfigMap and one Secret of namespace shop. */
const holding = (value: string): ClusterReader => ({
  async get(path) {
    if (path === '/api/v1/namespaces/shop/configmaps/load') return { data: { waiting: value } };
    if (path === '/api/v1/namespaces/shop/secrets/load')
      return { data: { waiting: Buffer.from(value).toString('base64') } };
    throw new Fault('KUBE_NOT_FOUND', `there is no ${path}`);
  },
});

const read = (value: string, params: Record<string, string> = {}) =>
  readOnce(mustBind(kubernetesResource, given(params), { namespace: 'shop' }), { cluster: holding(value) });

describe('kubernetes-resource', () => {
  it.each([
    ['a number', '12.5\n', {}, 12.5],
    ['a number in a Secret', '12.5', { resourceKind: 'Secret' }, 12.5],
    ['a whole number', '12', { valueType: 'int64' }, 12],
    ['a quantity', '1500m', { valueType: 'quantity' }, 1.5],
    ['a number of JSON', '{"a":[1,7]}', { format: 'json', valueLocation: 'a.1' }, 7],
    ['a quantity of JSON', '{"a":"2k"}', { format: 'json', valueLocation: 'a' }, 2000],
    ['a number of JSON, cut', '{"a":7.9}', { format: 'json', valueLocation: 'a', valueType: 'int64' }, 7],
    ['a number of YAML', 'a:\n  b: 4\n', { format: 'yaml', valueLocation: 'a.b' }, 4],
  ])('reads %s', async (_title, value, params, expected) => {
    expect(await read(value, params)).toBe(expected);
  });

  it.each([
    ['a text', 'many', {}, 'SOURCE_ANSWER_INVALID'],
    ['a number with something behind it', '12 jobs', {}, 'SOURCE_ANSWER_INVALID'],
    ['nothing', '', {}, 'SOURCE_ANSWER_INVALID'],
    ['no whole number', '1.5', { valueType: 'int64' }, 'SOURCE_ANSWER_INVALID'],
    ['JSON that is none', '{', { format: 'json', valueLocation: 'a' }, 'SOURCE_ANSWER_INVALID'],
    ['a place with nothing in it', '{}', { format: 'json', valueLocation: 'a' }, 'SOURCE_NOT_FOUND'],
    ['a key that is not there', '1', { key: 'other' }, 'SOURCE_NOT_FOUND'],
    ['a ConfigMap that is not there', '1', { resourceName: 'other' }, 'KUBE_NOT_FOUND'],
  ])('does not take %s for 0', async (_title, value, params, code) => {
    expect((await faultFrom(read(value, params))).code).toBe(code);
  });

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
