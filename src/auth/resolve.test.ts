import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Objects, references } from '../../test/references.ts';
import type { Secret } from '../base/secret.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import type { Trigger, Workload } from '../spec/workload.ts';
import { type AuthOptions, resolveAuth } from './resolve.ts';

const signal = new AbortController().signal;

const trigger = (over: Partial<Trigger> = {}): Trigger => ({
  index: 0,
  type: 'azure-queue',
  metadata: {},
  secrets: {},
  useCachedMetrics: false,
  ...over,
});

const workload = (over: Partial<Workload> = {}): Workload =>
  ({ kind: 'ScaledJob', namespace: 'shop', name: 'orders', ...over }) as Workload;

const own = (name: string): Partial<Trigger> => ({
  authenticationRef: { name, kind: 'TriggerAuthentication' },
});
const clusterWide = (name: string): Partial<Trigger> => ({
  authenticationRef: { name, kind: 'ClusterTriggerAuthentication' },
});

const at = (parameter: string, name: string, key: string) => ({ parameter, name, key });

const objects: Objects = {
  secrets: { 'shop/db': { password: 'shop-pw', other: 'inline' }, 'eventide/db': { password: 'cluster-pw' } },
  configMaps: { 'shop/settings': { host: 'shop.test' }, 'eventide/settings': { host: 'cluster.test' } },
  podTemplate: {
    spec: {
      containers: [
        { name: 'main', env: [{ name: 'QUEUE', value: 'main-queue' }] },
        { name: 'side', env: [{ name: 'QUEUE', value: 'side-queue' }] },
      ],
    },
  },
};

const spec = {
  secretTargetRef: [at('password', 'db', 'password')],
  configMapTargetRef: [at('host', 'settings', 'host')],
  env: [{ parameter: 'queue', name: 'QUEUE' }],
};

function resolve(given: Partial<Trigger>, auths: Objects['auths'], over: Partial<AuthOptions> = {}) {
  const refs = references({ ...objects, auths });
  return resolveAuth(trigger(given), workload(), { references: refs, signal, ...over });
}

const revealed = (secrets: Readonly<Record<string, Secret>>) =>
  Object.fromEntries(Object.entries(secrets).map(([name, secret]) => [name, secret.reveal()]));

