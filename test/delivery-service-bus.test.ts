import { afterAll, beforeAll, describe } from 'vitest';
import type { Scaler } from '../src/scaler/define.ts';
import serviceBus from '../src/scalers/azure-servicebus.ts';
import { deliveryContract } from './delivery-contract.ts';
import { type ServiceBus, type StubEntity, startServiceBus } from './service-bus.ts';

describe.each(['queue', 'subscription'])('messages of a %s of Service Bus', kind => {
  let bus: ServiceBus;
  let entity: StubEntity;

  beforeAll(async () => {
    bus = await startServiceBus();
  });

  afterAll(() => bus[Symbol.asyncDispose]());

  deliveryContract({
    scaler: serviceBus as unknown as Scaler,
    given: () => ({
      params: kind === 'queue' ? { queueName: 'tasks' } : { topicName: 'tasks', subscriptionName: 'jobs' },
      auth: { connection: bus.connectionString() },
    }),
    async empty() {
      entity = kind === 'queue' ? bus.addQueue('tasks') : bus.addSubscription('tasks', 'jobs');
    },
    send: async text => bus.send(entity, text),
    async pass() {
      bus.amqp.expireLocks(entity);
    },
    left: async () => entity.messages.length,
    poison: async () => entity.deadLetters.map(({ body }) => String(body)),
  });
});
