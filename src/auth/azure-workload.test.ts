import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { closedPort, httpServer } from '../../test/misbehaving-http.ts';
import { faultFrom, until } from '../../test/scaler-contract.ts';
import { type ManualClock, manualClock } from '../base/clock.ts';
import { httpClient } from '../base/http.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import { type AzureWorkloadOptions, azureWorkload } from './azure-workload.ts';

const identity: PodIdentity = { provider: 'azure-workload' };
const scope = 'https://storage.azure.com/.default';
const signal = new AbortController().signal;

let folder: string;
let tokenFile: string;
let clock: ManualClock;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'token-'));
  tokenFile = join(folder, 'token');
});

beforeEach(async () => {
  clock = manualClock();
  await writeFile(tokenFile, 'federated-1\n');
});

afterAll(() => rm(folder, { recursive: true }));

type Answer = (request: { path: string; form: Record<string, string> }, response: ServerResponse) => void;

/** Microsoft Entra as far as it is used here: answers each request as `answer` says and keeps it. */
async function entra(answer: Answer) {
  const requests: { path: string; form: Record<string, string> }[] = [];
  const listener: RequestListener = (request: IncomingMessage, response: ServerResponse) => {
    let body = '';
    request.on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const seen = { path: request.url ?? '', form: Object.fromEntries(new URLSearchParams(body)) };
      requests.push(seen);
      answer(seen, response);
    });
  };
  const server = await httpServer(listener);
  return { ...server, requests };
}

const granting =
  (expiresIn: number): Answer =>
  ({ form }, response) => {
    const token = `token for ${form['client_id']} by ${form['client_assertion']}`;
    response.end(JSON.stringify({ token_type: 'Bearer', expires_in: expiresIn, access_token: token }));
  };

function workloadAt(url: string, over: AzureWorkloadOptions = {}) {
  const http = httpClient();
  const workload = azureWorkload(
    { clientId: 'app', tenantId: 'tenant', federatedTokenFile: tokenFile, authorityHost: url, ...over },
    { clock, http },
  );
  return {
    token: (who: PodIdentity = identity, until = signal) =>
      workload.accessToken(who, scope, until).then(token => token.reveal()),
    async [Symbol.asyncDispose]() {
      workload[Symbol.dispose]();
      await http[Symbol.asyncDispose]();
    },
  };
}

describe('an Azure workload identity', () => {
  it('exchanges the federated token for an access token', async () => {
    await using server = await entra(granting(3_600));
    await using workload = workloadAt(server.url);

    const token = await workload.token();

    expect(token).toBe('token for app by federated-1');
    expect(server.requests).toEqual([
      {
        path: '/tenant/oauth2/v2.0/token',
        form: {
          grant_type: 'client_credentials',
          client_id: 'app',
          scope,
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: 'federated-1',
        },
      },
    ]);
  });

  it('overrides client and tenant by what the TriggerAuthentication says, each with a token of its own', async () => {
    await using server = await entra(granting(3_600));
    await using workload = workloadAt(server.url);

    const tokens = [
      await workload.token({ ...identity, identityId: 'other' }),
      await workload.token({ ...identity, identityTenantId: 'elsewhere', identityAuthorityHost: server.url }),
      await workload.token({ ...identity, identityAuthorityHost: 'https://ignored.test' }),
    ];

    expect(tokens.map(token => token.split(' ')[2])).toEqual(['other', 'app', 'app']);
    expect(server.requests.map(({ path }) => path.split('/')[1])).toEqual(['tenant', 'elsewhere', 'tenant']);
  });

  it('asks once for many who ask at the same time, and not again while the token is good', async () => {
    await using server = await entra(granting(3_600));
    await using workload = workloadAt(server.url);

    const tokens = await Promise.all(Array.from({ length: 20 }, () => workload.token()));
    await clock.advance(54 * 60_000);
    await workload.token();

    expect(new Set(tokens).size).toBe(1);
    expect(server.requests).toHaveLength(1);
  });

  it('renews before the end with the federated token of that time, and keeps nobody waiting', async () => {
    await using server = await entra(granting(3_600));
    await using workload = workloadAt(server.url);
    await workload.token();
    await writeFile(tokenFile, 'federated-2');
    await clock.advance(56 * 60_000);

    const during = await workload.token();
    await until(() => server.requests.length === 2);
    let after = during;
    while (after === during) after = await workload.token();

    expect(during).toBe('token for app by federated-1');
    expect(after).toBe('token for app by federated-2');
    expect(server.requests).toHaveLength(2);
  });

  it('hands out the old token while renewals fail, and asks again only after a while', async () => {
    let failing = false;
    await using server = await entra((request, response) => {
      if (!failing) return granting(3_600)(request, response);
      response.writeHead(500).end();
    });
    await using workload = workloadAt(server.url);
    const token = await workload.token();
    failing = true;
    await clock.advance(56 * 60_000);

    await workload.token();
    await until(() => server.requests.length === 2);
    await clock.advance(31_000);
    const later = await workload.token();
    await until(() => server.requests.length === 3);
    await clock.advance(5 * 60_000);
    const fault = await faultFrom(workload.token());

    expect(later).toBe(token);
    expect(fault.code).toBe('AUTH_FAILED');
  });

  it('lets one who gives up go, without ending it for the others', async () => {
    let answerNow = () => {};
    await using server = await entra((request, response) => {
      answerNow = () => granting(3_600)(request, response);
    });
    await using workload = workloadAt(server.url);
    const impatient = new AbortController();

    const gone = faultFrom(workload.token(identity, impatient.signal));
    const patient = workload.token();
    await until(() => server.requests.length === 1);
    impatient.abort();
    const fault = await gone;
    answerNow();

    expect(fault.code).toBe('CANCELLED');
    expect(await patient).toBe('token for app by federated-1');
    expect(server.requests).toHaveLength(1);
  });
});

