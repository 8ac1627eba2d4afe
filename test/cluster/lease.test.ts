import { fork } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { Fault } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { type KubeClient, kubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import { type Leadership, type LeadershipOptions, leadership } from '../../src/kube/lease.ts';
import type { Lease } from '../../src/kube/lease-record.ts';
import { resources } from '../../src/kube/objects.ts';
import { type Cluster, clusterOf, until } from './bed.ts';

const { signal } = new AbortController();
setMaxListeners(0, signal);
const name = 'operator.keda.sh';

async function clientOf(cluster: Cluster): Promise<KubeClient> {
  const config = await loadKubeConfig({ file: cluster.kubeconfig, environment: {}, home: '/nowhere' });
  return kubeClient(config, { clock: systemClock, log: silentLog });
}

interface Candidate extends Leadership {
  lost: Fault[];
}

function candidate(
  client: KubeClient,
  over: Pick<LeadershipOptions, 'namespace' | 'identity'> & Partial<LeadershipOptions>,
): Candidate {
  const lost: Fault[] = [];
  const standing = leadership({
    client,
    clock: systemClock,
    log: silentLog,
    name,
    onLost: fault => lost.push(fault),
    ...over,
  });
  return Object.assign(standing, { lost });
}

const recordIn = async (client: KubeClient, namespace: string) =>
  (await client.get<Lease>(resources.leases, { namespace, name }, { signal }))?.spec;

clusterOf('the lease on a real API server', {}, cluster => {
  it('lets one of two lead, and the other within a second of a release', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    await using first = candidate(client, { namespace, identity: 'first' });
    await first.whenLeading(signal);
    await using second = candidate(client, { namespace, identity: 'second' });
    await until(
      () => second.leader,
      leader => leader === 'first',
    );
    const record = await recordIn(client, namespace);

    await first.release(signal);
    await second.whenLeading(AbortSignal.timeout(1_000));

    expect(record).toMatchObject({
      holderIdentity: 'first',
      leaseDurationSeconds: 15,
      leaseTransitions: 0,
      renewTime: expect.stringMatching(/\.\d{6}Z$/),
    });
    expect(await recordIn(client, namespace)).toMatchObject({
      holderIdentity: 'second',
      leaseTransitions: 1,
    });
    expect([first.leading, second.leading, first.lost, second.lost]).toEqual([false, true, [], []]);
  });

  it('goes to the other when the leader is killed, and not before its lease has run out', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    const child = fork('test/cluster/lease-process.ts', [cluster().kubeconfig, namespace], {
      execArgv: ['--import', 'tsx'],
    });
    await once(child, 'message');
    await using second = candidate(client, { namespace, identity: 'second', leaseDurationMs: 4_000 });
    await until(
      () => second.leader,
      leader => leader === 'killed',
    );
    const killedAt = systemClock.elapsed();
    child.kill('SIGKILL');

    await second.whenLeading(signal);

    const tookMs = systemClock.elapsed() - killedAt;
    expect(tookMs).toBeGreaterThan(2_000);
    expect(await recordIn(client, namespace)).toMatchObject({ holderIdentity: 'second' });
  });

  it('is lost at once to whoever else is written into it', async () => {
    await using client = await clientOf(cluster());
    const namespace = await cluster().namespace();
    await using first = candidate(client, { namespace, identity: 'first', retryPeriodMs: 60_000 });
    await first.whenLeading(signal);

    await client.patch(
      resources.leases,
      { namespace, name },
      { spec: { holderIdentity: 'an administrator' } },
      { type: 'merge', urgency: 'object', signal },
    );

    await until(
      () => first.lost.length,
      count => count > 0,
    );
    expect([first.leading, first.lost.map(fault => fault.code)]).toEqual([false, ['KUBE_CONFLICT']]);
  });
});
