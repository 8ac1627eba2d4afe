import { Fault } from '../../base/errors.ts';
import { type AwsCredentials, queryText, signedQuery } from '../../base/sigv4.ts';
import type { PodIdentity } from '../../spec/pod-identity.ts';
import type { Problem } from '../../spec/problem.ts';
import type { AwsRole, TokenSource } from '../context.ts';
import { p, type ValuesOf } from '../params.ts';
import { awsCaller, awsCallerIdentity } from './aws-access.ts';
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
    doc: 'Role to assume (aws_msk_iam only).',
    from: ['auth'],
    optional: true,
  }),
  identityOwner: p.choice(['pod', 'operator'], {
    doc: "`operator` for the operator's own identity in AWS (aws_msk_iam only).",
    optional: true,
  }),
};

/** Who logs in to MSK: somebody with keys, or a role, or the operator itself. */
export interface MskIdentity {
  region: string;
  who: AwsCredentials | AwsRole;
}

type MskValues = ValuesOf<typeof mskParams> & { tls: 'enable' | 'disable' };

const mending = 'aws_msk_iam needs it';
const at = (name: string) => ({ field: `metadata.${name}` });

/** @param problems gets what is missing */
export function mskIdentity(values: MskValues, identity: PodIdentity, problems: Problem[]): MskIdentity {
  const { awsRegion: region = '', tls } = values;
  if (region === '') problems.push({ problem: '"awsRegion" is missing', mending, place: at('awsRegion') });
  if (tls !== 'enable') {
    problems.push({ problem: 'aws_msk_iam needs TLS', mending: 'set tls to enable', place: at('tls') });
  }
  const who = awsCaller(values, identity, mending);
  if (!('problem' in who)) return { region, who };
  problems.push(who);
  return { region, who: {} };
}

/** For a connection's identity: free of secrets. */
export function mskFingerprint({ region, who }: MskIdentity): string {
  return JSON.stringify([region, ...awsCallerIdentity(who)]);
}

const lifeSeconds = 900;
const agent = 'eventide';

/** Keys that a login is signed with; those that were lent are given back where the broker does not accept them. */
class LoginKeys {
  readonly #identity: MskIdentity;
  readonly #tokens: TokenSource;
  #lent: AwsCredentials | undefined;

  constructor(identity: MskIdentity, tokens: TokenSource) {
    this.#identity = identity;
    this.#tokens = tokens;
  }

  async sign({ host, now, signal }: LoginAt): Promise<Map<string, string>> {
    const { region, who } = this.#identity;
    this.#lent = 'accessKeyId' in who ? undefined : await this.#tokens.awsCredentials(who, signal);
    const credentials = this.#lent ?? (who as AwsCredentials);
    const url = new URL(`https://${host}/?Action=kafka-cluster:Connect`);
    return signedQuery(url, { credentials, region, service: 'kafka-cluster', now }, lifeSeconds);
  }

  refused(): void {
    if (this.#lent !== undefined) this.#tokens.refused(this.#lent);
  }
}

/** The mechanism of MSK's own (AWS_MSK_IAM): a request signed for the broker, as JSON. */
export function saslMsk(identity: MskIdentity, tokens: TokenSource): SaslLogin {
  return {
    mechanism: 'AWS_MSK_IAM',
    secrets: [],
    async login(step, login) {
      const keys = new LoginKeys(identity, tokens);
      const payload: Record<string, string> = {
        version: '2020_10_22',
        host: login.host,
        'user-agent': agent,
      };
      for (const [name, value] of await keys.sign(login)) payload[name.toLowerCase()] = value;
      try {
        const answer = await step(Buffer.from(JSON.stringify(payload)));
        if (answer.length > 0) return;
        throw new Fault('SOURCE_REFUSED', 'the broker did not accept the signature');
      } catch (thrown) {
        if (thrown instanceof Fault && thrown.code === 'SOURCE_REFUSED') keys.refused();
        throw thrown;
      }
    },
  };
}

/** Bearer tokens that MSK takes: a URL signed for the region, which nobody is asked for. */
export function saslMskBearer(identity: MskIdentity, tokens: TokenSource): SaslLogin {
  const host = `kafka.${identity.region}.amazonaws.com`;
  const keys = new LoginKeys(identity, tokens);
  const source: BearerTokens = {
    async token(login) {
      const query = queryText(await keys.sign({ ...login, host }));
      return Buffer.from(`https://${host}/?${query}&User-Agent=${agent}`).toString('base64url');
    },
    refused: () => keys.refused(),
  };
  return saslBearer(source, {}, []);
}