describe('no token', () => {
  it.each([
    [
      'a refusal, by its first line',
      400,
      {
        error: 'invalid_client',
        error_description: 'AADSTS700016: no such app.\r\nTrace ID: 7\r\nTimestamp: now',
      },
      'AADSTS700016: no such app.',
    ],
    ['an error without words', 401, {}, 'answered 401'],
    ['no token in the answer', 200, { expires_in: 5 }, 'without a token'],
    ['no lifetime in the answer', 200, { access_token: 'hunter2' }, 'without a token and its lifetime'],
    ['a redirect', 302, {}, 'answered 302'],
  ])('is %s', async (_title, status, body, sentence) => {
    await using server = await entra((_request, response) => {
      response.writeHead(status, { location: 'https://elsewhere.test/' }).end(JSON.stringify(body));
    });
    await using workload = workloadAt(server.url);

    const fault = await faultFrom(workload.token());

    expect(fault).toMatchObject({ code: 'AUTH_FAILED', message: expect.stringContaining(sentence) });
    expect(fault.message).not.toMatch(/Trace|hunter2|federated-1/);
  });

  it('says for how long to leave the authority alone', async () => {
    await using server = await entra((_request, response) => {
      response.writeHead(429, { 'retry-after': '4' }).end('not JSON');
    });
    await using workload = workloadAt(server.url);

    expect(await faultFrom(workload.token())).toMatchObject({ code: 'AUTH_FAILED', retryAfterMs: 4_000 });
  });

  it('where nothing listens, or the federated token cannot be read', async () => {
    await using nobody = workloadAt(`http://127.0.0.1:${await closedPort()}`);
    await using fileless = workloadAt('http://127.0.0.1:1', { federatedTokenFile: join(folder, 'gone') });

    const [unreachable, unread] = [await faultFrom(nobody.token()), await faultFrom(fileless.token())];

    expect(unreachable).toMatchObject({ code: 'AUTH_FAILED', message: expect.stringContaining('refuses') });
    expect(unread).toMatchObject({ code: 'AUTH_FAILED', message: expect.stringContaining('gone') });
  });

  it.each(['clientId', 'tenantId', 'federatedTokenFile'])('without %s', async name => {
    await using workload = workloadAt('http://127.0.0.1:1', { [name]: '' });

    expect(await faultFrom(workload.token())).toMatchObject({
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('AZURE_FEDERATED_TOKEN_FILE'),
    });
  });

  it('where the authority that was configured is not a URL', async () => {
    await using workload = workloadAt('login.test');

    expect(await faultFrom(workload.token())).toMatchObject({
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('"login.test"'),
    });
  });

  it.each([
    'https://evil.test',
    'http://login.microsoftonline.com',
    'https://login.microsoftonline.com.evil.test',
    'https://login.microsoftonline.com:8443',
    'not a host',
  ])('for the authority %s, which could keep what it is sent', async identityAuthorityHost => {
    await using server = await entra(granting(3_600));
    await using workload = workloadAt(server.url);

    const fault = await faultFrom(
      workload.token({ ...identity, identityTenantId: 'elsewhere', identityAuthorityHost }),
    );

    expect(fault.code).toBe('NOT_SUPPORTED');
    expect(server.requests).toEqual([]);
  });
});
