import { type AmqpValue, Described } from './azure-amqp-types.ts';

/** Bytes and texts as they are; what else AMQP knows as JSON. */
export function bodyBytes(body: AmqpValue): Uint8Array {
  if (Buffer.isBuffer(body)) return body;
  if (body === null) return Buffer.alloc(0);
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(plainValue(body)), 'utf8');
}

/** What JSON has for a value: large integers as text, bytes in base64. */
export function plainValue(value: AmqpValue): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (value instanceof Described) return plainValue(value.value);
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, each]) => [String(plainValue(key)), plainValue(each)]));
  }
  return Array.isArray(value) ? value.map(plainValue) : value;
}
