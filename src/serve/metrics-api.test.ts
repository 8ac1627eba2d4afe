import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { requestOf } from '../../test/server-request.ts';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { MetricAnswer } from '../engine/trigger-answers.ts';
import type { ServerRequest } from './handler.ts';
import { metricsApi } from './metrics-api.ts';

const answers: Record<string, MetricAnswer> = {
  'ScaledObject/shop/web s0-mails': { kind: 'values', values: [{ metricName: 's0-mails', value: 7 }] },
  'ScaledObject/shop/web s1-broken': {
    kind: 'failed',
    fault: new Fault('SOURCE_TIMEOUT', 'mail.example did not answer'),
  },
};

const source = {
  ready: true,
  readMetric: async (key: string, metric: string): Promise<MetricAnswer> =>
    answers[`${key} ${metric}`] ?? { kind: 'missing' },
};

const clock = manualClock(Date.UTC(2026, 0, 1, 12, 0, 0, 987));
const api = metricsApi({ source, clock, version: 'v1.2.3' });

async function ask(url: string, over: Partial<ServerRequest> = {}, handler = api) {
  const answer = await handler(requestOf(url, over));
  const type = answer.headers?.['content-type'] ?? '';
  const text = String(answer.body ?? '');
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of any kind
  const body: any = type.startsWith('application/json') ? JSON.parse(text) : text;
  return { status: answer.status, type, body, headers: answer.headers ?? {} };
}

const root = '/apis/external.metrics.k8s.io/v1beta1';
const selector = 'labelSelector=scaledobject.keda.sh%2Fname%3Dweb';
const mails = `${root}/namespaces/shop/s0-mails?${selector}`;
const accepting = (accept: string) => ({ headers: { accept } });

describe('the metrics API', () => {
  it('answers a metric as KEDA does, to the byte', async () => {
    const answer = await api(requestOf(mails));

    expect(answer.body).toBe(
      '{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},' +
        '"items":[{"metricName":"s0-mails","metricLabels":null,"timestamp":"2026-01-01T12:00:00Z","value":"7"}]}',
    );
  });

  it.each([
    ['nothing in particular', ''],
    ['anything', '*/*'],
    ['protobuf, or else JSON, as an autoscaler does', 'application/vnd.kubernetes.protobuf,application/json'],
    ['a form that we do not have, or else JSON', 'application/json;as=List;g=x;v=y, application/json'],
  ])('answers JSON to who would like %s', async (_title, accept) => {
    expect(await ask(mails, accepting(accept))).toMatchObject({
      status: 200,
      type: 'application/json',
      body: { kind: 'ExternalMetricValueList' },
    });
  });

  it('answers a table to kubectl', async () => {
    const { body } = await ask(
      mails,
      accepting(
        'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json',
      ),
    );

    expect(body.columnDefinitions.map((one: { name: string }) => one.name)).toEqual([
      'Metric',
      'Value',
      'Read',
    ]);
    expect(body).toMatchObject({
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      rows: [{ cells: ['s0-mails', '7', '2026-01-01T12:00:00Z'] }],
    });
  });

  it.each([
    [
      'a name among several labels',
      `${root}/namespaces/shop/s0-mails?labelSelector=a%3Db,scaledobject.keda.sh/name=web`,
    ],
    ['an encoded namespace', `${root}/namespaces/%73hop/s0-mails?${selector}`],
    ['a limit, as kubectl has one', `${mails}&limit=500`],
  ])('understands %s', async (_title, url) => {
    expect((await ask(url)).status).toBe(200);
  });

  it.each([
    ['a metric that there is not', `${root}/namespaces/shop/s9?${selector}`, 404, 'NotFound', /metric "s9"/],
    ['a ScaledObject that there is not', mails.replace('web', 'app'), 404, 'NotFound', /ScaledObject "app"/],
    ['another namespace', mails.replace('shop', 'mall'), 404, 'NotFound', /namespace "mall"/],
    [
      'a source that fails',
      `${root}/namespaces/shop/s1-broken?${selector}`,
      500,
      'InternalError',
      /did not answer/,
    ],
    ['no selector', `${root}/namespaces/shop/s0-mails`, 500, 'InternalError', /scaledobject\.keda\.sh\/name/],
    [
      'a selector of something else',
      `${root}/namespaces/shop/s0-mails?labelSelector=a%3Db`,
      500,
      'InternalError',
      /must have/,
    ],
    [
      'a selector that is no list of labels',
      `${root}/namespaces/shop/s0-mails?labelSelector=a%20in%20(b,c)`,
      500,
      'InternalError',
      /not a list of label=value/,
    ],
    ['a watch', `${mails}&watch=true`, 405, 'MethodNotAllowed', /watching is not possible/],
    ['one object of a metric', `${root}/namespaces/shop/s0-mails/name`, 404, 'NotFound', /could not find/],
    ['a metric without a namespace', `${root}/s0-mails`, 404, 'NotFound', /could not find/],
    [
      'another version',
      '/apis/external.metrics.k8s.io/v1/namespaces/shop/s0-mails',
      404,
      'NotFound',
      /could not find/,
    ],
    ['a path that is nothing', '/metrics', 404, 'NotFound', /could not find/],
    ['a path that is not encoded rightly', '/%zz', 400, 'BadRequest', /not encoded rightly/],
  ])('says in a Status what is wrong with %s', async (_title, url, status, reason, message) => {
    const said = await ask(url);

    expect(said).toMatchObject({ status, type: 'application/json' });
    expect(said.body).toMatchObject({
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      reason,
      code: status,
      message: expect.stringMatching(message),
    });
  });

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('refuses %s', async method => {
    expect(await ask(mails, { method })).toMatchObject({ status: 405, body: { reason: 'MethodNotAllowed' } });
    expect(await ask(root, { method })).toMatchObject({ status: 405, body: { reason: 'MethodNotAllowed' } });
  });

  it('refuses who understands nothing but protobuf', async () => {
    const accept = accepting('application/vnd.kubernetes.protobuf');

    for (const url of [mails, root, '/openapi/v2']) {
      expect(await ask(url, accept)).toMatchObject({ status: 406, body: { reason: 'NotAcceptable' } });
    }
  });
});

