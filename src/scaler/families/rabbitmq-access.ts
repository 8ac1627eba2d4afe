import { fingerprint, Secret } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity } from '../../base/tls.ts';
import type { Problem } from '../../spec/problem.ts';
import { p, type ValuesOf } from '../params.ts';
import { basicCredentials, type HttpAccess, notHttpUrl } from './http-auth.ts';
import { type Address, joinHostPort } from './socket.ts';

/** Where the broker is and how to come in. */
export const rabbitAccessParams = {
  host: p.secret({
    doc: 'URL of the broker with the virtual host, `amqp://user:password@host:5672/vhost` or `amqps://…`, or of its management API, `http://user:password@host:15672/path/vhost` or `https://…`. The virtual host is the last part of the path, with `/` written as `%2F`; without one it is `/`.',
    from: ['metadata', 'auth', 'env'],
  }),
  protocol: p.choice(['auto', 'http', 'amqp'], {
    doc: 'What is spoken; `auto` goes by the URL.',
    from: ['metadata', 'auth'],
    default: 'auto',
  }),
  vhostName: p.text({
    doc: 'The virtual host, written plainly; comes before that of the URL.',
    from: ['metadata', 'auth'],
    optional: true,
  }),
  username: p.text({
    doc: 'User, with `password`; comes before that of the URL.',
    from: ['auth', 'env'],
    optional: true,
  }),
  password: p.secret({ doc: 'Password of the user.', from: ['auth', 'env'], optional: true }),
  tls: p.choice(['enable', 'disable'], {
    doc: 'Whether `ca`, `cert` and `key` count. What is encrypted is said by the URL: `amqps` and `https`.',
    from: ['auth'],
    default: 'disable',
  }),
  ca: p.text({
    doc: "Certificate authority to trust in addition to the system's, PEM.",
    from: ['auth'],
    optional: true,
  }),
  cert: p.text({
    doc: 'Client certificate, PEM. Over AMQP without a user and password it says who we are (SASL EXTERNAL).',
    from: ['auth'],
    optional: true,
  }),
  key: p.secret({ doc: "The client certificate's key, PEM.", from: ['auth'], optional: true }),
  keyPassword: p.secret({ doc: 'Password of the key.', from: ['auth'], optional: true }),
  unsafeSsl: p.flag({ doc: "Skip verification of the server's certificate.", default: 'false' }),
  workloadIdentityResource: p.text({
    doc: 'Application that tokens are asked for, with the pod identity `azure-workload` (management API only).',
    from: ['auth'],
    optional: true,
  }),
  oauthTokenURI: p.text({
    doc: 'Where tokens are issued (OAuth 2 client credentials, management API only).',
    from: ['auth'],
    optional: true,
  }),
  scopes: p.list({ doc: 'Scopes to ask for.', also: ['scope'], from: ['auth'], optional: true }),
  clientID: p.text({ doc: 'Client id.', from: ['auth'], optional: true }),
  clientSecret: p.secret({ doc: 'Client secret.', from: ['auth'], optional: true }),
  endpointParams: p.query({
    doc: 'More parameters of the token request, as a URL query.',
    from: ['auth'],
    secret: true,
    optional: true,
  }),
};

type Values = ValuesOf<typeof rabbitAccessParams>;

/** A broker that is spoken to in AMQP. */
export interface AmqpAccess {
  protocol: 'amqp';
  address: Address;
  vhost: string;
  /** Undefined where the client certificate says who we are. */
  login: { username: string; password: Secret } | undefined;
  encryption: TlsOptions | undefined;
  /** Whose certificate the broker is to show, where that is not the host. */
  serverName: string | undefined;
}

/** The management API of a broker. */
export interface ManagementAccess {
  protocol: 'http';
  /** The URL up to the path of the API, without a slash at its end. */
  base: string;
  /** As it stands in a URL. */
  vhost: string;
  http: HttpAccess;
  /** What tokens of a pod identity are asked for. */
  resource: string | undefined;
}

/** A URL that nothing can be reached by: KEDA, too, finds that out when it connects. */
export interface NoAccess {
  protocol: 'amqp' | 'http';
  wrong: string;
}

