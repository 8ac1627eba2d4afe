import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { type AuthenticationWatch, authenticationWatch } from '../../src/kube/authentication-watch.ts';
import { kubeAuthentications } from '../../src/kube/authentications.ts';
import { kubeDiscovery } from '../../src/kube/discovery.ts';
import { eventRecorder } from '../../src/kube/events.ts';
import { type KubeReferences, kubeReferences, type ReferencesOptions } from '../../src/kube/references.ts';
import { kubeTargets } from '../../src/kube/targets.ts';
import { clusterOf, until } from './bed.ts';
import { addKind, type CountedClient, clientOf, deployment, storeScaledObject } from './kube-bed.ts';

const signal = AbortSignal.timeout(600_000);

clusterOf('references in a cluster', {}, cluster => {
  let client: CountedClient;
  let authentications: AuthenticationWatch;
  let references: KubeReferences;
  let changed: string[];
  let namespace: string;

  beforeAll(async () => {
    for (const kind of ['scaledobjects', 'triggerauthentications', 'clustertriggerauthentications'])
      await addKind(cluster(), kind);
  });

  beforeEach(async () => {
    namespace = await cluster().namespace();
    client = await clientOf(cluster());
    await begin();
  });

  afterEach(async () => {
    await end();
    await client[Symbol.asyncDispose]();
  });

  async function begin(given: Partial<ReferencesOptions> = {}, labelSelector?: string) {
    changed = [];
    const shared = { client, clock: systemClock, log: silentLog };
    authentications = authenticationWatch({ ...shared, namespaces: given.namespaces, labelSelector });
    references = kubeReferences({
      ...shared,
      authentications,
      discovery: kubeDiscovery({ client, clock: systemClock }),
      clusterNamespace: 'default',
      onChange: (...what) => void changed.push(what.join('/')),
      ...given,
    });
    await references.whenSynced(signal);
  }

  async function end() {
    await references[Symbol.asyncDispose]();
    await authentications[Symbol.asyncDispose]();
  }

  const secret = (name: string, stringData: Record<string, string>) =>
    cluster().apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData }, namespace);
  const told = (what: string) =>
    until(
      async () => changed,
      all => all.includes(what),
    );
  const valuesOf = async (name: string, place = namespace) => {
    const found = await references.secret(place, name, signal);
    return found && Object.fromEntries([...found].map(([key, value]) => [key, value.reveal()]));
  };

  it('reads Secrets and ConfigMaps', async () => {
    await secret('login', { user: 'ada', password: 'größe' });
    const binaryData = { raw: Buffer.from('bytes').toString('base64') };
    const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' } };
    await cluster().apply({ ...configMap, data: { host: 'there' }, binaryData }, namespace);

    expect(await valuesOf('login')).toEqual({ user: 'ada', password: 'größe' });
    expect(await references.configMap(namespace, 'settings', signal)).toEqual(
      new Map([
        ['host', 'there'],
        ['raw', 'bytes'],
      ]),
    );
    expect(await valuesOf('nothing')).toBeUndefined();
    expect(await references.configMap(namespace, 'nothing', signal)).toBeUndefined();
    expect(changed).toEqual([]);
  });

  it('notices that a Secret is edited, deleted and made', async () => {
    await secret('login', { user: 'ada' });
    await secret('unasked', { user: 'bob' });
    await valuesOf('login');
    await valuesOf('nothing');

    await secret('unasked', { user: 'eve' });
    await secret('login', { user: 'eve' });
    await told(`Secret/${namespace}/login`);
    expect(await valuesOf('login')).toEqual({ user: 'eve' });
    await secret('nothing', { user: 'here' });
    await told(`Secret/${namespace}/nothing`);
    expect(await valuesOf('nothing')).toEqual({ user: 'here' });
    changed.length = 0;
    await cluster().delete(`/api/v1/namespaces/${namespace}/secrets/login`);
    await told(`Secret/${namespace}/login`);

    expect(await valuesOf('login')).toBeUndefined();
    expect(changed).toEqual([`Secret/${namespace}/login`]);
  });

  it('asks once for what many want at the same time', async () => {
    await secret('login', { user: 'ada' });

    const all = await Promise.all([valuesOf('login'), valuesOf('login'), valuesOf('login')]);

    expect(all).toEqual([{ user: 'ada' }, { user: 'ada' }, { user: 'ada' }]);
    expect(client.requests).toEqual(['GET secrets']);
  });

  it('reads no Secret of other namespaces where that is forbidden', async () => {
    await end();
    await begin({ restrictSecrets: true });
    await secret('login', { user: 'ada' });

    await expect(valuesOf('login')).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      message: `Secrets may be read in namespace "default" only, not in "${namespace}"`,
    });
    expect(await valuesOf('nothing', 'default')).toBeUndefined();
    expect(client.requests).toEqual(['GET secrets']);
  });

  it('looks into its own namespaces only where it has some', async () => {
    await end();
    await begin({ namespaces: [namespace] });
    await secret('login', { user: 'ada' });

    expect(await valuesOf('login')).toEqual({ user: 'ada' });
    await secret('login', { user: 'eve' });
    await told(`Secret/${namespace}/login`);
    expect(await valuesOf('nothing', 'default')).toBeUndefined();
  });

  it('knows TriggerAuthentications, and tells of new ones, other specs and those that are gone', async () => {
    const manifest = (kind: string, name: string, parameter: string) => ({
      apiVersion: 'keda.sh/v1alpha1',
      kind,
      metadata: { name },
      spec: { secretTargetRef: [{ parameter, name: 'login', key: 'user' }] },
    });
    const read = (place: string | undefined, name: string) =>
      references.triggerAuthentication(place, name, signal);
    const all = `clusterwide-${namespace}`;

    expect(await read(namespace, 'mine')).toBeUndefined();
    await cluster().apply(manifest('TriggerAuthentication', 'mine', 'a'), namespace);
    await cluster().apply(manifest('ClusterTriggerAuthentication', all, 'b'));
    await told(`TriggerAuthentication/${namespace}/mine`);
    await told(`ClusterTriggerAuthentication//${all}`);
    expect(await read(namespace, 'mine')).toEqual({
      secretTargetRef: [{ parameter: 'a', name: 'login', key: 'user' }],
    });
    expect(await read(undefined, all)).toMatchObject({ secretTargetRef: [{ parameter: 'b' }] });
    changed.length = 0;
    const path = `/apis/keda.sh/v1alpha1/namespaces/${namespace}/triggerauthentications/mine`;
    await cluster().patch(`${path}/status`, { status: { scaledobjects: 'orders' } });
    await cluster().apply(manifest('TriggerAuthentication', 'mine', 'c'), namespace);
    await told(`TriggerAuthentication/${namespace}/mine`);
    expect(await read(namespace, 'mine')).toMatchObject({ secretTargetRef: [{ parameter: 'c' }] });
    await cluster().delete(path);
    await until(
      () => read(namespace, 'mine'),
      found => found === undefined,
    );

    expect(changed).toEqual([
      `TriggerAuthentication/${namespace}/mine`,
      `TriggerAuthentication/${namespace}/mine`,
    ]);
    await cluster().delete(`/apis/keda.sh/v1alpha1/clustertriggerauthentications/${all}`);
  });

  it('has those that were there before it began, without a word', async () => {
    const authentication = {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'TriggerAuthentication',
      metadata: { name: 'a' },
    };
    await cluster().apply({ ...authentication, spec: { podIdentity: { provider: 'gcp' } } }, namespace);
    await end();
    await begin();

    expect(await references.triggerAuthentication(namespace, 'a', signal)).toEqual({
      podIdentity: { provider: 'gcp' },
    });
    expect(changed).toEqual([]);
  });

  it('leaves TriggerAuthentications with other labels to whoever they are for', async () => {
    await end();
    await begin({}, 'team=ours');
    const shared = { client, clock: systemClock, log: silentLog };
    await using events = eventRecorder({ ...shared, instance: 'bed' });
    await using written = kubeAuthentications({ ...shared, events, watch: authentications });
    written.lead();
    const path = `/apis/keda.sh/v1alpha1/namespaces/${namespace}/triggerauthentications`;
    for (const team of ['theirs', 'ours']) {
      const metadata = { name: team, labels: { team } };
      const spec = { podIdentity: { provider: 'gcp' } };
      await cluster().apply(
        { apiVersion: 'keda.sh/v1alpha1', kind: 'TriggerAuthentication', metadata, spec },
        namespace,
      );
    }

    const ours = await until(
      () => cluster().get(`${path}/ours`),
      found => found?.metadata.finalizers !== undefined,
    );

    expect(ours?.metadata.finalizers).toEqual(['finalizer.keda.sh']);
    expect((await cluster().get(`${path}/theirs`))?.metadata.finalizers).toBeUndefined();
    expect(await references.triggerAuthentication(namespace, 'theirs', signal)).toBeUndefined();
    expect([...written.registered()]).toMatchObject([{ namespace, count: 1 }]);
  });

  it("finds the template of a target's pods", async () => {
    const workload = await storeScaledObject(cluster(), namespace, { metadata: { name: 'orders' } });
    const unknown = { apiVersion: 'none.example.com/v1', kind: 'Nothing', name: 'web' };

    expect(await references.podTemplate(workload, signal)).toBeUndefined();
    await cluster().apply(deployment('web', 0), namespace);

    expect(await references.podTemplate(workload, signal)).toMatchObject({
      metadata: { labels: { app: 'web' } },
      spec: { containers: [{ name: 'app' }] },
    });
    expect(await references.podTemplate({ ...workload, target: unknown }, signal)).toBeUndefined();
  });

  it("tells of another template of a target's pods whoever was given the last one", async () => {
    const shared = { client, clock: systemClock, log: silentLog };
    await using targets = kubeTargets({
      ...shared,
      discovery: kubeDiscovery({ client, clock: systemClock }),
      onChange() {},
      onSpec: key => references.targetChanged(key),
    });
    const env = (value: string) => ({ name: 'app', image: 'app', env: [{ name: 'QUEUE', value }] });
    const edited = (value: string) =>
      cluster().patch(`/apis/apps/v1/namespaces/${namespace}/deployments/web`, {
        spec: { template: { spec: { containers: [env(value)] } } },
      });
    const workload = await storeScaledObject(cluster(), namespace, { metadata: { name: 'orders' } });
    await cluster().apply(deployment('web', 0), namespace);
    targets.use(workload);
    await targets.whenSynced(signal);
    await targets.readTarget(workload, signal);

    await edited('first');
    await references.podTemplate(workload, signal);
    await edited('second');
    await told(`Target/${namespace}/orders`);

    expect(await references.podTemplate(workload, signal)).toMatchObject({
      spec: { containers: [env('second')] },
    });
  });
});
