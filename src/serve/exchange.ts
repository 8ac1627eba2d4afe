import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Handler, HeaderValue, Peer, ServerAnswer, ServerRequest } from './handler.ts';

export type Incoming = IncomingMessage | Http2ServerRequest;
export type Outgoing = ServerResponse | Http2ServerResponse;

export interface Exchange {
  handler: Handler;
  incoming: Incoming;
  outgoing: Outgoing;
  /** More than this many bytes of body are answered with 413. */
  bodyLimit: number;
  peer?: Peer | undefined;
  /** Whether the client is to be told that the connection ends with this answer. */
  closing: boolean;
}

/** How long a body may take to arrive. Node watches over the headers. */
const bodyTimeoutMs = 30_000;

/** Has one request answered. Never throws: what a handler throws becomes a 500 without a word of it. */
export async function exchange(parts: Exchange): Promise<void> {
  const { incoming, outgoing } = parts;
  try {
    const body = bodyExpected(incoming) ? await readBody(incoming, parts.bodyLimit) : noBody;
    if (body === undefined) {
      send(parts, { status: 413, headers: { connection: 'close' } });
      return;
    }
    send(parts, await parts.handler(new Received(incoming, outgoing, { body, peer: parts.peer })));
  } catch {
    if (outgoing.headersSent) outgoing.end();
    else send(parts, { status: 500 });
  }
}

const noBody = Buffer.alloc(0);

class Received implements ServerRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, HeaderValue>;
  readonly body: Buffer;
  readonly peer: Peer | undefined;
  readonly #outgoing: Outgoing;
  #signal: AbortSignal | undefined;

  constructor(
    incoming: Incoming,
    outgoing: Outgoing,
    { body, peer }: { body: Buffer; peer: Peer | undefined },
  ) {
    this.method = incoming.method ?? 'GET';
    this.url = incoming.url ?? '/';
    this.headers = headersOf(incoming.rawHeaders);
    this.body = body;
    this.peer = peer;
    this.#outgoing = outgoing;
  }

  // Most answers are there at once, and need nobody to listen.
  get signal(): AbortSignal {
    if (this.#signal !== undefined) return this.#signal;
    const controller = new AbortController();
    const outgoing: NodeJS.EventEmitter = this.#outgoing;
    outgoing.once('close', () => {
      if (!this.#outgoing.writableEnded) controller.abort();
    });
    this.#signal = controller.signal;
    return controller.signal;
  }
}

/** Keeps repeated headers apart, as joined they could not be told from one value with a comma in it. */
function headersOf(raw: readonly string[]): Record<string, HeaderValue> {
  const headers: Record<string, HeaderValue> = Object.create(null);
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase();
    const value = raw[i + 1] ?? '';
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else headers[name] = typeof before === 'string' ? [before, value] : [...before, value];
  }
  return headers;
}

function bodyExpected(incoming: Incoming): boolean {
  return incoming.method !== 'GET' && incoming.method !== 'HEAD';
}

/**
 * What is left unread of a body that is too large is thrown away, so that the answer still reaches the client.
 *
 * @returns undefined where there is more than the limit
 */
async function readBody(incoming: Incoming, limit: number): Promise<Buffer | undefined> {
  if (Number(incoming.headers['content-length'] ?? 0) > limit) return undefined;
  const timer = setTimeout(() => incoming.destroy(), bodyTimeoutMs);
  try {
    return await new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      incoming.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > limit) resolve(undefined);
        else chunks.push(chunk);
      });
      incoming.on('end', () => resolve(Buffer.concat(chunks)));
      incoming.on('close', () => reject(new Error('the client went away')));
      incoming.on('error', reject);
    });
  } finally {
    clearTimeout(timer);
  }
}

function send({ incoming, outgoing, closing }: Exchange, answer: ServerAnswer): void {
  if (outgoing.destroyed) return;
  const body = answer.body ?? '';
  const headers: Record<string, string | number> = { ...answer.headers };
  headers['content-length'] = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
  // HTTP/2 has no such header: there the connection is told to go away.
  if (incoming.httpVersionMajor > 1) delete headers['connection'];
  else if (closing) headers['connection'] = 'close';
  const out = outgoing as ServerResponse;
  out.writeHead(answer.status, headers);
  if (incoming.method === 'HEAD') out.end();
  else out.end(body);
}
