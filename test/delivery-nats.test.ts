import { afterAll, beforeAll, describe } from 'vitest';
import type { Scaler } from '../src/scaler/define.ts';
import nats from '../src/scalers/nats-jetstream.ts';
import { deliveryContract } from './delivery-contract.ts';
import { type NatsCluster, type NatsServer, natsInstalled, startNats, startNatsCluster } from './nats.ts';

describe.skipIf(!natsInstalled).each([
  ['a server', 1],
  ['a cluster of three', 3],
])('messages of JetStream at %s', (_title, size) => {
  let server: NatsServer;
  let cluster: NatsCluster | undefined;
  let generation = 0;
  const stream = () => `TASKS${generation}`;

  beforeAll(async () => {
    cluster = size === 1 ? undefined : await startNatsCluster();
    server = cluster?.servers[0] ?? (await startNats());
  });

  afterAll(() => (cluster ?? server)[Symbol.asyncDispose]());

  deliveryContract({
    scaler: nats as unknown as Scaler,
    given: () => ({
      params: {
        natsServerMonitoringEndpoint: server.monitoring,
        account: '$G',
        stream: stream(),
        consumer: 'jobs',
      },
    }),
    async empty() {
      generation += 1;
      const copies = { num_replicas: size };
      const config = { durable_name: 'jobs', ack_policy: 'explicit', ...copies };
      const subjects = [`tasks.${generation}`];
      // Of what is acknowledged, a server of its own deletes what a cluster keeps.
      const retention = { retention: size === 1 ? 'workqueue' : 'limits', storage: 'file' };
      await server.api(`STREAM.CREATE.${stream()}`, { name: stream(), subjects, ...retention, ...copies });
      await server.api(`CONSUMER.DURABLE.CREATE.${stream()}.jobs`, { stream_name: stream(), config });
    },
    send: text => server.publish(`tasks.${generation}`, text),
    pass: () => server.giveBack(stream(), 'jobs'),
    async left() {
      const info = await server.look(`CONSUMER.INFO.${stream()}.jobs`);
      return Number(info['num_pending']) + Number(info['num_ack_pending']);
    },
    async poison() {
      const messages = await server.stored(`${stream()}-poison`);
      return messages.map(({ data }) => data.toString());
    },
  });
});
