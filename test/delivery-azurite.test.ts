import { randomUUID } from 'node:crypto';
import { type QueueClient, QueueServiceClient } from '@azure/storage-queue';
import { afterAll, beforeAll, describe } from 'vitest';
import type { Scaler } from '../src/scaler/define.ts';
import azureQueue from '../src/scalers/azure-queue.ts';
import { type Azurite, startAzurite } from './azurite.ts';
import { deliveryContract } from './delivery-contract.ts';

describe('messages of a queue of Azure Storage', () => {
  let azurite: Azurite;
  let queue: QueueClient;
  const named = (name: string) =>
    QueueServiceClient.fromConnectionString(azurite.connectionString).getQueueClient(name);

  beforeAll(async () => {
    azurite = await startAzurite();
  });

  afterAll(() => azurite.stop());

  deliveryContract({
    scaler: azureQueue as unknown as Scaler,
    async empty() {
      queue = named(`q-${randomUUID()}`);
      await queue.create();
    },
    given: () => ({
      params: { queueName: queue.name },
      auth: { connection: azurite.connectionString },
    }),
    send: text => queue.sendMessage(text),
    pass: async () => azurite.showMessages(queue.name),
    left: async () => (await queue.getProperties()).approximateMessagesCount ?? Number.NaN,
    async poison() {
      const poison = named(`${queue.name}-poison`);
      if (!(await poison.exists())) return [];
      const { peekedMessageItems } = await poison.peekMessages({ numberOfMessages: 32 });
      return peekedMessageItems.map(({ messageText }) => messageText);
    },
    copiesDeadLetters: true,
    forgets: true,
  });
});
