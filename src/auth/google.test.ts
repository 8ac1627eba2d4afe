import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { closedPort, httpServer } from '../../test/misbehaving-http.ts';
import { faultFrom, until } from '../../test/scaler-contract.ts';
import { eventually, storeAsk, storesOf } from '../../test/stores.ts';
import { type ManualClock, manualClock } from '../base/clock.ts';
import { crc32c } from '../base/crc32c.ts';
import { jwtClaims } from '../base/jwt.ts';
import { Secret } from '../base/secret.ts';
import type { GoogleOptions } from './google.ts';
import { fromGoogleSecretManager, type GcpSecretManager } from './google-secret-manager.ts';

const signal = new AbortController().signal;
const scope = 'https://www.googleapis.com/auth/cloud-platform';
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();

let folder: string;
let clock: ManualClock;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'google-'));
});

beforeEach(() => {
  clock = manualClock();
});

afterAll(() => rm(folder, { recursive: true }));

interface Asked {
  /** Such as `POST /token`. */
  what: string;
  body: string;
  form: Record<string, string>;
  headers: IncomingMessage['headers'];
}

type Answer = (asked: Asked, response: ServerResponse) => void;

/** Google, as far as it is asked here, from its documentation. */
async function googleServer(over: Record<string, Answer> = {}) {
  const asked: Asked[] = [];
  const json =
    (value: unknown): Answer =>
    (_asked, response) =>
      void response.end(JSON.stringify(value));
  const secret = Buffer.from('s3cret');
  const answers: Record<string, Answer> = {
    'POST /token': ({ form }, response) => {
      const by = form['assertion'] ?? form['subject_token'] ?? form['refresh_token'] ?? '';
      const who = jwtClaims(by)?.['iss'] ?? by;
      response.end(JSON.stringify({ access_token: `token of ${who}`, expires_in: 3_600 }));
    },
    'POST /impersonate': ({ headers }, response) => {
      const accessToken = `${headers.authorization} as account`;
      const expireTime = new Date(clock.now() + 3_600_000).toISOString();
      response.end(JSON.stringify({ accessToken, expireTime }));
    },
    'GET /computeMetadata/v1/instance/service-accounts/default/token': json({
      access_token: 'token of the node',
      expires_in: 3_599,
    }),
    'GET /computeMetadata/v1/project/project-id': (_asked, response) => void response.end('node-project'),
    'GET /v1/projects/key-project/secrets/db/versions/latest:access': json({
      payload: { data: secret.toString('base64'), dataCrc32c: String(crc32c(secret)) },
    }),
    'GET /v1/projects/node-project/secrets/db/versions/7:access': json({
      payload: { data: Buffer.from('seventh').toString('base64') },
    }),
    ...over,
  };
  const server = await httpServer((request, response) => {
    let body = '';
    request.on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const path = new URL(request.url ?? '', 'http://x').pathname;
      const what = `${request.method} ${path}`;
      const form = Object.fromEntries(new URLSearchParams(body));
      const one = { what, body, form, headers: request.headers };
      asked.push(one);
      const answer = answers[what];
      if (answer === undefined) {
        response.writeHead(404).end(JSON.stringify({ error: { message: `nothing at ${path}` } }));
      } else answer(one, response);
    });
  });
  return { ...server, asked, whats: () => asked.map(({ what }) => what) };
}

const keyFile = (url: string, over: Record<string, unknown> = {}) =>
  new Secret(
    JSON.stringify({
      type: 'service_account',
      project_id: 'key-project',
      private_key_id: 'kid-1',
      private_key: pem,
      client_email: 'robot@key-project.test',
      token_uri: `${url}/token`,
      ...over,
    }),
  );

const storesAt = (url: string, identity: GoogleOptions = {}) =>
  storesOf(clock, {
    google: { secretManagerEndpoint: url },
    identities: { google: { metadataHost: new URL(url).host, ...identity } },
  });

async function ownFile(content: unknown): Promise<string> {
  const file = join(folder, `credentials-${Math.random()}.json`);
  await writeFile(file, JSON.stringify(content));
  return file;
}

