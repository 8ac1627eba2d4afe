import { Fault } from '../../base/errors.ts';
import { askGranted, awsKeysAreOver, type Granter } from '../../base/grant.ts';
import { type HttpAnswer, httpClient, requireOk } from '../../base/http.ts';
import { withoutSecrets } from '../../base/secret.ts';
import { type AwsCredentials, signedHeaders } from '../../base/sigv4.ts';
import type { OpenContext } from '../context.ts';
import type { AwsAccess } from './aws-access.ts';

/** One action of a service of AWS, in its JSON protocol. */
export interface AwsCall {
  /** With the service's prefix, such as `AmazonSQS.GetQueueAttributes`. */
  action: string;
  input: Readonly<Record<string, unknown>>;
  /** Names what is asked about in sentences, such as `queue "orders"`. */
  what: string;
  /** Epoch milliseconds. */
  now: number;
  signal: AbortSignal;
  maxBytes?: number;
}

/** A service of AWS, asked over connections that stay open, each request signed. */
export interface AwsClient extends AsyncDisposable {
  /** Names it in sentences: its host. */
  readonly name: string;
  /**
   * What an action answers.
   *
   * @throws Fault SOURCE_…, AUTH_FAILED, NOT_SUPPORTED or CANCELLED; an `AwsFault` where the service says which error
   */
  call(call: AwsCall): Promise<Readonly<Record<string, unknown>>>;
}

/** An error of AWS by its name there, such as `QueueDoesNotExist`. */
export class AwsFault extends Fault {
  readonly awsCode: string;

  constructor(awsCode: string, ...given: ConstructorParameters<typeof Fault>) {
    super(...given);
    this.awsCode = awsCode;
  }
}

/**
 * Opens nothing yet; connections are made by the first call.
 *
 * @param version of the JSON protocol that the service speaks
 */
export function openAws(access: AwsAccess, version: '1.0' | '1.1', context: OpenContext): AwsClient {
  const { region, service, url, who } = access;
  const { tokens, clientName } = context;
  const client = httpClient(context.http);
  const { host } = new URL(url);
  const granter: Granter<AwsCredentials> =
    'accessKeyId' in who
      ? { grant: async () => who, refused() {} }
      : { grant: signal => tokens.awsCredentials(who, signal), refused: keys => tokens.refused(keys) };

  return {
    name: host,
    async call({ action, input, what, now, signal, maxBytes }) {
      const request = {
        method: 'POST' as const,
        url: `${url}/`,
        headers: {
          'content-type': `application/x-amz-json-${version}`,
          'x-amz-target': action,
        },
        body: JSON.stringify(input),
      };
      const size = maxBytes === undefined ? {} : { maxBytes };
      let signature: string | undefined;
      const { answer, grant: credentials } = await askGranted(granter, {
        send(keys) {
          const signed = signedHeaders(request, { credentials: keys, region, service, now });
          signature = signed['authorization']?.split('Signature=')[1];
          // Who we are is not signed: proxies may say so in their own words.
          const headers = { ...signed, 'user-agent': clientName };
          return client.send({ ...request, headers, signal, ...size });
        },
        isRefused: awsKeysAreOver,
        signal,
      });
      const json = jsonOf(answer);
      if (answer.status < 200 || answer.status >= 300) {
        throw faultOf(answer, json, { credentials, signature, what: `${what} at ${host}`, now });
      }
      if (json === undefined) {
        throw new Fault('SOURCE_ANSWER_INVALID', `${host} does not answer as ${service} of AWS does`);
      }
      return json;
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

function jsonOf({ body }: HttpAnswer): Readonly<Record<string, unknown>> | undefined {
  // Actions that have nothing to say may say nothing.
  if (body.length === 0) return {};
  try {
    const json: unknown = JSON.parse(body.toString('utf8'));
    const isObject = typeof json === 'object' && json !== null && !Array.isArray(json);
    return isObject ? (json as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

const refused =
  /^(AccessDenied|UnrecognizedClient|InvalidClientTokenId|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidSignature|IncompleteSignature|InvalidSecurity|ExpiredToken|RequestExpired|MissingAuthenticationToken|NotAuthorized|OptInRequired|KmsAccessDenied|InvalidToken|AuthFailure)/;
const busy = /Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|OverLimit|ServiceUnavailable/;
const notFound = /DoesNotExist|NonExistent|NotFound|NoSuch/;

interface Asked {
  credentials: AwsCredentials;
  signature: string | undefined;
  what: string;
  now: number;
}

function faultOf(
  answer: HttpAnswer,
  json: Readonly<Record<string, unknown>> | undefined,
  { credentials, signature, what, now }: Asked,
): Fault {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const secrets = [accessKeyId, secretAccessKey.reveal(), sessionToken?.reveal(), signature];
  const code = codeOf(answer, json);
  const text = textOf(json?.['message']) ?? textOf(json?.['Message']);
  if (code === undefined) {
    const body = Buffer.from(withoutSecrets(answer.body.subarray(0, 8192).toString('utf8'), secrets));
    return thrownBy(() => requireOk({ ...answer, body }, what, now));
  }
  const words = withoutSecrets(text === undefined ? code : `${code}: ${text}`, secrets).slice(0, 300);
  const sentence = `${what}: ${words}`;
  if (refused.test(code)) return new AwsFault(code, 'SOURCE_REFUSED', sentence);
  if (busy.test(code)) return new AwsFault(code, 'SOURCE_BUSY', sentence);
  if (notFound.test(code)) return new AwsFault(code, 'SOURCE_NOT_FOUND', sentence);
  const fault = thrownBy(() => requireOk({ ...answer, body: Buffer.alloc(0) }, what, now));
  const pause = fault.retryAfterMs === undefined ? {} : { retryAfterMs: fault.retryAfterMs };
  return new AwsFault(code, fault.code, sentence, pause);
}

/**
 * The error's name: services that once spoke another protocol give the one from then beside it, which is what their
 * documentation and policies know.
 */
function codeOf(
  { headers }: HttpAnswer,
  json: Readonly<Record<string, unknown>> | undefined,
): string | undefined {
  const type = textOf(json?.['__type']) ?? textOf(headers['x-amzn-errortype']);
  const named = type?.split('#').at(-1)?.split(':')[0];
  const older = textOf(headers['x-amzn-query-error'])?.split(';')[0]?.split('.').at(-1);
  return named ?? older;
}

const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

function thrownBy(work: () => void): Fault {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown;
  }
  return new Fault('SOURCE_FAILED', 'AWS answered with an error');
}
