import { isUtf8 } from 'node:buffer';
import type { DeadMessage } from '../delivery.ts';
import { bodyBytes, plainValue } from './azure-amqp-body.ts';
import type { AmqpMessage } from './azure-amqp-frames.ts';
import { fieldOf } from './azure-amqp-types.ts';
import { type CheckpointPlan, checkpointNames } from './azure-event-hub-checkpoints.ts';
import type { RequestContext, StorageClient } from './azure-storage.ts';

/** Places in the list of a message's standard properties. */
const standard = { messageId: 0, subject: 3, correlationId: 5, contentType: 6 } as const;

/**
 * Keeps an event that cannot be processed beside the checkpoints, as a JSON document. The name is the event's own, so
 * keeping it twice leaves one.
 *
 * @param event as Event Hubs still has it; undefined where only the body is known
 * @throws Fault of the storage
 */
export async function keepPoison(
  storage: StorageClient,
  { plan, message, event }: { plan: CheckpointPlan; message: DeadMessage; event: AmqpMessage | undefined },
  at: RequestContext,
): Promise<void> {
  const [checkpoint = ''] = checkpointNames(plan, '');
  const group = checkpoint.replace(/\/checkpoint\/$/, '');
  const path = [plan.container, ...`${group}/poison/${message.messageId}`.split('/')];
  const headers = { 'x-ms-blob-type': 'BlockBlob', 'content-type': 'application/json' };
  const document = {
    event: message.messageId,
    attempts: message.attempts,
    reason: message.why,
    ...(event === undefined ? {} : described(event)),
    ...bodyOf(event === undefined ? (message.body ?? Buffer.alloc(0)) : bodyBytes(event.body)),
  };
  const body = `${JSON.stringify(document, null, 2)}\n`;
  await storage.send({ method: 'PUT', path, headers, body }, at);
}

function described({ annotations, applicationProperties, properties }: AmqpMessage) {
  const named = Object.entries(standard).map(([name, place]) => [
    name,
    plainValue(fieldOf(properties, place)),
  ]);
  return {
    ...Object.fromEntries(named.filter(([, value]) => value !== null)),
    properties: plainValue(applicationProperties),
    system: plainValue(annotations),
  };
}

function bodyOf(bytes: Uint8Array): { body: string } | { bodyBase64: string } {
  const buffer = Buffer.from(bytes);
  return isUtf8(buffer) ? { body: buffer.toString('utf8') } : { bodyBase64: buffer.toString('base64') };
}
