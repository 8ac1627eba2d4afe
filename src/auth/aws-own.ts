import type { Clock } from '../base/clock.ts';
import { deadline } from '../base/deadline.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { HttpClient, HttpRequest } from '../base/http.ts';
import type { Lent } from '../base/keeper.ts';
import type { Secret } from '../base/secret.ts';
import type { AwsCredentials } from '../base/sigv4.ts';
import type { AwsPlace } from './aws-api.ts';
import { assumeByWebIdentity, credentialsOf } from './aws-sts.ts';
import { readAssertion } from './entra.ts';
import { jsonOf, refusalOf, textOf } from './provider-answer.ts';

/** The operator's own identity at AWS, from its environment, by the names that AWS' own libraries know. */
export interface AwsOptions extends AwsPlace {
  /** AWS_ACCESS_KEY_ID */
  accessKeyId?: string;
  /** AWS_SECRET_ACCESS_KEY */
  secretAccessKey?: Secret;
  /** AWS_SESSION_TOKEN */
  sessionToken?: Secret;
  /** AWS_WEB_IDENTITY_TOKEN_FILE; read anew for every use, since it is rotated. */
  webIdentityTokenFile?: string;
  /** AWS_ROLE_ARN */
  roleArn?: string;
  /** AWS_ROLE_SESSION_NAME */
  roleSessionName?: string;
  /** AWS_CONTAINER_CREDENTIALS_FULL_URI */
  containerUri?: string;
  /** AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, below the address that ECS has for it. */
  containerPath?: string;
  /** AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE; read anew for every use. */
  containerTokenFile?: string;
  /** AWS_CONTAINER_AUTHORIZATION_TOKEN */
  containerToken?: Secret;
  /** AWS_EC2_METADATA_SERVICE_ENDPOINT */
  metadataEndpoint?: string;
  /** AWS_EC2_METADATA_DISABLED */
  metadataDisabled?: boolean;
}

export interface OwnMeans {
  http: HttpClient;
  /** For what is asked on this machine or beside it, which no proxy may come between. */
  direct: HttpClient;
  clock: Clock;
  signal: AbortSignal;
}

const ecsAddress = 'http://169.254.170.2';
const instanceAddress = 'http://169.254.169.254';
/** Who does not run on an instance has nobody to answer there. */
const instanceWithinMs = 2_000;

/**
 * The keys of the operator itself, in the order of AWS' own libraries: those in its environment, its service
 * account's role, its container's, and the instance's that it runs on.
 *
 * @throws Fault AUTH_FAILED, or NOT_SUPPORTED where there are none
 */
export async function ownCredentials(options: AwsOptions, means: OwnMeans): Promise<Lent<AwsCredentials>> {
  const { accessKeyId, secretAccessKey, sessionToken, roleArn, webIdentityTokenFile } = options;
  if (accessKeyId && secretAccessKey) {
    const value = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
    return { value, renewAt: Number.POSITIVE_INFINITY, endsAt: Number.POSITIVE_INFINITY };
  }
  if (roleArn && webIdentityTokenFile) {
    const token = await readAssertion(webIdentityTokenFile, 'the web identity token');
    return await assumeByWebIdentity(
      { roleArn, session: options.roleSessionName, token },
      { ...means, place: options, region: undefined },
    );
  }
  if (options.containerUri || options.containerPath) return await fromContainer(options, means);
  if (options.metadataDisabled) throw new Fault('NOT_SUPPORTED', `there is no identity of AWS here${looked}`);
  return await fromInstance(options, means);
}

const looked =
  ': no AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE or AWS_CONTAINER_CREDENTIALS_FULL_URI is set';

/** @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html */
async function fromContainer(
  options: AwsOptions,
  { direct, clock, signal }: OwnMeans,
): Promise<Lent<AwsCredentials>> {
  const { containerUri, containerPath = '', containerTokenFile, containerToken } = options;
  const url = containerUri || new URL(containerPath, ecsAddress).href;
  const token = containerTokenFile
    ? await readAssertion(containerTokenFile, "the container's authorization token")
    : containerToken;
  const now = clock.now();
  const answer = await direct.send({
    url,
    headers: {
      accept: 'application/json',
      ...(token === undefined ? {} : { authorization: token.reveal() }),
    },
    maxBytes: 256 * 1024,
    signal,
  });
  const { host } = new URL(url);
  const json = jsonOf(answer);
  if (answer.status !== 200) {
    const secrets = token === undefined ? [] : [token];
    throw refusalOf(answer, { host, what: 'keys', why: textOf(json['message']), secrets, now });
  }
  return credentialsOf(named(json), host, now);
}

/** @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html */
async function fromInstance(
  { metadataEndpoint }: AwsOptions,
  { direct, clock, signal }: OwnMeans,
): Promise<Lent<AwsCredentials>> {
  const base = metadataEndpoint || instanceAddress;
  const at = (path: string) => new URL(path, base).href;
  const now = clock.now();
  const ask = async (path: string, headers: Record<string, string>, over: Partial<HttpRequest> = {}) => {
    const answer = await direct.send({ url: at(path), headers, maxBytes: 64 * 1024, signal, ...over });
    if (answer.status === 200) return answer;
    if (answer.status === 404) throw new Fault('AUTH_FAILED', 'this instance has no role of AWS');
    throw refusalOf(answer, { host: new URL(base).host, what: 'keys', why: undefined, secrets: [], now });
  };
  const session = await beginSession();
  async function beginSession() {
    using limit = deadline(signal, instanceWithinMs);
    const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': '300' };
    try {
      return await ask('/latest/api/token', headers, { method: 'PUT', signal: limit.signal });
    } catch (thrown) {
      signal.throwIfAborted();
      const { message } = faultOf(thrown);
      throw new Fault('AUTH_FAILED', `there is no identity of AWS here${looked}, and ${message}`);
    }
  }
  const headers = { 'x-aws-ec2-metadata-token': session.body.toString('utf8') };
  const roles = '/latest/meta-data/iam/security-credentials/';
  const role = (await ask(roles, headers)).body.toString('utf8').trim().split('\n')[0] ?? '';
  const json = jsonOf(await ask(`${roles}${encodeURIComponent(role)}`, headers));
  return credentialsOf(named(json), new URL(base).host, now);
}

const named = (json: Readonly<Record<string, unknown>>) => ({
  accessKeyId: textOf(json['AccessKeyId']),
  secretAccessKey: textOf(json['SecretAccessKey']),
  sessionToken: textOf(json['Token']),
  expiration: textOf(json['Expiration']),
});
