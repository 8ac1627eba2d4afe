import { deadline } from '../../base/deadline.ts';
import { Fault } from '../../base/errors.ts';
import type { TlsOptions } from '../../base/tls.ts';
import type { OpenContext } from '../context.ts';
import { type HttpConnection, openHttp } from './http.ts';

/** What a server says about JetStream in one account (`/jsz`), as far as it is looked at. */
export interface JetStreamState {
  /** New at each start of a server. */
  serverId: string;
  /** How many servers share the work; 1 for a server of its own. */
  clusterSize: number;
  accounts: readonly Readonly<Record<string, unknown>>[];
}

/** What a server says about itself (`/varz`), as far as it is looked at. */
export interface ServerFacts {
  id: string;
  name: string;
  /** Where clients connect to it. */
  port: number;
  /** Where clients connect to the servers of its cluster; none where the servers do not advertise themselves. */
  connectUrls: readonly string[];
  /** Where the servers of its cluster connect to each other. */
  routeUrls: readonly string[];
}

/** A server of a cluster, and where to ask it. */
export interface NatsNode {
  id: string;
  name: string;
  base: string;
}

/** When something is asked, and until when it may take. */
export interface Asking {
  /** Epoch milliseconds. */
  now: number;
  signal: AbortSignal;
}

/** An account may have a hundred thousand consumers, half a kilobyte each; there is no asking for one alone. */
const mostStateBytes = 64 * 1024 * 1024;

/** How long an endpoint may take before the next one is asked, where there are several. */
const nextAfterMs = 1_000;

/** The monitoring endpoints of one server or cluster, asked over connections that stay open. */
export class NatsMonitoring implements AsyncDisposable {
  readonly #http: HttpConnection;
  readonly #endpoints: readonly string[];
  /** The endpoint that answered last is asked first. */
  #first: string;
  #nodes: readonly NatsNode[] = [];
  /** The server that knew best about an account: with few consumers it is the only one to be asked. */
  readonly #hints = new Map<string, string>();

  /** @param endpoints such as `http://nats:8222`; opens nothing yet */
  constructor(endpoints: readonly [string, ...string[]], tls: TlsOptions, context: OpenContext) {
    this.#http = openHttp({ tls, headers: {}, identity: '' }, context);
    this.#endpoints = endpoints;
    this.#first = endpoints[0];
  }

  /** The server to ask about an account first. */
  hint(account: string): string | undefined {
    return this.#hints.get(account);
  }

  setHint(account: string, base: string | undefined): void {
    if (base === undefined) this.#hints.delete(account);
    else this.#hints.set(account, base);
  }

