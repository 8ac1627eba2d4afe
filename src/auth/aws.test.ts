import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { closedPort, httpServer } from '../../test/misbehaving-http.ts';
import { faultFrom, until } from '../../test/scaler-contract.ts';
import { eventually } from '../../test/stores.ts';
import { type ManualClock, manualClock } from '../base/clock.ts';
import { httpClient } from '../base/http.ts';
import { Secret } from '../base/secret.ts';
import { type AwsIdentity, aws } from './aws.ts';
import type { AwsOptions } from './aws-own.ts';

const signal = new AbortController().signal;
const roleArn = 'arn:aws:iam::1:role/orders';
const own = { accessKeyId: 'OWN', secretAccessKey: new Secret('own-secret') };

let folder: string;
let tokenFile: string;
let clock: ManualClock;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aws-'));
  tokenFile = join(folder, 'token');
});

beforeEach(async () => {
  clock = manualClock();
  await writeFile(tokenFile, 'web-1\n');
});

afterAll(() => rm(folder, { recursive: true }));

interface Asked {
  form: Record<string, string>;
  authorization: string | undefined;
  path: string;
  method: string | undefined;
  headers: IncomingMessage['headers'];
}

/** STS, or whatever gives keys, as AWS documents it: answers as `answer` says and keeps what was asked. */
async function awsServer(answer: (asked: Asked, response: ServerResponse) => void) {
  const asked: Asked[] = [];
  const server = await httpServer((request, response) => {
    let body = '';
    request.on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const { method, headers, url = '' } = request;
      const form = Object.fromEntries(new URLSearchParams(body));
      const one = { form, authorization: headers.authorization, path: url, method, headers };
      asked.push(one);
      answer(one, response);
    });
  });
  return { ...server, asked, actions: () => asked.map(({ form }) => form['Action']) };
}

const inAnHour = () => new Date(clock.now() + 3_600_000).toISOString();

const granting = ({ form }: Asked, response: ServerResponse) => {
  const by = form['Action'] === 'AssumeRole' ? 'role' : form['WebIdentityToken'];
  response.end(`<${form['Action']}Response><Credentials>
    <AccessKeyId>KEY-${by}</AccessKeyId><SecretAccessKey>a&amp;b/c</SecretAccessKey>
    <SessionToken>session==</SessionToken><Expiration>${inAnHour()}</Expiration>
    </Credentials></${form['Action']}Response>`);
};

const refusing = (status: number, code: string) => (_asked: Asked, response: ServerResponse) => {
  const message = 'Not authorized, says &lt;AWS&gt;';
  response.writeHead(status);
  response.end(
    `<ErrorResponse><Error><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`,
  );
};

function awsAt(url: string, over: AwsOptions = {}) {
  const http = httpClient();
  const source = aws(
    { stsEndpoint: url, metadataDisabled: true, region: 'eu-west-1', ...over },
    { clock, http, direct: http },
  );
  return {
    async keys(identity: AwsIdentity = {}) {
      const { accessKeyId, secretAccessKey, sessionToken } = await source.credentials(identity, signal);
      return [accessKeyId, secretAccessKey.reveal(), sessionToken?.reveal()];
    },
    async [Symbol.asyncDispose]() {
      source[Symbol.dispose]();
      await http[Symbol.asyncDispose]();
    },
  };
}

const withServiceAccount = (): AwsOptions => ({
  roleArn: 'arn:aws:iam::1:role/operator',
  webIdentityTokenFile: tokenFile,
});

