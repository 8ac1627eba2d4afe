import { Fault } from '../../base/errors.ts';
import {
  type HttpAnswer,
  type HttpClient,
  type HttpRequest,
  httpClient,
  requireOk,
} from '../../base/http.ts';
import type { Secret } from '../../base/secret.ts';
import type { PodIdentity } from '../../spec/pod-identity.ts';
import type { Problem } from '../../spec/problem.ts';
import type { OpenContext, ParamContext, TokenSource } from '../context.ts';
import { sendWithToken } from './access-token.ts';
import { isPrivateCloud, storageSuffix } from './azure-cloud.ts';
import {
  readConnectionString,
  type StorageKey,
  type StorageSas,
  type StorageService,
} from './azure-connection-string.ts';
import { sharedKeyHeader } from './azure-shared-key.ts';
import { parseStorageXml, textOf } from './azure-storage-xml.ts';

/** Known to every Azure cloud, to Azure Stack Hub and to Azurite. */
const apiVersion = '2018-11-09';

/** What a trigger says about the account it reads, once checked. */
export interface StorageAccount {
  service: StorageService;
  /** Undefined where a pod identity is used. */
  connection: Secret | undefined;
  /** The service's URL under a pod identity; undefined with a connection string, which says it itself. */
  endpoint: string | undefined;
  /** What an access token is asked for. */
  scope: string;
}

interface AccountValues {
  connection: Secret | undefined;
  accountName: string | undefined;
  endpointSuffix: string | undefined;
  cloud: string | undefined;
}

/**
 * Checks what KEDA checks of a storage trigger: a connection string without pod identity, an account name with
 * one. The string itself is looked into only when it is used.
 */
export function storageAccount(
  service: StorageService,
  values: AccountValues,
  { podIdentity }: ParamContext,
): (StorageAccount & { endpointSuffix: string }) | { problems: Problem[] } {
  const { connection, accountName } = values;
  const suffix = storageSuffix(service, values);
  if (typeof suffix !== 'string') return { problems: [suffix] };
  const common = { service, endpointSuffix: suffix };
  switch (podIdentity.provider) {
    case 'none':
      return connection === undefined
        ? missing('connection', 'looked in the TriggerAuthentication, connectionFromEnv and metadata')
        : { ...common, connection, endpoint: undefined, scope: '' };
    case 'azure-workload': {
      if (accountName === undefined) return missing('accountName', 'a pod identity needs it');
      if (!/^[\w-]+$/.test(accountName) || !/^[\w.-]+(:\d+)?$/.test(suffix)) {
        const problem = `"${accountName}.${suffix}" is not the name of a storage account's host`;
        return { problems: [{ problem, place: { field: 'metadata.accountName' } }] };
      }
      const endpoint = `https://${accountName}.${suffix}`;
      // A private cloud's domain comes from the manifest: a token for that host alone is worth nothing elsewhere.
      const audience = isPrivateCloud(values.cloud) ? endpoint : 'https://storage.azure.com';
      return { ...common, connection: undefined, endpoint, scope: `${audience}/.default` };
    }
    default: {
      const problem = `pod identity ${podIdentity.provider} is not for Azure Storage`;
      const mending = 'use azure-workload or a connection string';
      return { problems: [{ problem, mending, place: { field: 'authenticationRef' } }] };
    }
  }
}

function missing(name: string, mending: string): { problems: Problem[] } {
  return { problems: [{ problem: `"${name}" is missing`, mending, place: { field: `metadata.${name}` } }] };
}

/** What connections to an account are shared by; two keys of one account are two connections. */
export function accountIdentity(account: StorageAccount): string {
  return account.endpoint ?? `connection string ${account.connection?.fingerprint()}`;
}

/**
 * The URL of a service, the same whichever credential is used.
 *
 * @throws Fault PARAM_INVALID
 */
export function serviceUrl({ service, connection, endpoint }: StorageAccount): string {
  if (connection !== undefined) return readConnectionString(connection, service).endpoint;
  if (endpoint === undefined) throw new Fault('INTERNAL', 'a storage account without any endpoint');
  return endpoint;
}

export interface StorageRequest {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Parts of the path below the account, not yet encoded. */
  path: readonly string[];
  query?: Readonly<Record<string, string>>;
  /** XML, unless the headers say otherwise. */
  body?: string;
  /** Names in lower case. */
  headers?: Readonly<Record<string, string>>;
  /** Refuse an answer larger than this; 4 MiB unless told. */
  maxBytes?: number;
}

/** When and until when a request is made. */
export interface RequestContext {
  signal: AbortSignal;
  /** Epoch milliseconds. */
  now: number;
}