describe('the credentials of a trigger', () => {
  it('are none, and nothing is read, where it names none', async () => {
    const refs = references(objects);

    const found = await resolveAuth(trigger(), workload(), { references: refs, signal });

    expect(found).toEqual({
      auth: {},
      inline: {},
      env: {},
      podIdentity: { provider: 'none' },
      used: [],
      renewAt: Number.POSITIVE_INFINITY,
    });
    expect(refs.reads).toEqual([]);
  });

  it('come from the namespace of the workload for a TriggerAuthentication', async () => {
    const { auth, used } = await resolve(own('mine'), { 'shop/mine': spec });

    expect(revealed(auth)).toEqual({ password: 'shop-pw', host: 'shop.test', queue: 'main-queue' });
    expect(used).toEqual([
      { kind: 'TriggerAuthentication', namespace: 'shop', name: 'mine' },
      { kind: 'ConfigMap', namespace: 'shop', name: 'settings' },
      { kind: 'Secret', namespace: 'shop', name: 'db' },
    ]);
  });

  it('come from the cluster namespace for a ClusterTriggerAuthentication, but for the environment', async () => {
    const { auth, used } = await resolve(clusterWide('all'), { all: spec });

    expect(revealed(auth)).toEqual({ password: 'cluster-pw', host: 'cluster.test', queue: 'main-queue' });
    expect(used).toContainEqual({ kind: 'ClusterTriggerAuthentication', namespace: '', name: 'all' });
    expect(used).toContainEqual({ kind: 'Secret', namespace: 'eventide', name: 'db' });
  });

  it('are overwritten by the sources that come later', async () => {
    const secretKeyRef = { name: 'db', key: 'password' };
    const { auth } = await resolve(own('mine'), {
      'shop/mine': {
        env: [
          { parameter: 'a', name: 'QUEUE' },
          { parameter: 'b', name: 'QUEUE' },
        ],
        configMapTargetRef: [at('b', 'settings', 'host'), at('c', 'settings', 'host')],
        secretTargetRef: [at('c', 'db', 'password'), at('clientSecret', 'db', 'other')],
        oauth2: {
          type: 'clientCredentials',
          clientId: 'us',
          tokenUrl: 'u',
          clientSecret: { valueFrom: { secretKeyRef } },
        },
      },
    });

    expect(revealed(auth)).toMatchObject({
      a: 'main-queue',
      b: 'shop.test',
      c: 'shop-pw',
      clientSecret: 'shop-pw',
    });
  });

  it('are those of a file alone, where a ClusterTriggerAuthentication names one', async () => {
    const fileRoot = await mkdtemp(join(tmpdir(), 'auth-'));
    await writeFile(join(fileRoot, 'x.json'), '{"password":"file-pw"}');
    const withFile = { ...spec, filePath: 'x.json', podIdentity: { provider: 'gcp' as const } };

    const found = await resolve(clusterWide('all'), { all: withFile }, { fileRoot });
    const refused = resolve(own('mine'), { 'shop/mine': withFile }, { fileRoot });

    expect(revealed(found.auth)).toEqual({ password: 'file-pw' });
    // Looked at again for the next reading: nobody tells of another file.
    expect(found).toMatchObject({ podIdentity: { provider: 'gcp' }, renewAt: 0 });
    await expect(refused).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
    await rm(fileRoot, { recursive: true });
  });

  it('may be given inline, from the namespace of the workload', async () => {
    const { inline, auth, used } = await resolve(
      { secrets: { connection: { name: 'db', key: 'other' } } },
      {},
    );

    expect(revealed(inline)).toEqual({ connection: 'inline' });
    expect(auth).toEqual({});
    expect(used).toEqual([{ kind: 'Secret', namespace: 'shop', name: 'db' }]);
  });

  it('include the environment of the container where a parameter names a variable', async () => {
    const refs = references(objects);
    const given = trigger({ metadata: { connectionFromEnv: 'QUEUE' } });
    const options = { references: refs, signal };

    const first = await resolveAuth(given, workload({ kind: 'ScaledObject' }), options);
    const second = await resolveAuth(given, workload({ envSourceContainerName: 'side' }), options);
    const blank = await resolveAuth(given, workload({ envSourceContainerName: '' }), options);

    expect([first.env, second.env, blank.env].map(env => env['QUEUE'])).toEqual([
      'main-queue',
      'side-queue',
      'main-queue',
    ]);
    expect(first.used).toEqual([{ kind: 'Target', namespace: 'shop', name: 'orders' }]);
    // That of a ScaledJob is in itself.
    expect(second.used).toEqual([]);
  });

  it('read each object once, though several sources need it', async () => {
    const refs = references({ ...objects, auths: { 'shop/mine': spec } });
    const given = trigger({
      ...own('mine'),
      metadata: { connectionFromEnv: 'QUEUE' },
      secrets: { connection: { name: 'db', key: 'other' } },
    });

    await resolveAuth(given, workload(), { references: refs, signal });

    expect([...refs.reads].sort()).toEqual([
      'ConfigMap shop/settings',
      'Secret shop/db',
      'auth shop/mine',
      'podTemplate',
    ]);
  });
});

describe('what is missing', () => {
  it.each([
    ['a TriggerAuthentication', own('gone'), 'there is no TriggerAuthentication "gone" in namespace "shop"'],
    ['a cluster-wide one', clusterWide('gone'), 'there is no ClusterTriggerAuthentication "gone"'],
    [
      'an inline Secret',
      { secrets: { connection: { name: 'gone', key: 'x' } } },
      '"connection" is key "x" of Secret "gone"',
    ],
    ['a Secret it needs', own('broken'), '"password" is key "x" of Secret "gone" in namespace "shop"'],
  ])('names %s', async (_title, given, sentence) => {
    const work = resolve(given, { 'shop/broken': { secretTargetRef: [at('password', 'gone', 'x')] } });

    await expect(work).rejects.toMatchObject({
      code: 'AUTH_MISSING',
      message: expect.stringContaining(sentence),
    });
  });

  it.each([
    'hashiCorpVault',
    'azureKeyVault',
    'gcpSecretManager',
    'awsSecretManager',
    'boundServiceAccountToken',
  ])('is what %s holds, where stores are not asked', async source => {
    const work = resolve(own('mine'), { 'shop/mine': { [source]: {} } });

    await expect(work).rejects.toMatchObject({
      code: 'AUTH_MISSING',
      message: `what ${source} of TriggerAuthentication "mine" holds is not known`,
    });
  });
});

