import { setMaxListeners } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { expect, it } from 'vitest';
import { sleep, systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { type KubeClient, kubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import { type KubeObject, resources } from '../../src/kube/objects.ts';
import { keyOf, reflect } from '../../src/kube/reflector.ts';
import { type Cluster, clusterOf, until } from './bed.ts';

interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

const { signal } = new AbortController();
setMaxListeners(0, signal);
const write = { urgency: 'object', signal } as const;

async function clientOf(cluster: Cluster): Promise<KubeClient> {
  const config = await loadKubeConfig({ file: cluster.kubeconfig, environment: {}, home: '/nowhere' });
  return kubeClient(config, { clock: systemClock, log: silentLog });
}

/** Writes without pause, whatever becomes of it; each writer has objects of its own. */
async function writeLoad(client: KubeClient, namespace: string, stop: AbortSignal): Promise<number> {
  let written = 0;
  const writer = async (id: number) => {
    for (let turn = 0; !stop.aborted; turn += 1) {
      const at = { namespace, name: `item-${id}-${turn % 20}` };
      const data = { turn: String(turn) };
      try {
        if (turn % 7 === 3) await client.delete(resources.configMaps, at, write);
        else {
          const applied = { metadata: at, data };
          await client.patch(resources.configMaps, at, applied, { ...write, type: 'apply' });
        }
        written += 1;
      } catch {
        await sleep(systemClock, 20);
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, id) => writer(id)));
  return written;
}

const versionsOf = (objects: Iterable<KubeObject>) =>
  Object.fromEntries([...objects].map(object => [keyOf(object), object.metadata.resourceVersion]));

clusterOf('the reflector on a real API server', { control: true }, cluster => {
  it('has exactly what a list has after the API server restarted ten times under write load', {
    timeout: 300_000,
  }, async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    const wrong: string[] = [];
    const told = new Map<string, string>();
    await using reflector = reflect<ConfigMap, string>({
      client,
      clock: systemClock,
      log: silentLog,
      resource: resources.configMaps,
      namespace,
      keep: object => object.metadata.resourceVersion,
      onSet(key, kept, before) {
        if (before !== told.get(key)) wrong.push(`${key} was ${told.get(key)}, not ${before}`);
        if (before !== undefined && Number(kept) <= Number(before)) wrong.push(`${key} went back`);
        told.set(key, kept);
      },
      onDelete(key, before) {
        if (before !== told.get(key)) wrong.push(`${key} was ${told.get(key)}, not ${before}`);
        told.delete(key);
      },
    });
    await reflector.whenSynced(signal);
    const stop = new AbortController();
    const load = writeLoad(client, namespace, stop.signal);

    for (let restart = 0; restart < 10; restart += 1) {
      await sleep(systemClock, 300);
      if (restart % 5 === 0) await cluster().stop('kube-apiserver');
      else await cluster().kill('kube-apiserver');
      await cluster().start('kube-apiserver');
    }
    stop.abort();
    const written = await load;
    const { items } = await client.list<ConfigMap>(resources.configMaps, { namespace, signal });
    const listed = versionsOf(items);
    // What is wrong for longer than a moment stays wrong, and is shown below.
    await until(
      () => sorted(reflector.all),
      all => isDeepStrictEqual(all, sorted(Object.entries(listed))),
    ).catch(() => {});

    expect(written).toBeGreaterThan(200);
    expect(Object.fromEntries(reflector.all)).toEqual(listed);
    expect(Object.fromEntries(told)).toEqual(listed);
    expect(wrong).toEqual([]);
  });

  it('goes on after the API server was silent without closing a connection, and after etcd was away', {
    timeout: 120_000,
  }, async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    await using reflector = reflect<ConfigMap, string>({
      client,
      clock: systemClock,
      log: silentLog,
      resource: resources.configMaps,
      namespace,
      keep: object => object.data?.['turn'],
    });
    await reflector.whenSynced(signal);

    cluster().pause('kube-apiserver');
    await sleep(systemClock, 1_000);
    cluster().resume('kube-apiserver');
    await cluster().restart('etcd');
    const at = { namespace, name: 'one' };
    await until(
      () =>
        client.patch(
          resources.configMaps,
          at,
          { metadata: at, data: { turn: '1' } },
          { ...write, type: 'apply' },
        ),
      () => true,
    );

    const seen = await until(
      () => reflector.get(`${namespace}/one`),
      kept => kept !== undefined,
    );
    expect(seen).toBe('1');
  });
});

function sorted(entries: Iterable<readonly [string, string]>): (readonly [string, string])[] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
}