export type RabbitAccess = AmqpAccess | ManagementAccess | NoAccess;

const at = (name: string) => ({ field: `metadata.${name}` });

/** @returns the problems instead where the parameters do not fit together */
export function rabbitAccess(values: Values): RabbitAccess | { problems: Problem[] } {
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):/.exec(values.host.reveal())?.[1]?.toLowerCase() ?? '';
  const byScheme = /^amqps?$/.test(scheme) ? 'amqp' : /^https?$/.test(scheme) ? 'http' : undefined;
  const protocol = values.protocol === 'auto' ? byScheme : values.protocol;
  const problems = problemsOf(values, protocol);
  if (problems.length > 0 || protocol === undefined) return { problems };
  if (byScheme !== protocol) {
    const wanted = protocol === 'amqp' ? 'amqp or amqps' : 'http or https';
    return { protocol, wrong: `the host is no ${wanted} URL, which the protocol ${protocol} needs` };
  }
  try {
    return protocol === 'amqp' ? amqpAccess(values, scheme) : managementAccess(values);
  } catch {
    return { protocol, wrong: 'the host is not a URL that can be used' };
  }
}

function problemsOf(values: Values, protocol: 'amqp' | 'http' | undefined): Problem[] {
  const { username, password, cert, key, workloadIdentityResource } = values;
  const { oauthTokenURI, clientID, clientSecret } = values;
  const problems: Problem[] = [];
  if (protocol === undefined) {
    const mending = 'use an amqp, amqps, http or https URL, or say which protocol it is';
    problems.push({ problem: 'the host does not say what is spoken there', mending, place: at('host') });
  }
  if ((username === undefined) !== (password === undefined)) {
    const problem = `"${username === undefined ? 'username' : 'password'}" is missing`;
    problems.push({ problem, mending: 'give username and password together', place: at('username') });
  }
  if ((cert === undefined) !== (key === undefined)) {
    const problem = `"${cert === undefined ? 'cert' : 'key'}" is missing`;
    problems.push({ problem, mending: 'give cert and key together', place: at('cert') });
  }
  if (protocol === 'amqp' && workloadIdentityResource !== undefined) {
    problems.push({
      problem: 'a workload identity is for the management API only',
      mending: 'use an http or https URL',
      place: at('workloadIdentityResource'),
    });
  }
  const oauth = { oauthTokenURI, clientID, clientSecret };
  const missing = Object.entries(oauth).filter(([, value]) => value === undefined);
  if (missing.length === 3) return problems;
  for (const [name] of missing) {
    problems.push({ problem: `"${name}" is missing`, mending: 'OAuth needs it', place: at(name) });
  }
  if (oauthTokenURI !== undefined) problems.push(...notHttpUrl('oauthTokenURI', oauthTokenURI));
  if (protocol === 'amqp') {
    const mending = 'use an http or https URL';
    problems.push({ problem: 'OAuth is for the management API only', mending, place: at('oauthTokenURI') });
  }
  if ((username !== undefined && password !== undefined) || workloadIdentityResource !== undefined) {
    const problem = 'OAuth is given beside a password or a workload identity';
    problems.push({ problem, mending: 'leave one of them out', place: at('oauthTokenURI') });
  }
  return problems;
}

function encryptionOf({ tls, ca, cert, key, keyPassword, unsafeSsl }: Values): TlsOptions {
  const own = tls === 'enable';
  return {
    ...(own && ca !== undefined ? { ca } : {}),
    ...(own && cert !== undefined ? { cert } : {}),
    ...(own && key !== undefined ? { key } : {}),
    ...(own && keyPassword !== undefined ? { keyPassword } : {}),
    ...(unsafeSsl ? { unsafeSsl } : {}),
  };
}