/** A client of one account's queue or blob service. */
export interface StorageClient extends AsyncDisposable {
  /**
   * Sends a request and returns a good answer.
   *
   * @throws Fault by Azure's error code: SOURCE_REFUSED, SOURCE_NOT_FOUND, SOURCE_BUSY, SOURCE_FAILED;
   *   MESSAGE_LOST for a receipt that no longer holds; what base/http throws; AUTH_FAILED for no token
   */
  send(request: StorageRequest, context: RequestContext): Promise<HttpAnswer>;
  /** How a path is named in sentences, such as `mine.queue.core.windows.net/orders`. */
  nameOf(path: readonly string[]): string;
}

type Credential =
  | StorageKey
  | StorageSas
  | { kind: 'identity'; identity: PodIdentity; tokens: TokenSource; scope: string };

/** Opens nothing yet. @throws Fault PARAM_INVALID for a connection string that cannot be used */
export function openStorage(account: StorageAccount, context: OpenContext): StorageClient {
  const { service, connection, scope } = account;
  const credential: Credential =
    connection === undefined
      ? { kind: 'identity', identity: context.identity, tokens: context.tokens, scope }
      : readConnectionString(connection, service).credential;
  const url = serviceUrl(account);
  const http = httpClient(context.http);
  const nameOf = (path: readonly string[]) => [url.replace(/^https?:\/\//, ''), ...path].join('/');
  return {
    nameOf,
    async send(request, at) {
      const unsigned = prepare(request, url, { clientName: context.clientName, now: at.now });
      const answer = await authorized(unsigned, credential, { http, signal: at.signal });
      if (answer.status < 200 || answer.status > 299) refuse(answer, nameOf(request.path), at.now);
      return answer;
    },
    [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
  };
}

type Prepared = Required<Pick<HttpRequest, 'method' | 'headers'>> & {
  url: URL;
  body: Buffer | undefined;
  maxBytes: number | undefined;
};

function prepare(
  { method, path, query = {}, body, headers: more, maxBytes }: StorageRequest,
  endpoint: string,
  { clientName, now }: { clientName: string; now: number },
): Prepared {
  const strange = path.find(part => part === '' || part === '.' || part === '..');
  if (strange !== undefined) {
    throw new Fault('PARAM_INVALID', `"${strange}" cannot be the name of a queue or container`);
  }
  const url = new URL([endpoint, ...path.map(encodeURIComponent)].join('/'));
  // Not by searchParams: its plus for a space is not understood everywhere.
  url.search = Object.entries(query)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join('&');
  const headers: Record<string, string> = {
    'user-agent': clientName,
    'x-ms-date': new Date(now).toUTCString(),
    'x-ms-version': apiVersion,
  };
  if (body !== undefined) headers['content-type'] = 'application/xml';
  Object.assign(headers, more);
  return { method, url, headers, body: body === undefined ? undefined : Buffer.from(body, 'utf8'), maxBytes };
}

async function authorized(
  { method, url, headers, body, maxBytes }: Prepared,
  credential: Credential,
  { http, signal }: { http: HttpClient; signal: AbortSignal },
): Promise<HttpAnswer> {
  const send = (text: string, authorization?: string): Promise<HttpAnswer> =>
    http.send({
      method,
      url: text,
      signal,
      headers: authorization === undefined ? headers : { ...headers, authorization },
      ...(body === undefined ? {} : { body }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
    });
  switch (credential.kind) {
    case 'sas':
      return await send(`${url.href}${url.search === '' ? '?' : '&'}${credential.query.reveal()}`);
    case 'key': {
      const unsigned = { method, url, headers, contentLength: body?.length ?? 0 };
      return await send(url.href, sharedKeyHeader(credential, unsigned));
    }
    case 'identity':
      return await sendWithToken(credential, {
        scope: credential.scope,
        signal,
        send: authorization => send(url.href, authorization),
      });
  }
}

/** Throws the Fault that an error of Azure stands for. */
function refuse(answer: HttpAnswer, what: string, now: number): never {
  const { code, message } = errorOf(answer);
  if (code === 'MessageNotFound' || code === 'PopReceiptMismatch') {
    throw new Fault('MESSAGE_LOST', `a message of ${what} went back before it was settled (${code})`);
  }
  const detail = [code, message].filter(part => part !== '').join(': ');
  // Azure says it with a 400 where it cannot even read the credentials.
  if (code === 'InvalidAuthenticationInfo') {
    throw new Fault('SOURCE_REFUSED', `${what} answered ${answer.status}: ${detail}`);
  }
  requireOk({ ...answer, body: Buffer.from(detail) }, what, now);
  throw new Fault('INTERNAL', `${what} answered ${answer.status}, which is no error`);
}

function errorOf(answer: HttpAnswer): { code: string; message: string } {
  const header = answer.headers['x-ms-error-code'];
  const fromHeader = typeof header === 'string' ? header : '';
  try {
    const error = parseStorageXml(answer.body, 'Error', '');
    // Below the first line are the request's id and time, which differ at every try.
    const message = textOf(error, 'Message')?.split('\n')[0]?.trim() ?? '';
    return { code: textOf(error, 'Code') ?? fromHeader, message };
  } catch {
    return { code: fromHeader, message: '' };
  }
}
