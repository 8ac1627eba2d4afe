import { randomUUID } from 'node:crypto';
import process from 'node:process';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Scaler } from '../src/scaler/define.ts';
import { readDone } from '../src/scaler/families/partition-window.ts';
import kafkaScaler from '../src/scalers/kafka.ts';
import { openDelivery, text, windowedContract } from './delivery-windowed.ts';
import { type Kafka, kafkaInstalled, startKafka } from './kafka/server.ts';
import { faultFrom } from './scaler-contract.ts';

describe.skipIf(!kafkaInstalled)('topics of a real broker', () => {
  const scaler = kafkaScaler as unknown as Scaler;
  let kafka: Kafka;
  let topic: string;
  let consumerGroup: string;

  beforeAll(async () => {
    kafka = await startKafka();
    // The first group of a cluster waits for the topic that offsets are kept in.
    await makeTopic();
    await kafka.tool('commit', consumerGroup, topic, '0=0');
  }, 60_000);

  afterAll(() => kafka[Symbol.asyncDispose]());

  async function makeTopic(): Promise<void> {
    topic = `tasks-${randomUUID().slice(0, 8)}`;
    consumerGroup = `jobs-${randomUUID().slice(0, 8)}`;
    await kafka.tool('create', topic, 2);
  }

  const given = (more: Record<string, string> = {}) => {
    const params = { bootstrapServers: kafka.address.plaintext, topic, consumerGroup };
    return { params: { ...params, offsetResetPolicy: 'earliest', ...more } };
  };
  const opened = (more: Record<string, string> = {}) => openDelivery(scaler, given(more));
  const send = (partition: number, ...texts: string[]) =>
    kafka.tool('produce', topic, partition, 1, ...texts);
  const poison = async () => (await kafka.tool('values', `${topic}-dlt`)).split('\t').filter(Boolean);

  async function committed() {
    const said = await kafka.tool('committed', consumerGroup);
    const all = [
      { offset: 0, done: new Set<number>() },
      { offset: 0, done: new Set<number>() },
    ];
    for (const each of said.split('\t').filter(Boolean)) {
      const [partition, offset, kept = ''] = each.split(' ');
      all[Number(partition)] = { offset: Number(offset), done: readDone(Number(offset), kept) };
    }
    return all;
  }
  const offsets = async () => (await committed()).map(({ offset }) => offset);

  windowedContract({
    scaler,
    empty: makeTopic,
    given,
    send,
    committed,
    setBack: (partition, offset) => kafka.tool('commit', consumerGroup, topic, `${partition}=${offset}`),
    // Of partition 0.
    expire: (_partition, before) => kafka.tool('trim', topic, before),
    poison,
    copiesDeadLetters: true,
  });

  describe('of Kafka alone', () => {
    beforeEach(makeTopic);

    it('begins where it is told to, and keeps to it', async () => {
      await send(0, 'old');
      await using late = await opened({ offsetResetPolicy: 'latest' });

      const before = await late.texts(9);
      await send(0, 'new');

      expect([before, await offsets()]).toEqual([[], [1, 0]]);
      await using other = await opened({ offsetResetPolicy: 'earliest' });
      expect(await other.texts(9)).toEqual(['new']);
    });

    it('begins with the oldest message of a partition that is added', async () => {
      await using queue = await opened({ offsetResetPolicy: 'latest' });
      await queue.claim();

      await kafka.tool('grow', topic, 3);
      await send(2, 'new');

      await expect.poll(() => queue.texts()).toEqual(['new']);
    });

    it('commits again what Kafka has forgotten, and each hour what it has not', async () => {
      await send(0, 'a');
      await using queue = await opened();
      const now = Date.now();
      for (const claim of await queue.claim(9, now)) await queue.acknowledge(claim);

      await kafka.tool('forget', consumerGroup, topic);
      await queue.claim(9, now + 60_000);
      const commits: string[] = [];
      for (const minutes of [2, 50, 62, 63]) {
        await queue.claim(9, now + minutes * 60_000);
        commits.push(await kafka.tool('size', '__consumer_offsets'));
      }

      expect(await offsets()).toEqual([1, 0]);
      const [first, ...later] = commits.map(Number);
      expect(later.map(count => count - (first ?? 0))).toEqual([0, 2, 2]);
    });

    it('begins a topic that was made anew with its oldest message, and takes no old receipt for one of its own', async () => {
      await send(0, 'a', 'b');
      await using queue = await opened();
      const [a, b] = await queue.claim();
      if (a === undefined || b === undefined) throw new Error('there are two');
      await queue.acknowledge(a);
      await kafka.tool('delete', topic);
      await kafka.tool('create', topic, 2);
      await send(0, 'c', 'd');

      // Whoever asks first after the change has to notice it.
      const before = await faultFrom(queue.acknowledge(b));
      const texts = await queue.texts();
      const after = await faultFrom(queue.acknowledge(b));
      await using later = await opened();

      expect([before.code, after.code]).toEqual(['MESSAGE_LOST', 'MESSAGE_LOST']);
      expect(texts).toEqual(['c', 'd']);
      expect(await later.texts()).toEqual(['c', 'd']);
    });

    it('claims nothing while somebody else is in the group', async () => {
      await send(0, 'a');
      await using queue = await opened();
      const [a] = await queue.claim(1);
      if (a === undefined) throw new Error('there is one');
      await kafka.tool('join', consumerGroup, topic, 'classic');

      const faults = [await faultFrom(queue.claim(1)), await faultFrom(queue.acknowledge(a))];
      await kafka.tool('leave', consumerGroup);
      await queue.acknowledge(a);

      for (const fault of faults) {
        expect([fault.code, fault.message]).toEqual([
          'SOURCE_REFUSED',
          expect.stringContaining('for itself'),
        ]);
      }
      expect(await offsets()).toEqual([1, 0]);
    });

    it('sends a dead letter with its key and headers, and where it came from', async () => {
      await kafka.tool('compressed', 'none', topic, 'broken');
      await using queue = await opened();
      const [claim] = await queue.claim(1);
      if (claim === undefined) throw new Error('there is one');

      await queue.deadLetter(claim);

      expect((await kafka.tool('headers', `${topic}-dlt`)).split('\t')).toEqual([
        'trace=7',
        `eventide-original-topic=${topic}`,
        'eventide-original-partition=0',
        'eventide-original-offset=0',
        'eventide-attempts=5',
        'eventide-reason=its job failed',
      ]);
      expect(await offsets()).toEqual([1, 0]);
    });

    const many = Array.from({ length: 500 }, (_, n) => `message ${n % 7} of the many, ${n}`);

    it.each(['none', 'gzip', 'snappy', 'lz4'])('reads what producers compress with %s', async codec => {
      await kafka.tool('compressed', codec, topic, ...many);
      await using queue = await opened();

      expect(await queue.texts(1000)).toEqual([...many].sort());
    });

    it('reads what producers compress with zstd where Node can, and says so where it cannot', async () => {
      await kafka.tool('compressed', 'zstd', topic, 'a');
      await using queue = await opened();
      const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

      const outcome = await queue.texts(9).catch((thrown: unknown) => thrown);

      const can = major > 22 || (major === 22 && minor >= 15);
      if (can) expect(outcome).toEqual(['a']);
      else expect(outcome).toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('zstd') });
    });

    it('leaves out what a transaction has given up, and its marks', async () => {
      await kafka.tool('transact', `${topic}-1`, 'commit', topic, 'kept one', 'kept two');
      await kafka.tool('transact', `${topic}-2`, 'abort', topic, 'given up');
      await kafka.tool('transact', `${topic}-2`, 'commit', topic, 'kept three');
      await using queue = await opened();

      const claims = await queue.claim(9);
      for (const claim of claims) await queue.acknowledge(claim);

      expect(claims.map(text)).toEqual(['kept one', 'kept two', 'kept three']);
      expect(await offsets()).toEqual([7, 0]);
    });

    it('needs to know the topic', async () => {
      await using queue = await opened({ topic: '' });

      expect(await faultFrom(queue.claim(1))).toMatchObject({ code: 'NOT_SUPPORTED' });
    });
  });
});
