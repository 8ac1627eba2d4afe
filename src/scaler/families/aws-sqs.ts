import type { AwsAccess } from './aws-access.ts';

/** A trigger on one queue. */
export interface SqsQueue {
  access: AwsAccess;
  /** As it was given: its URL or its name, SQS takes both. */
  queueURL: string;
  queueName: string;
  /** The counts that are added up, by their names in SQS. */
  attributes: readonly string[];
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