describe("the operator's own keys", () => {
  it('are those in its environment first', async () => {
    await using server = await awsServer(granting);
    await using operator = awsAt(server.url, {
      ...own,
      sessionToken: new Secret('t'),
      ...withServiceAccount(),
    });

    expect(await operator.keys()).toEqual(['OWN', 'own-secret', 't']);
    expect(server.asked).toEqual([]);
  });

  it("are those of its service account's role, renewed with the token of that time", async () => {
    await using server = await awsServer(granting);
    await using operator = awsAt(server.url, withServiceAccount());

    const first = await operator.keys();
    await Promise.all([operator.keys(), operator.keys()]);
    await writeFile(tokenFile, 'web-2');
    await clock.advance(56 * 60_000);
    await operator.keys();
    await until(() => server.asked.length === 2);
    const later = await eventually(operator.keys, ([id]) => id !== first[0]);

    expect(first).toEqual(['KEY-web-1', 'a&b/c', 'session==']);
    expect(later[0]).toBe('KEY-web-2');
    expect(server.asked[0]).toMatchObject({
      authorization: undefined,
      form: {
        Action: 'AssumeRoleWithWebIdentity',
        RoleArn: 'arn:aws:iam::1:role/operator',
        RoleSessionName: 'KEDA',
        WebIdentityToken: 'web-1',
        Version: '2011-06-15',
      },
    });
  });

  it('are held while STS is down or asks to be left alone, until they end', async () => {
    let answer: typeof granting = granting;
    await using server = await awsServer((...given) => answer(...given));
    await using operator = awsAt(server.url, withServiceAccount());
    const first = await operator.keys();
    answer = (_asked, response) => void response.writeHead(503, { 'retry-after': '120' }).end();
    await clock.advance(56 * 60_000);

    await operator.keys();
    await until(() => server.asked.length === 2);
    await clock.advance(60_000);
    const during = await operator.keys();
    const requests = server.asked.length;
    await clock.advance(5 * 60_000);
    const fault = await faultFrom(operator.keys());

    expect(during).toEqual(first);
    expect(requests).toBe(2);
    expect(fault).toMatchObject({ code: 'AUTH_FAILED', retryAfterMs: 120_000 });
  });

  it('are those of its container, which knows it by a token', async () => {
    await using server = await awsServer((_asked, response) => {
      const keys = { AccessKeyId: 'POD', SecretAccessKey: 's', Token: 't', Expiration: inAnHour() };
      response.end(JSON.stringify(keys));
    });
    await using operator = awsAt('http://127.0.0.1:1', {
      containerUri: `${server.url}/v1/credentials`,
      containerTokenFile: tokenFile,
    });

    expect(await operator.keys()).toEqual(['POD', 's', 't']);
    expect(server.asked[0]).toMatchObject({ path: '/v1/credentials', authorization: 'web-1' });
  });

  it('are those of the instance it runs on, asked for in a session, and held while that has none', async () => {
    let hasRole = true;
    await using server = await awsServer(({ path, method }, response) => {
      if (!hasRole && method === 'GET') return void response.writeHead(404).end();
      if (method === 'PUT') return void response.end('session-7');
      if (path.endsWith('/security-credentials/')) return void response.end('node-role\n');
      const keys = { AccessKeyId: 'NODE', SecretAccessKey: 's', Token: 't', Expiration: inAnHour() };
      response.end(JSON.stringify(keys));
    });
    await using operator = awsAt('http://127.0.0.1:1', {
      metadataDisabled: false,
      metadataEndpoint: server.url,
    });

    expect(await operator.keys()).toEqual(['NODE', 's', 't']);
    expect(server.asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'PUT /latest/api/token',
      'GET /latest/meta-data/iam/security-credentials/',
      'GET /latest/meta-data/iam/security-credentials/node-role',
    ]);
    expect(server.asked[2]?.headers['x-aws-ec2-metadata-token']).toBe('session-7');

    hasRole = false;
    await clock.advance(56 * 60_000);
    await operator.keys();
    await until(() => server.asked.length === 5);
    await clock.advance(60_000);

    expect(await operator.keys()).toEqual(['NODE', 's', 't']);
  });

  it.each<[string, () => Promise<AwsOptions>, string, string]>([
    ['nothing at all', async () => ({}), 'NOT_SUPPORTED', 'no AWS_ACCESS_KEY_ID'],
    [
      'no instance to ask',
      async () => ({
        metadataDisabled: false,
        metadataEndpoint: `http://127.0.0.1:${await closedPort()}`,
      }),
      'AUTH_FAILED',
      'no AWS_ACCESS_KEY_ID',
    ],
    [
      'no token to read',
      async () => ({ ...withServiceAccount(), webIdentityTokenFile: join(folder, 'gone') }),
      'AUTH_FAILED',
      'gone',
    ],
  ])('are not to be had with %s', async (_title, options, code, sentence) => {
    await using operator = awsAt('http://127.0.0.1:1', await options());

    expect(await faultFrom(operator.keys())).toMatchObject({
      code,
      message: expect.stringContaining(sentence),
    });
  });
});

