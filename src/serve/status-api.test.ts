import { describe, expect, it } from 'vitest';
import { requestOf } from '../../test/server-request.ts';
import { Secret } from '../base/secret.ts';
import type { ServerRequest } from './handler.ts';
import { statusApi } from './status-api.ts';

const api = statusApi(
  {
    snapshot: () => [{ key: 'ScaledObject/default/web' }],
    records: key => (key === 'ScaledObject/default/web' ? ['first', 'second', 'third'] : undefined),
  },
  new Secret('open sesame'),
);

async function ask(url: string, over: Partial<ServerRequest> = {}): Promise<[number, unknown]> {
  const headers = { authorization: 'Bearer open sesame' };
  const answer = await api(requestOf(url, { headers, ...over }));
  return [answer.status, JSON.parse(String(answer.body))];
}

describe('the status API', () => {
  it.each([
    ['every workload', '/v1/workloads', [{ key: 'ScaledObject/default/web' }]],
    ['all records of one', '/v1/records?workload=ScaledObject/default/web', ['first', 'second', 'third']],
    ['the last ones', '/v1/records?workload=ScaledObject/default/web&last=2', ['second', 'third']],
    ['none of them', '/v1/records?workload=ScaledObject/default/web&last=0', []],
  ])('tells of %s', async (_title, path, body) => {
    expect(await ask(path)).toEqual([200, body]);
  });

  it.each([
    ['a workload that is not there', '/v1/records?workload=ScaledJob/x/y', {}, 404],
    ['a number that is none', '/v1/records?workload=ScaledObject/default/web&last=many', {}, 400],
    ['a path that is not there', '/v2', {}, 404],
    ['a method other than GET', '/v1/workloads', { method: 'DELETE' }, 405],
    ['a wrong token', '/v1/workloads', { headers: { authorization: 'Bearer open barley' } }, 401],
    ['no token', '/v1/workloads', { headers: { authorization: '' } }, 401],
  ])('answers %s with a problem', async (_title, path, init, status) => {
    expect(await ask(path, init)).toEqual([status, { problem: expect.any(String) }]);
  });
});
