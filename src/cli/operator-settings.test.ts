import { describe, expect, it } from 'vitest';
import { operatorFlags } from './operator-flags.ts';
import { type Flags, operatorSettings } from './operator-settings.ts';

const presets = Object.fromEntries(operatorFlags.map(({ name, preset }) => [name, preset]));
const settings = (flags: Flags = {}, environment: Record<string, string> = {}) =>
  operatorSettings({ ...presets, ...flags }, environment);

describe('the settings of the operator', () => {
  it('are those of KEDA unless given', () => {
    expect(settings()).toMatchObject({
      watchNamespaces: undefined,
      autoscaler: 'hpa',
      lease: { name: 'operator.keda.sh', durationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2000 },
      prometheus: { host: undefined, port: 8080 },
      health: { port: 8081 },
      metricsApi: { port: 6443 },
      webhooks: { port: 9443 },
      certificates: { secretName: 'kedaorg-certs', rotate: true, patchWebhook: 'keda-admission' },
      readTimeoutMs: 3000,
      restrictSecrets: false,
      tokenLifeMs: 3_600_000,
    });
  });

  it.each([
    ['nothing', '', undefined],
    ['a pair of quotes', '""', undefined],
    ['one', 'shop', ['shop']],
    ['several', 'shop, mail', ['shop', 'mail']],
  ])('watch what WATCH_NAMESPACE says: %s', (_title, value, namespaces) => {
    expect(settings({}, { WATCH_NAMESPACE: value }).watchNamespaces).toEqual(namespaces);
  });

  it.each([
    ['an address with a host', 'metrics-bind-address', '127.0.0.1:9090', { host: '127.0.0.1', port: 9090 }],
    ['an address of version 6', 'metrics-bind-address', '[::1]:9090', { host: '::1', port: 9090 }],
    ['no address', 'metrics-bind-address', '0', undefined],
  ])('take %s', (_title, name, value, prometheus) => {
    expect(settings({ [name]: value }).prometheus).toEqual(prometheus);
  });

  it('make no certificates where they are given', () => {
    const { certificates } = settings({ 'cert-dir': '/certs' });

    expect(certificates).toMatchObject({ folder: '/certs', rotate: false });
  });

  it.each<[string, Flags, Record<string, string>, string]>([
    ['a flag', { 'leader-elect': 'perhaps' }, {}, '--leader-elect needs true or false, not "perhaps"'],
    ['a mode', { autoscaler: 'both' }, {}, '--autoscaler needs hpa or direct, not "both"'],
    [
      'a port',
      { 'secure-port': '99999' },
      {},
      '--secure-port needs an address such as :8080 or 127.0.0.1:8080, not ":99999"',
    ],
    [
      'a duration',
      {},
      { KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION: '15' },
      'KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION needs a duration such as 15s, not "15"',
    ],
    [
      'a time-out',
      {},
      { KEDA_HTTP_DEFAULT_TIMEOUT: 'soon' },
      'KEDA_HTTP_DEFAULT_TIMEOUT needs a number of milliseconds, not "soon"',
    ],
    [
      'a life of tokens',
      {},
      { KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY: '30m' },
      'KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY needs a duration from 1h to 6h, not "30m"',
    ],
  ])('say what is wrong with %s', (_title, flags, environment, message) => {
    expect(() => settings(flags, environment)).toThrow(
      expect.objectContaining({ code: 'USAGE', message }) as Error,
    );
  });
});