describe('pod identities', () => {
  it.each<[PodIdentity, Record<string, string>]>([
    [{ provider: 'azure-workload', identityId: 'app' }, {}],
    [{ provider: 'aws', roleArn: 'arn:aws:iam::1:role/x' }, { awsRoleArn: 'arn:aws:iam::1:role/x' }],
    [{ provider: 'aws' }, {}],
    [{ provider: 'gcp' }, {}],
  ])('%j is passed on', async (podIdentity, parameters) => {
    const found = await resolve(own('mine'), { 'shop/mine': { podIdentity } });

    expect(found.podIdentity).toEqual(podIdentity);
    expect(revealed(found.auth)).toEqual(parameters);
  });

  it.each<[PodIdentity, string]>([
    [{ provider: 'azure-workload', identityId: '' }, 'MANIFEST_INVALID'],
    [{ provider: 'aws', roleArn: 'x', identityOwner: 'workload' }, 'MANIFEST_INVALID'],
  ])('%j is refused with %s', async (podIdentity, code) => {
    await expect(resolve(own('mine'), { 'shop/mine': { podIdentity } })).rejects.toMatchObject({ code });
  });
});

describe("the role of a workload's own pods", () => {
  const role = 'arn:aws:iam::1:role/orders';
  const workloadOwned: PodIdentity = { provider: 'aws', identityOwner: 'workload' };
  const deprecated: PodIdentity = { provider: 'aws-eks' };
  const withAccount = (name?: string) => ({
    spec: { ...(name === undefined ? {} : { serviceAccountName: name }), containers: [{ name: 'main' }] },
  });

  async function roleOf(podIdentity: PodIdentity, podTemplate: unknown, cluster = false) {
    const refs = references({
      podTemplate,
      serviceAccounts: {
        'shop/orders': { 'eks.amazonaws.com/role-arn': role },
        'shop/default': {},
        'eventide/orders': { 'eks.amazonaws.com/role-arn': 'of another' },
      },
      auths: { 'shop/mine': { podIdentity }, all: { podIdentity } },
    });
    const given = trigger(cluster ? clusterWide('all') : own('mine'));
    const found = await resolveAuth(given, workload(), { references: refs, signal });
    return { parameters: revealed(found.auth), used: found.used };
  }

  it.each([
    ['identityOwner workload', workloadOwned],
    ['aws-eks', deprecated],
  ])('is the annotation of their service account with %s', async (_title, identity) => {
    const { parameters, used } = await roleOf(identity, withAccount('orders'));

    expect(parameters).toEqual({ awsRoleArn: role });
    expect(used).toContainEqual({ kind: 'ServiceAccount', namespace: 'shop', name: 'orders' });
  });

  it("is looked for in the workload's namespace also for a ClusterTriggerAuthentication", async () => {
    expect((await roleOf(workloadOwned, withAccount('orders'), true)).parameters).toEqual({
      awsRoleArn: role,
    });
  });

  it('may be missing with aws-eks, but its service account may not', async () => {
    const { parameters } = await roleOf(deprecated, withAccount());
    const work = roleOf(deprecated, withAccount('gone'));

    expect(parameters).toEqual({});
    await expect(work).rejects.toMatchObject({
      code: 'AUTH_MISSING',
      message: expect.stringContaining('"gone"'),
    });
  });

  it.each([
    ['no annotation', withAccount(), 'no annotation eks.amazonaws.com/role-arn'],
    ['no service account', withAccount('gone'), 'no ServiceAccount "gone" in namespace "shop"'],
    ['no pod template', undefined, 'no pod template'],
  ])("is never taken for the operator's own where there is %s", async (_title, template, sentence) => {
    const work = roleOf(workloadOwned, template);

    await expect(work).rejects.toMatchObject({
      code: 'AUTH_MISSING',
      message: expect.stringContaining(sentence),
    });
  });
});
