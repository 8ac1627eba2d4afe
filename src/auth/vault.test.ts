import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hasGo } from '../../test/cluster/binaries.ts';
import { httpServer, type TestServer } from '../../test/misbehaving-http.ts';
import type { Objects } from '../../test/references.ts';
import { faultFrom } from '../../test/scaler-contract.ts';
import { storeAsk, storesOf } from '../../test/stores.ts';
import { startVault, type VaultServer } from '../../test/vault.ts';
import { type ManualClock, manualClock } from '../base/clock.ts';
import { signedJwt } from '../base/jwt.ts';
import { Secret } from '../base/secret.ts';
import type { StoreAsk } from './stores.ts';
import { fromVault } from './vault.ts';
import type { HashiCorpVault, VaultOptions } from './vault-session.ts';

const go = await hasGo();
if (!go && process.env['CI'] === 'true') throw new Error('there is no Go to build Vault with');

let vault: VaultServer;
let front: TestServer;
let clock: ManualClock;
/** What the front has seen, such as `GET secret/data/db`. */
let asked: string[];
/** While set the front answers so itself. */
let broken: number | undefined;
let reviewer: TestServer;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = new Secret(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());

/** A token as the API server makes them. */
function accountToken(namespace: string, name: string): string {
  const seconds = Math.floor(Date.now() / 1_000);
  const claims = {
    iss: 'https://kubernetes.default.svc',
    sub: `system:serviceaccount:${namespace}:${name}`,
    exp: seconds + 3_600,
    iat: seconds,
    nbf: seconds,
    'kubernetes.io': { namespace, serviceaccount: { name, uid: `uid-of-${name}` } },
  };
  return signedJwt(claims, key).reveal();
}

const kv = (parameter: string, path: string, name: string, type?: '' | 'secret' | 'secretV2') => ({
  parameter,
  path,
  key: name,
  ...(type === undefined ? {} : { type }),
});

const byToken = (token: string, secrets: HashiCorpVault['secrets']): HashiCorpVault => ({
  address: front.url,
  authentication: 'token',
  credential: { token },
  secrets,
});

const byAccount = (
  secrets: HashiCorpVault['secrets'],
  over: Partial<HashiCorpVault> = {},
): HashiCorpVault => ({
  address: front.url,
  authentication: 'kubernetes',
  mount: 'kubernetes',
  role: 'shop',
  credential: { serviceAccountName: 'orders' },
  secrets,
  ...over,
});

const accounts = (): Objects => ({
  serviceAccountTokens: {
    'shop/orders': accountToken('shop', 'orders'),
    'shop/stranger': accountToken('shop', 'stranger'),
  },
});

/** Reads again and again as one operator does. */
function reader(options: VaultOptions = {}, objects: Objects = accounts()) {
  const stores = storesOf(clock, { vault: options });
  return {
    async read(spec: HashiCorpVault, over: Partial<StoreAsk> = {}) {
      const ask = storeAsk(stores, objects, over);
      const found = await fromVault(spec, ask);
      const values = Object.fromEntries(Object.entries(found).map(([name, each]) => [name, each.reveal()]));
      return { values, renewAt: ask.lookup.renewAt };
    },
    [Symbol.asyncDispose]: () => stores[Symbol.asyncDispose](),
  };
}

