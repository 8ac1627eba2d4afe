import { Fault } from '../../base/errors.ts';
import { httpClient } from '../../base/http.ts';
import { fingerprint, type Secret } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity, tlsOptions } from '../../base/tls.ts';
import type { Problem } from '../../spec/problem.ts';
import type { OpenContext } from '../context.ts';
import { p } from '../params.ts';
import { requireUsableTls } from './http-auth.ts';
import { type KafkaClient, kafkaClient } from './kafka.ts';
import type { KafkaEntry, SaslLogin } from './kafka-link.ts';
import { type MskIdentity, mskFingerprint, mskParams, saslMsk, saslMskBearer } from './kafka-msk.ts';
import { saslBearer, saslPlain, saslScram } from './kafka-sasl.ts';
import { oauthTokens } from './oauth.ts';
import type { Address } from './socket.ts';

const own = ['metadata', 'env'] as const;
const secret = ['auth'] as const;

/** What both types have: where the cluster is, whose lag counts, and how to come in. */
export const kafkaParams = {
  bootstrapServers: p.list({
    doc: '`host:port` of brokers to ask first, with commas between them.',
    from: own,
  }),
  consumerGroup: p.text({ doc: 'The group whose lag counts.', from: own }),
  lagThreshold: p.integer({ doc: 'Messages per replica.', unit: 'messages', default: '10' }),
  activationLagThreshold: p.integer({
    doc: 'More than this wakes the workload.',
    unit: 'messages',
    default: '0',
  }),
  offsetResetPolicy: p.choice(['latest', 'earliest'], {
    doc: 'Where the consumers begin in a partition that they have committed nothing in: its lag then is 1 (`latest`), or all of it (`earliest`).',
    default: 'latest',
  }),
  allowIdleConsumers: p.flag({
    doc: 'Allow more replicas than there are partitions.',
    default: 'false',
  }),
  excludePersistentLag: p.flag({
    doc: 'Leave out partitions in which the group has not moved since the last reading; they still keep the workload awake.',
    default: 'false',
  }),
  scaleToZeroOnInvalidOffset: p.flag({
    doc: 'Let a partition count as empty while nothing is committed in it.',
    default: 'false',
  }),
  limitToPartitionsWithLag: p.flag({
    doc: 'Never more replicas than partitions with lag; needs `topic`.',
    default: 'false',
  }),
  ensureEvenDistributionOfPartitions: p.flag({
    doc: 'Only numbers of replicas that divide the number of partitions; for `kafka` it needs `topic`.',
    default: 'false',
  }),
  username: p.text({
    doc: 'User to log in as with SASL; for bearer tokens the client id.',
    from: secret,
    optional: true,
  }),
  password: p.secret({
    doc: 'Password to log in with; for bearer tokens the client secret.',
    from: secret,
    optional: true,
  }),
  ...mskParams,
  tls: p.choice(['enable', 'disable'], {
    doc: 'Connect with TLS.',
    from: ['metadata', 'auth'],
    default: 'disable',
  }),
  ca: p.text({
    doc: "Certificate authority to trust in addition to the system's, PEM.",
    from: secret,
    optional: true,
  }),
  cert: p.text({ doc: 'Client certificate, PEM; needs `key`.', from: secret, optional: true }),
  key: p.secret({ doc: "The client certificate's key, PEM.", from: secret, optional: true }),
  keyPassword: p.secret({ doc: 'Password of the key.', from: secret, optional: true }),
};

export type Mechanism =
  | 'none'
  | 'plaintext'
  | 'scram_sha256'
  | 'scram_sha512'
  | 'oauthbearer'
  | 'gssapi'
  | 'aws_msk_iam';

/** How bearer tokens are had: from a token endpoint. */
export interface BearerAccess {
  tokenUrl: string;
  scopes: readonly string[];
  extensions: Readonly<Record<string, string>>;
}

/** Everything needed to open a cluster, worked out once. */
export interface KafkaAccess {
  bootstrapServers: readonly string[];
  mechanism: Mechanism;
  username: string | undefined;
  password: Secret | undefined;
  /** For `oauthbearer`, unless it is for MSK. */
  bearer: BearerAccess | undefined;
  /** For `aws_msk_iam`, and for bearer tokens that MSK takes. */
  msk: MskIdentity | undefined;
  encryption: TlsOptions | undefined;
}

interface AccessValues {
  bootstrapServers: readonly string[];
  username: string | undefined;
  password: Secret | undefined;
  tls: 'enable' | 'disable';
  unsafeSsl?: boolean | undefined;
  ca: string | undefined;
  cert: string | undefined;
  key: Secret | undefined;
  keyPassword: Secret | undefined;
}

export const at = (name: string) => ({ field: `metadata.${name}` });

/** How to log in, checked already. */
export interface KafkaLogin {
  mechanism: Mechanism;
  bearer?: BearerAccess | undefined;
  msk?: MskIdentity | undefined;
}

/** Puts together what was checked. */
export function kafkaAccess(values: AccessValues, { mechanism, bearer, msk }: KafkaLogin): KafkaAccess {
  const { username, password, tls } = values;
  // A comma too many names no broker.
  const bootstrapServers = values.bootstrapServers.filter(each => each !== '');
  const encryption = tls === 'enable' ? tlsOptions(values) : undefined;
  return { bootstrapServers, mechanism, username, password, bearer, msk, encryption };
}

