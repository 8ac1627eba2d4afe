import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MotoServer, motoInstalled, startMoto } from '../../test/moto.ts';
import type { Objects } from '../../test/references.ts';
import { faultFrom } from '../../test/scaler-contract.ts';
import { storeAsk, storesOf } from '../../test/stores.ts';
import { systemClock } from '../base/clock.ts';
import { Secret } from '../base/secret.ts';
import { type AwsCredentials, signedHeaders } from '../base/sigv4.ts';
import { elementOf } from './aws-api.ts';
import type { AwsOptions } from './aws-own.ts';
import { type AwsSecretManager, fromAwsSecretsManager } from './aws-secrets-manager.ts';
import type { StoreAsk } from './stores.ts';

if (!motoInstalled && process.env['CI'] === 'true') throw new Error('moto is not installed');

const region = 'eu-west-1';
const anyone: AwsCredentials = { accessKeyId: 'root', secretAccessKey: new Secret('root') };

let moto: MotoServer;
let user: AwsCredentials;
let blind: AwsCredentials;
let role: string;

/** Asks moto as `by`; keys are looked at only once it was told to. */
async function ask(
  service: string,
  body: string,
  headers: Record<string, string>,
  by = anyone,
): Promise<string> {
  const request = { method: 'POST', url: `${moto.url}/`, headers, body };
  const signing = { credentials: by, region, service, now: Date.now() };
  const response = await fetch(request.url, { ...request, headers: signedHeaders(request, signing) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${service}: ${response.status} ${text}`);
  return text;
}

const iam = (form: Record<string, string>) =>
  ask('iam', new URLSearchParams({ ...form, Version: '2010-05-08' }).toString(), {
    'content-type': 'application/x-www-form-urlencoded',
  });

const secretsManager = (action: string, body: object) =>
  ask('secretsmanager', JSON.stringify(body), {
    'content-type': 'application/x-amz-json-1.1',
    'x-amz-target': `secretsmanager.${action}`,
  });

async function userMay(name: string, ...actions: string[]): Promise<AwsCredentials> {
  await iam({ Action: 'CreateUser', UserName: name });
  await iam({ Action: 'PutUserPolicy', UserName: name, PolicyName: 'p', PolicyDocument: allowing(actions) });
  const keys = await iam({ Action: 'CreateAccessKey', UserName: name });
  return {
    accessKeyId: elementOf(keys, 'AccessKeyId') ?? '',
    secretAccessKey: new Secret(elementOf(keys, 'SecretAccessKey') ?? ''),
  };
}

const allowing = (actions: readonly string[]) =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: actions, Resource: '*' }],
  });

const reference = (name: string, key: string) => ({ valueFrom: { secretKeyRef: { name, key } } });

const withKeys = (
  secrets: AwsSecretManager['secrets'],
  over: Partial<AwsSecretManager> = {},
): AwsSecretManager => ({
  credentials: { accessKey: reference('aws', 'id'), accessSecretKey: reference('aws', 'key') },
  region,
  secrets,
  ...over,
});

const objects = (keys: AwsCredentials): Objects => ({
  secrets: { 'shop/aws': { id: keys.accessKeyId, key: `${keys.secretAccessKey.reveal()}\n` } },
  serviceAccounts: { 'shop/orders': { 'eks.amazonaws.com/role-arn': role } },
});

/** Reads as an operator with this identity. */
async function read(
  spec: AwsSecretManager,
  {
    keys = user,
    identity = { metadataDisabled: true },
    ...over
  }: Partial<StoreAsk> & { keys?: AwsCredentials; identity?: AwsOptions } = {},
): Promise<Record<string, string>> {
  const place = { stsEndpoint: moto.url, secretsManagerEndpoint: moto.url };
  await using stores = storesOf(systemClock, { aws: place, identities: { aws: { ...identity, ...place } } });
  const template = async () => ({ spec: { serviceAccountName: 'orders' } });
  const found = await fromAwsSecretsManager(spec, storeAsk(stores, objects(keys), over), template);
  return Object.fromEntries(Object.entries(found).map(([name, each]) => [name, each.reveal()]));
}

describe.skipIf(!motoInstalled)('the AWS Secrets Manager of moto, which looks at signatures', () => {
  beforeAll(async () => {
    moto = await startMoto();
    user = await userMay('reader', 'secretsmanager:GetSecretValue', 'sts:AssumeRole');
    blind = await userMay('blind', 'sqs:*');
    const made = await iam({
      Action: 'CreateRole',
      RoleName: 'orders',
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Principal: { AWS: '*' }, Action: 'sts:AssumeRole' }],
      }),
    });
    role = elementOf(made, 'Arn') ?? '';
    const policy = allowing(['secretsmanager:GetSecretValue']);
    await iam({ Action: 'PutRolePolicy', RoleName: 'orders', PolicyName: 'p', PolicyDocument: policy });
    await secretsManager('CreateSecret', { Name: 'shop/db', SecretString: 'first' });
    await secretsManager('PutSecretValue', { SecretId: 'shop/db', SecretString: 'second' });
    const text = JSON.stringify({ password: 'json-pw', port: 5 });
    await secretsManager('CreateSecret', { Name: 'json', SecretString: text });
    const SecretBinary = Buffer.from('bytes').toString('base64');
    await secretsManager('CreateSecret', { Name: 'binary', SecretBinary });
    await fetch(`${moto.url}/moto-api/reset-auth`, { method: 'POST', body: '0' });
  }, 60_000);

  afterAll(() => moto[Symbol.asyncDispose]());

  it('gives whole secrets, earlier stages of them, and single keys', async () => {
    const found = await read(
      withKeys([
        { parameter: 'now', name: 'shop/db' },
        { parameter: 'before', name: 'shop/db', versionStage: 'AWSPREVIOUS' },
        { parameter: 'part', name: 'json', secretKey: 'password' },
        { parameter: 'bytes', name: 'binary' },
      ]),
    );

    expect(found).toEqual({ now: 'second', before: 'first', part: 'json-pw', bytes: 'bytes' });
  });

  it.each<[string, NonNullable<AwsSecretManager['podIdentity']>]>([
    ["the operator's own keys", { provider: 'aws' }],
    ['a role that trusts them', { provider: 'aws', roleArn: 'its' }],
    ["the role of the workload's pods", { provider: 'aws', identityOwner: 'workload' }],
  ])('takes %s', async (_title, given) => {
    const podIdentity = { ...given, ...(given.roleArn === undefined ? {} : { roleArn: role }) };
    const spec: AwsSecretManager = { region, podIdentity, secrets: [{ parameter: 'now', name: 'shop/db' }] };

    const found = await read(spec, { identity: { ...user, metadataDisabled: true } });

    expect(found).toEqual({ now: 'second' });
  });

  it.each<[string, () => [AwsSecretManager, { keys?: AwsCredentials }?], string, string]>([
    [
      'a secret that is not there',
      () => [withKeys([{ parameter: 'x', name: 'gone' }])],
      'AUTH_MISSING',
      'no secret "gone"',
    ],
    [
      'a key that is not there',
      () => [withKeys([{ parameter: 'x', name: 'json', secretKey: 'gone' }])],
      'AUTH_MISSING',
      'not there or is no text',
    ],
    [
      'a key of what is no JSON',
      () => [withKeys([{ parameter: 'x', name: 'shop/db', secretKey: 'gone' }])],
      'AUTH_MISSING',
      'not a JSON object',
    ],
    [
      'keys that may not',
      () => [withKeys([{ parameter: 'x', name: 'shop/db' }]), { keys: blind }],
      'AUTH_FAILED',
      'AccessDenied',
    ],
    [
      'wrong keys',
      () => [
        withKeys([{ parameter: 'x', name: 'shop/db' }]),
        { keys: { ...user, secretAccessKey: new Secret('hunter2hunter2') } },
      ],
      'AUTH_FAILED',
      'SignatureDoesNotMatch',
    ],
    [
      'no region',
      () => [{ ...withKeys([{ parameter: 'x', name: 'shop/db' }]), region: '' }],
      'MANIFEST_INVALID',
      'has no region',
    ],
    [
      'a region that leads elsewhere',
      () => [withKeys([{ parameter: 'x', name: 'shop/db' }], { region: 'evil.test/#' })],
      'MANIFEST_INVALID',
      'not a region of AWS',
    ],
    [
      'another pod identity',
      () => [withKeys([{ parameter: 'x', name: 'shop/db' }], { podIdentity: { provider: 'gcp' } })],
      'MANIFEST_INVALID',
      'aws is right',
    ],
    ['no identity at all', () => [{ region, secrets: [] }], 'MANIFEST_INVALID', 'neither credentials nor'],
    [
      'a role and the workload',
      () => [
        { region, secrets: [], podIdentity: { provider: 'aws', identityOwner: 'workload', roleArn: role } },
      ],
      'MANIFEST_INVALID',
      'both',
    ],
  ])('says why there is nothing for %s', async (_title, given, code, sentence) => {
    const fault = await faultFrom(read(...given()));

    expect(fault).toMatchObject({ code, message: expect.stringContaining(sentence) });
    expect(fault.message).not.toContain('hunter2');
  });
});