/** The login in a URL, where it has one. */
function userOf(host: Secret): { username: string; password: Secret | undefined } | undefined {
  const { username, password } = new URL(host.reveal());
  // An empty password is one that is given; a URL that was read does not tell.
  const given = password !== '' || /^[^:]+:\/\/[^:@/?#]*:@/.test(host.reveal());
  if (username === '' && !given) return undefined;
  return {
    username: decodeURIComponent(username),
    password: given ? new Secret(decodeURIComponent(password)) : undefined,
  };
}

function amqpAccess(values: Values, scheme: string): AmqpAccess {
  const url = new URL(values.host.reveal());
  const secure = scheme === 'amqps';
  const encryption = secure ? encryptionOf(values) : undefined;
  const { username, password, vhostName } = values;
  const inUrl = userOf(values.host);
  // What the URL leaves out is RabbitMQ's own default, as it is for KEDA's client.
  const guest = new Secret('guest');
  const login =
    username !== undefined && password !== undefined
      ? { username, password }
      : { username: inUrl?.username ?? 'guest', password: inUrl?.password ?? guest };
  // Also without encryption, where the broker cannot agree: a guest was not asked for.
  const shown = values.tls === 'enable' && values.cert !== undefined;
  const byCertificate = shown && username === undefined && inUrl?.password === undefined;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const path = decodeURIComponent(url.pathname.slice(1));
  return {
    protocol: 'amqp',
    address: {
      host: host === '' ? 'localhost' : decodeURIComponent(host),
      port: url.port === '' ? (secure ? 5671 : 5672) : Number(url.port),
    },
    vhost: vhostName ?? (path === '' ? '/' : path),
    login: byCertificate ? undefined : login,
    encryption,
    serverName: url.searchParams.get('server_name_indication') || undefined,
  };
}

function managementAccess(values: Values): ManagementAccess {
  const url = new URL(values.host.reveal());
  const { username, password, vhostName, workloadIdentityResource } = values;
  const inUrl = userOf(values.host);
  const user = username !== undefined && password !== undefined ? { username, password } : inUrl;
  const parts = url.pathname.split('/');
  const last = parts.pop() ?? '';
  const path = parts.filter(part => part !== '').map(part => `/${part}`);
  const resource = workloadIdentityResource;
  const oauth = oauthOf(values);
  const byToken = resource !== undefined || oauth !== undefined;
  const headers =
    user === undefined || byToken ? {} : { authorization: basicCredentials(user.username, user.password) };
  const tls = encryptionOf(values);
  const who = [
    headers.authorization?.fingerprint(),
    oauth === undefined ? undefined : { ...oauth, clientSecret: oauth.clientSecret.fingerprint() },
    resource,
    tlsIdentity(tls),
  ];
  return {
    protocol: 'http',
    base: `${url.origin}${path.join('')}`,
    vhost: vhostName === undefined ? last || '%2F' : encodeURIComponent(vhostName),
    http: {
      headers,
      tls,
      identity: fingerprint(JSON.stringify(who)),
      ...(oauth === undefined ? {} : { oauth }),
    },
    resource,
  };
}

function oauthOf({ oauthTokenURI, clientID, clientSecret, scopes = [], endpointParams = {} }: Values) {
  if (oauthTokenURI === undefined || clientID === undefined || clientSecret === undefined) return undefined;
  return {
    tokenUrl: oauthTokenURI,
    clientId: clientID,
    clientSecret,
    scopes: scopes.filter(scope => scope !== ''),
    extra: endpointParams,
  };
}

/** What names the virtual host of a broker, whoever comes in. */
export function amqpPlace({ address, vhost }: AmqpAccess): string {
  return `${joinHostPort(address.host, address.port)}/${vhost}`;
}

/** What a connection is shared by; holds no secret. */
export function rabbitIdentity(access: RabbitAccess): string {
  if ('wrong' in access) return fingerprint(access.wrong);
  if (access.protocol === 'http') return `${access.base} ${access.http.identity}`;
  const { login, encryption, serverName = '' } = access;
  const how = encryption === undefined ? 'plain' : `tls ${tlsIdentity(encryption)} ${serverName}`;
  const who = fingerprint(JSON.stringify([login?.username, login?.password.fingerprint(), how]));
  return `${encryption === undefined ? 'amqp' : 'amqps'}://${amqpPlace(access)} ${who}`;
}
