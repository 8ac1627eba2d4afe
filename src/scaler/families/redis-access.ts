import { Fault } from '../../base/errors.ts';
import { fingerprint, type Secret } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity, tlsOptions } from '../../base/tls.ts';
import type { Problem } from '../../spec/problem.ts';
import type { OpenContext } from '../context.ts';
import { p, type ValuesOf } from '../params.ts';
import { requireUsableTls } from './http-auth.ts';
import { openSentinel, openServer, type RedisClient } from './redis.ts';
import { openCluster } from './redis-cluster.ts';
import type { RedisAddress, RedisEntry } from './redis-link.ts';
import { joinHostPort } from './socket.ts';

/** How Redis is deployed: KEDA has a trigger type for each. */
export type Deployment = 'server' | 'cluster' | 'sentinel';

const own = ['metadata', 'auth', 'env'] as const;
const login = ['metadata', 'env', 'auth'] as const;

/** Where to connect and how to come in: the same parameters for all six types. */
export const redisAccessParams = {
  address: p.list({
    doc: '`host:port`, or several with commas between them; for Sentinel those of the sentinels.',
    also: ['addresses'],
    from: own,
    optional: true,
  }),
  host: p.list({
    doc: 'The host, or several with commas between them; needs as many ports. Used in addition to `address`.',
    also: ['hosts'],
    from: login,
    optional: true,
  }),
  port: p.list({
    doc: 'The port of each host, in the same order.',
    also: ['ports'],
    from: login,
    optional: true,
  }),
  username: p.text({ doc: 'User (ACL) to log in as; needs a password.', from: login, optional: true }),
  password: p.secret({ doc: 'Password to log in with.', from: login, optional: true }),
  sentinelUsername: p.text({ doc: 'User at the sentinels (Sentinel only).', from: own, optional: true }),
  sentinelPassword: p.secret({
    doc: 'Password at the sentinels (Sentinel only).',
    from: own,
    optional: true,
  }),
  sentinelMaster: p.text({
    doc: 'What the sentinels call the master (Sentinel only).',
    from: own,
    optional: true,
  }),
  databaseIndex: p.integer({
    doc: 'Number of the database; a cluster has only one.',
    default: '0',
  }),
  enableTLS: p.flag({ doc: 'Connect with TLS.', optional: true }),
  tls: p.choice(['enable', 'disable'], {
    doc: 'The same, in a TriggerAuthentication; only one of the two may be given.',
    from: ['auth'],
    optional: true,
  }),
  unsafeSsl: p.flag({ doc: "Skip verification of the server's certificate.", default: 'false' }),
  ca: p.text({
    doc: "Certificate authority to trust in addition to the system's, PEM.",
    from: ['auth'],
    optional: true,
  }),
  Cert: p.text({ doc: 'Client certificate, PEM.', also: ['cert'], from: ['auth'], optional: true }),
  key: p.secret({ doc: "The client certificate's key, PEM.", from: ['auth'], optional: true }),
  keyPassword: p.secret({ doc: 'Password of the key.', from: ['auth'], optional: true }),
};

type Values = ValuesOf<typeof redisAccessParams>;

/** Everything needed to open a deployment, worked out once. */
export interface RedisAccess {
  deployment: Deployment;
  /** As texts, those made of hosts and ports last. */
  address: readonly string[];
  username: string | undefined;
  password: Secret | undefined;
  sentinelUsername: string | undefined;
  sentinelPassword: Secret | undefined;
  sentinelMaster: string | undefined;
  databaseIndex: number;
  encryption: TlsOptions | undefined;
}