/** What is wrong with thresholds, and with flags that exclude each other; the same for both types. */
export function problemsOfRules(values: {
  lagThreshold: number;
  activationLagThreshold: number;
  allowIdleConsumers: boolean;
  limitToPartitionsWithLag: boolean;
  hasTopic: boolean;
}): Problem[] {
  const problems: Problem[] = [];
  const { lagThreshold, activationLagThreshold, limitToPartitionsWithLag } = values;
  if (lagThreshold <= 0) {
    problems.push({
      problem: `lagThreshold is ${lagThreshold}`,
      mending: 'use 1 or more',
      place: at('lagThreshold'),
    });
  }
  if (activationLagThreshold < 0) {
    const problem = `activationLagThreshold is ${activationLagThreshold}`;
    problems.push({ problem, mending: 'use 0 or more', place: at('activationLagThreshold') });
  }
  if (limitToPartitionsWithLag && values.allowIdleConsumers) {
    problems.push(excluding('limitToPartitionsWithLag', 'allowIdleConsumers'));
  }
  if (limitToPartitionsWithLag && !values.hasTopic) problems.push(needsTopic('limitToPartitionsWithLag'));
  return problems;
}

export function excluding(one: string, other: string): Problem {
  return { problem: `${one} and ${other} are both true`, mending: 'leave one of them out', place: at(one) };
}

export function needsTopic(name: string): Problem {
  return { problem: `${name} needs a topic`, mending: 'give topic', place: at(name) };
}

/** Both or neither of certificate and key, where TLS is on. */
export function problemsOfTls({ tls, cert, key }: AccessValues): Problem[] {
  if (tls !== 'enable' || (cert === undefined) === (key === undefined)) return [];
  const [there, absent] = cert === undefined ? ['key', 'cert'] : ['cert', 'key'];
  return [
    { problem: `${there} is given without ${absent}`, mending: `give ${absent} too`, place: at(absent) },
  ];
}

/** Complains about each of these that is not given. */
export function problemsOfMissing(values: Readonly<Record<string, unknown>>, why: string): Problem[] {
  return Object.entries(values)
    .filter(([, value]) => value === undefined)
    .map(([name]) => ({ problem: `"${name}" is missing`, mending: `${why} needs it`, place: at(name) }));
}

/** What names the cluster, whoever comes in: the same across restarts and changes of credentials. */
export const kafkaPlace = ({ bootstrapServers }: KafkaAccess) => [...bootstrapServers].sort().join(',');

/** What a connection is shared by. */
export function kafkaIdentity(access: KafkaAccess): string {
  const { mechanism, username = '', password, bearer, msk, encryption } = access;
  const aws = msk === undefined ? '' : mskFingerprint(msk);
  const login = mechanism === 'none' ? [] : [mechanism, username, password?.fingerprint(), bearer, aws];
  const how = encryption === undefined ? '' : `tls ${tlsIdentity(encryption)}`;
  return `${kafkaPlace(access)} ${fingerprint(JSON.stringify([login, how]))}`;
}

/**
 * A client of the cluster, which connects when it is first used.
 *
 * @throws Fault PARAM_INVALID for an address or certificate that cannot be used, NOT_SUPPORTED for a way to log in
 * that is not built
 */
export function openKafka(access: KafkaAccess, context: OpenContext): KafkaClient {
  const { encryption } = access;
  requireUsableTls(encryption);
  const bootstrap = access.bootstrapServers.map(parseAddress);
  const { http } = context;
  const closing: AsyncDisposable[] = [];
  const entry: KafkaEntry = {
    tls: encryption,
    roots: http.roots,
    minTlsVersion: http.minTlsVersion,
    connectionName: context.connectionName(),
    sasl: loginOf(access, context, closing),
  };
  return kafkaClient(bootstrap, entry, closing);
}

function loginOf(
  { mechanism, username, password, bearer, msk }: KafkaAccess,
  { http, tokens }: OpenContext,
  closing: AsyncDisposable[],
): SaslLogin | undefined {
  if (mechanism === 'none') return undefined;
  if (mechanism === 'gssapi') {
    throw new Fault('NOT_SUPPORTED', 'sasl gssapi (Kerberos) is not built; use scram_sha512 or oauthbearer');
  }
  if (msk !== undefined) {
    return mechanism === 'oauthbearer' ? saslMskBearer(msk, tokens) : saslMsk(msk, tokens);
  }
  if (username === undefined || password === undefined) {
    throw new Fault('PARAM_INVALID', `sasl ${mechanism} needs username and password`);
  }
  switch (mechanism) {
    case 'plaintext':
      return saslPlain(username, password);
    case 'scram_sha256':
      return saslScram('sha256', username, password);
    case 'scram_sha512':
      return saslScram('sha512', username, password);
    case 'aws_msk_iam':
    case 'oauthbearer': {
      if (bearer === undefined) throw new Fault('PARAM_INVALID', 'sasl oauthbearer needs a token endpoint');
      const { tokenUrl, scopes, extensions } = bearer;
      const client = httpClient(http);
      closing.push(client);
      const oauth = { tokenUrl, clientId: username, clientSecret: password, scopes, extra: {} };
      const issued = oauthTokens(oauth, client);
      const source = {
        token: ({ now, signal }: { now: number; signal: AbortSignal }) => issued.token(now, signal),
        refused: issued.refused,
      };
      return saslBearer(source, extensions, [password]);
    }
  }
}

/** `host:port`, `[v6]:port`, or a host alone with Kafka's port. @throws Fault PARAM_INVALID */
function parseAddress(text: string): Address {
  const found = /^(?:\[(?<v6>[0-9a-fA-F:.]+)\]|(?<host>[^:/\s[\]]+))(?::(?<port>\d{1,5}))?$/.exec(text);
  const { v6, host = '', port = '9092' } = found?.groups ?? {};
  if (found === null || Number(port) < 1 || Number(port) > 65_535) {
    throw new Fault('PARAM_INVALID', `"${text}" is not an address of the form host:port`);
  }
  return { host: v6 ?? host, port: Number(port) };
}
