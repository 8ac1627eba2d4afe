import type { OpenContext, ReadContext } from '../context.ts';
import type { AwsAccess } from './aws-access.ts';
import { type AwsClient, openAws } from './aws-client.ts';

/** A trigger on one queue. */
export interface SqsQueue {
  access: AwsAccess;
  /** As it was given: its URL or its name, SQS takes both. */
  queueURL: string;
  queueName: string;
  /** The counts that are added up, by their names in SQS. */
  attributes: readonly string[];
}

/** What a sender put beside the text of a message, as SQS gives and takes it. */
export type MessageAttributes = Readonly<Record<string, unknown>>;

/** A message that was received over this connection, with what a copy of it needs beside its text. */
export interface Received {
  attributes: MessageAttributes;
  group: string | undefined;
}

/** SQS, and what is known of messages that were received and not settled, by their ids. */
export interface SqsClient extends AwsClient {
  readonly received: Map<string, Received>;
}

/** Opens nothing yet; connections are made by the first call. */
export function openSqs(access: AwsAccess, context: OpenContext): SqsClient {
  return Object.assign(openAws(access, '1.0', context), { received: new Map<string, Received>() });
}

/** One action on a queue. @throws Fault as `AwsClient.call` does */
export function callSqs(
  { queueName }: Pick<SqsQueue, 'queueName'>,
  { conn, now, signal }: Pick<ReadContext<SqsClient>, 'conn' | 'now' | 'signal'>,
  { action, ...input }: { action: string; maxBytes?: number; input: Readonly<Record<string, unknown>> },
): Promise<Readonly<Record<string, unknown>>> {
  return conn.call({ action: `AmazonSQS.${action}`, ...input, what: `queue "${queueName}"`, now, signal });
}

/**
 * The name of a queue that is given by its URL or by its name; undefined for a URL that is of no queue. As in KEDA
 * whatever is no URL is a name.
 */
export function queueNameOf(queueUrl: string): string | undefined {
  if (!URL.canParse(queueUrl) || !/^[a-z][a-z0-9+.-]*:\//i.test(queueUrl)) {
    return queueUrl.startsWith('/') ? nameIn(queueUrl) : queueUrl;
  }
  return nameIn(new URL(queueUrl).pathname);
}

function nameIn(path: string): string | undefined {
  const [, , name, ...more] = path.split('/');
  return name === '' || more.length > 0 ? undefined : name;
}
