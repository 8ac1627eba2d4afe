import type { ServerRequest } from '../src/serve/handler.ts';

/** A request for a handler: a GET without headers or body unless said otherwise. */
export const requestOf = (url: string, over: Partial<ServerRequest> = {}): ServerRequest => ({
  method: 'GET',
  url,
  headers: {},
  body: Buffer.alloc(0),
  signal: new AbortController().signal,
  ...over,
});
