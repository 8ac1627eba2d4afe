import { expect, it } from 'vitest';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { KubeClient } from './client.ts';
import { kubeDiscovery } from './discovery.ts';

const { signal } = new AbortController();

/** An API server that has these resources of `example.com/v1`, and counts how often it was asked. */
function served() {
  const server = { asked: 0, broken: false, names: [] as string[] };
  const client = {
    async raw({ path }: { path: string }) {
      server.asked += 1;
      await Promise.resolve();
      if (server.broken) throw new Fault('KUBE_UNREACHABLE', 'gone');
      if (path !== '/apis/example.com/v1') throw new Fault('KUBE_NOT_FOUND', 'no such path');
      return {
        resources: server.names.map(name => ({
          name,
          kind: name.includes('/') ? 'Scale' : 'Rollout',
          namespaced: true,
        })),
      };
    },
  } as unknown as KubeClient;
  const clock = manualClock();
  return { server, clock, discovery: kubeDiscovery({ client, clock }) };
}

const rollout = {
  group: 'example.com',
  version: 'v1',
  kind: 'Rollout',
  plural: 'rollouts',
  namespaced: true,
};

it.each([
  ['Deployment', 'deployments'],
  ['StatefulSet', 'statefulsets'],
  ['ReplicaSet', 'replicasets'],
])('knows %s without asking', async (kind, plural) => {
  const { discovery, server } = served();

  const found = await discovery.find('apps/v1', kind, signal);

  expect(found).toMatchObject({ plural, scalable: true });
  expect(discovery.known('apps/v1', kind)).toBe(found);
  expect(server.asked).toBe(0);
});

it('asks for another kind once, however many want it', async () => {
  const { discovery, server } = served();
  server.names = ['rollouts', 'rollouts/status', 'rollouts/scale'];

  const found = await Promise.all([1, 2].map(() => discovery.find('example.com/v1', 'Rollout', signal)));
  const again = await discovery.find('example.com/v1', 'Rollout', signal);

  expect(found).toEqual([
    { ...rollout, scalable: true },
    { ...rollout, scalable: true },
  ]);
  expect(again).toBe(found[0]);
  expect(server.asked).toBe(1);
});

it('finds a kind, and its /scale, that are made later', async () => {
  const { discovery, server, clock } = served();
  const find = () => discovery.find('example.com/v1', 'Rollout', signal);

  await expect(find()).rejects.toThrow('the API server has no kind Rollout in example.com/v1');
  server.names = ['rollouts'];
  await expect(find()).rejects.toMatchObject({ code: 'KUBE_NOT_FOUND' });
  await clock.advance(5_000);
  await expect(find()).resolves.toEqual({ ...rollout, scalable: false });
  server.names = ['rollouts', 'rollouts/scale'];
  await clock.advance(5_000);
  await expect(find()).resolves.toEqual({ ...rollout, scalable: true });

  expect(server.asked).toBe(3);
});

it('does not take a lost API server for one that lacks the kind', async () => {
  const { discovery, server } = served();
  server.broken = true;

  await expect(discovery.find('example.com/v1', 'Rollout', signal)).rejects.toMatchObject({
    code: 'KUBE_UNREACHABLE',
  });
  server.broken = false;
  server.names = ['rollouts', 'rollouts/scale'];

  await expect(discovery.find('example.com/v1', 'Rollout', signal)).resolves.toMatchObject(rollout);
});
