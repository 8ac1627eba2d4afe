import { describe, expect, it } from 'vitest';
import { loadScaler } from '../src/scalers/index.gen.ts';
import { type Given, mustBind } from './scaler-contract.ts';

const redis = { address: 'redis:6379' };
const kafka = { bootstrapServers: 'kafka:9092', consumerGroup: 'workers', topic: 'orders' };
const external = { scalerAddress: 'scaler:6000' };

const pairs: [string, Given, string, Given][] = [
  ['redis', { params: { ...redis, listName: 'a' } }, 'redis-streams', { params: { ...redis, stream: 'b' } }],
  ['kafka', { params: kafka }, 'apache-kafka', { params: kafka }],
  ['external', { params: external }, 'external-push', { params: external }],
];

describe('types of one family', () => {
  it.each(pairs)(
    'share a connection, and no reading: %s %o and %s %o',
    async (one, oneIs, other, otherIs) => {
      const bound = await bind(one, oneIs);
      const beside = await bind(other, otherIs);

      expect(beside.connectionKey).toBe(bound.connectionKey);
      if (bound.readingKey !== undefined) expect(beside.readingKey).not.toBe(bound.readingKey);
    },
  );
});

async function bind(type: string, given: Given) {
  const scaler = await loadScaler(type);
  if (scaler === undefined) throw new Error(`there is no ${type}`);
  return mustBind(scaler, given);
}
