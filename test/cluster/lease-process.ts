/** Leads until it is killed. Arguments: a kubeconfig and a namespace. */
import process from 'node:process';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { kubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import { leadership } from '../../src/kube/lease.ts';

const [, , file, namespace = ''] = process.argv;
const config = await loadKubeConfig({ file, environment: {}, home: '/nowhere' });
const leader = leadership({
  client: kubeClient(config, { clock: systemClock, log: silentLog }),
  clock: systemClock,
  log: silentLog,
  namespace,
  name: 'operator.keda.sh',
  identity: 'killed',
  leaseDurationMs: 4_000,
  renewDeadlineMs: 3_000,
  retryPeriodMs: 500,
  onLost: fault => {
    throw fault;
  },
});
await leader.whenLeading(AbortSignal.timeout(30_000));
process.send?.('leading');
