import { fingerprint } from '../../base/secret.ts';

/** Kubernetes lets a Job's name be copied into a label, which holds 63 characters. */
const longestName = 63;

/** What a message is filed under: its source, queue and id. The same at every delivery. */
export function messageKey(triggerType: string, queueId: string, messageId: string): string {
  return JSON.stringify([triggerType, queueId, messageId]);
}

/**
 * What the name of a Job is made from: 16 hex digits over source, queue and the ids of its messages, in
 * whatever order they came.
 */
export function taskHash(triggerType: string, queueId: string, messageIds: readonly string[]): string {
  return fingerprint(JSON.stringify([triggerType, queueId, ...messageIds.toSorted()]));
}

/**
 * `<scaledjob>-<hash>-<attempt>`: a DNS-1123 label of at most 63 characters. A ScaledJob's name that is too
 * long, or has dots, is shortened and made distinct by a hash of its own.
 */
export function jobName(scaledJob: string, hash: string, attempt: number): string {
  const tail = `-${hash}-${attempt}`;
  const room = longestName - tail.length;
  const plain = scaledJob.replaceAll(/[^a-z0-9-]/g, '-');
  if (plain === scaledJob && plain.length <= room) return plain + tail;
  const mark = `-${fingerprint(scaledJob).slice(0, 8)}`;
  return plain.slice(0, room - mark.length).replace(/-+$/, '') + mark + tail;
}
