import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { kubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import type { ClusterReader } from '../../src/scaler/context.ts';
import type { Cluster } from './bed.ts';

/** What scalers read a cluster of the bed with, as the operator gives it to them. */
export async function clusterReader(cluster: Cluster): Promise<ClusterReader> {
  const config = await loadKubeConfig({ file: cluster.kubeconfig, environment: {}, home: '/' });
  const client = kubeClient(config, { clock: systemClock, log: silentLog });
  return {
    get: (path, signal, accept) =>
      client.raw({ method: 'GET', path, signal, ...(accept === undefined ? {} : { accept }) }),
  };
}
