import { readFile } from 'node:fs/promises';
import type { AnyScaler } from '../../src/scaler/define.ts';
import rabbitmq from '../../src/scalers/rabbitmq.ts';
import { startRabbit } from '../../test/rabbitmq.ts';
import { eventually } from '../../test/redis.ts';
import { mustBind } from '../../test/scaler-contract.ts';
import type { Bench, BenchRow } from '../bench.ts';
import { readMany } from './many-triggers.ts';

const count = 1000;

/** A thousand queues of one broker, over AMQP and over the management API. */
export const rabbitBench: Bench = {
  name: 'rabbitmq',
  async run() {
    await using server = await startRabbit();
    const { channel } = server;
    const queues = Array.from({ length: count }, (_, index) => `queue-${index}`);
    for (const name of queues) {
      await channel.assertQueue(name, { durable: false });
      for (const text of ['a', 'b']) channel.sendToQueue(name, Buffer.from(text));
    }
    const last = queues.at(-1);
    // The statistics come seconds after the messages.
    await eventually(async () => {
      const told = (await server.manage('GET', `queues/%2F/${last}`)) as { messages?: number };
      return told.messages === 2;
    });
    return [
      await measure(`${count} queues over AMQP`, {
        host: server.amqp,
        queues,
        seen: async () => (await server.connections()).length,
      }),
      await measure(`${count} queues over the management API`, {
        host: server.http,
        queues,
        seen: () => connectionsTo(server.ports.http),
      }),
    ];
  },
};

interface Measured {
  host: string;
  queues: readonly string[];
  /** Connections that are open. */
  seen(): Promise<number>;
}

async function measure(what: string, { host, queues, seen }: Measured): Promise<BenchRow> {
  const triggers = queues.map(queueName =>
    mustBind(rabbitmq as unknown as AnyScaler, { params: { queueName, host } }),
  );
  const before = await seen();
  const {
    firstMs,
    passMs,
    values,
    seen: after,
  } = await readMany(triggers, async () => {
    // The broker tells of connections with its statistics.
    await eventually(async () => (await seen()) > before);
    return await seen();
  });
  const wrong = values.filter(value => value !== 2);
  if (wrong.length > 0) throw new Error(`${wrong.length} triggers read wrongly: ${wrong[0]}`);
  const connections = after - before;
  const measured = `${passMs.toFixed(0)} ms a pass, ${firstMs.toFixed(0)} ms the first, connections: ${connections}`;
  return { what, measured, wanted: '<= 2 connections', ok: connections <= 2 };
}

/** Connections to a port, as Linux sees them. */
async function connectionsTo(port: number): Promise<number> {
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n');
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return lines.filter(line => {
    const [, , to = '', state] = line.trim().split(/\s+/);
    return to.endsWith(remote) && state === '01';
  }).length;
}
