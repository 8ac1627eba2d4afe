import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { networkFault } from '../base/http.ts';
import type { Log } from '../base/log.ts';
import { withoutSecrets } from '../base/secret.ts';
import { tlsIdentity } from '../base/tls.ts';
import type { Impersonation, KubeConfig, KubeCredentials } from './kubeconfig.ts';

/**
 * What sockets a request uses. Watches keep theirs for minutes and lease renewals may not wait for a socket that
 * turns out to be dead, so each has its own.
 */
export type Purpose = 'request' | 'watch' | 'lease';

export interface Exchange {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With its query. */
  path: string;
  body?: string | undefined;
  contentType?: string | undefined;
  accept: string;
  purpose: Purpose;
  signal: AbortSignal;
}

/** Sockets to one API server, with the credentials as they are now. */
export interface Connection extends AsyncDisposable {
  readonly host: string;
  /**
   * Any status is an answer; a 401 is one only after it came with new credentials too.
   *
   * @throws Fault KUBE_UNREACHABLE, or the signal's reason
   */
  send(exchange: Exchange): Promise<Dispatcher.ResponseData>;
  /** What went wrong below HTTP, as a Fault. */
  faultOf(thrown: unknown, signal: AbortSignal): Fault;
  /** A text of the server's without our credentials in it. */
  clean(text: string): string;
}

/** Token files rotate long before the old token runs out; client-go reads them as often. */
const credentialsAgeMs = 60_000;

const refusedAgainMs = 5_000;

/** The API server closes what was idle for 90 s (its IdleTimeout); a request on a socket it just closed is lost. */
const idleMs = 60_000;

type Agents = Record<Purpose, Dispatcher> & { identity: string };

/** Opens nothing yet. */
export function connection(
  config: KubeConfig,
  options: { clock: Clock; log: Log; userAgent: string },
): Connection {
  const origin = new URL(config.server).origin;
  const host = new URL(config.server).host;
  const fixedHeaders = { 'user-agent': options.userAgent, ...impersonationHeaders(config.impersonate) };
  const current = currentCredentials(config, options);
  let agents: Agents | undefined;

  const agentsFor = (credentials: KubeCredentials): Agents => {
    const identity = tlsIdentity(credentials);
    if (agents?.identity === identity) return agents;
    // What is under way on the old sockets may end in peace: watches within minutes, by themselves.
    if (agents !== undefined) for (const agent of dispatchersOf(agents)) void agent.close();
    agents = {
      identity,
      request: agentOf(config, credentials),
      watch: agentOf(config, credentials),
      lease: agentOf(config, credentials),
    };
    return agents;
  };

  const networkFaultOf = (thrown: unknown, signal: AbortSignal): Fault => {
    if (/^UND_ERR_(DESTROYED|CLOSED)$/.test((thrown as { code?: string } | undefined)?.code ?? '')) {
      return new Fault('CANCELLED', `the connection to the API server at ${host} was given up`, {
        cause: thrown,
      });
    }
    const fault = networkFault(thrown, `the API server at ${host}`, signal);
    return fault.code.startsWith('SOURCE_')
      ? new Fault('KUBE_UNREACHABLE', fault.message, { cause: thrown })
      : fault;
  };

  const sendOnce = async (exchange: Exchange, credentials: KubeCredentials) => {
    try {
      return await agentsFor(credentials)[exchange.purpose].request({
        origin,
        path: exchange.path,
        method: exchange.method,
        signal: exchange.signal,
        body: exchange.body ?? null,
        // undici would close the socket after a DELETE with a body, and the next request pay for a new one.
        reset: false,
        headers: {
          ...fixedHeaders,
          accept: exchange.accept,
          ...(exchange.contentType === undefined ? {} : { 'content-type': exchange.contentType }),
          ...(credentials.authorization === undefined
            ? {}
            : { authorization: credentials.authorization.reveal() }),
        },
      });
    } catch (thrown) {
      throw networkFaultOf(thrown, exchange.signal);
    }
  };

  return {
    host,
    async send(exchange) {
      const credentials = await current.get(false);
      const response = await sendOnce(exchange, credentials);
      if (response.statusCode !== 401) return response;
      const renewed = await current.get(true);
      if (sameCredentials(credentials, renewed)) return response;
      await response.body.dump();
      return await sendOnce(exchange, renewed);
    },
    faultOf: networkFaultOf,
    clean: text => withoutSecrets(text, [current.last?.authorization?.reveal().replace(/^\S+ /, '')]),
    async [Symbol.asyncDispose]() {
      if (agents === undefined) return;
      await Promise.all(dispatchersOf(agents).map(agent => agent.destroy()));
    },
  };
}

