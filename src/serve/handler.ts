/** Who is at the other end of a TLS connection, by the certificate that was shown. */
export interface Peer {
  /** The subject's common name; empty where it has none, or where nobody trusted vouches for the certificate. */
  commonName: string;
  /** The subject's organizations. */
  organizations: readonly string[];
  /** SHA-256 of the certificate and of everyone who vouches for it, up to the root, as `AB:CD:…`; empty where nobody trusted does. */
  chain: readonly string[];
  /** The first and the last moment at which every certificate of the chain is valid, in epoch milliseconds. */
  validFrom: number;
  validUntil: number;
}

/** Every value that was sent under one name: a text, or several where the header was repeated. */
export type HeaderValue = string | readonly string[];

/**
 * A request as a server sees it. Not the `Request` of fetch: making one costs as much as all the rest of an answer,
 * and having that class at all costs 10 MB.
 */
export interface ServerRequest {
  method: string;
  /** The path with its query, as it was sent: `/v1/records?last=2`. */
  url: string;
  /** By lower-case name. */
  headers: Readonly<Record<string, HeaderValue | undefined>>;
  /** Empty where nothing was sent. */
  body: Buffer;
  /** Undefined without TLS, and where the client showed no certificate. */
  peer?: Peer | undefined;
  /** Aborted when the client goes away before it has its answer. */
  signal: AbortSignal;
}

export interface ServerAnswer {
  status: number;
  headers?: Readonly<Record<string, string>>;
  body?: string | Uint8Array;
}

/** A server as a function: no port is needed to test one. */
export type Handler = (request: ServerRequest) => ServerAnswer | Promise<ServerAnswer>;

/** The value of a header; of a repeated one the first. Names are in lower case. */
export function headerOf(request: ServerRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

/** Parts a request's url into its path and its query. */
export function splitUrl(url: string): { path: string; query: URLSearchParams } {
  const mark = url.indexOf('?');
  return mark === -1
    ? { path: url, query: new URLSearchParams() }
    : { path: url.slice(0, mark), query: new URLSearchParams(url.slice(mark)) };
}

/** An answer with a body of JSON. */
export function json(body: unknown, status = 200): ServerAnswer {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}