describe('a role', () => {
  it('is assumed by the service account where it trusts that', async () => {
    await using server = await awsServer(granting);
    await using operator = awsAt(server.url, withServiceAccount());

    const keys = await operator.keys({ roleArn, webIdentity: true, externalId: 'e' });

    expect(keys[0]).toBe('KEY-web-1');
    expect(server.asked.map(({ form }) => [form['Action'], form['RoleArn'], form['ExternalId']])).toEqual([
      ['AssumeRoleWithWebIdentity', roleArn, undefined],
    ]);
  });

  it('is assumed by our own role otherwise, with its external id', async () => {
    await using server = await awsServer((asked, response) => {
      const refused = asked.form['WebIdentityToken'] && asked.form['RoleArn'] === roleArn;
      return (refused ? refusing(403, 'AccessDenied') : granting)(asked, response);
    });
    await using operator = awsAt(server.url, withServiceAccount());

    const keys = await operator.keys({ roleArn, webIdentity: true, externalId: 'e' });

    expect(keys[0]).toBe('KEY-role');
    expect(server.actions()).toEqual([
      'AssumeRoleWithWebIdentity',
      'AssumeRoleWithWebIdentity',
      'AssumeRole',
    ]);
    expect(server.asked[2]).toMatchObject({
      form: { RoleArn: roleArn, ExternalId: 'e', RoleSessionName: 'KEDA' },
      authorization: expect.stringContaining('Credential=KEY-web-1/20260101/eu-west-1/sts/aws4_request'),
    });
  });

  it('is assumed by our own keys alone where it says so, and once for all who want it', async () => {
    await using server = await awsServer(granting);
    await using operator = awsAt(server.url, { ...own, ...withServiceAccount() });

    await Promise.all(Array.from({ length: 10 }, () => operator.keys({ roleArn })));
    await operator.keys({ roleArn, externalId: 'other' });

    expect(server.actions()).toEqual(['AssumeRole', 'AssumeRole']);
  });

  it('that trusts neither is refused with both reasons, and without the token', async () => {
    await using server = await awsServer((asked, response) =>
      (asked.form['RoleArn'] === roleArn ? refusing(403, 'AccessDenied') : granting)(asked, response),
    );
    await using operator = awsAt(server.url, { ...own, webIdentityTokenFile: tokenFile });

    const fault = await faultFrom(operator.keys({ roleArn, webIdentity: true }));

    expect(fault.code).toBe('AUTH_FAILED');
    expect(fault.message).toMatch(/by our service account: .*AccessDenied: Not authorized, says <AWS>/);
    expect(fault.message).toMatch(/by our own role: .*AccessDenied/);
    expect(fault.message).not.toContain('web-1');
  });

  it.each(['evil.test/#', 'eu-west-1.evil.test', 'x', 'EU-WEST-1@'])(
    'is asked for at AWS alone, whatever a manifest calls its region (%j)',
    async region => {
      await using operator = awsAt('', { ...own });

      await expect(operator.keys({ roleArn, region })).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
    },
  );

  it.each([
    ['no keys', '<Credentials></Credentials>', 'without keys'],
    [
      'keys that are over',
      '<AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey><Expiration>2020-01-01T00:00:00Z</Expiration>',
      'without keys',
    ],
  ])('is not had by an answer with %s', async (_title, xml, sentence) => {
    await using server = await awsServer((_asked, response) => void response.end(xml));
    await using operator = awsAt(server.url, own);

    expect(await faultFrom(operator.keys({ roleArn }))).toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining(sentence),
    });
  });
});