describe('a token of Google', () => {
  it('is given to who has the key file of a service account, for a claim signed with it', async () => {
    await using server = await googleServer();
    await using stores = storesAt(server.url);

    const token = await stores.tokens.googleToken(keyFile(server.url), scope, signal);
    await stores.tokens.googleToken(keyFile(server.url), scope, signal);

    const { form } = server.asked[0] ?? { form: {} as Record<string, string> };
    const [header = '', claims = '', signature = ''] = (form['assertion'] ?? '').split('.');
    const seconds = clock.now() / 1_000;
    expect(token.reveal()).toBe('token of robot@key-project.test');
    expect(server.whats()).toEqual(['POST /token']);
    expect(form['grant_type']).toBe('urn:ietf:params:oauth:grant-type:jwt-bearer');
    expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toMatchObject({ kid: 'kid-1' });
    expect(jwtClaims(form['assertion'] ?? '')).toEqual({
      iss: 'robot@key-project.test',
      scope,
      aud: `${server.url}/token`,
      iat: seconds,
      exp: seconds + 3_600,
    });
    const signed = Buffer.from(`${header}.${claims}`);
    expect(
      verify(
        'sha256',
        signed,
        createPublicKey(publicKey.export({ format: 'pem', type: 'spki' })),
        Buffer.from(signature, 'base64url'),
      ),
    ).toBe(true);
  });

  it('is that of the node, by the metadata server, where the operator was given no file', async () => {
    await using server = await googleServer();
    await using stores = storesAt(server.url);

    const token = await stores.tokens.accessToken({ provider: 'gcp' }, scope, signal);

    expect(token.reveal()).toBe('token of the node');
    expect(server.asked[0]?.headers['metadata-flavor']).toBe('Google');
  });

  it.each<[string, (url: string) => Promise<unknown>, string, string[]]>([
    [
      'the key file of a service account',
      async url => JSON.parse(keyFile(url).reveal()),
      'token of robot@key-project.test',
      ['POST /token'],
    ],
    [
      'a federated token in a file',
      async url => {
        const file = join(folder, 'subject');
        await writeFile(file, 'subject-1\n');
        const config = { type: 'external_account', audience: 'pool', token_url: `${url}/token` };
        return { ...config, credential_source: { file } };
      },
      'token of subject-1',
      ['POST /token'],
    ],
    [
      'a federated token in a field of what an address answers, for a service account',
      async url => ({
        type: 'external_account',
        audience: 'pool',
        token_url: `${url}/token`,
        service_account_impersonation_url: `${url}/impersonate`,
        credential_source: {
          url: `${url}/subject`,
          headers: { 'x-proof': 'yes' },
          format: { type: 'json', subject_token_field_name: 'id' },
        },
      }),
      'Bearer token of subject-2 as account',
      ['GET /subject', 'POST /token', 'POST /impersonate'],
    ],
  ])('is had by %s, where that is the operator’s own', async (_title, content, expected, whats) => {
    await using server = await googleServer({
      'GET /subject': ({ headers }, response) =>
        void response.end(JSON.stringify({ id: headers['x-proof'] === 'yes' ? 'subject-2' : '' })),
    });
    await using stores = storesAt(server.url, { credentialsFile: await ownFile(await content(server.url)) });

    const token = await stores.tokens.accessToken({ provider: 'gcp' }, scope, signal);

    expect(token.reveal()).toBe(expected);
    expect(server.whats()).toEqual(whats);
  });

  it('is asked for by the federated token of that time, and held while Google is down', async () => {
    const file = join(folder, 'rotating');
    await writeFile(file, 'subject-1');
    let down = false;
    await using server = await googleServer({
      'POST /token': ({ form }, response) => {
        if (down) return void response.writeHead(500).end();
        const { subject_token } = form;
        response.end(JSON.stringify({ access_token: `token of ${subject_token}`, expires_in: 3_600 }));
      },
    });
    const config = {
      type: 'external_account',
      token_url: `${server.url}/token`,
      credential_source: { file },
    };
    await using stores = storesAt(server.url, { credentialsFile: await ownFile(config) });
    const token = () =>
      stores.tokens.accessToken({ provider: 'gcp' }, scope, signal).then(each => each.reveal());
    const first = await token();
    await writeFile(file, 'subject-2');
    down = true;
    await clock.advance(56 * 60_000);

    await token();
    await until(() => server.asked.length === 2);
    const during = await token();
    down = false;
    await clock.advance(31_000);
    await token();
    await until(() => server.asked.length === 3);
    const later = await eventually(token, each => each !== during);

    expect([first, during, later]).toEqual([
      'token of subject-1',
      'token of subject-1',
      'token of subject-2',
    ]);
  });

  it.each<[string, unknown, string, string]>([
    ['no JSON', 'nothing', 'NOT_SUPPORTED', 'not one of type service_account'],
    ['another type', { type: 'impersonated' }, 'NOT_SUPPORTED', 'not one of type service_account'],
    ['no source', { type: 'external_account' }, 'NOT_SUPPORTED', 'neither a file or a url'],
    [
      'a token file that is gone',
      { type: 'external_account', credential_source: { file: '/gone' } },
      'AUTH_FAILED',
      '/gone cannot be read (ENOENT)',
    ],
  ])('is not had by an own file with %s', async (_title, content, code, sentence) => {
    await using server = await googleServer();
    await using stores = storesAt(server.url, { credentialsFile: await ownFile(content) });

    const fault = await faultFrom(stores.tokens.accessToken({ provider: 'gcp' }, scope, signal));

    expect(fault).toMatchObject({ code, message: expect.stringContaining(sentence) });
  });

  it.each<[string, Record<string, unknown>]>([
    ['of another type, which could name files of the operator', { type: 'external_account' }],
    ['without a key', { private_key: undefined }],
    ['with a key that is none', { private_key: 'hunter2' }],
  ])('is not had by a key file %s', async (_title, over) => {
    await using server = await googleServer();
    await using stores = storesAt(server.url);

    const fault = await faultFrom(stores.tokens.googleToken(keyFile(server.url, over), scope, signal));

    expect(fault.code).toBe('AUTH_FAILED');
    expect(fault.message).not.toContain('hunter2');
    expect(server.asked).toEqual([]);
  });

  it('is not had where Google refuses, which may quote what it was sent', async () => {
    await using server = await googleServer({
      'POST /token': ({ form }, response) => {
        const error_description = `bad assertion ${form['assertion']}`;
        response.writeHead(400).end(JSON.stringify({ error: 'invalid_grant', error_description }));
      },
    });
    await using stores = storesAt(server.url);

    const fault = await faultFrom(stores.tokens.googleToken(keyFile(server.url), scope, signal));

    expect(fault).toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining('bad assertion [secret]'),
    });
  });
});