describe.skipIf(!go)('a real Vault', () => {
  beforeAll(async () => {
    vault = await startVault();
    reviewer = await httpServer((request, response) => {
      let body = '';
      request.on('data', chunk => {
        body += chunk;
      });
      request.on('end', () => {
        const { spec } = JSON.parse(body) as { spec: { token: string } };
        const claims = JSON.parse(Buffer.from(spec.token.split('.')[1] ?? '', 'base64url').toString());
        const uid = claims['kubernetes.io'].serviceaccount.uid;
        response.setHeader('content-type', 'application/json');
        response.end(
          JSON.stringify({
            apiVersion: 'authentication.k8s.io/v1',
            kind: 'TokenReview',
            status: { authenticated: true, user: { username: claims.sub, uid } },
          }),
        );
      });
    });
    front = await httpServer(async (request, response) => {
      asked.push(`${request.method} ${request.url?.replace('/v1/', '')}`);
      if (broken !== undefined) return void response.writeHead(broken).end();
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const answer = await fetch(`${vault.url}${request.url}`, {
        method: request.method ?? 'GET',
        headers: Object.entries(request.headers)
          .filter(([name]) => name.startsWith('x-vault'))
          .map(([name, value]) => [name, String(value)]),
        ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
      });
      response.writeHead(answer.status).end(await answer.text());
    });
    await vault.ask('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } });
    await vault.ask('POST', 'sys/mounts/old', { type: 'kv', options: { version: '1' } });
    await vault.ask('POST', 'sys/mounts/pki', { type: 'pki' });
    await vault.ask('POST', 'sys/auth/kubernetes', { type: 'kubernetes' });
    await vault.ask('POST', 'auth/kubernetes/config', {
      kubernetes_host: reviewer.url,
      disable_local_ca_jwt: true,
    });
    const rules = ['secret/*', 'old/*', 'pki/issue/*'].map(
      path => `path "${path}" { capabilities = ["read", "create", "update"] }`,
    );
    await vault.ask('PUT', 'sys/policies/acl/shop', { policy: rules.join('\n') });
    await vault.ask('POST', 'auth/kubernetes/role/shop', {
      bound_service_account_names: ['orders'],
      bound_service_account_namespaces: ['shop'],
      token_policies: ['shop'],
      token_ttl: '1h',
      token_max_ttl: '4h',
    });
    await vault.ask('POST', 'pki/root/generate/internal', { common_name: 'root.test', ttl: '700h' });
    await vault.ask('POST', 'pki/roles/web', { allow_any_name: true });
    await vault.ask('POST', 'old/db', { password: 'old-pw', data: 'a text called data' });
  }, 900_000);

  beforeEach(async () => {
    clock = manualClock(Date.now());
    asked = [];
    broken = undefined;
    await vault.ask('POST', 'secret/data/db', { data: { password: 'first', user: 'us', port: 5 } });
  });

  afterAll(async () => {
    for (const each of [front, reviewer, vault]) await each[Symbol.asyncDispose]();
  });

  it('gives values of both versions of its key-value engine, whether or not the manifest says which', async () => {
    const token = await vault.token({ policies: ['shop'] });
    await using operator = reader();

    const { values } = await operator.read(
      byToken(token, [
        kv('found2', 'secret/data/db', 'password'),
        kv('said2', '/secret/data/db', 'user', 'secretV2'),
        kv('found1', 'old/db', 'password', ''),
        kv('said1', 'old/db', 'data', 'secret'),
        kv('text', 'old/db', 'data'),
      ]),
    );

    expect(values).toEqual({
      found2: 'first',
      said2: 'us',
      found1: 'old-pw',
      said1: 'a text called data',
      text: 'a text called data',
    });
    expect(asked).toEqual(['GET auth/token/lookup-self', 'GET secret/data/db', 'GET old/db']);
  });

  it('makes one certificate for all who want a part of it, and another before it is over', async () => {
    const token = await vault.token({ policies: ['shop'], ttl: '8h' });
    const part = (name: string) => ({
      parameter: name,
      path: 'pki/issue/web',
      key: name,
      type: 'pki' as const,
      pkiData: { commonName: 'web.test', altNames: 'a.test,b.test', ipSans: '127.0.0.1', ttl: '3h' },
    });
    const spec = byToken(token, ['certificate', 'private_key', 'ca_chain', 'serial_number'].map(part));
    await using operator = reader();

    const { values, renewAt } = await operator.read(spec);
    await operator.read(spec);
    await clock.advance(2 * 3_600_000 + 60_000);
    const later = await operator.read(spec);

    const certificate = new X509Certificate(values['certificate'] ?? '');
    expect(certificate.subject).toBe('CN=web.test');
    expect(certificate.subjectAltName).toContain('DNS:b.test');
    expect(certificate.subjectAltName).toContain('127.0.0.1');
    expect(certificate.checkIssued(new X509Certificate(values['ca_chain'] ?? ''))).toBe(true);
    expect(values['private_key']).toMatch(/^-----BEGIN RSA PRIVATE KEY/);
    expect(renewAt).toBeLessThanOrEqual(clock.now());
    expect(later.values['serial_number']).not.toBe(values['serial_number']);
    expect(asked.filter(each => each === 'POST pki/issue/web')).toHaveLength(2);
  });

  it('lets a service account of the namespace in, and goes on with its session until its last day', async () => {
    const spec = byAccount([kv('password', 'secret/data/db', 'password')]);
    await using operator = reader();

    const { values } = await operator.read(spec);
    const first = [...asked];
    await clock.advance(31 * 60_000);
    await operator.read(spec);
    await operator.read(spec);

    expect(values).toEqual({ password: 'first' });
    expect(first).toEqual(['POST auth/kubernetes/login', 'GET secret/data/db']);
    expect(asked).toContain('POST auth/token/renew-self');
    expect(asked.filter(each => each.endsWith('/login'))).toHaveLength(1);
  });

  it('begins a new session where the old one was ended from the other side', async () => {
    const spec = byAccount([kv('password', 'secret/data/db', 'password')]);
    await using operator = reader();
    await operator.read(spec);
    await vault.ask('PUT', 'sys/leases/revoke-force/auth/kubernetes/login');
    await vault.ask('POST', 'secret/data/db', { data: { password: 'second' } });
    await clock.advance(61_000);

    const { values } = await operator.read(spec);

    expect(values).toEqual({ password: 'second' });
    expect(asked.filter(each => each.endsWith('/login'))).toHaveLength(2);
  });

  it('is asked once a minute whether a value has changed, however many use it', async () => {
    const spec = byAccount([kv('password', 'secret/data/db', 'password')]);
    const reads = () => asked.filter(each => each === 'GET secret/data/db').length;
    await using operator = reader();

    await Promise.all(Array.from({ length: 20 }, () => operator.read(spec)));
    const { renewAt } = await operator.read(spec);
    const atFirst = reads();
    await vault.ask('POST', 'secret/data/db', { data: { password: 'second' } });
    await clock.advance(59_000);
    const before = await operator.read(spec);
    await clock.advance(2_000);
    const after = await Promise.all([operator.read(spec), operator.read(spec)]);

    expect(renewAt).toBe(clock.now() - 1_000);
    expect(atFirst).toBe(1);
    expect(before.values).toEqual({ password: 'first' });
    expect(after.map(({ values }) => values['password'])).toEqual(['second', 'second']);
    expect(reads()).toBe(2);
  });

  it('is asked at once where what it gave was refused', async () => {
    const spec = byAccount([kv('password', 'secret/data/db', 'password')]);
    await using operator = reader();
    await operator.read(spec);
    await vault.ask('POST', 'secret/data/db', { data: { password: 'second' } });
    await clock.advance(6_000);

    const { values } = await operator.read(spec, { doubt: true });

    expect(values).toEqual({ password: 'second' });
  });

  it('may be down, or sealed, for as long as it likes once it has said something', async () => {
    const spec = byAccount([kv('password', 'secret/data/db', 'password')]);
    await using operator = reader();
    await operator.read(spec);
    broken = 503;

    const during: unknown[] = [];
    for (let minute = 0; minute < 90; minute += 30) {
      await clock.advance(30 * 60_000);
      during.push((await operator.read(spec).catch(() => ({ values: 'failed' }))).values);
    }
    const requests = asked.length;
    await operator.read(spec).catch(() => undefined);

    expect(during).toEqual([{ password: 'first' }, { password: 'first' }, { password: 'first' }]);
    expect(asked).toHaveLength(requests);
  });

  it('says why there is nothing', async () => {
    const token = await vault.token({ policies: ['shop'] });
    const blind = await vault.token({ policies: ['default'] });
    await using operator = reader();
    const reason = (spec: HashiCorpVault) => faultFrom(operator.read(spec));

    const faults = [
      await reason(byToken(token, [kv('x', 'secret/data/gone', 'y')])),
      await reason(byToken(token, [kv('x', 'secret/data/db', 'gone')])),
      await reason(byToken(token, [kv('x', 'secret/data/db', 'port')])),
      await reason(byToken(token, [kv('x', 'secret/db', 'password')])),
      await reason(byToken(blind, [kv('x', 'secret/data/db', 'password')])),
      await reason(byToken('hvs.hunter2', [kv('x', 'secret/data/db', 'password')])),
      await reason(byAccount([], { credential: { serviceAccountName: 'stranger' } })).catch(() => undefined),
      await reason(byAccount([kv('x', 'a', 'b')], { credential: { serviceAccountName: 'stranger' } })),
      await reason(byAccount([kv('x', 'a', 'b')], { credential: { serviceAccountName: 'gone' } })),
      await reason(byToken(token, [kv('x', 'secret/../sys/mounts', 'y')])),
    ];

    expect(faults.map(fault => fault && `${fault.code} ${fault.message}`)).toEqual([
      expect.stringMatching(/^AUTH_MISSING .* has nothing at "secret\/data\/gone"/),
      expect.stringMatching(/^AUTH_MISSING parameter "x" is key "gone" at "secret\/data\/db"/),
      expect.stringMatching(/^AUTH_MISSING .*is no text/),
      expect.stringMatching(/^AUTH_MISSING .*Invalid path for a versioned K\/V secrets engine/),
      expect.stringMatching(/^AUTH_FAILED .*answered 403: .*permission denied/),
      expect.stringMatching(/^AUTH_FAILED .*answered 403: .*permission denied/),
      undefined,
      expect.stringMatching(/^AUTH_FAILED .*service account name not authorized/),
      expect.stringMatching(/^AUTH_MISSING there is no ServiceAccount shop\/gone/),
      expect.stringMatching(/^MANIFEST_INVALID "secret\/..\/sys\/mounts" is not a path/),
    ]);
    expect(JSON.stringify(faults)).not.toContain('hunter2');
  });

  describe("is shown the operator's own identity", () => {
    const secrets = [kv('password', 'secret/data/db', 'password')];
    let folder: string;
    let file: string;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'vault-'));
      file = join(folder, 'token');
      await writeFile(file, accountToken('shop', 'orders'));
    });

    afterAll(() => rm(folder, { recursive: true }));

    it.each<[string, () => Partial<HashiCorpVault>]>([
      ["its service account's token", () => ({ credential: {} })],
      ['a file of it', () => ({ credential: { serviceAccount: file } })],
      ['VAULT_TOKEN', () => ({ authentication: 'token' as const, credential: {} })],
    ])('(%s) never by a TriggerAuthentication that names an address of its own', async (_title, over) => {
      await using operator = reader({ token: new Secret(vault.rootToken), address: vault.url });

      const fault = await faultFrom(operator.read(byAccount(secrets, over())));

      expect(fault).toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('VAULT_ADDR') });
      expect(asked).toEqual([]);
    });

    it('where it is the Vault in VAULT_ADDR, but for files', async () => {
      await using operator = reader({ token: new Secret(vault.rootToken), address: `${front.url}/` });
      const own = byAccount(secrets, { authentication: 'token', credential: {} });

      const { values } = await operator.read(own);
      const fault = await faultFrom(
        operator.read(byAccount(secrets, { credential: { serviceAccount: file } })),
      );

      expect(values).toEqual({ password: 'first' });
      expect(fault).toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining(file) });
    });

    it('where a ClusterTriggerAuthentication says so, with a file too', async () => {
      await using operator = reader();
      const spec = byAccount(secrets, { credential: { serviceAccount: file } });

      expect((await operator.read(spec, { clusterWide: true })).values).toEqual({ password: 'first' });
    });

    it.each([
      ['no token', 'hunter2'],
      ["somebody else's token", signedJwt({ sub: 'somebody' }, key).reveal()],
    ])('never as %s', async (_title, text) => {
      const other = join(folder, 'other');
      await writeFile(other, text);
      await using operator = reader();
      const spec = byAccount(secrets, { credential: { serviceAccount: other } });

      const fault = await faultFrom(operator.read(spec, { clusterWide: true }));

      expect(fault).toMatchObject({ code: 'AUTH_FAILED', message: expect.stringContaining('no token') });
      expect(asked).toEqual([]);
    });
  });

  it('takes the token of the manifest before VAULT_TOKEN', async () => {
    const blind = await vault.token({ policies: ['default'] });
    await using operator = reader({ token: new Secret(vault.rootToken), address: front.url });

    const fault = await faultFrom(operator.read(byToken(blind, [kv('x', 'secret/data/db', 'password')])));

    expect(fault.code).toBe('AUTH_FAILED');
  });

  it.each<[Partial<HashiCorpVault>, string]>([
    [{ mount: '' }, 'no mount'],
    [{ role: '' }, 'no role'],
    [{ authentication: 'token', credential: {} }, 'no credential.token'],
  ])('is not asked with %j', async (over, sentence) => {
    await using operator = reader();

    const fault = await faultFrom(operator.read(byAccount([], over)));

    expect(fault).toMatchObject({ code: 'MANIFEST_INVALID', message: expect.stringContaining(sentence) });
  });
});
