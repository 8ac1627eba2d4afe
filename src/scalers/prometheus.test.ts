import { createHash, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { httpServer } from '../../test/misbehaving-http.ts';
import {
  bind,
  faultFrom,
  type Given,
  mustBind,
  openContext,
  readOnce,
  scalerContract,
} from '../../test/scaler-contract.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { TokenSource } from '../scaler/context.ts';
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

interface Asked {
  url: URL;
  /** Path and query as they came. */
  raw: string;
  method: string;
  headers: Record<string, unknown>;
}

const awsKeys = { accessKeyId: 'AKID', secretAccessKey: new Secret('key') };

/** Answers as Prometheus would: the query decides. */
async function server(answer: string) {
  const asked: Asked[] = [];
  const started = await httpServer((req, res) => {
    const { url: raw = '', method = '', headers } = req;
    asked.push({ url: new URL(raw, 'http://prometheus'), raw, method, headers });
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
  saying: async number => {
    const told = await server(vector(number));
    return Object.assign(told, { params: { ...told.params, ignoreNullValues: 'false' } });
  },
  measures: true,
  cannot: {
    wrong: 'the test has no server of its own that checks them: tried by status',
    missing: 'a query without data is tried below',
  },
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
    ['of too large a number', vector('1e400'), 'SOURCE_ANSWER_INVALID', 'SOURCE_ANSWER_INVALID'],
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

    const [{ url, headers } = { url: undefined, headers: {} }] = source.asked;
    expect(url?.pathname).toBe('/api/v1/query');
    expect(Object.fromEntries(url?.searchParams ?? [])).toEqual({
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

  /** Hands out what was asked for, numbered, and a new one only after a refusal. */
  function lender() {
    let lent = 1;
    const refused: unknown[] = [];
    const lend = (text: string) => new Secret(`${text} ${lent}`);
    const tokens: TokenSource = {
      accessToken: async ({ provider, identityId = '-' }, scope) =>
        lend(`${provider} ${identityId} ${scope}`),
      googleToken: async (keyFile, scope) => lend(`${keyFile.reveal()} ${scope}`),
      awsCredentials: async ({ roleArn = 'ourselves' }) => ({
        ...awsKeys,
        sessionToken: lend(roleArn),
      }),
      refused(given) {
        refused.push(given);
        lent += 1;
      },
    };
    return { tokens, refused };
  }

  const google = 'https://www.googleapis.com/auth/monitoring.read';
  const keyFile = { GoogleApplicationCredentials: 'a key file' };

  it.each([
    [
      'Azure workload identity',
      { provider: 'azure-workload', identityId: 'me' },
      {},
      'azure-workload me https://prometheus.monitor.azure.com/.default 1',
    ],
    [
      'Azure workload identity in another cloud',
      { provider: 'azure-workload' },
      { params: { cloud: 'azureUSGovernmentCloud' } },
      'azure-workload - https://prometheus.monitor.azure.us/.default 1',
    ],
    [
      'Azure workload identity in a cloud of its own',
      { provider: 'azure-workload' },
      { params: { cloud: 'Private', azureManagedPrometheusResourceURL: 'http://127.0.0.1/.default' } },
      'azure-workload - http://127.0.0.1/.default 1',
    ],
    ['the identity of Google', { provider: 'gcp' }, {}, `gcp - ${google} 1`],
    [
      'the identity of Google, whatever keys there are',
      { provider: 'gcp' },
      { auth: keyFile },
      `gcp - ${google} 1`,
    ],
    ['a key file of Google', { provider: 'none' }, { auth: keyFile }, `a key file ${google} 1`],
    [
      'a key file of Google in a variable',
      { provider: 'none' },
      { params: { credentialsFromEnv: 'GOOGLE' }, env: { GOOGLE: 'another' } },
      `another ${google} 1`,
    ],
    ['nobody for a region alone', { provider: 'none' }, { params: { awsRegion: 'eu-west-1' } }, undefined],
    [
      'nobody for an empty variable',
      { provider: 'none' },
      { params: { credentialsFromEnv: 'NONE' } },
      undefined,
    ],
  ] as const)('is that of %s', async (_title, podIdentity, more: Given, token) => {
    await using source = await server(vector('1'));
    const trigger = { ...more, params: { ...given(source.params).params, ...more.params } };

    await readOnce(mustBind(prometheus, trigger, { podIdentity }), { open: lender() });

    expect(source.asked.map(({ headers }) => headers['authorization'])).toEqual([token && `Bearer ${token}`]);
  });

  it.each([
    ['our own', aws, {}, 'ourselves 1'],
    ['a role', { provider: 'aws', roleArn: 'arn:r' }, {}, 'arn:r 1'],
    ['the role of its workload', aws, { awsRoleArn: 'arn:w' }, 'arn:w 1'],
    ['keys', { provider: 'none' }, { awsAccessKeyID: 'AKID', awsSecretAccessKey: 'key' }, undefined],
  ] as const)(
    'of AWS signs what is sent, by %s',
    async (_title, podIdentity, auth: Record<string, string>, session) => {
      await using source = await server(vector('1'));
      const params = {
        ...source.params,
        serverAddress: `${source.url}/workspaces/ws-1 b`,
        query: 'sum(rate(x{a="b+c"}[5m])) > 1',
        customHeaders: 'X-Tenant=a  b',
        awsRegion: 'eu-west-1',
      };

      await readOnce(mustBind(prometheus, { params: given(params).params, auth }, { podIdentity }), {
        open: lender(),
      });

      const [asked] = source.asked;
      expect(asked?.headers['x-amz-security-token']).toBe(session);
      expect(asked && signatureOn(asked, 'key')).toMatchObject({
        scope: '20260115/eu-west-1/aps/aws4_request',
        signed:
          session === undefined
            ? 'host;x-amz-date;x-tenant'
            : 'host;x-amz-date;x-amz-security-token;x-tenant',
        valid: true,
      });
    },
  );

  it.each([
    ['a token', { provider: 'gcp' }, {}, 401, '', `gcp - ${google} 2`],
    [
      'keys of AWS',
      aws,
      { awsRegion: 'eu-west-1' },
      403,
      '{"message":"The security token included in the request is expired"}',
      'ourselves 2',
    ],
  ] as const)(
    'whose %s is refused gets a new one at once, and one only',
    async (_title, podIdentity, params: Record<string, string>, status, words, second) => {
      const seen: unknown[] = [];
      let refusals = 1;
      await using source = await httpServer((req, res) => {
        seen.push(req.headers['x-amz-security-token'] ?? req.headers.authorization?.replace('Bearer ', ''));
        res.statusCode = seen.length <= refusals ? status : 200;
        res.end(res.statusCode === 200 ? vector('3') : `${words} ${seen.at(-1)}`);
      });
      const bound = mustBind(prometheus, given({ ...params, serverAddress: source.url }), { podIdentity });
      const { tokens, refused } = lender();

      expect(await readOnce(bound, { open: { tokens } })).toBe(3);
      expect(seen[1]).toBe(second);
      expect(refused).toHaveLength(1);

      [refusals, seen.length] = [9, 0];
      const fault = await faultFrom(readOnce(bound, { open: { tokens } }));

      expect(fault.code).toBe('SOURCE_REFUSED');
      expect(fault.message).not.toContain(String(seen[1]));
      expect(seen).toHaveLength(2);
    },
  );

  it('of AWS is not asked for anew where it may not do something', async () => {
    await using source = await httpServer((_req, res) => {
      res.statusCode = 403;
      res.end('{"message":"User is not authorized to perform: aps:QueryMetrics"}');
    });
    const params = { serverAddress: source.url, awsRegion: 'eu-west-1' };
    const { tokens, refused } = lender();

    const fault = await faultFrom(
      readOnce(mustBind(prometheus, given(params), { podIdentity: aws }), { open: { tokens } }),
    );

    expect(fault).toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('not authorized'),
    });
    expect([refused, source.seen().requests]).toEqual([[], 1]);
  });

  it('of Amazon is for the region in the address', () => {
    const serverAddress = 'https://aps-workspaces.eu-north-1.amazonaws.com/workspaces/ws-1';

    const { params } = mustBind(prometheus, given({ serverAddress }), { podIdentity: aws });

    expect(params).toMatchObject({ managed: { region: 'eu-north-1' } });
  });

  it('in a file of the operator is not read', async () => {
    const bound = mustBind(prometheus, given({ credentialsFromEnvFile: 'GOOGLE' }));

    const fault = await faultFrom(readOnce(bound));

    expect(fault).toMatchObject({
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('credentialsFromEnv'),
    });
  });

  it.each([
    ['another key', {}, { GoogleApplicationCredentials: 'another' }, { provider: 'none' }],
    ['another cloud', { cloud: 'AzureChinaCloud' }, {}, { provider: 'azure-workload' }],
    ['another region', { awsRegion: 'eu-west-2' }, {}, aws],
    ['another role', { awsRegion: 'eu-west-1' }, { awsRoleArn: 'arn:r' }, aws],
  ] as const)('with %s is another connection', (_title, params, auth, podIdentity) => {
    const key = (trigger: Given) => mustBind(prometheus, trigger, { podIdentity }).connectionKey;
    const usual = given(podIdentity === aws ? { awsRegion: 'eu-west-1' } : {});

    expect(key({ ...given(params), auth })).not.toBe(key({ ...usual, auth: keyFile }));
  });

  it.each([
    [
      'a cloud without it',
      { cloud: 'AzureGermanCloud' },
      'azure-workload',
      '"AzureGermanCloud" is not a cloud of Azure with a managed Prometheus',
    ],
    [
      'a cloud of its own that is not named',
      { cloud: 'private' },
      'azure-workload',
      '"azureManagedPrometheusResourceURL" is missing',
    ],
    [
      'a token for something else',
      { cloud: 'Private', azureManagedPrometheusResourceURL: 'https://management.azure.com/.default' },
      'azure-workload',
      'serverAddress is not at "https://management.azure.com/.default"',
    ],
    ['no region', {}, 'aws', '"awsRegion" is missing'],
    [
      'half a key',
      { awsAccessKeyID: 'AKID', awsRegion: 'eu-west-1' },
      'none',
      '"awsSecretAccessKey" is missing',
    ],
  ] as const)('is refused for %s', (_title, params: Record<string, string>, provider, problem) => {
    expect(bind(prometheus, given(params), { podIdentity: { provider } })).toMatchObject({
      ok: false,
      problems: [{ problem }],
    });
  });
});

/** What AWS would say of a request as it came over the wire; worked out apart from the code that signs. */
function signatureOn({ raw, method, headers }: Asked, key: string) {
  const [, scope = '', signed = '', signature] =
    /Credential=AKID\/(\S+), SignedHeaders=(\S+), Signature=(\S+)/.exec(String(headers['authorization'])) ??
    [];
  const [path = '', search = ''] = raw.split('?');
  const quote = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = [...new URLSearchParams(search)]
    .map(pair => pair.map(quote).join('='))
    .sort()
    .join('&');
  const lines = signed
    .split(';')
    .map(name => `${name}:${String(headers[name]).replace(/ +/g, ' ')}\n`)
    .join('');
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  const hmac = (by: string | Buffer, text: string) => createHmac('sha256', by).update(text).digest();
  const request = [method, path.split('/').map(quote).join('/'), query, lines, signed, hash('')].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, hash(request)].join('\n');
  const derived = scope.split('/').reduce<string | Buffer>(hmac, `AWS4${key}`);
  return { scope, signed, valid: hmac(derived, toSign).toString('hex') === signature };
}

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
