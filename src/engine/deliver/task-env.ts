import { isUtf8 } from 'node:buffer';
import type { BoundRead } from '../../scaler/bind.ts';
import type { DeliverySpec } from '../../spec/workload.ts';
import type { JobRequest } from '../ports.ts';

/** One message as the Job gets it. */
export interface TaskMessage {
  id: string;
  body: Uint8Array;
  /** Epoch milliseconds, where the source says. */
  sentAt: number | undefined;
}

export interface TaskInput {
  messages: readonly TaskMessage[];
  attempt: number;
  trigger: BoundRead;
  queueId: string;
  spec: DeliverySpec;
  /** Epoch milliseconds. */
  claimedAt: number;
}

/** Beyond this a body goes by file: the kernel limits a variable to 128 KiB, and arguments are made from it. */
const largestVariable = 32 * 1024;

/** What a Job is created with to have its messages. */
export type TaskData = Pick<JobRequest, 'env' | 'file'>;

/**
 * The variables, and the file where one is needed, that carry messages to a Job.
 *
 * One message is its body as text. With a batchSize over 1 it is a JSON array, of one element too: a text is a
 * string, a body that is not UTF-8 is `{ "base64": "…" }`; KEDA_TASK_ID is then a JSON array in the same order.
 * KEDA_TASK_TIME is when the (oldest) message was sent, or claimed where the source does not say, as ISO 8601.
 * KEDA_TASK_SOURCE identifies the queue. KEDA_TRIGGER_NAME is the metric's name where the trigger has none.
 */
export function taskData(input: TaskInput): TaskData {
  const { messages, spec, trigger } = input;
  const batch = spec.batchSize > 1;
  const ids = messages.map(message => message.id);
  const sentAt = Math.min(...messages.map(message => message.sentAt ?? input.claimedAt));
  const env = {
    KEDA_TASK_ID: batch ? JSON.stringify(ids) : (ids[0] ?? ''),
    KEDA_TASK_ATTEMPT: String(input.attempt),
    KEDA_TASK_SOURCE: input.queueId,
    KEDA_TASK_TIME: new Date(sentAt).toISOString(),
    KEDA_TRIGGER_NAME: trigger.trigger.name ?? trigger.metricName,
    KEDA_TRIGGER_TYPE: trigger.trigger.type,
  };
  const bodies = messages.map(message => message.body);
  const data = batch ? Buffer.from(JSON.stringify(bodies.map(element))) : (bodies[0] ?? new Uint8Array());
  const obstacle = spec.as === 'file' ? undefined : obstacleOf(data);
  if (spec.as === 'file' || obstacle !== undefined) {
    const because = obstacle === undefined ? {} : { because: obstacle };
    return { env, file: { variable: 'KEDA_TASK_FILE', body: data, ...because } };
  }
  return { env: { ...env, KEDA_TASK_DATA: text(data) } };
}

function obstacleOf(data: Uint8Array): string | undefined {
  if (data.length > largestVariable) return 'it is larger than 32 KiB';
  if (!isUtf8(data)) return 'it is not UTF-8';
  if (data.includes(0)) return 'it has a NUL character, which a variable cannot hold';
  return undefined;
}

function element(body: Uint8Array): string | { base64: string } {
  return isUtf8(body) ? text(body) : { base64: view(body).toString('base64') };
}

function text(body: Uint8Array): string {
  return view(body).toString('utf8');
}

function view(body: Uint8Array): Buffer {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}
