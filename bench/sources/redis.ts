import type { BoundRead } from '../../src/scaler/bind.ts';
import type { AnyScaler } from '../../src/scaler/define.ts';
import redis from '../../src/scalers/redis.ts';
import redisStreams from '../../src/scalers/redis-streams.ts';
import { type RedisServer, startRedis } from '../../test/redis.ts';
import { mustBind } from '../../test/scaler-contract.ts';
import type { Bench, BenchRow } from '../bench.ts';
import { readMany } from './many-triggers.ts';

const count = 1000;

/** A thousand lists, and the lag of a thousand groups of streams, on one server. */
export const redisBench: Bench = {
  name: 'redis',
  async run() {
    await using server = await startRedis();
    const lists = Array.from({ length: count }, (_, index) => `list-${index}`);
    for (const name of lists) await server.send('RPUSH', name, 'a', 'b');
    const streams = Array.from({ length: count }, (_, index) => `stream-${index}`);
    for (const name of streams) {
      await server.send('XGROUP', 'CREATE', name, 'workers', '0', 'MKSTREAM');
      await server.send('XADD', name, '*', 'a', 'b');
      await server.send('XADD', name, '*', 'a', 'b');
    }
    const { address } = server;
    const onLists = lists.map(listName =>
      mustBind(redis as unknown as AnyScaler, { params: { address, listName } }),
    );
    const lag = { consumerGroup: 'workers', lagCount: '5' };
    const onStreams = streams.map(stream =>
      mustBind(redisStreams as unknown as AnyScaler, { params: { address, stream, ...lag } }),
    );
    const half = count / 2;
    return [
      await measure(server, `${count} lists`, onLists),
      await measure(server, `${count} groups of streams`, onStreams),
      await measure(server, `${half} of each`, [...onLists.slice(half), ...onStreams.slice(half)]),
    ];
  },
};

async function measure(server: RedisServer, what: string, triggers: readonly BoundRead[]): Promise<BenchRow> {
  const { firstMs, passMs, values, seen } = await readMany(
    triggers,
    async () => (await server.clients()).length,
  );
  const wrong = values.filter(value => value !== 2);
  if (wrong.length > 0) throw new Error(`${wrong.length} triggers read wrongly: ${wrong[0]}`);
  const measured = `${passMs.toFixed(0)} ms a pass, ${firstMs.toFixed(0)} ms the first, connections: ${seen}`;
  return { what, measured, wanted: '< 200 ms, 1 connection', ok: passMs < 200 && seen === 1 };
}
