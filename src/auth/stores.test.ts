import { generateKeyPairSync } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { httpServer } from '../../test/misbehaving-http.ts';
import { faultFrom } from '../../test/scaler-contract.ts';
import { storeAsk, storesOf } from '../../test/stores.ts';
import { type ManualClock, manualClock } from '../base/clock.ts';
import { faultOf } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { fromAwsSecretsManager } from './aws-secrets-manager.ts';
import { fromAzureKeyVault } from './azure-key-vault.ts';
import { fromGoogleSecretManager } from './google-secret-manager.ts';
import type { StoreAsk } from './stores.ts';
import { fromVault } from './vault.ts';

interface Store {
  read(url: string, ask: StoreAsk): Promise<Record<string, Secret>>;
  /** Its answer with a value. */
  answer(value: string): unknown;
  /** That there is no such secret. */
  missing: unknown;
  /** That what it was asked with is not accepted any more; undefined where nobody gives another. */
  refusal: { status: number; body: string } | undefined;
}

const pem = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
  format: 'pem',
  type: 'pkcs8',
});
const valueFrom = (key: string) => ({ valueFrom: { secretKeyRef: { name: 'own', key } } });
const secrets = [{ parameter: 'password', name: 'db', id: 'db', path: 'kv/db', key: 'db' }];

const stores: Record<string, Store> = {
  'HashiCorp Vault': {
    read: (address, ask) =>
      fromVault({ address, authentication: 'token', credential: { token: 't' }, secrets }, ask),
    answer: db => ({ data: { db } }),
    missing: { errors: [] },
    refusal: undefined,
  },
  'Azure Key Vault': {
    read(url, ask) {
      const cloud = {
        type: 'Private',
        keyVaultResourceURL: 'https://vault.test',
        activeDirectoryEndpoint: url,
      };
      const credentials = { clientId: 'app', tenantId: 'tenant', clientSecret: valueFrom('secret') };
      return fromAzureKeyVault({ vaultUri: url, credentials, cloud, secrets }, ask);
    },
    answer: value => ({ value }),
    missing: { error: { code: 'SecretNotFound' } },
    refusal: { status: 401, body: '{"error":{"code":"Unauthorized"}}' },
  },
  "Google's Secret Manager": {
    read: (_url, ask) =>
      fromGoogleSecretManager({ credentials: { clientSecret: valueFrom('key') }, secrets }, ask),
    answer: value => ({ payload: { data: Buffer.from(value).toString('base64') } }),
    missing: { error: { status: 'NOT_FOUND' } },
    refusal: { status: 401, body: '{"error":{"status":"UNAUTHENTICATED"}}' },
  },
  'AWS Secrets Manager': {
    read: (_url, ask) =>
      fromAwsSecretsManager({ podIdentity: { provider: 'aws' }, secrets }, ask, () =>
        Promise.resolve(undefined),
      ),
    answer: SecretString => ({ SecretString }),
    missing: { __type: 'ResourceNotFoundException' },
    refusal: { status: 400, body: '{"__type":"ExpiredTokenException"}' },
  },
};

let clock: ManualClock;

beforeEach(() => {
  clock = manualClock();
});

/** A store that answers by `next`, with whoever gives tokens and keys for it beside it; and a trigger that reads it. */
async function bed({ read }: Store) {
  const state = { asked: 0, granted: 0, next: [] as { status: number; body: string }[] };
  const server = await httpServer((req, res) => {
    const grant = { access_token: `token ${state.granted}`, expires_in: 7_200 };
    const keys = {
      AccessKeyId: `${state.granted}`,
      SecretAccessKey: 'x',
      Expiration: '2100-01-01T00:00:00Z',
    };
    if (/token$|keys$/.test(req.url ?? '')) {
      state.granted += 1;
      return void res.end(JSON.stringify({ ...grant, ...keys }));
    }
    if (req.url?.endsWith('lookup-self')) return void res.end('{"data":{"ttl":0}}');
    state.asked += 1;
    const { status, body } = state.next.shift() ?? { status: 500, body: '' };
    res.writeHead(status).end(body);
  });
  const all = storesOf(clock, {
    aws: { region: 'eu-west-1', secretsManagerEndpoint: server.url },
    google: { secretManagerEndpoint: server.url },
    identities: { aws: { containerUri: `${server.url}/keys` } },
  });
  const account = { type: 'service_account', client_email: 'me', project_id: 'p', private_key: pem };
  const key = JSON.stringify({ ...account, token_uri: `${server.url}/token` });
  const objects = { secrets: { 'shop/own': { secret: 's3cret', key } } };
  return {
    state,
    async get(over: Partial<StoreAsk> = {}) {
      const found = await read(server.url, storeAsk(all, objects, over));
      return found['password']?.reveal();
    },
    async [Symbol.asyncDispose]() {
      await all[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

const ok = (answer: unknown) => ({ status: 200, body: JSON.stringify(answer) });

describe.each(Object.entries(stores))('a value of %s', (_name, store) => {
  it.each([
    ['is down', 503, '<html>'],
    ['is not there', 404, '<html>default backend'],
    ['is behind somebody who says 404 in JSON', 404, '{"message":"no route"}'],
    ['answers with a page', 200, '<html>sign in'],
    ['answers with nothing', 200, ''],
    ['answers with something else', 200, '{}'],
    ['answers with a list', 200, '[1]'],
    ['answers with another type', 200, '{"data":7,"value":7,"payload":{"data":7},"SecretString":7}'],
  ])('is used on while the store %s, and the new one afterwards', async (_title, status, body) => {
    await using one = await bed(store);
    one.state.next = [ok(store.answer('old')), { status, body }, ok(store.answer('new'))];

    const found = [await one.get()];
    await clock.advance(61_000);
    found.push(await one.get());
    await clock.advance(61_000);
    found.push(await one.get());

    expect(found).toEqual(['old', 'old', 'new']);
    expect(one.state.asked).toBe(3);
  });

  it('is not made up where the first answer is none', async () => {
    await using one = await bed(store);
    one.state.next = [ok({})];

    expect((await faultFrom(one.get())).code).toBe('AUTH_FAILED');
  });

  it('is given up where the store says that it is gone', async () => {
    await using one = await bed(store);
    one.state.next = [ok(store.answer('old')), { status: 404, body: JSON.stringify(store.missing) }];
    await one.get();
    await clock.advance(61_000);

    expect((await faultFrom(one.get())).code).toBe('AUTH_MISSING');
  });

  it('is asked for once for all who want it', async () => {
    await using one = await bed(store);
    one.state.next = [ok(store.answer('one'))];

    const found = await Promise.all(Array.from({ length: 50 }, () => one.get()));

    expect([new Set(found), one.state.asked]).toEqual([new Set(['one']), 1]);
  });

  const { refusal } = store;
  if (refusal === undefined) return;
  it('is asked for as somebody new at once, where the old is not accepted', async () => {
    await using one = await bed(store);
    one.state.next = [ok(store.answer('old')), refusal, ok(store.answer('new')), refusal, refusal];

    const found = [await one.get()];
    await clock.advance(61_000);
    found.push(await one.get());
    await clock.advance(61_000);
    found.push(await one.get().catch(thrown => faultOf(thrown).message));

    expect(found).toEqual(['old', 'new', 'new']);
    expect([one.state.asked, one.state.granted]).toEqual([5, 3]);
  });
});
