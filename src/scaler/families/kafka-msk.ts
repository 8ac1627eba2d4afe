import { createHash, createHmac } from 'node:crypto';
import { Fault } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import type { PodIdentity } from '../../spec/pod-identity.ts';
import type { Problem } from '../../spec/problem.ts';
import { p, type ValuesOf } from '../params.ts';
import type { LoginAt, SaslLogin } from './kafka-link.ts';
import { type BearerTokens, saslBearer } from './kafka-sasl.ts';

const keyAt = ['auth', 'metadata', 'env'] as const;

/** Who we are in AWS: the parameters that every type with an identity in AWS has. */
export const mskParams = {
  awsRegion: p.text({ doc: 'Region of the MSK cluster (aws_msk_iam only).', optional: true }),
  awsAccessKeyID: p.text({
    doc: 'Access key (aws_msk_iam only).',
    also: ['awsAccessKeyId'],
    from: keyAt,
    optional: true,
  }),
  awsSecretAccessKey: p.secret({
    doc: 'The secret of the access key (aws_msk_iam only).',
    from: ['auth', 'env'],
    optional: true,
  }),
  awsSessionToken: p.secret({
    doc: 'Session token of temporary keys (aws_msk_iam only).',
    from: ['auth'],
    optional: true,
  }),
  awsRoleArn: p.text({
    doc: 'Role to assume (aws_msk_iam only); refused when the connection is made.',
    from: ['auth'],
    optional: true,
  }),
  identityOwner: p.choice(['pod', 'operator'], {
    doc: "Whose identity in AWS is used (aws_msk_iam only); the operator's is refused when the connection is made.",
    optional: true,
  }),
};

/** Keys of AWS, and the region they are used in. */
export interface MskAccess {
  region: string;
  accessKeyId: string;
  secretAccessKey: Secret;
  sessionToken: Secret | undefined;
}

/** A way to be somebody in AWS that is not built, named for the sentence that refuses it. */
export type MskIdentity = MskAccess | { unbuilt: string };

type MskValues = ValuesOf<typeof mskParams> & { tls: 'enable' | 'disable' };

const at = (name: string) => ({ field: `metadata.${name}` });

/** Who logs in to MSK, or what is missing for it. */
export function mskIdentity(values: MskValues, identity: PodIdentity, problems: Problem[]): MskIdentity {
  const { awsRegion, awsAccessKeyID, awsSecretAccessKey, awsRoleArn, identityOwner, tls } = values;
  if (awsRegion === undefined) {
    problems.push({
      problem: '"awsRegion" is missing',
      mending: 'aws_msk_iam needs it',
      place: at('awsRegion'),
    });
  }
  if (tls !== 'enable') {
    problems.push({ problem: 'aws_msk_iam needs TLS', mending: 'set tls to enable', place: at('tls') });
  }
  if (identity.provider === 'aws' || identity.provider === 'aws-eks') {
    return { unbuilt: `the pod identity ${identity.provider}` };
  }
  if (identityOwner === 'operator') return { unbuilt: 'identityOwner operator' };
  if (awsRoleArn !== undefined) return { unbuilt: 'awsRoleArn' };
  if (awsAccessKeyID === undefined || awsSecretAccessKey === undefined) {
    const missing = awsAccessKeyID === undefined ? 'awsAccessKeyID' : 'awsSecretAccessKey';
    problems.push({
      problem: `"${missing}" is missing`,
      mending: 'aws_msk_iam needs it',
      place: at(missing),
    });
    return { unbuilt: 'no key' };
  }
  return {
    region: awsRegion ?? '',
    accessKeyId: awsAccessKeyID,
    secretAccessKey: awsSecretAccessKey,
    sessionToken: values.awsSessionToken,
  };
}

/** For a connection's identity: free of secrets. */
export function mskFingerprint(identity: MskIdentity): readonly (string | undefined)[] {
  if ('unbuilt' in identity) return [identity.unbuilt];
  const { region, accessKeyId, secretAccessKey, sessionToken } = identity;
  return [region, accessKeyId, secretAccessKey.fingerprint(), sessionToken?.fingerprint()];
}

/** @throws Fault NOT_SUPPORTED for an identity that is not built */
export function requireKeys(identity: MskIdentity): MskAccess {
  if (!('unbuilt' in identity)) return identity;
  const message = `aws_msk_iam with ${identity.unbuilt} is not built; use awsAccessKeyID and awsSecretAccessKey`;
  throw new Fault('NOT_SUPPORTED', message);
}

const lifetimeSeconds = 900;
const agent = 'eventide';

/** The mechanism of MSK's own (AWS_MSK_IAM): a request signed for the broker, as JSON. */
export function saslMsk(access: MskAccess): SaslLogin {
  return {
    mechanism: 'AWS_MSK_IAM',
    secrets: secretsOf(access),
    async login(step, { host, now }) {
      const signed = Object.entries(signedQuery(access, host, now));
      const payload: Record<string, string> = { version: '2020_10_22', host, 'user-agent': agent };
      for (const [name, value] of signed) payload[name.toLowerCase()] = value;
      const answer = await step(Buffer.from(JSON.stringify(payload)));
      if (answer.length === 0) throw new Fault('SOURCE_REFUSED', 'the broker did not accept the signature');
    },
  };
}

/** Bearer tokens that MSK takes: a signed URL, which is made here and asked of nobody. */
export function saslMskBearer(access: MskAccess): SaslLogin {
  const tokens: BearerTokens = {
    token: async at => mskToken(access, at),
    refused() {},
  };
  return saslBearer(tokens, {}, secretsOf(access));
}

/** The token for the region. */
export function mskToken(access: MskAccess, { now }: Pick<LoginAt, 'now'>): string {
  const host = `kafka.${access.region}.amazonaws.com`;
  const query = Object.entries(signedQuery(access, host, now)).map(
    ([name, value]) => `${name}=${escaped(value)}`,
  );
  return Buffer.from(`https://${host}/?${query.join('&')}&User-Agent=${agent}`).toString('base64url');
}

const secretsOf = ({ secretAccessKey, sessionToken }: MskAccess) =>
  sessionToken === undefined ? [secretAccessKey] : [secretAccessKey, sessionToken];

/** What RFC 3986 leaves as it is, and nothing else. */
const escaped = (text: string) =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    sign => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );

/** The query of a GET for `kafka-cluster:Connect`, signed by AWS's Signature Version 4. */
export function signedQuery(access: MskAccess, host: string, now: number): Record<string, string> {
  const time = new Date(now).toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
  const day = time.slice(0, 8);
  const scope = `${day}/${access.region}/kafka-cluster/aws4_request`;
  const query: Record<string, string> = {
    Action: 'kafka-cluster:Connect',
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${access.accessKeyId}/${scope}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(lifetimeSeconds),
    ...(access.sessionToken === undefined ? {} : { 'X-Amz-Security-Token': access.sessionToken.reveal() }),
    'X-Amz-SignedHeaders': 'host',
  };
  const canonicalQuery = Object.entries(query)
    .map(([name, value]) => `${escaped(name)}=${escaped(value)}`)
    .join('&');
  const request = ['GET', '/', canonicalQuery, `host:${host}`, '', 'host', sha256('')].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256(request)].join('\n');
  const key = [day, access.region, 'kafka-cluster', 'aws4_request'].reduce(
    (secret, part) => hmac(secret, part),
    Buffer.from(`AWS4${access.secretAccessKey.reveal()}`),
  );
  query['X-Amz-Signature'] = hmac(key, toSign).toString('hex');
  return query;
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest();
