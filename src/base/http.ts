import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { Fault } from './errors.ts';
import { type TlsOptions, tlsSettings } from './tls.ts';

export interface HttpRequest {
  url: string;
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'PATCH' | 'HEAD';
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  signal: AbortSignal;
  /** Refuse an answer larger than this; 4 MiB unless told. */
  maxBytes?: number;
}

export interface HttpAnswer {
  status: number;
  /** Names in lower case. */
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/** A pool of kept-alive connections with one identity. */
export interface HttpClient extends AsyncDisposable {
  /** @throws Fault SOURCE_UNREACHABLE, SOURCE_TIMEOUT, SOURCE_ANSWER_TOO_LARGE or CANCELLED; any status is an answer */
  send(request: HttpRequest): Promise<HttpAnswer>;
}

export interface HttpOptions {
  tls?: TlsOptions;
  /** Connections per origin; requests beyond wait in line. 8 unless told. */
  connections?: number;
  /** Close a connection after this long without a request, in milliseconds; 90 s unless told, as KEDA does. */
  idleMs?: number;
  proxy?: { http?: string; https?: string; no?: string };
  /** More certificates to trust, as PEM texts, for every connection. */
  roots?: readonly string[];
  /** The oldest TLS to speak where `tls` does not say; 1.2 unless told. */
  minTlsVersion?: 'TLSv1.2' | 'TLSv1.3';
}

const fourMiB = 4 * 1024 * 1024;

/** Opens nothing yet; connections are made by the first request. */
export function httpClient(options: HttpOptions = {}): HttpClient {
  const dispatcher = dispatcherFor(options);
  return {
    send: request => send(dispatcher, request),
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

function dispatcherFor(options: HttpOptions): Dispatcher {
  const { tls, connections = 8, idleMs = 90_000, proxy, roots, minTlsVersion } = options;
  const agentOptions: Agent.Options = {
    connections,
    pipelining: 1,
    keepAliveTimeout: idleMs,
    keepAliveMaxTimeout: idleMs,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: tlsSettings(tls ?? {}, { roots, minTlsVersion }),
  };
  if (proxy === undefined) return new Agent(agentOptions);
  return new EnvHttpProxyAgent({
    ...agentOptions,
    httpProxy: proxy.http ?? '',
    httpsProxy: proxy.https ?? '',
    noProxy: proxy.no ?? '',
  });
}

async function send(dispatcher: Dispatcher, request: HttpRequest): Promise<HttpAnswer> {
  const url = parseUrl(request.url);
  const maxBytes = request.maxBytes ?? fourMiB;
  try {
    const response = await dispatcher.request({
      origin: url.origin,
      path: url.pathname + url.search,
      method: request.method ?? 'GET',
      signal: request.signal,
      ...(request.headers === undefined ? {} : { headers: request.headers }),
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    const body = await readBody(response.body, maxBytes, url);
    return { status: response.statusCode, headers: response.headers, body };
  } catch (thrown) {
    throw networkFault(thrown, url.host, request.signal);
  }
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new Fault('PARAM_INVALID', `"${text}" is not an http or https URL`);
  }
  return url;
}

async function readBody(body: AsyncIterable<Buffer>, maxBytes: number, url: URL): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxBytes) {
      throw new Fault('SOURCE_ANSWER_TOO_LARGE', `${url.host} answered with more than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, size);
}

const networkSentences: Record<string, (host: string) => string> = {
  ENOTFOUND: host => `the name of ${host} is not known`,
  EAI_AGAIN: host => `the name of ${host} cannot be looked up now`,
  ECONNREFUSED: host => `${host} refuses connections`,
  ECONNRESET: host => `${host} closed the connection`,
  UND_ERR_SOCKET: host => `${host} closed the connection`,
  EPIPE: host => `${host} closed the connection`,
  EHOSTUNREACH: host => `${host} cannot be reached`,
  ENETUNREACH: host => `${host} cannot be reached`,
  ETIMEDOUT: host => `${host} does not answer`,
  UND_ERR_CONNECT_TIMEOUT: host => `${host} does not answer`,
};

/**
 * Sorts a failure below any protocol into a Fault with a sentence: name lookup, refusal, reset, TLS, deadline.
 *
 * @param host what was being talked to, as a person would name it
 * @param signal the signal the work was given; its reason wins where it was aborted
 */
export function networkFault(thrown: unknown, host: string, signal?: AbortSignal): Fault {
  if (thrown instanceof Fault && !signal?.aborted) return thrown;
  if (signal?.aborted) {
    const reason: unknown = signal.reason;
    if (reason instanceof Fault && reason.code === 'SOURCE_TIMEOUT') {
      return new Fault('SOURCE_TIMEOUT', `${host}: ${reason.message}`, { cause: thrown });
    }
    if (reason instanceof Fault) return reason;
    const timedOut = reason instanceof Error && reason.name === 'TimeoutError';
    return timedOut
      ? new Fault('SOURCE_TIMEOUT', `${host} did not answer in time`, { cause: thrown })
      : new Fault('CANCELLED', `stopped while talking to ${host}`, { cause: thrown });
  }
  const error = innermost(thrown);
  const sentence = networkSentences[error.code ?? ''];
  if (sentence !== undefined) return new Fault('SOURCE_UNREACHABLE', sentence(host), { cause: thrown });
  if (/CERT|SSL|TLS|EPROTO|UNABLE_TO/.test(error.code ?? '')) {
    return new Fault('SOURCE_UNREACHABLE', `TLS with ${host} failed: ${error.message}`, { cause: thrown });
  }
  if (error.name === 'HTTPParserError' || error.code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new Fault('SOURCE_ANSWER_INVALID', `${host} does not speak HTTP`, { cause: thrown });
  }
  return new Fault('SOURCE_UNREACHABLE', `talking to ${host} failed: ${error.message}`, { cause: thrown });
}

function innermost(thrown: unknown): { name?: string; code?: string; message: string } {
  let error = thrown as { code?: string; message: string; cause?: unknown; errors?: unknown[] };
  for (let depth = 0; depth < 5; depth += 1) {
    const next = error?.cause ?? error?.errors?.[0];
    if (!(next instanceof Error)) break;
    error = next as typeof error;
  }
  return error instanceof Error ? error : { message: String(thrown) };
}

/**
 * Throws the Fault that a status stands for; does nothing on 2xx.
 *
 * @param what names the source in the sentence, such as `queue.example.com/orders`
 * @param now epoch milliseconds, for a Retry-After given as a date
 */
export function requireOk(answer: HttpAnswer, what: string, now: number): void {
  const { status } = answer;
  if (status >= 200 && status < 300) return;
  const detail = excerpt(answer.body);
  const message = `${what} answered ${status}${detail === '' ? '' : `: ${detail}`}`;
  if (status === 401 || status === 403) throw new Fault('SOURCE_REFUSED', message);
  if (status === 404 || status === 410) throw new Fault('SOURCE_NOT_FOUND', message);
  if (status === 429 || status === 503) {
    const retryAfterMs = retryAfterOf(answer, now);
    throw new Fault('SOURCE_BUSY', message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
  throw new Fault('SOURCE_FAILED', message);
}

/**
 * How long an answer that is no good asks to be left alone for, in milliseconds; undefined where it does not say.
 *
 * @param now epoch milliseconds
 */
export function retryAfterOf({ status, headers }: HttpAnswer, now: number): number | undefined {
  if (status !== 429 && status !== 503) return undefined;
  const header = headers['retry-after'];
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text.trim())) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** The first line of a body that a person could read, at most 200 characters. */
function excerpt(body: Buffer): string {
  const text = body.subarray(0, 600).toString('utf8');
  if (/[\u0000-\u0008\u000e-\u001f\ufffd]/.test(text)) return '';
  return text.replace(/\s+/g, ' ').trim().slice(0, 200);
}