/** @returns the problems instead where no address can be made of the values, or TLS is asked for twice */
export function redisAccess(deployment: Deployment, values: Values): RedisAccess | { problems: Problem[] } {
  const { host = [], port = [], enableTLS, tls, databaseIndex } = values;
  const problems: Problem[] = [];
  const pairs = host.length > 0 && port.length > 0 ? host : [];
  if (pairs.length > 0 && host.length !== port.length) {
    const count = `${host.length} hosts and ${port.length} ports`;
    problems.push({
      problem: `there are ${count}`,
      mending: 'give each host a port',
      place: at('port'),
    });
  }
  const address = [
    ...(values.address ?? []),
    ...pairs.map((each, index) => joinHostPort(each, port[index] ?? '')),
  ];
  if (address[0] === undefined || address[0] === '') {
    const half = host.length > 0 ? '"port" is missing' : port.length > 0 ? '"host" is missing' : undefined;
    const problem = half ?? '"address" is missing';
    problems.push({ problem, mending: 'give address, or host and port', place: at('address') });
  }
  if (enableTLS !== undefined && tls !== undefined) {
    const mending = 'leave one of them out';
    problems.push({
      problem: 'enableTLS and the tls of the TriggerAuthentication are both given',
      mending,
      place: at('enableTLS'),
    });
  }
  if (problems.length > 0) return { problems };
  const { username, password, sentinelUsername, sentinelPassword, sentinelMaster } = values;
  return {
    deployment,
    address,
    username,
    password,
    sentinelUsername,
    sentinelPassword,
    sentinelMaster,
    // For KEDA's client a negative one is none.
    databaseIndex: Math.max(0, databaseIndex),
    encryption: (enableTLS ?? tls === 'enable') ? tlsOptions({ ...values, cert: values.Cert }) : undefined,
  };
}

const at = (name: string) => ({ field: `metadata.${name}` });

/** What names the deployment, whoever comes in: the same across restarts and changes of credentials. */
export function redisPlace({ deployment, address, sentinelMaster, databaseIndex }: RedisAccess): string {
  const all = [...address].sort();
  const [first = ''] = address;
  switch (deployment) {
    case 'server':
      return `${first}/${databaseIndex}`;
    case 'cluster':
      return all.join(',');
    case 'sentinel':
      return `${sentinelMaster ?? ''}@${all.join(',')}/${databaseIndex}`;
  }
}

/** What a connection is shared by. */
export function redisIdentity(access: RedisAccess): string {
  const { username = '', password, sentinelUsername = '', sentinelPassword, encryption } = access;
  const who = [username, password?.fingerprint(), sentinelUsername, sentinelPassword?.fingerprint()];
  const how = encryption === undefined ? '' : `tls ${tlsIdentity(encryption)}`;
  return `${redisPlace(access)} ${fingerprint(JSON.stringify([...who, how]))}`;
}

/**
 * Opens the deployment.
 *
 * @throws Fault PARAM_INVALID for an address, master or certificate that cannot be used, SOURCE_… of the source
 */
export async function openRedis(access: RedisAccess, context: OpenContext): Promise<RedisClient> {
  const { deployment, encryption, sentinelMaster } = access;
  requireUsableTls(encryption);
  const { signal, http } = context;
  const ways: RedisEntry = {
    tls: encryption,
    roots: http.roots,
    minTlsVersion: http.minTlsVersion,
    connectionName: context.connectionName(),
  };
  const entry: RedisEntry = {
    ...ways,
    username: access.username,
    password: access.password,
    database: access.databaseIndex,
  };
  // A server alone is the first one; nobody looks at more.
  const texts = deployment === 'server' ? access.address.slice(0, 1) : access.address;
  const addresses = texts.map(text => parseAddress(text, deployment === 'sentinel' ? 26379 : 6379));
  const [first] = addresses;
  if (first === undefined) throw new Fault('PARAM_INVALID', 'there is no address to connect to');
  switch (deployment) {
    case 'server':
      return await openServer(first, entry, signal);
    case 'cluster':
      return await openCluster(addresses, entry, signal);
    case 'sentinel': {
      if (sentinelMaster === undefined) throw new Fault('PARAM_INVALID', '"sentinelMaster" is missing');
      const { sentinelUsername: username, sentinelPassword: password } = access;
      const sentinelEntry = { ...ways, username, password };
      const settings = { sentinels: addresses, master: sentinelMaster, sentinelEntry, entry };
      return await openSentinel(settings, signal);
    }
  }
}

/** `host:port`, `[v6]:port`, `:port` of this machine, or a host alone. @throws Fault PARAM_INVALID */
function parseAddress(text: string, defaultPort: number): RedisAddress {
  const found = /^(?:\[(?<v6>[0-9a-fA-F:.]+)\]|(?<host>[^:/\s[\]]*))(?::(?<port>\d{1,5}))?$/.exec(text);
  const { v6, host = '', port = String(defaultPort) } = found?.groups ?? {};
  if (found === null || Number(port) < 1 || Number(port) > 65_535) {
    throw new Fault('PARAM_INVALID', `"${text}" is not an address of the form host:port`);
  }
  return { host: v6 ?? (host === '' ? 'localhost' : host), port: Number(port) };
}