  /** @throws Fault of the source */
  async state(base: string, account: string, asking: Asking): Promise<JetStreamState> {
    const query = new URLSearchParams({ acc: account, consumers: 'true' });
    const { host } = new URL(base);
    const body = await this.#http.fetch({
      url: `${base}/jsz?${query}`,
      what: host,
      maxBytes: mostStateBytes,
      ...asking,
    });
    return readState(body, host);
  }

  /** What the first endpoint says that answers, and which it is. @throws Fault of the last one where none does */
  async entry<T>(ask: (base: string, asking: Asking) => Promise<T>, asking: Asking): Promise<[string, T]> {
    const order = [this.#first, ...this.#endpoints.filter(base => base !== this.#first)];
    let fault: unknown;
    for (const [index, base] of order.entries()) {
      const isLast = index === order.length - 1;
      using limit = isLast ? undefined : deadline(asking.signal, nextAfterMs);
      try {
        const answer = await ask(base, limit === undefined ? asking : { ...asking, signal: limit.signal });
        this.#first = base;
        return [base, answer];
      } catch (thrown) {
        if (asking.signal.aborted) throw thrown;
        fault = thrown;
      }
    }
    throw fault;
  }

  /** @throws Fault of the source */
  async facts(base: string, asking: Asking): Promise<ServerFacts> {
    const { host } = new URL(base);
    return readFacts(await this.#http.fetch({ url: `${base}/varz`, what: host, ...asking }), host);
  }

  /**
   * The servers of the cluster, as they were found.
   *
   * @param stale what was returned before, where it turned out to be no longer so
   * @throws Fault of the source where no endpoint answers
   */
  async nodes(asking: Asking, stale?: readonly NatsNode[]): Promise<readonly NatsNode[]> {
    if (this.#nodes.length > 0 && this.#nodes !== stale) return this.#nodes;
    const [entry, facts] = await this.entry((base, at) => this.facts(base, at), asking);
    const bases = new Set([...this.#endpoints, ...nodeBases(entry, facts)]);
    const found = await Promise.all(
      [...bases].map(async base => {
        using limit = deadline(asking.signal, nextAfterMs);
        try {
          const { id, name } = await this.facts(base, { ...asking, signal: limit.signal });
          return { id, name, base };
        } catch {
          // A server that is down leads nothing; its consumers have moved, or cannot be counted anyway.
          return undefined;
        }
      }),
    );
    const nodes = new Map<string, NatsNode>();
    for (const node of found) if (node !== undefined && !nodes.has(node.id)) nodes.set(node.id, node);
    this.#nodes = [...nodes.values()];
    return this.#nodes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http[Symbol.asyncDispose]();
  }
}

/**
 * Where the servers of a cluster can be asked: at the host each has for its clients; where they tell none, at the
 * names that the pods of a StatefulSet have below its service, or at the hosts they have for each other. The port is
 * that of the endpoint.
 */
export function nodeBases(entry: string, { connectUrls, routeUrls }: ServerFacts): string[] {
  const { protocol, host, port } = new URL(entry);
  const at = (name: string) => `${protocol}//${name}${port === '' ? '' : `:${port}`}`;
  const hostOf = (address: string) => /^(\[[^\]]+\]|[^:]+)(:\d+)?$/.exec(address)?.[1];
  const hosts = (addresses: readonly string[]) => addresses.map(hostOf).filter(name => name !== undefined);
  if (connectUrls.length > 0) return hosts(connectUrls).map(at);
  return hosts(routeUrls).flatMap(name => {
    const pod = /^[a-z]/i.test(name) ? [`${protocol}//${name.split('.')[0]}.${host}`] : [];
    return [...pod, at(name)];
  });
}

/** @throws Fault SOURCE_ANSWER_INVALID, or SOURCE_FAILED where there is no JetStream */
function readState(body: Buffer, host: string): JetStreamState {
  const json = objectOf(parse(body));
  const serverId = json?.['server_id'];
  if (json === undefined || typeof serverId !== 'string') throw strange(host);
  if (json['disabled'] === true) throw new Fault('SOURCE_FAILED', `JetStream is not enabled at ${host}`);
  const size = objectOf(json['meta_cluster'])?.['cluster_size'];
  return {
    serverId,
    clusterSize: typeof size === 'number' ? size : 1,
    accounts: objectsOf(json['account_details']),
  };
}

function readFacts(body: Buffer, host: string): ServerFacts {
  const json = objectOf(parse(body));
  const { server_id: id, server_name: name, port, connect_urls: connectUrls } = json ?? {};
  if (typeof id !== 'string' || typeof name !== 'string') throw strange(host);
  return {
    id,
    name,
    port: typeof port === 'number' ? port : 4222,
    connectUrls: textsOf(connectUrls),
    routeUrls: textsOf(objectOf(json?.['cluster'])?.['urls']),
  };
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

const strange = (host: string) =>
  new Fault('SOURCE_ANSWER_INVALID', `${host} does not answer as the monitoring endpoint of NATS does`);

export type Json = Readonly<Record<string, unknown>>;

export const objectOf = (value: unknown): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;

export const objectsOf = (value: unknown): Json[] =>
  (Array.isArray(value) ? value : []).map(objectOf).filter(each => each !== undefined);

const textsOf = (value: unknown): string[] =>
  (Array.isArray(value) ? value : []).filter(each => typeof each === 'string');
