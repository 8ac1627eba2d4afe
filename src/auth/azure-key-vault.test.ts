import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { httpServer } from '../../test/misbehaving-http.ts';
import { faultFrom } from '../../test/scaler-contract.ts';
import { storeAsk, storesOf } from '../../test/stores.ts';
import { manualClock } from '../base/clock.ts';
import { type AzureKeyVault, fromAzureKeyVault } from './azure-key-vault.ts';
import type { StoreAsk } from './stores.ts';

let folder: string;
let tokenFile: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'azure-'));
  tokenFile = join(folder, 'token');
  await writeFile(tokenFile, 'federated-1');
});

afterAll(() => rm(folder, { recursive: true }));

interface Asked {
  what: string;
  form: Record<string, string>;
  authorization: string | undefined;
}

/** Entra and a vault, from Microsoft's documentation. */
async function azure(refuse?: (response: ServerResponse) => void) {
  const asked: Asked[] = [];
  const secrets: Record<string, string> = {
    '/secrets/db?api-version=7.4': 'latest-pw',
    '/secrets/db/0123abcd?api-version=7.4': 'older-pw',
  };
  const server = await httpServer((request, response) => {
    let body = '';
    request.on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const form = Object.fromEntries(new URLSearchParams(body));
      const { authorization } = request.headers;
      asked.push({ what: `${request.method} ${request.url}`, form, authorization });
      if (request.method === 'POST') {
        const by = form['client_secret'] ?? form['client_assertion'];
        return void response.end(JSON.stringify({ access_token: `token by ${by}`, expires_in: 3_600 }));
      }
      if (refuse !== undefined) return refuse(response);
      const value = secrets[request.url ?? ''];
      if (value !== undefined) return void response.end(JSON.stringify({ value, id: 'x' }));
      const error = { code: 'SecretNotFound', message: 'A secret with this name was not found' };
      response.writeHead(404).end(JSON.stringify({ error }));
    });
  });
  return { ...server, asked };
}

const byClient = (url: string, over: Partial<AzureKeyVault> = {}): AzureKeyVault => ({
  vaultUri: url,
  credentials: {
    clientId: 'app',
    tenantId: 'tenant',
    clientSecret: { valueFrom: { secretKeyRef: { name: 'azure', key: 'secret' } } },
  },
  cloud: { type: 'Private', keyVaultResourceURL: 'https://vault.test/', activeDirectoryEndpoint: url },
  secrets: [{ parameter: 'password', name: 'db' }],
  ...over,
});

async function read(spec: AzureKeyVault, url: string, over: Partial<StoreAsk> = {}) {
  const identity = {
    clientId: 'operator',
    tenantId: 'home',
    federatedTokenFile: tokenFile,
    authorityHost: url,
  };
  await using stores = storesOf(manualClock(), { identities: { azure: identity } });
  const objects = { secrets: { 'shop/azure': { secret: 's3cret' } } };
  const found = await fromAzureKeyVault(spec, storeAsk(stores, objects, over));
  return Object.fromEntries(Object.entries(found).map(([name, each]) => [name, each.reveal()]));
}

describe('Azure Key Vault', () => {
  it('gives secrets, and versions of them, to who has the secret of a client', async () => {
    await using server = await azure();
    const secrets = [
      { parameter: 'password', name: 'db' },
      { parameter: 'before', name: 'db', version: '0123abcd' },
    ];

    const found = await read(byClient(server.url, { secrets }), server.url);

    expect(found).toEqual({ password: 'latest-pw', before: 'older-pw' });
    expect(server.asked).toMatchObject([
      {
        what: 'POST /tenant/oauth2/v2.0/token',
        form: { client_id: 'app', client_secret: 's3cret', scope: 'https://vault.test/.default' },
      },
      { what: 'GET /secrets/db?api-version=7.4', authorization: 'Bearer token by s3cret' },
      { what: 'GET /secrets/db/0123abcd?api-version=7.4' },
    ]);
  });

  it("is shown the operator's own token at an address of Azure, or where a ClusterTriggerAuthentication says", async () => {
    await using server = await azure();
    const spec = byClient(server.url, { podIdentity: { provider: 'azure-workload' } });

    const fault = await faultFrom(read(spec, server.url));
    const before = server.asked.length;
    const found = await read(spec, server.url, { clusterWide: true });

    expect(fault).toMatchObject({
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('no vault of Azure'),
    });
    expect(before).toBe(0);
    expect(found).toEqual({ password: 'latest-pw' });
    expect(server.asked.map(({ authorization }) => authorization)).toEqual([
      undefined,
      'Bearer token by federated-1',
    ]);
  });

  it.each([
    'https://vault.azure.net.evil.test',
    'http://mine.vault.azure.net',
    'https://mine.vault.azure.net:8443',
    'https://evilvault.azure.net',
  ])('is never taken for Azure at %s', async vaultUri => {
    await using server = await azure();
    const spec = byClient(vaultUri, { podIdentity: { provider: 'azure-workload' } });

    expect((await faultFrom(read(spec, server.url))).code).toBe('NOT_SUPPORTED');
    expect(server.asked).toEqual([]);
  });

  it.each<[string, Partial<AzureKeyVault>, string, string]>([
    ['gone', { secrets: [{ parameter: 'x', name: 'gone' }] }, 'AUTH_MISSING', 'no secret "gone": A secret'],
    ['no URL', { vaultUri: 'vault' }, 'MANIFEST_INVALID', 'is not a URL'],
    ['an unknown cloud', { cloud: { type: 'Mine' } }, 'MANIFEST_INVALID', 'cloud "Mine"'],
    ['a private cloud without its addresses', { cloud: { type: 'Private' } }, 'MANIFEST_INVALID', 'keyVault'],
    ['another identity', { podIdentity: { provider: 'gcp' } }, 'MANIFEST_INVALID', 'azure-workload is right'],
  ])('says why there is nothing for %s', async (_title, over, code, sentence) => {
    await using server = await azure();

    const fault = await faultFrom(read(byClient(server.url, over), server.url));

    expect(fault).toMatchObject({ code, message: expect.stringContaining(sentence) });
  });

  it('says who was refused, and for how long it wants to be left alone', async () => {
    await using server = await azure(response => {
      const error = { code: 'Throttled', message: 'Too many, token by s3cret' };
      response.writeHead(429, { 'retry-after': '7' }).end(JSON.stringify({ error }));
    });

    const fault = await faultFrom(read(byClient(server.url), server.url));

    expect(fault).toMatchObject({ code: 'AUTH_FAILED', retryAfterMs: 7_000 });
    expect(fault.message).toContain('answered 429: Too many, [secret]');
  });
});
