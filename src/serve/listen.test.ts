import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import { type Handler, listenOnLoopback } from './listen.ts';

const echo: Handler = async received =>
  new Response(`${received.method} ${new URL(received.url).pathname} ${await received.text()}`, {
    status: 201,
    headers: { 'x-seen': received.headers.get('x-sent') ?? '' },
  });

describe('listenOnLoopback', () => {
  it('hands requests to the handler and its answer back', async () => {
    await using server = await listenOnLoopback(echo);

    const response = await fetch(`http://127.0.0.1:${server.port}/a`, {
      method: 'POST',
      body: 'hello',
      headers: { 'x-sent': 'yes' },
    });

    expect([response.status, response.headers.get('x-seen'), await response.text()]).toEqual([
      201,
      'yes',
      'POST /a hello',
    ]);
  });

  it('answers 500 without a stack trace when the handler throws', async () => {
    await using server = await listenOnLoopback(async () => {
      throw new Error('secret detail');
    });

    const response = await fetch(`http://127.0.0.1:${server.port}/`);

    expect([response.status, await response.text()]).toEqual([500, '']);
  });

  it('refuses requests that name another host, as a rebound name in a browser would', async () => {
    await using server = await listenOnLoopback(echo);

    const status = await new Promise(resolve =>
      request({ port: server.port, host: '127.0.0.1', headers: { host: 'evil.example' } }, response => {
        response.resume();
        resolve(response.statusCode);
      }).end(),
    );

    expect(status).toBe(421);
  });

  it('says so when the port is taken', async () => {
    await using server = await listenOnLoopback(echo);

    await expect(listenOnLoopback(echo, server.port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});