/** The credentials, read once a minute and when the server has refused them, by one reader at a time. */
function currentCredentials(config: KubeConfig, { clock, log }: { clock: Clock; log: Log }) {
  let last: KubeCredentials | undefined;
  let readAt = 0;
  let refusedAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<KubeCredentials> | undefined;
  const read = async (refused: boolean) => {
    try {
      last = await config.credentials(refused);
      readAt = clock.elapsed();
      return last;
    } catch (thrown) {
      // A file that is being replaced, or a plugin that fails now and then: the old ones may do for a while.
      if (last === undefined || refused) throw thrown;
      log.warn('the credentials for the API server cannot be read again', { fault: faultOf(thrown) });
      readAt = clock.elapsed();
      return last;
    } finally {
      reading = undefined;
    }
  };
  return {
    get last() {
      return last;
    },
    async get(refused: boolean): Promise<KubeCredentials> {
      const now = clock.elapsed();
      if (last !== undefined && !refused && now - readAt < credentialsAgeMs) return last;
      // Where even new ones are refused, a plugin is not started for each request.
      if (last !== undefined && refused && now - refusedAt < refusedAgainMs) return last;
      if (refused) refusedAt = now;
      reading ??= read(refused);
      return await reading;
    },
  };
}

function sameCredentials(a: KubeCredentials, b: KubeCredentials): boolean {
  return a.authorization?.reveal() === b.authorization?.reveal() && tlsIdentity(a) === tlsIdentity(b);
}

const dispatchersOf = ({ request, watch, lease }: Agents) => [request, watch, lease];

function agentOf(config: KubeConfig, credentials: KubeCredentials): Dispatcher {
  const connect = {
    timeout: 10_000,
    minVersion: 'TLSv1.2' as const,
    // Finds out that the other side is gone without a word, such as a node that lost its power.
    keepAlive: true,
    keepAliveInitialDelay: 15_000,
    ...(credentials.ca === undefined ? {} : { ca: credentials.ca }),
    ...(credentials.cert === undefined ? {} : { cert: credentials.cert }),
    ...(credentials.key === undefined ? {} : { key: credentials.key.reveal() }),
    ...(config.serverName === undefined ? {} : { servername: config.serverName }),
    ...(config.unsafeSsl ? { rejectUnauthorized: false } : {}),
  };
  // HTTP/1.1: how many sockets there are is decided by the lanes, and a stalled one stalls one request only.
  const options: Agent.Options = {
    pipelining: 1,
    keepAliveTimeout: idleMs,
    keepAliveMaxTimeout: idleMs,
    // Deadlines are ours, see kubeClient.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  if (config.proxy === undefined) return new Agent({ ...options, connect });
  return new ProxyAgent({ ...options, uri: config.proxy.reveal(), requestTls: connect });
}

function impersonationHeaders(impersonate: Impersonation | undefined): Record<string, string | string[]> {
  if (impersonate === undefined) return {};
  const headers: Record<string, string | string[]> = { 'impersonate-user': impersonate.user };
  if (impersonate.uid !== undefined) headers['impersonate-uid'] = impersonate.uid;
  if (impersonate.groups !== undefined) headers['impersonate-group'] = [...impersonate.groups];
  for (const [name, values] of Object.entries(impersonate.extra ?? {})) {
    headers[`impersonate-extra-${encodeURIComponent(name).toLowerCase()}`] = [...values];
  }
  return headers;
}
