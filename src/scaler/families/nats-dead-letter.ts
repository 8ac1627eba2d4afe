import { Fault } from '../../base/errors.ts';
import type { ReadContext } from '../context.ts';
import type { DeadMessage } from '../delivery.ts';
import type { NatsConnection } from './nats-access.ts';
import { JetStreamFault, jsonOf } from './nats-client.ts';
import type { JetStreamQueue } from './nats-delivery.ts';
import { objectOf } from './nats-monitoring.ts';
import { readHeaders } from './nats-wire.ts';

type Context = ReadContext<NatsConnection>;
type Headers = (readonly [name: string, value: string])[];

interface Dead extends DeadMessage {
  sequence: number;
  /** Epoch milliseconds. */
  storedAt: number;
}

interface Stored {
  subject: string;
  headers: Headers;
  data: Uint8Array;
}

const noMessage = 10_037;

/**
 * Copies a message to where those that cannot be processed go. A message that is gone from its stream, and whose text
 * nobody has, leaves nothing to copy.
 *
 * @throws Fault SOURCE_NOT_FOUND where no stream takes it, PARAM_INVALID where it would go back to where it came from
 */
export async function putDeadLetter(queue: JetStreamQueue, context: Context, dead: Dead): Promise<void> {
  const { deadLetterSubject, stream, consumer } = queue;
  const { body, messageId, attempts, why } = dead;
  const gone = body === undefined ? undefined : { subject: '', headers: [], data: body };
  const message = (await storedMessage(queue, context, dead)) ?? gone;
  if (message === undefined) return;
  const subject = deadLetterSubject ?? `${stream}-poison`;
  const target = await streamOf(queue, context, subject);
  const headers: Headers = [
    ...message.headers,
    ['Eventide-Id', messageId],
    ['Eventide-Subject', message.subject],
    ['Eventide-Attempts', String(attempts)],
    ['Eventide-Why', why],
    // Tried again, it is still one copy.
    ['Nats-Msg-Id', `${stream}/${consumer}/${messageId}`],
    ['Nats-Expected-Stream', target],
  ];
  const what = `dead letters on "${subject}"`;
  const answer = await context.conn.client.request({ subject, headers, data: message.data }, context);
  const ack = answer.status === undefined ? jsonOf(answer.data) : undefined;
  const error = objectOf(ack?.['error']);
  if (error !== undefined) throw new JetStreamFault(error, what);
  if (ack?.['stream'] !== target)
    throw new Fault('SOURCE_FAILED', `${what}: no stream has taken the message`);
}

/** The message as the stream has it; undefined where it has it no more, or another one in its place. */
async function storedMessage(
  { stream }: JetStreamQueue,
  { conn, now, signal }: Context,
  { sequence, storedAt }: Dead,
): Promise<Stored | undefined> {
  const what = `message ${sequence} of stream "${stream}"`;
  try {
    const answer = await conn.client.api(
      `STREAM.MSG.GET.${stream}`,
      { seq: sequence },
      { what, now, signal },
    );
    const { subject, data = '', hdrs = '', time } = objectOf(answer['message']) ?? {};
    if (typeof subject !== 'string' || typeof data !== 'string' || typeof hdrs !== 'string') {
      throw new Fault('SOURCE_ANSWER_INVALID', `${what} came without its text`);
    }
    if (Date.parse(String(time)) !== storedAt) return undefined;
    const { headers } = readHeaders(Buffer.from(hdrs, 'base64').toString('utf8'));
    return {
      subject,
      // What these asked for was done when it was stored the first time.
      headers: headers.filter(([name]) => !/^nats-/i.test(name)),
      data: Buffer.from(data, 'base64'),
    };
  } catch (thrown) {
    if (thrown instanceof JetStreamFault && thrown.errorCode === noMessage) return undefined;
    throw thrown;
  }
}

/** The stream that takes what is sent to a subject. */
async function streamOf(
  { stream, deadLetterSubject }: JetStreamQueue,
  { conn, now, signal }: Context,
  subject: string,
): Promise<string> {
  const what = `dead letters on "${subject}"`;
  const asking = { what, now, signal };
  const { streams } = await conn.client.api('STREAM.NAMES', { subject }, asking);
  const [taker] = Array.isArray(streams) ? streams.filter(name => typeof name === 'string') : [];
  if (taker === stream) {
    throw new Fault('PARAM_INVALID', `${what} would go back to stream "${stream}", which takes this subject`);
  }
  if (taker !== undefined) return taker;
  if (deadLetterSubject !== undefined) {
    throw new Fault('SOURCE_NOT_FOUND', `${what}: no stream takes this subject`);
  }
  const info = await conn.client.api(`STREAM.INFO.${stream}`, undefined, asking);
  const { num_replicas: replicas = 1 } = objectOf(info['config']) ?? {};
  const config = { name: subject, subjects: [subject], retention: 'limits', storage: 'file' };
  await conn.client.api(`STREAM.CREATE.${subject}`, { ...config, num_replicas: replicas }, asking);
  return subject;
}