describe("Google's Secret Manager", () => {
  const secrets = [{ parameter: 'password', id: 'db' }];
  const byKey: GcpSecretManager = {
    credentials: { clientSecret: { valueFrom: { secretKeyRef: { name: 'google', key: 'key.json' } } } },
    secrets,
  };

  async function read(spec: GcpSecretManager, url: string, identity: GoogleOptions = {}) {
    await using stores = storesAt(url, identity);
    const objects = { secrets: { 'shop/google': { 'key.json': keyFile(url).reveal() } } };
    const found = await fromGoogleSecretManager(spec, storeAsk(stores, objects));
    return Object.fromEntries(Object.entries(found).map(([name, each]) => [name, each.reveal()]));
  }

  it('gives the latest version in the project of the key file', async () => {
    await using server = await googleServer();

    expect(await read(byKey, server.url)).toEqual({ password: 's3cret' });
    expect(server.asked.at(-1)?.headers.authorization).toBe('Bearer token of robot@key-project.test');
  });

  it("gives a version in the operator's own project by the pod identity", async () => {
    await using server = await googleServer();
    const spec: GcpSecretManager = {
      podIdentity: { provider: 'gcp' },
      secrets: [{ parameter: 'password', id: 'db', version: '7' }],
    };

    const found = await read(spec, server.url);
    const other = await faultFrom(read(spec, server.url, { project: 'other/../x' }));

    expect(found).toEqual({ password: 'seventh' });
    expect(other.message).toContain('nothing at /v1/projects/other%2F..%2Fx/secrets/db/versions/7:access');
  });

  it.each<[string, Partial<GcpSecretManager>, Record<string, Answer>, string, string]>([
    [
      'gone',
      { secrets: [{ parameter: 'x', id: 'gone' }] },
      {},
      'AUTH_MISSING',
      'no secret "gone" in project',
    ],
    [
      'damaged on its way',
      {},
      {
        'GET /v1/projects/key-project/secrets/db/versions/latest:access': (_asked, response) =>
          void response.end(JSON.stringify({ payload: { data: 'eA==', dataCrc32c: '1' } })),
      },
      'AUTH_FAILED',
      'wrong checksum',
    ],
    [
      'not for us',
      {},
      {
        'GET /v1/projects/key-project/secrets/db/versions/latest:access': (_asked, response) =>
          void response.writeHead(403).end(JSON.stringify({ error: { message: 'Permission denied' } })),
      },
      'AUTH_FAILED',
      'answered 403: Permission denied',
    ],
    [
      'asked by another identity',
      { podIdentity: { provider: 'aws' } },
      {},
      'MANIFEST_INVALID',
      'gcp is right',
    ],
  ])('says why there is nothing where it is %s', async (_title, over, answers, code, sentence) => {
    await using server = await googleServer(answers);

    const fault = await faultFrom(read({ ...byKey, ...over }, server.url));

    expect(fault).toMatchObject({ code, message: expect.stringContaining(sentence) });
  });

  it('is not asked where there is no metadata server to tell the project', async () => {
    await using stores = storesAt(`http://127.0.0.1:${await closedPort()}`);
    const spec: GcpSecretManager = { podIdentity: { provider: 'gcp' }, secrets };

    const fault = await faultFrom(fromGoogleSecretManager(spec, storeAsk(stores)));

    expect(fault).toMatchObject({ code: 'AUTH_FAILED', message: expect.stringContaining('refuses') });
  });
});
