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
import metricsApi from './metrics-api.ts';

const stats = '{"components":{"worker":{"tasks":12}}}';

async function api(body: string | ((url: string) => string) = stats) {
  const server = await httpServer((req, res) =>
    res.end(typeof body === 'string' ? body : body(req.url ?? '')),
  );
  return Object.assign(server, { params: { url: `${server.url}/stats` } });
}

scalerContract(metricsApi, {
  serve: () => api(),
  params: { valueLocation: 'components.worker.tasks', targetValue: '5', authMode: 'apiKey', method: 'query' },
  auth: { apiKey: 'the secret key' },
  at: ({ url }) => ({ params: { url: `${url}/stats` } }),
  expect: 12,
  missing: () => ({ params: { valueLocation: 'nowhere' } }),
  saying: number => api(`{"components":{"worker":{"tasks":${number}}}}`),
  measures: true,
  cannot: { wrong: 'the test has no server of its own that checks them: tried by status' },
});

const given = (params: Record<string, string>) => ({
  params: { url: 'http://api/stats', valueLocation: 'a', targetValue: '5', ...params },
});

describe('metrics-api', () => {
  it.each([
    ['yaml', 'a.b', 'a: {b: 4}', 4],
    ['xml', 'a.b', '<a><b>4</b></a>', 4],
    ['prometheus', 'jobs{state="waiting"}', 'jobs{state="waiting"} 4\n', 4],
  ])('reads %s', async (format, valueLocation, body, value) => {
    await using server = await api(body);

    expect(await readOnce(mustBind(metricsApi, given({ ...server.params, format, valueLocation })))).toBe(
      value,
    );
  });

  it.each([
    ['a target of 0', { targetValue: '0' }, 'targetValue is 0'],
    ['an address that is no URL', { url: 'api:3232/stats' }, '"api:3232/stats" is not an http or https URL'],
    ['a format it does not know', { format: 'csv' }, '"csv" must be one of json, yaml, xml, prometheus'],
    [
      'a selector without a metric',
      { format: 'prometheus', valueLocation: '{a="b"}' },
      '"{a="b"}" names no metric',
    ],
    [
      'pods of no service',
      { aggregateFromKubeServiceEndpoints: 'true' },
      '"api" names no service with its namespace',
    ],
    ['a mode without its parameters', { authMode: 'basic' }, '"username" is missing'],
    [
      'two modes for one header',
      { authMode: 'basic,bearer' },
      '"basic,bearer" may have only one of bearer, basic, oauth',
    ],
  ])('refuses %s', (_title, params, problem) => {
    expect(bind(metricsApi, given(params))).toMatchObject({ ok: false, problems: [{ problem }] });
  });

  it('needs no target where a formula has one', () => {
    const { url, valueLocation } = given({}).params;

    const binding = bind(metricsApi, { params: { url, valueLocation } }, { asMetricSource: true });

    expect(binding.ok).toBe(true);
  });

  it('shares a connection by server and identity, and a reading by question', () => {
    const one = mustBind(metricsApi, given({}));
    const same = mustBind(metricsApi, given({ targetValue: '7' }));
    const other = mustBind(metricsApi, given({ valueLocation: 'b' }));

    expect([same.connectionKey, same.readingKey]).toEqual([one.connectionKey, one.readingKey]);
    expect(other.connectionKey).toBe(one.connectionKey);
    expect(other.readingKey).not.toBe(one.readingKey);
  });

  it('has the metric name of KEDA', () => {
    expect(mustBind(metricsApi, given({ valueLocation: 'a.b' })).metricName).toBe('s0-metric-api-a-b');
  });

  it('takes a timeout of its own', () => {
    expect(mustBind(metricsApi, given({ timeout: '1500' })).timeoutMs).toBe(1500);
    expect(mustBind(metricsApi, given({ timeout: '0' })).timeoutMs).toBeUndefined();
  });
});

describe('the pods of a service', () => {
  const pods = (port: number, extra: object[] = []) => ({
    items: [
      {
        ports: [{ port }],
        endpoints: [
          { addresses: ['127.0.0.1'], conditions: { ready: true } },
          { addresses: ['127.0.0.1'] },
          { addresses: ['127.0.0.9'], conditions: { ready: false } },
          ...extra,
        ],
      },
    ],
  });

  async function readPods(slices: unknown, port: number, aggregationType: string) {
    const url = `http://stats.shop.svc.cluster.local:${port}/load?x=1`;
    const params = { url, valueLocation: 'n', aggregateFromKubeServiceEndpoints: 'true', aggregationType };
    const { params: resolved, scaler } = mustBind(metricsApi, given(params));
    const signal = AbortSignal.timeout(5000);
    const conn = await scaler.open(resolved, openContext(signal));
    const asked: string[] = [];
    const cluster = {
      get: async (path: string) => {
        asked.push(path);
        return slices;
      },
    };
    try {
      return await scaler.read(resolved, { conn, signal, now: 0, namespace: 'default', cluster });
    } finally {
      expect(asked).toEqual([
        '/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dstats',
      ]);
      await scaler.close(conn);
    }
  }

  it('are asked one by one, those that fail left out', async () => {
    const asked: string[] = [];
    await using server = await httpServer((req, res) => {
      asked.push(req.url ?? '');
      res.end('{"n":2}');
    });

    const value = await readPods(pods(server.port, [{ addresses: ['::1'] }]), server.port, 'sum');

    expect([value, ...asked]).toEqual([2, '/load?x=1']);
  });

  it('are an error when all of them fail', async () => {
    await using server = await httpServer((_req, res) => res.writeHead(500).end());

    const fault = await faultFrom(readPods(pods(server.port), server.port, 'sum'));

    expect(fault).toMatchObject({
      code: 'SOURCE_FAILED',
      message: expect.stringContaining('none of 1 pods'),
    });
  });

  it('are an error when none is ready', async () => {
    expect(await faultFrom(readPods({ items: [] }, 80, 'sum'))).toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });

  it('cannot be asked without a cluster', async () => {
    const params = { url: 'http://stats.shop:80/', aggregateFromKubeServiceEndpoints: 'true' };

    const fault = await faultFrom(readOnce(mustBind(metricsApi, given(params))));

    expect(fault.code).toBe('NOT_SUPPORTED');
  });
});
