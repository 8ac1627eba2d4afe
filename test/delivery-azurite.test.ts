import { randomUUID } from 'node:crypto';
import { QueueServiceClient } from '@azure/storage-queue';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { systemClock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import { silentLog } from '../src/base/log.ts';
import { startDelivery } from '../src/engine/deliver/delivery.ts';
import type { DeliverySource } from '../src/engine/deliver/source.ts';
import azureQueue from '../src/scalers/azure-queue.ts';
import { type Azurite, startAzurite } from './azurite.ts';
import { modelWorld, scaledJob } from './delivery-model.ts';
import { mustBind, openContext } from './scaler-contract.ts';

let azurite: Azurite;

beforeAll(async () => {
  azurite = await startAzurite();
});

afterAll(() => azurite.stop());

it('hands every message of a real queue to one Job, across a restart, and the bad one to the poison queue', async () => {
  const queueName = `q-${randomUUID()}`;
  const queue = QueueServiceClient.fromConnectionString(azurite.connectionString).getQueueClient(queueName);
  await queue.create();
  const texts = [...Array.from({ length: 70 }, (_, n) => `task ${n}`), 'bad'];
  for (const text of texts) await queue.sendMessage(text);
  const { signal } = new AbortController();
  const given = { params: { queueName }, auth: { connection: azurite.connectionString } };
  const trigger = mustBind(azureQueue, given);
  const conn = await trigger.scaler.open(trigger.params, openContext(signal));
  const cluster = { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'no cluster here')) };
  const source: DeliverySource = {
    trigger,
    use: (work, limit) => work({ conn, signal: limit, now: Date.now(), namespace: 'shop', cluster }),
  };
  const world = modelWorld(systemClock);
  const delivery = { as: 'env', batchSize: 1, maxAttempts: 1 } as const;
  const workload = scaledJob({ maxReplicaCount: 100, delivery });
  const deps = { world: world.port(), clock: systemClock, log: silentLog };
  const first = startDelivery(workload, [source], deps);
  first.resume([]);

  const created = await first.fill(signal);
  await first[Symbol.asyncDispose]();
  await using second = startDelivery(workload, [source], deps);
  world.onChange = job => second.jobChanged(job);
  second.resume([...world.jobs.values()]);
  for (const { name, request } of world.jobs.values()) {
    world.finish(name, request.env['KEDA_TASK_DATA'] === 'bad' ? 'failed' : 'succeeded');
  }
  await vi.waitFor(() => expect(second.counts().settling).toBe(0), { timeout: 10_000 });

  const poison = QueueServiceClient.fromConnectionString(azurite.connectionString).getQueueClient(
    `${queueName}-poison`,
  );
  const { peekedMessageItems } = await poison.peekMessages();
  expect(created).toBe(71);
  expect([...world.jobs.values()].map(({ request }) => request.env['KEDA_TASK_DATA']).sort()).toEqual(
    texts.sort(),
  );
  expect(peekedMessageItems.map(({ messageText }) => messageText)).toEqual(['bad']);
  expect((await queue.getProperties()).approximateMessagesCount).toBe(0);
  expect(second.counts()).toEqual({ unfinished: 0, waiting: 0, settling: 0, returning: 0 });
  await trigger.scaler.close(conn);
});
