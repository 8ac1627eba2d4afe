import { ServerCredentials, status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import {
  authority,
  clientCertificate,
  clientKey,
  serverCertificate,
  serverKey,
} from '../../test/certificates.ts';
import { hasGo } from '../../test/cluster/binaries.ts';
import { startExternal } from '../../test/external-scaler.ts';
import { startGoExternal } from '../../test/external-server.ts';
import { tcpServer } from '../../test/misbehaving-http.ts';
import {
  bind,
  faultFrom,
  measureOnce,
  mustBind,
  openContext,
  readContext,
  scalerContract,
  until,
} from '../../test/scaler-contract.ts';
import external from './external.ts';

scalerContract(external, {
  serve: () => startExternal(),
  params: { queue: 'orders' },
  expect: 12,
  at: ({ host, port }) => ({ params: { scalerAddress: `${host}:${port}` } }),
  protocol: 'tcp',
  saying: number =>
    startExternal({
      values: [number === '-5' ? { metricValue: -5 } : { metricValueFloat: Number(number) }],
    }),
  measures: true,
  cannot: {
    wrong: 'who is let in is for the server to say: tried with its statuses',
    missing: 'what is there is for the server to say: tried with its statuses',
    garbage: 'eight bytes are not a whole frame, so that more is waited for: tried with more',
    tlsFailure: 'the address says nothing of TLS: tried with external',
  },
});

const signal = () => AbortSignal.timeout(5000);

/** What an external scaler says its metrics are. */
async function described(bound: ReturnType<typeof mustBind>) {
  const conn = await bound.scaler.open(bound.params, openContext(signal()));
  try {
    return (await bound.scaler.describe?.(bound.params, readContext(conn, signal()))) ?? [];
  } finally {
    await bound.scaler.close(conn);
  }
}

describe('an external scaler', () => {
  it('is told who asks, everything the trigger says, and what a variable of the target holds', async () => {
    await using server = await startExternal({ values: [{ metricValue: 1 }] });
    const params = {
      scalerAddress: server.address,
      queue: 'orders',
      passwordFromEnv: 'PASSWORD',
      otherFromEnv: 'NOT_SET',
    };
    const bound = mustBind(external, { params, env: { PASSWORD: 'geheim' } }, { workload: 'shop' });

    await measureOnce(bound);

    const scalerMetadata = { scalerAddress: server.address, queue: 'orders', passwordFromEnv: 'geheim' };
    expect(server.asked).toContainEqual({
      method: 'GetMetrics',
      ref: { name: 'shop', namespace: 'default', scalerMetadata },
      metricName: 'orders',
    });
  });

  it('takes parameters of any name without a notice', () => {
    const binding = bind(external, { params: { scalerAddress: 'scaler:6000', anything: 'goes' } });

    expect(binding.notices).toEqual([]);
  });

  it.each([
    ['the whole number', [{ metricValue: 7 }], 7],
    ['the one with a fraction where it is above zero', [{ metricValue: 7, metricValueFloat: 2.5 }], 2.5],
    ['a negative number', [{ metricValue: -7 }], -7],
    ['the sum where there are several', [{ metricValue: 7 }, { metricValueFloat: 0.5 }], 7.5],
    ['a zero that is given', [{ metricValue: 0 }], 0],
  ])('gives %s', async (_title, values, value) => {
    await using server = await startExternal({ values, active: false });

    const measure = await measureOnce(mustBind(external, server));

    expect(measure).toEqual({ value, active: false });
  });

  it('is active when it says so, whatever its number is', async () => {
    await using server = await startExternal({ values: [{ metricValue: 0 }], active: true });

    expect(await measureOnce(mustBind(external, server))).toEqual({ value: 0, active: true });
  });

  it('describes its metrics, by whole numbers or with a fraction', async () => {
    const specs = [
      { metricName: 'a.b/c', targetSize: 5 },
      { metricName: 'd', targetSize: 5, targetSizeFloat: 0.5 },
    ];
    await using server = await startExternal({ specs });

    expect(await described(mustBind(external, server))).toMatchObject([
      { metricName: 'a.b/c', target: 5 },
      { metricName: 'd', target: 0.5 },
    ]);
  });

  it.each([
    ['no metric', []],
    ['a metric without a name', [{ metricName: '', targetSize: 1 }]],
    ['a metric without a target', [{ metricName: 'm' }]],
  ])('that has %s is an error', async (_title, specs) => {
    await using server = await startExternal({ specs });

    const fault = await faultFrom(described(mustBind(external, server)));

    expect(fault.code).toBe('SOURCE_ANSWER_INVALID');
    expect(fault.message).toContain(server.address);
  });

  it('needs no target where a formula has one', async () => {
    await using server = await startExternal({ specs: [{ metricName: 'm' }] });

    expect(await described(mustBind(external, server, { asMetricSource: true }))).toMatchObject([
      { target: 0 },
    ]);
  });

  it('that gives no value has none, which is not a zero', async () => {
    await using server = await startExternal({ values: [] });

    expect((await faultFrom(measureOnce(mustBind(external, server)))).code).toBe('SOURCE_ANSWER_INVALID');
  });

  it.each([
    ['UNAUTHENTICATED', 'SOURCE_REFUSED'],
    ['PERMISSION_DENIED', 'SOURCE_REFUSED'],
    ['NOT_FOUND', 'SOURCE_NOT_FOUND'],
    ['UNAVAILABLE', 'SOURCE_UNREACHABLE'],
    ['RESOURCE_EXHAUSTED', 'SOURCE_BUSY'],
    ['UNIMPLEMENTED', 'NOT_SUPPORTED'],
    ['INTERNAL', 'SOURCE_FAILED'],
    ['UNKNOWN', 'SOURCE_FAILED'],
  ] as const)('that answers %s is a fault %s', async (code, expected) => {
    await using server = await startExternal({ failure: { code: status[code], details: 'sorry' } });

    expect((await faultFrom(measureOnce(mustBind(external, server)))).code).toBe(expected);
  });

  it.each([
    ['what is no HTTP/2', Buffer.alloc(100, 0xff)],
    ['the page of a web server', Buffer.from('HTTP/1.1 200 OK\r\n\r\n12345')],
  ])('that sends %s is none', async (_title, bytes) => {
    await using server = await tcpServer(socket => void socket.resume().write(bytes));

    const fault = await faultFrom(
      measureOnce(mustBind(external, { params: { scalerAddress: `${server.host}:${server.port}` } })),
    );

    expect(fault.code).toBe('SOURCE_ANSWER_INVALID');
    await until(() => server.openSockets() === 0);
  });

  it('leaves no connection behind where nothing is ever said', async () => {
    await using server = await tcpServer(socket => void socket.resume());
    const bound = mustBind(external, { params: { scalerAddress: `${server.host}:${server.port}` } });

    const fault = await faultFrom(measureOnce(bound, { timeoutMs: 100 }));

    expect(fault.code).toBe('SOURCE_TIMEOUT');
    await until(() => server.openSockets() === 0);
  });

  it('shows no secret that the server quotes', async () => {
    const failure = { code: status.INTERNAL, details: 'bad password geheim123' };
    await using server = await startExternal({ failure });
    const params = { scalerAddress: server.address, passwordFromEnv: 'PASSWORD' };

    const fault = await faultFrom(
      measureOnce(mustBind(external, { params, env: { PASSWORD: 'geheim123' } })),
    );

    expect(fault.message).toMatch(/bad password \[secret\]/);
  });

  it.each([
    ['a file', 'unix:/run/scaler.sock'],
    ['a socket without a file', 'unix-abstract:scaler'],
    ['two words', 'a b'],
  ])('may not be at %s', (_title, scalerAddress) => {
    const binding = bind(external, { params: { scalerAddress } });

    expect(binding).toMatchObject({ ok: false, problems: [{ place: { field: 'metadata.scalerAddress' } }] });
  });

  it.each(['dns:///localhost:', 'passthrough:///127.0.0.1:', 'ipv4:127.0.0.1:'])(
    'may be at %s',
    async prefix => {
      await using server = await startExternal({ values: [{ metricValue: 3 }] });
      const bound = mustBind(external, { params: { scalerAddress: `${prefix}${server.port}` } });

      expect(await measureOnce(bound)).toEqual({ value: 3, active: true });
    },
  );

  it('shares a channel with triggers of the same address and identity only', () => {
    const keyOf = (params: Record<string, string>, auth: Record<string, string> = {}) =>
      mustBind(external, { params: { scalerAddress: 'scaler:6000', ...params }, auth }).connectionKey;

    expect(keyOf({ queue: 'a' })).toBe(keyOf({ queue: 'b' }));
    const pair = { tlsClientCert: clientCertificate, tlsClientKey: clientKey };
    const keys = [keyOf({}), keyOf({ enableTLS: 'true' }), keyOf({}, { caCert: authority }), keyOf({}, pair)];
    expect(new Set(keys).size).toBe(4);
  });
});

describe('an external scaler with TLS', () => {
  const credentials = ServerCredentials.createSsl(
    Buffer.from(authority),
    [{ cert_chain: Buffer.from(serverCertificate), private_key: Buffer.from(serverKey) }],
    true,
  );
  const pair = { tlsClientCert: clientCertificate, tlsClientKey: clientKey };

  it.each([
    ['its authority and a client certificate', {}, { caCert: authority, ...pair }],
    ['any certificate, and a client certificate', { unsafeSsl: 'true' }, pair],
  ])('is trusted by %s', async (_title, params, auth) => {
    await using server = await startExternal({ values: [{ metricValue: 3 }] }, { credentials });
    const bound = mustBind(external, { params: { ...server.params, ...params }, auth });

    expect(await measureOnce(bound)).toEqual({ value: 3, active: true });
  });

  it.each([
    ['of an authority nobody knows', { enableTLS: 'true' }, {}],
    ['that wants a client certificate', {}, { caCert: authority }],
    ['that is asked without TLS', {}, {}],
  ])('%s cannot be reached', async (_title, params, auth) => {
    await using server = await startExternal({ values: [{ metricValue: 3 }] }, { credentials });
    const bound = mustBind(external, { params: { ...server.params, ...params }, auth });

    expect((await faultFrom(measureOnce(bound))).code).toBe('SOURCE_UNREACHABLE');
  });

  it.each([
    ['client certificate', { tlsClientCert: 'no certificate', tlsClientKey: 'no key' }],
    ['authority', { caCert: 'no certificate' }],
  ])('says so when the %s cannot be read', async (_title, auth) => {
    const bound = mustBind(external, { params: { scalerAddress: '127.0.0.1:1' }, auth });

    const fault = await faultFrom(measureOnce(bound));

    expect(fault.code).toBe('PARAM_INVALID');
    expect(fault.message).not.toContain('no key');
  });
});

describe.skipIf(!(await hasGo()))('an external scaler in Go, with the code that KEDA generates', () => {
  it('is read, described and refused by', async () => {
    await using server = await startGoExternal();
    const params = {
      scalerAddress: server.address,
      value: '9007199254740991',
      target: '2.5',
      active: 'true',
    };
    const bound = mustBind(external, { params }, { workload: 'shop' });

    const measure = await measureOnce(bound);
    const specs = await described(bound);
    const refused = await faultFrom(
      measureOnce(mustBind(external, { params: { ...params, refuse: 'you' } })),
    );

    expect(measure).toEqual({ value: Number.MAX_SAFE_INTEGER, active: true });
    expect(specs).toMatchObject([
      { metricName: 'default/shop', target: 2.5 },
      { metricName: 'second', target: 7 },
    ]);
    expect(refused).toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('not for you'),
    });
  });

  it('is trusted by its authority and trusts a client certificate', async () => {
    await using server = await startGoExternal({ tls: true });
    const params = { scalerAddress: server.address, value: '4', target: '1', active: 'false' };
    const auth = { caCert: authority, tlsClientCert: clientCertificate, tlsClientKey: clientKey };

    expect(await measureOnce(mustBind(external, { params, auth }))).toEqual({ value: 4, active: false });
  });
});
