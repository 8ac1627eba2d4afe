import { fingerprint } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity, tlsOptions } from '../../base/tls.ts';
import type { Problem } from '../../spec/problem.ts';
import type { OpenContext } from '../context.ts';
import { p, type ValuesOf } from '../params.ts';
import { requireUsableTls } from './http-auth.ts';
import { NatsClient } from './nats-client.ts';
import type { NatsLogin } from './nats-login.ts';
import { NatsMonitoring } from './nats-monitoring.ts';
import type { Address } from './socket.ts';

/** Where NATS is: its monitoring is what counts are read from, and its clients' port what messages are taken from. */
export const natsAccessParams = {
  natsServerMonitoringEndpoint: p.text({
    doc: '`host:port` of the monitoring endpoint, or several of one cluster with commas between them.',
    from: ['auth', 'metadata'],
  }),
  useHttps: p.flag({ doc: 'Whether the monitoring endpoint speaks HTTPS.', default: 'false' }),
  natsServerEndpoint: p.text({
    doc: 'Delivery only: `host:port` that clients connect to, or several with commas between them. Unless given, the host of the monitoring endpoint with the port that the server names.',
    from: ['auth', 'metadata'],
    optional: true,
  }),
  username: p.text({ doc: 'Delivery only: user to log in as.', from: ['auth', 'env'], optional: true }),
  password: p.secret({ doc: 'Delivery only: password of the user.', from: ['auth', 'env'], optional: true }),
  token: p.secret({ doc: 'Delivery only: token to log in with.', from: ['auth', 'env'], optional: true }),
  credentials: p.secret({
    doc: 'Delivery only: a `.creds` file (JWT and seed), or the seed of an nkey.',
    from: ['auth', 'env'],
    optional: true,
  }),
  tls: p.choice(['enable', 'disable'], {
    doc: 'Delivery only: `enable` to insist on TLS; otherwise it is used where the server insists.',
    from: ['auth'],
    optional: true,
  }),
  unsafeSsl: p.flag({ doc: "Skip verification of the server's certificate.", default: 'false' }),
  ca: p.text({
    doc: "Certificate authority to trust in addition to the system's, PEM.",
    from: ['auth'],
    optional: true,
  }),
  cert: p.text({ doc: 'Client certificate, PEM.', from: ['auth'], optional: true }),
  key: p.secret({ doc: "The client certificate's key, PEM.", from: ['auth'], optional: true }),
  keyPassword: p.secret({ doc: 'Password of the key.', from: ['auth'], optional: true }),
};

/** Everything needed to open both, worked out once. */
export interface NatsAccess {
  /** Such as `http://nats:8222`. */
  bases: [string, ...string[]];
  /** Where clients connect; undefined where the server has to be asked. */
  addresses: readonly Address[] | undefined;
  login: NatsLogin;
  insistsOnTls: boolean;
  tls: TlsOptions;
}

/** The two ways to a server. */
export interface NatsConnection extends AsyncDisposable {
  readonly monitoring: NatsMonitoring;
  readonly client: NatsClient;
}

/** @returns the problems instead where something is no address */
export function natsAccess(values: ValuesOf<typeof natsAccessParams>): NatsAccess | { problems: Problem[] } {
  const { natsServerMonitoringEndpoint, useHttps, natsServerEndpoint } = values;
  const { username, password, token, credentials } = values;
  const problems: Problem[] = [];
  const bases = split(natsServerMonitoringEndpoint).map(text => baseOf(text, useHttps));
  const addresses = natsServerEndpoint === undefined ? [] : split(natsServerEndpoint).map(addressOf);
  if (bases.includes(undefined)) problems.push(noAddress('natsServerMonitoringEndpoint', 8222));
  if (addresses.includes(undefined)) problems.push(noAddress('natsServerEndpoint', 4222));
  const [first, ...others] = bases.filter(base => base !== undefined);
  if (problems.length > 0 || first === undefined) return { problems };
  return {
    bases: [first, ...others],
    addresses: addresses.length === 0 ? undefined : addresses.filter(address => address !== undefined),
    login: { username, password, token, credentials },
    insistsOnTls: values.tls === 'enable',
    tls: tlsOptions(values),
  };
}

const split = (text: string) => text.split(',').map(part => part.trim());

const noAddress = (name: string, port: number): Problem => ({
  problem: `${name} is no address`,
  mending: `write host:port, such as nats.nats.svc.cluster.local:${port}`,
  place: { field: `metadata.${name}` },
});

/** `http://host:port`; undefined for what is no address. */
function baseOf(address: string, useHttps: boolean): string | undefined {
  const url = `${useHttps ? 'https' : 'http'}://${address}`;
  return URL.canParse(url) && /^[^/?#@\s]+$/.test(address) ? new URL(url).origin : undefined;
}

/** Also as a URL, which is how clients of NATS write it. */
function addressOf(text: string): Address | undefined {
  const base = baseOf(text.replace(/^(nats|tls):\/\//, ''), false);
  if (base === undefined) return undefined;
  const { hostname, port } = new URL(base);
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? 4222 : Number(port) };
}

/** What a connection is shared by. */
export function natsIdentity({ bases, addresses = [], login, insistsOnTls, tls }: NatsAccess): string {
  const { username, password, token, credentials } = login;
  const secrets = [password, token, credentials].map(secret => secret?.fingerprint());
  const who = JSON.stringify([username, ...secrets, addresses, insistsOnTls, tlsIdentity(tls)]);
  return `${bases.join(',')} ${fingerprint(who)}`;
}

/**
 * Opens nothing yet: either way is opened by its first use, and most triggers are only counted.
 *
 * @throws Fault PARAM_INVALID where certificates or keys cannot be used
 */
export function openNats(access: NatsAccess, context: OpenContext): NatsConnection {
  const { bases, login, tls, insistsOnTls, addresses } = access;
  requireUsableTls(tls);
  const { roots, minTlsVersion } = context.http;
  const monitoring = new NatsMonitoring(bases, tls, context);
  const entry = { ...login, tls: insistsOnTls ? tls : undefined, roots, minTlsVersion };
  const client = new NatsClient({
    monitoring,
    addresses,
    entry: { ...entry, trust: tls, connectionName: context.connectionName() },
  });
  return {
    monitoring,
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await monitoring[Symbol.asyncDispose]();
    },
  };
}
