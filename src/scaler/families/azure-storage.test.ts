import type { RequestListener } from 'node:http';
import { describe, expect, it } from 'vitest';
import { httpServer } from '../../../test/misbehaving-http.ts';
import { noTokens } from '../../../test/no-tokens.ts';
import { faultFrom, openContext, plainContext } from '../../../test/scaler-contract.ts';
import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { openStorage, type StorageAccount, storageAccount } from './azure-storage.ts';

const signal = new AbortController().signal;
const at = { signal, now: Date.UTC(2026, 0, 15) };
const identity = { provider: 'azure-workload' as const, identityId: 'app' };

const nothing = {
  connection: undefined,
  accountName: undefined,
  endpointSuffix: undefined,
  cloud: undefined,
};

function answering(status: number, code: string, headers: Record<string, string> = {}): RequestListener {
  return (_request, response) => {
    response.writeHead(status, { 'x-ms-error-code': code, ...headers });
    response.end(
      `\uFEFF<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>It did not &quot;work&quot;.\nRequestId:7\nTime:now</Message></Error>`,
    );
  };
}

const withKey = (url: string): StorageAccount => ({
  service: 'queue',
  connection: new Secret(`QueueEndpoint=${url}/mine;AccountName=mine;AccountKey=a2V5`),
  endpoint: undefined,
  scope: '',
});

describe('the account of a trigger', () => {
  const workload = { ...plainContext, podIdentity: identity };

  it.each([
    [undefined, 'https://mine.queue.core.windows.net', 'https://storage.azure.com/.default'],
    [
      'AzureUSGovernmentCloud',
      'https://mine.queue.core.usgovcloudapi.net',
      'https://storage.azure.com/.default',
    ],
    ['azuregermancloud', 'https://mine.queue.core.cloudapi.de', 'https://storage.azure.com/.default'],
    // A token for all of Azure Storage is not for a host that a manifest made up.
    ['private', 'https://mine.queue.moon.test', 'https://mine.queue.moon.test/.default'],
  ])('under a pod identity in cloud %s', (cloud, endpoint, scope) => {
    const values = { ...nothing, accountName: 'mine', cloud, endpointSuffix: 'queue.moon.test' };

    expect(storageAccount('queue', values, workload)).toMatchObject({ endpoint, scope });
  });
});

describe('a request', () => {
  it('carries the access token of the identity, our name and the version', async () => {
    const asked: unknown[] = [];
    const seen: unknown[] = [];
    await using server = await httpServer((request, response) => {
      seen.push({ url: request.url, ...request.headers });
      response.end();
    });
    const tokens = {
      ...noTokens,
      accessToken: async (...args: unknown[]) => {
        asked.push(args.slice(0, 2));
        return new Secret('a.b.c');
      },
    };
    const account: StorageAccount = {
      service: 'queue',
      connection: undefined,
      endpoint: server.url,
      scope: 'https://storage.azure.com/.default',
    };
    await using storage = openStorage(account, openContext(signal, { identity, tokens, clientName: 'us' }));

    await storage.send({ method: 'GET', path: ['a b'], query: { comp: 'x y+z' } }, at);

    expect(asked).toEqual([[identity, 'https://storage.azure.com/.default']]);
    expect(seen).toMatchObject([
      {
        url: '/a%20b?comp=x%20y%2Bz',
        authorization: 'Bearer a.b.c',
        'user-agent': 'us',
        'x-ms-version': '2018-11-09',
        'x-ms-date': 'Thu, 15 Jan 2026 00:00:00 GMT',
      },
    ]);
  });

  it('passes on why there is no token', async () => {
    const tokens = {
      ...noTokens,
      accessToken: () => Promise.reject(new Fault('AUTH_FAILED', 'no token today')),
    };
    const account: StorageAccount = {
      service: 'queue',
      connection: undefined,
      endpoint: 'http://127.0.0.1:1',
      scope: 's',
    };
    await using storage = openStorage(account, openContext(signal, { identity, tokens }));

    const fault = await faultFrom(storage.send({ method: 'GET', path: ['a'] }, at));

    expect(fault).toMatchObject({ code: 'AUTH_FAILED', message: 'no token today' });
  });

  it.each([
    [403, 'AuthenticationFailed', 'SOURCE_REFUSED'],
    [403, 'AuthorizationPermissionMismatch', 'SOURCE_REFUSED'],
    [400, 'InvalidAuthenticationInfo', 'SOURCE_REFUSED'],
    [404, 'QueueNotFound', 'SOURCE_NOT_FOUND'],
    [404, 'MessageNotFound', 'MESSAGE_LOST'],
    [400, 'PopReceiptMismatch', 'MESSAGE_LOST'],
    [400, 'OutOfRangeInput', 'SOURCE_FAILED'],
    [409, 'QueueBeingDeleted', 'SOURCE_FAILED'],
    [500, 'OperationTimedOut', 'SOURCE_FAILED'],
  ])('answered with %d %s is %s', async (status, azureCode, code) => {
    await using server = await httpServer(answering(status, azureCode));
    await using storage = openStorage(withKey(server.url), openContext(signal));

    const fault = await faultFrom(storage.send({ method: 'GET', path: ['orders'] }, at));

    expect(fault.code).toBe(code);
    expect(fault.message).toContain(azureCode);
    expect(fault.message).toContain('/mine/orders');
    expect(fault.message).not.toContain('RequestId');
    if (code !== 'MESSAGE_LOST') expect(fault.message).toContain('It did not "work".');
  });

  it('leaves a busy account alone for as long as it asks', async () => {
    await using server = await httpServer(answering(503, 'ServerBusy', { 'retry-after': '9' }));
    await using storage = openStorage(withKey(server.url), openContext(signal));

    const fault = await faultFrom(storage.send({ method: 'GET', path: ['orders'] }, at));

    expect(fault).toMatchObject({ code: 'SOURCE_BUSY', retryAfterMs: 9_000 });
  });
});
