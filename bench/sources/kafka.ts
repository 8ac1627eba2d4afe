import process from 'node:process';
import type { AnyScaler } from '../../src/scaler/define.ts';
import kafka from '../../src/scalers/kafka.ts';
import { startKafka } from '../../test/kafka/server.ts';
import { mustBind } from '../../test/scaler-contract.ts';
import type { Bench } from '../bench.ts';
import { readMany } from './many-triggers.ts';

const groups = 1000;
const topics = 100;
const partitions = 10;
const mostBytes = 200 * 1024 * 1024;

/** A thousand groups on a hundred topics of one broker. */
export const kafkaBench: Bench = {
  name: 'kafka',
  async run() {
    await using broker = await startKafka();
    const names = Array.from({ length: topics }, (_, index) => `topic-${index}`);
    const groupsOf = (topic: number) =>
      Array.from({ length: groups / topics }, (_, index) => `group-${topic}-${index}`);
    await broker.tool('create', names.join(','), partitions);
    for (const [index, topic] of names.entries()) {
      await broker.tool('produce', topic, 3, 7, 'a message');
      const none = Array.from({ length: partitions }, (_, partition) => `${partition}=0`);
      await broker.tool('commit', groupsOf(index).join(','), topic, ...none);
    }
    const triggers = names.flatMap((topic, index) =>
      groupsOf(index).map(consumerGroup =>
        mustBind(kafka as AnyScaler, {
          params: { bootstrapServers: broker.address.plaintext, topic, consumerGroup },
        }),
      ),
    );
    const before = sockets();
    const { firstMs, passMs, values, seen } = await readMany(triggers, async () => sockets() - before);
    const bytes = process.memoryUsage.rss();
    const wrong = values.filter(value => value !== 7);
    if (wrong.length > 0) throw new Error(`${wrong.length} triggers read wrongly: ${wrong[0]}`);
    const times = `${passMs.toFixed(0)} ms a pass, ${firstMs.toFixed(0)} ms the first`;
    const mib = (bytes / 1024 / 1024).toFixed(0);
    return [
      {
        what: `${groups} groups on ${topics} topics with ${partitions} partitions each`,
        measured: `${times}, connections: ${seen}, ${mib} MiB`,
        wanted: '< 2000 ms, at most 3 connections, < 200 MiB',
        ok: passMs < 2000 && firstMs < 2000 && seen <= 3 && bytes < mostBytes,
      },
    ];
  },
};

const sockets = () => process.getActiveResourcesInfo().filter(kind => kind === 'TCPSocketWrap').length;
