import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as it came in. */
export interface ApiRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  /** Parsed; undefined for an empty one. */
  body: unknown;
}

/** An API server that says what the test wants it to, over HTTP on 127.0.0.1. */
export interface FakeApiServer extends AsyncDisposable {
  url: string;
  requests: ApiRequest[];
  /** How many connections there have been. */
  connections(): number;
}

/** Answers a request, or leaves it hanging. */
export type ApiAnswer = (request: ApiRequest, response: ServerResponse) => void;

export async function fakeApiServer(answer: ApiAnswer): Promise<FakeApiServer> {
  const requests: ApiRequest[] = [];
  const server = createServer(async (incoming, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const url = new URL(incoming.url ?? '/', 'http://fake');
    const text = Buffer.concat(chunks).toString();
    const request = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: text === '' ? undefined : JSON.parse(text),
    };
    requests.push(request);
    answer(request, response);
  });
  let connections = 0;
  server.on('connection', () => {
    connections += 1;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Ends a request with an object. */
export function answerJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Ends a request as the API server refuses it. */
export function answerStatus(
  response: ServerResponse,
  { code, headers, ...status }: { code: number; headers?: Record<string, string>; [field: string]: unknown },
): void {
  response
    .writeHead(code, { 'content-type': 'application/json', ...headers })
    .end(JSON.stringify({ apiVersion: 'v1', kind: 'Status', status: 'Failure', code, ...status }));
}

/** Lines of a watch, with the headers if they are not out yet. */
export function sendEvents(
  response: ServerResponse,
  ...events: readonly { type: string; object: unknown }[]
) {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  for (const event of events) response.write(`${JSON.stringify(event)}\n`);
}
