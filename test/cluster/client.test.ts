import { setMaxListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { type KubeClient, kubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import { type KubeObject, type Resource, resources } from '../../src/kube/objects.ts';
import { type Cluster, clusterOf } from './bed.ts';

interface Deployment extends KubeObject {
  spec: { replicas?: number; [field: string]: unknown };
}

interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

const { signal } = new AbortController();
setMaxListeners(0, signal);
const write = { urgency: 'object', signal } as const;

async function clientOf(cluster: Cluster, kubeconfig = cluster.kubeconfig): Promise<KubeClient> {
  const config = await loadKubeConfig({ file: kubeconfig, environment: {}, home: '/nowhere' });
  return kubeClient(config, { clock: systemClock, log: silentLog });
}

const configMap = (namespace: string, name: string, data: Record<string, string> = {}) => ({
  metadata: { namespace, name },
  data,
});

const web = (namespace: string) => ({
  metadata: { namespace, name: 'web' },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: { containers: [{ name: 'web', image: 'web' }] },
    },
  },
});

clusterOf('the client on a real API server', {}, cluster => {
  it('creates, reads, patches, replaces and deletes', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    const at = { namespace, name: 'one' };

    const created = await client.create<ConfigMap>(
      resources.configMaps,
      configMap(namespace, 'one', { a: '1' }),
      write,
    );
    await client.patch(resources.configMaps, at, { data: { b: '2' } }, { ...write, type: 'merge' });
    const patched = await client.get<ConfigMap>(resources.configMaps, at, { signal });
    await client.replace(resources.configMaps, { ...(patched as ConfigMap), data: { c: '3' } }, write);
    const replaced = await client.get<ConfigMap>(resources.configMaps, at, { signal });
    await client.delete(resources.configMaps, at, write);
    const gone = await client.get(resources.configMaps, at, { signal });

    expect(created.metadata.uid).toBeTruthy();
    expect([patched?.data, replaced?.data, gone]).toEqual([{ a: '1', b: '2' }, { c: '3' }, undefined]);
  });

  it('applies as a field manager of its own, and takes fields over', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    await cluster().create({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      ...configMap(namespace, 'one', { theirs: 'x', shared: 'x' }),
    });
    const applied = { metadata: { name: 'one' }, data: { shared: 'ours' } };

    const after = await client.patch<ConfigMap>(resources.configMaps, { namespace, name: 'one' }, applied, {
      ...write,
      type: 'apply',
    });

    expect(after.data).toEqual({ theirs: 'x', shared: 'ours' });
    expect(JSON.stringify(after.metadata)).toContain('"manager":"eventide"');
  });

  it('reads and patches the scale of a target', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    const at = { namespace, name: 'web' };
    await client.create(resources.deployments, web(namespace), write);

    const scale = await client.get<Deployment>(resources.deployments, at, { signal, subresource: 'scale' });
    await client.patch(
      resources.deployments,
      at,
      { spec: { replicas: 5 } },
      { signal, urgency: 'scale', type: 'merge', subresource: 'scale' },
    );
    const scaled = await client.get<Deployment>(resources.deployments, at, { signal });

    expect([scale?.kind, scale?.spec.replicas, scaled?.spec.replicas]).toEqual(['Scale', 2, 5]);
  });

  it('lists page by page, with selectors, and metadata only', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    const names = Array.from({ length: 1_100 }, (_, index) => `item-${String(index).padStart(4, '0')}`);
    await Promise.all(
      names.map(name => client.create(resources.configMaps, configMap(namespace, name, { x: 'y' }), write)),
    );

    const sizes: number[] = [];
    for await (const page of client.pages(resources.configMaps, { namespace, signal })) {
      sizes.push(page.items.length);
    }
    const { items } = await client.list<ConfigMap>(resources.configMaps, {
      namespace,
      signal,
      metadataOnly: true,
      fieldSelector: 'metadata.name=item-0007',
    });

    expect(sizes[0]).toBe(500);
    expect(sizes.reduce((sum, size) => sum + size)).toBeGreaterThanOrEqual(1_100);
    expect(items.map(item => [item.metadata.name, item.data])).toEqual([['item-0007', undefined]]);
  });

  it('watches changes from a version on', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    const { resourceVersion } = await client.list(resources.configMaps, { namespace, signal });
    const at = { namespace, name: 'one' };
    await client.create(resources.configMaps, configMap(namespace, 'one'), write);
    await client.patch(resources.configMaps, at, { data: { a: 'ß' } }, { ...write, type: 'merge' });
    await client.delete(resources.configMaps, at, write);

    const seen: unknown[] = [];
    const query = { namespace, signal, resourceVersion, fieldSelector: 'metadata.name=one' };
    for await (const event of client.watch<ConfigMap>(resources.configMaps, query)) {
      seen.push(event.type === 'BOOKMARK' ? event.type : [event.type, event.object.data]);
      if (event.type === 'DELETED') break;
    }

    expect(seen).toEqual([
      ['ADDED', undefined],
      ['MODIFIED', { a: 'ß' }],
      ['DELETED', { a: 'ß' }],
    ]);
  });

  const widgets: Resource = {
    group: 'nobody.example',
    version: 'v1',
    kind: 'Widget',
    plural: 'widgets',
    namespaced: true,
  };

  describe('refusals', () => {
    it.each([
      [
        'a name that is taken',
        'KUBE_EXISTS',
        /cannot create ConfigMap \S+\/one: .*"one" already exists/,
        async (client: KubeClient, namespace: string) => {
          await client.create(resources.configMaps, configMap(namespace, 'one'), write);
          await client.create(resources.configMaps, configMap(namespace, 'one'), write);
        },
      ],
      [
        'a version that is old',
        'KUBE_CONFLICT',
        /cannot replace ConfigMap \S+\/one: .*the object has been modified/,
        async (client: KubeClient, namespace: string) => {
          const at = { namespace, name: 'one' };
          const old = await client.create<ConfigMap>(
            resources.configMaps,
            configMap(namespace, 'one'),
            write,
          );
          await client.patch(resources.configMaps, at, { data: { a: '1' } }, { ...write, type: 'merge' });
          await client.replace(resources.configMaps, { ...old, data: { b: '2' } }, write);
        },
      ],
      [
        'an object that breaks a rule',
        'KUBE_INVALID',
        /cannot create ConfigMap .*: ConfigMap "No_Name" is invalid/,
        (client: KubeClient, namespace: string) =>
          client.create(resources.configMaps, configMap(namespace, 'No_Name'), write),
      ],
      [
        'a patch of nothing',
        'KUBE_NOT_FOUND',
        /cannot patch scale of Deployment \S+\/web: deployments.apps "web" not found/,
        (client: KubeClient, namespace: string) =>
          client.patch(
            resources.deployments,
            { namespace, name: 'web' },
            { spec: { replicas: 1 } },
            { ...write, type: 'merge', subresource: 'scale' },
          ),
      ],
      [
        'a kind that nobody serves',
        'KUBE_NOT_FOUND',
        /cannot get Widget \S+\/one: /,
        (client: KubeClient, namespace: string) =>
          client.get(widgets, { namespace, name: 'one' }, { signal }),
      ],
      [
        'a version from the future',
        'KUBE_EXPIRED',
        /cannot read .*: Too large resource version/,
        (client: KubeClient, namespace: string) =>
          client.raw({
            method: 'GET',
            path: `/api/v1/namespaces/${namespace}/configmaps?resourceVersion=999999999999`,
            signal,
          }),
      ],
    ])('%s is %s', async (_title, code, message, act) => {
      await using client = await clientOf(cluster());
      const namespace = await cluster().namespace();

      const refused = Promise.resolve(act(client, namespace));

      await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    });

    it('names what a user may not do', async () => {
      const kubeconfig = await cluster().userKubeconfig({ user: 'nobody' });
      await using client = await clientOf(cluster(), kubeconfig);

      const refused = client.list(resources.secrets, { namespace: 'default', signal });

      await expect(refused).rejects.toMatchObject({
        code: 'KUBE_REFUSED',
        message: expect.stringMatching(/cannot list Secret: .*User "nobody" cannot list resource "secrets"/),
      });
    });
  });

  it('deletes only the object with the uid given', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    const at = { namespace, name: 'one' };
    await client.create(resources.configMaps, configMap(namespace, 'one'), write);

    await client.delete(resources.configMaps, at, { ...write, uid: 'another' });
    await client.delete(resources.configMaps, { namespace, name: 'two' }, write);
    const kept = await client.get(resources.configMaps, at, { signal });

    expect(kept).toBeDefined();
  });

  it('comes in with the token of a service account, and acts for others', async () => {
    const namespace = await cluster().namespace();
    await cluster().create({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { namespace, name: 'eventide' },
    });
    const kubeconfig = await cluster().serviceAccountKubeconfig(namespace, 'eventide');
    await using account = await clientOf(cluster(), kubeconfig);
    const admin = await loadKubeConfig({ file: cluster().kubeconfig, environment: {}, home: '/nowhere' });
    const impersonate = { user: 'jane', groups: ['devs', 'system:authenticated'], extra: { 'a/b': ['c'] } };
    await using jane = kubeClient({ ...admin, impersonate }, { clock: systemClock, log: silentLog });
    const whoAmI = {
      method: 'POST',
      path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
      signal,
    } as const;

    const answers = [await account.raw(whoAmI), await jane.raw(whoAmI)];

    expect(answers).toMatchObject([
      { status: { userInfo: { username: `system:serviceaccount:${namespace}:eventide` } } },
      {
        status: {
          userInfo: { username: 'jane', groups: impersonate.groups, extra: { 'a/b': ['c'] } },
        },
      },
    ]);
  });
});
