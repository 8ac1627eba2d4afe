import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { resolveAuth } from '../../src/auth/resolve.ts';
import type { SecretStores } from '../../src/auth/stores.ts';
import { systemClock } from '../../src/base/clock.ts';
import { jwtClaims } from '../../src/base/jwt.ts';
import { silentLog } from '../../src/base/log.ts';
import { type AuthenticationWatch, authenticationWatch } from '../../src/kube/authentication-watch.ts';
import { type KubeClient, kubeClient } from '../../src/kube/client.ts';
import { kubeDiscovery } from '../../src/kube/discovery.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import { type KubeReferences, kubeReferences } from '../../src/kube/references.ts';
import { scaledObject, trigger } from '../engine-bed.ts';
import { storesOf } from '../stores.ts';
import { startVault, type VaultServer } from '../vault.ts';
import { clusterOf, type Manifest, until } from './bed.ts';
import { addKind } from './kube-bed.ts';

const signal = AbortSignal.timeout(600_000);
const role = 'arn:aws:iam::1:role/orders';

clusterOf('service accounts', {}, cluster => {
  let client: KubeClient;
  let authentications: AuthenticationWatch;
  let references: KubeReferences;
  let stores: SecretStores;
  let changed: string[];
  let namespace: string;

  beforeAll(async () => {
    for (const kind of ['triggerauthentications', 'clustertriggerauthentications'])
      await addKind(cluster(), kind);
    // What deploy/eventide.yaml gives the operator for this: it may see everything, and make no tokens.
    await cluster().apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'sees' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'sees' },
      subjects: [{ kind: 'User', name: 'operator' }],
    });
    await cluster().apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'sees' },
      rules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['get', 'list', 'watch'] }],
    });
  });

  beforeEach(async () => {
    namespace = await cluster().namespace();
    const file = await cluster().userKubeconfig({ user: 'operator' });
    const config = await loadKubeConfig({ file, environment: {}, home: '/' });
    client = kubeClient(config, { clock: systemClock, log: silentLog });
    changed = [];
    authentications = authenticationWatch({ client, clock: systemClock, log: silentLog });
    references = kubeReferences({
      client,
      clock: systemClock,
      log: silentLog,
      authentications,
      discovery: kubeDiscovery({ client, clock: systemClock }),
      clusterNamespace: 'default',
      onChange: (...what) => void changed.push(what.join('/')),
    });
    await references.whenSynced(signal);
    stores = storesOf(systemClock);
  });

  afterEach(async () => {
    for (const each of [references, stores, client]) await each[Symbol.asyncDispose]();
  });

  const account = (name: string, annotations: Record<string, string> = {}) =>
    cluster().apply(
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, annotations } } as Manifest,
      namespace,
    );

  /** Lets the operator make tokens of one service account, as its owner would. */
  async function grant(name: string): Promise<void> {
    const rbac = 'rbac.authorization.k8s.io';
    const rule = { apiGroups: [''], resources: ['serviceaccounts/token'], resourceNames: [name] };
    const metadata = { name: `tokens-of-${name}` };
    const kind = { apiVersion: `${rbac}/v1`, metadata };
    await cluster().apply({ ...kind, kind: 'Role', rules: [{ ...rule, verbs: ['create'] }] }, namespace);
    await cluster().apply(
      {
        ...kind,
        kind: 'RoleBinding',
        roleRef: { apiGroup: rbac, kind: 'Role', name: metadata.name },
        subjects: [{ kind: 'User', name: 'operator' }],
      },
      namespace,
    );
    await until(
      () => references.serviceAccountToken(namespace, name, signal).catch(() => undefined),
      token => token !== undefined,
    );
  }

  const authentication = (name: string, spec: object) =>
    cluster().apply(
      { apiVersion: 'keda.sh/v1alpha1', kind: 'TriggerAuthentication', metadata: { name }, spec },
      namespace,
    );

  /** What a trigger of a workload here finds, by a TriggerAuthentication that is known by now. */
  async function resolve(name: string, serviceAccountName = 'orders') {
    const authenticationRef = { name, kind: 'TriggerAuthentication' } as const;
    const workload = scaledObject({ namespace });
    const template = { spec: { serviceAccountName, containers: [] } };
    await until(
      () => references.triggerAuthentication(namespace, name, signal),
      spec => spec !== undefined,
    );
    return await resolveAuth(trigger({}, { authenticationRef }), workload, {
      references: { ...references, podTemplate: async () => template },
      signal,
      stores,
    });
  }

  it('give tokens for an hour, where their owner lets the operator have them', async () => {
    await account('reader');
    const work = () => references.serviceAccountToken(namespace, 'reader', signal);

    await expect(work()).rejects.toMatchObject({
      code: 'AUTH_FAILED',
      message: expect.stringContaining(
        `may not have a token of ServiceAccount "reader" in namespace "${namespace}"; grant the operator "create"`,
      ),
    });
    await grant('reader');
    const { token, endsAt } = await work();

    const minutes = (endsAt - Date.now()) / 60_000;
    expect(jwtClaims(token.reveal())?.['sub']).toBe(`system:serviceaccount:${namespace}:reader`);
    expect(minutes).toBeGreaterThan(58);
    expect(minutes).toBeLessThan(62);
  });

  it('are missing where there are none', async () => {
    await grantAll('gone');

    await expect(references.serviceAccountToken(namespace, 'gone', signal)).rejects.toMatchObject({
      code: 'AUTH_MISSING',
      message: `there is no ServiceAccount "gone" in namespace "${namespace}"`,
    });
  });

  /** The same without waiting for a token, since there is nobody to have one. */
  async function grantAll(name: string): Promise<void> {
    await cluster().apply(
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: { name: `all-of-${name}` },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
        subjects: [{ kind: 'User', name: 'operator' }],
      },
      namespace,
    );
    await until(
      () =>
        references
          .serviceAccountToken(namespace, name, signal)
          .catch((fault: { code: string }) => fault.code),
      code => code === 'AUTH_MISSING',
    );
  }

  it('give the role of a workload, and tell when it is another', async () => {
    await account('orders', { 'eks.amazonaws.com/role-arn': role });
    await authentication('own', { podIdentity: { provider: 'aws', identityOwner: 'workload' } });

    const before = await resolve('own');
    await account('orders', { 'eks.amazonaws.com/role-arn': `${role}-2` });
    const what = `ServiceAccount/${namespace}/orders`;
    await until(
      async () => changed,
      all => all.includes(what),
    );
    const after = await resolve('own');

    expect(before.auth['awsRoleArn']?.reveal()).toBe(role);
    expect(before.used).toContainEqual({ kind: 'ServiceAccount', namespace, name: 'orders' });
    expect(after.auth['awsRoleArn']?.reveal()).toBe(`${role}-2`);
  });

  it('are parameters of triggers', async () => {
    await account('reader');
    await grant('reader');
    await authentication('bound', {
      boundServiceAccountToken: [{ parameter: 'token', serviceAccountName: 'reader' }],
    });

    const { auth, renewAt } = await resolve('bound');

    expect(jwtClaims(auth['token']?.reveal() ?? '')?.['sub']).toContain(':reader');
    expect(renewAt).toBeGreaterThan(Date.now() + 50 * 60_000);
    expect(renewAt).toBeLessThan(Date.now() + 60 * 60_000);
  });

  let vault: VaultServer | undefined;

  afterAll(async () => {
    await vault?.[Symbol.asyncDispose]();
  });

  it('are let in by a real Vault, which asks the API server about them', async () => {
    vault = await startVault();
    await account('orders');
    await grant('orders');
    await account('reviewer');
    await cluster().apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'vault-reviews' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:auth-delegator' },
      subjects: [{ kind: 'ServiceAccount', name: 'reviewer', namespace }],
    });
    await vault.ask('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } });
    await vault.ask('PUT', 'sys/policies/acl/shop', {
      policy: 'path "secret/data/*" { capabilities = ["read"] }',
    });
    await vault.ask('POST', 'sys/auth/kubernetes', { type: 'kubernetes' });
    await vault.ask('POST', 'auth/kubernetes/config', {
      kubernetes_host: cluster().url,
      kubernetes_ca_cert: cluster().ca,
      token_reviewer_jwt: await cluster().serviceAccountToken(namespace, 'reviewer'),
    });
    await vault.ask('POST', 'auth/kubernetes/role/shop', {
      bound_service_account_names: ['orders'],
      bound_service_account_namespaces: [namespace],
      token_policies: ['shop'],
    });
    const write = (password: string) => vault?.ask('POST', 'secret/data/db', { data: { password } });
    await until(
      () => write('first')?.catch(() => undefined) ?? Promise.resolve(undefined),
      written => written !== undefined,
    );
    await authentication('vault', {
      hashiCorpVault: {
        address: vault.url,
        authentication: 'kubernetes',
        mount: 'kubernetes',
        role: 'shop',
        credential: { serviceAccountName: 'orders' },
        secrets: [{ parameter: 'password', path: 'secret/data/db', key: 'password' }],
      },
    });

    const { auth } = await resolve('vault');

    expect(auth['password']?.reveal()).toBe('first');
  }, 900_000);
});
