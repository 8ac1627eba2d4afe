import { describe, expect, it } from 'vitest';
import { httpServer } from '../../test/misbehaving-http.ts';
import {
  bind,
  faultFrom,
  mustBind,
  openContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import prometheus from './prometheus.ts';

const vector = (...values: unknown[]) =>
  JSON.stringify({
    status: 'success',
    data: {
      resultType: 'vector',
      result: values.map(value => ({ metric: { job: 'a' }, value: [1, value] })),
    },
  });

/** Answers as Prometheus would: the query decides. */
async function server(answer: string) {
  const asked: { url: URL; headers: Record<string, unknown> }[] = [];
  const started = await httpServer((req, res) => {
    asked.push({ url: new URL(req.url ?? '', 'http://prometheus'), headers: req.headers });
    res.end(answer);
  });
  return Object.assign(started, { params: { serverAddress: `${started.url}/` }, asked });
}

scalerContract(prometheus, {
  serve: () => server(vector('4')),
  params: { query: 'up', threshold: '5', authModes: 'bearer,custom' },
  auth: { bearerToken: 'very-secret-token', customAuthHeader: 'X-Tenant', customAuthValue: 'tenant secret' },
  at: ({ url }) => ({ params: { serverAddress: url } }),
  expect: 4,
});

const given = (params: Record<string, string> = {}) => ({
  params: { serverAddress: 'http://prometheus:9090', query: 'up', threshold: '5', ...params },
});

async function readAnswer(answer: string, params: Record<string, string> = {}): Promise<number | string> {
  await using source = await server(answer);
  const trigger = mustBind(prometheus, given({ ...source.params, ...params }));
  return await readOnce(trigger).catch((thrown: unknown) => {
    if (thrown instanceof Fault) return thrown.code;
    throw thrown;
  });
}

describe('an answer', () => {
  const matrix = '{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"2"]]}]}}';
  const noValue = '{"status":"success","data":{"resultType":"vector","result":[{"value":[]}]}}';

  it.each([
    ['of one element', vector('1.5e3'), 1500, 1500],
    ['of a scalar', '{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}', 7, 7],
    ['below zero', vector('-2'), -2, -2],
    ['without an element', vector(), 0, 'SOURCE_NOT_FOUND'],
    ['of an element without a value', noValue, 0, 'SOURCE_ANSWER_INVALID'],
    ['of null', vector(null), 0, 'SOURCE_ANSWER_INVALID'],
    ['of NaN', vector('NaN'), 0, 'SOURCE_ANSWER_INVALID'],
    ['of infinity', vector('+Inf'), 0, 'SOURCE_ANSWER_INVALID'],
    ['of several elements', vector('1', '2'), 'SOURCE_ANSWER_INVALID', 'SOURCE_ANSWER_INVALID'],
    ['of a matrix', matrix, 'SOURCE_ANSWER_INVALID', 'SOURCE_ANSWER_INVALID'],
    ['of no number', vector('many'), 'SOURCE_ANSWER_INVALID', 'SOURCE_ANSWER_INVALID'],
    ['of a number without quotes', vector(4), 'SOURCE_ANSWER_INVALID', 'SOURCE_ANSWER_INVALID'],
    ['of another kind', '{}', 'SOURCE_ANSWER_INVALID', 'SOURCE_ANSWER_INVALID'],
    ['of an error', '{"status":"error","data":null}', 'SOURCE_ANSWER_INVALID', 'SOURCE_ANSWER_INVALID'],
  ])('%s is %j: %j, or %j where null values are not ignored', async (_title, answer, ignored, strict) => {
    expect(await readAnswer(answer)).toBe(ignored);
    expect(await readAnswer(answer, { ignoreNullValues: 'false' })).toBe(strict);
  });
});

describe('a question', () => {
  it('has the query, the second, the namespace and all parameters and headers', async () => {
    await using source = await server(vector('1'));
    const trigger = mustBind(
      prometheus,
      given({
        ...source.params,
        query: 'sum(rate(jobs{state="a+b"}[5m])) > 1 & 2',
        namespace: 'shop',
        queryParameters: 'stats=all, dedup=true',
        customHeaders: 'X-Scope-OrgID=team a',
      }),
    );

    await readOnce(trigger, { now: Date.parse('2026-01-15T12:00:00.789Z') });

    const [{ url, headers } = { url: new URL('http://none'), headers: {} }] = source.asked;
    expect(url.pathname).toBe('/api/v1/query');
    expect(Object.fromEntries(url.searchParams)).toEqual({
      query: 'sum(rate(jobs{state="a+b"}[5m])) > 1 & 2',
      namespace: 'shop',
      stats: 'all',
      dedup: 'true',
      time: '2026-01-15T12:00:00Z',
    });
    expect(headers).toMatchObject({ 'x-scope-orgid': 'team a', 'user-agent': 'eventide' });
  });

  it('goes with the user name and password in the address', async () => {
    await using source = await server(vector('1'));
    const serverAddress = source.url.replace('http://', 'http://me:s%40cret@');

    await readOnce(mustBind(prometheus, given({ serverAddress })));

    expect(source.asked[0]?.headers['authorization']).toBe(
      `Basic ${Buffer.from('me:s@cret').toString('base64')}`,
    );
  });

  it('needs few connections for many triggers of one server', async () => {
    await using source = await server(vector('1'));
    const triggers = Array.from({ length: 50 }, (_, index) =>
      mustBind(prometheus, given({ ...source.params, query: `up{n="${index}"}` })),
    );
    const [first] = triggers;
    if (first === undefined) throw new Error('no trigger');
    const conn = await first.scaler.open(first.params, openContext(AbortSignal.timeout(5000)));
    const cluster = { get: () => Promise.reject(new Error('no cluster')) };

    const reads = triggers.map(({ scaler, params }) =>
      scaler.read(params, { conn, signal: AbortSignal.timeout(5000), now: 0, namespace: 'default', cluster }),
    );
    await Promise.all(reads);
    await first.scaler.close(conn);

    expect(new Set(triggers.map(({ connectionKey }) => connectionKey)).size).toBe(1);
    expect(new Set(triggers.map(({ readingKey }) => readingKey)).size).toBe(50);
    expect(source.seen().connections).toBeLessThanOrEqual(8);
  });

  it('is another one with other headers, and shows none of them', () => {
    const keys = ['a=secret1', 'a=secret2'].map(
      customHeaders => mustBind(prometheus, given({ customHeaders })).readingKey,
    );

    expect(new Set(keys).size).toBe(2);
    expect(keys.join()).not.toContain('secret');
  });
});

describe('an identity', () => {
  const aws: PodIdentity = { provider: 'aws' };

  it('excludes authModes', () => {
    const trigger = { ...given({ authModes: 'bearer' }), auth: { bearerToken: 't' } };

    expect(bind(prometheus, trigger, { podIdentity: aws })).toMatchObject({
      ok: false,
      problems: [{ problem: 'authModes and a pod identity exclude each other' }],
    });
  });

  it('is accepted, and cannot be used yet', async () => {
    const fault = await faultFrom(readOnce(mustBind(prometheus, given(), { podIdentity: aws })));

    expect(fault).toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('aws') });
  });

  it('of Google in a variable is not left out in silence', async () => {
    const fault = await faultFrom(readOnce(mustBind(prometheus, given({ credentialsFromEnv: 'GOOGLE' }))));

    expect(fault).toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('Google') });
  });
});

it.each([
  [
    'an address without a scheme',
    { serverAddress: 'prometheus:9090' },
    '"prometheus:9090" is not an http or https URL',
  ],
  ['a header that is none', { customHeaders: 'X Y=1' }, '"X Y" cannot be the name of a header'],
  ['a negative timeout', { timeout: '-1s' }, '"-1s" must not be negative'],
])('refuses %s', (_title, params, problem) => {
  expect(bind(prometheus, given(params))).toMatchObject({ ok: false, problems: [{ problem }] });
});