describe('whatever is asked', () => {
  const url = fc.oneof(
    fc.string(),
    fc.string().map(rest => `${root}/namespaces/shop/${rest}`),
    fc.string().map(text => `${root}/namespaces/shop/s0-mails?labelSelector=${text}`),
  );

  it('is answered, and a failure is a Status with the code of the answer', async () => {
    await fc.assert(
      fc.asyncProperty(url, fc.string(), async (path, accept) => {
        const { status, body } = await ask(path, accepting(accept));

        if (status >= 400 && status !== 503) expect(body).toMatchObject({ kind: 'Status', code: status });
      }),
    );
  });
});

describe('discovery', () => {
  it.each([
    ['/apis', { kind: 'APIGroupList', groups: [{ name: 'external.metrics.k8s.io' }] }],
    ['/apis/external.metrics.k8s.io', { kind: 'APIGroup', preferredVersion: { version: 'v1beta1' } }],
    [`${root}/`, { kind: 'APIResourceList' }],
    [
      root,
      {
        kind: 'APIResourceList',
        groupVersion: 'external.metrics.k8s.io/v1beta1',
        resources: [
          {
            name: 'externalmetrics',
            singularName: '',
            namespaced: true,
            kind: 'ExternalMetricValueList',
            verbs: ['get'],
          },
        ],
      },
    ],
    ['/version', { gitVersion: 'v1.2.3' }],
    ['/openapi/v2', { swagger: '2.0' }],
    [`/openapi/v3${root}`, { openapi: '3.0.0' }],
  ])('is at %s', async (url, body) => {
    expect(await ask(url)).toMatchObject({ status: 200, type: 'application/json', body });
  });

  it.each(['v2', 'v2beta1'])('comes as one document (%s) to who would like that', async version => {
    const type = `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;

    expect(await ask('/apis', accepting(`${type},application/json`))).toMatchObject({
      type,
      body: { kind: 'APIGroupDiscoveryList', apiVersion: `apidiscovery.k8s.io/${version}` },
    });
  });

  it('leads to the document of OpenAPI 3 at an address that changes with it', async () => {
    const index = await ask('/openapi/v3');
    const { serverRelativeURL } = index.body.paths[root.slice(1)];

    const document = await ask(serverRelativeURL);

    expect(document.body.openapi).toBe('3.0.0');
    expect(serverRelativeURL).toContain(document.headers['etag']?.replaceAll('"', ''));
  });

  it.each(['/openapi/v2', '/openapi/v3', '/apis'])('says that %s is as it was', async url => {
    const { headers } = await ask(url);

    const again = await ask(url, { headers: { 'if-none-match': headers['etag'] } });

    expect([again.status, again.body]).toEqual([304, '']);
  });
});

describe('before every ScaledObject is known', () => {
  const early = metricsApi({ source: { ...source, ready: false }, clock, version: 'v1.2.3' });

  it.each([
    ['values are not answered', mails, 503],
    ['readiness is not claimed', '/readyz', 503],
    ['it lives', '/livez', 200],
    ['it is healthy', '/healthz', 200],
    // A cluster whose discovery fails can delete no namespace.
    ['discovery is answered', root, 200],
  ])('%s', async (_title, url, status) => {
    expect((await ask(url, {}, early)).status).toBe(status);
  });

  it('is ready once they are', async () => {
    expect(await ask('/readyz')).toMatchObject({ status: 200, body: 'ok' });
  });
});
