import { Fault } from '../../base/errors.ts';
import { type CheckpointPlan, checkpointNames } from './azure-event-hub-checkpoints.ts';
import type { RequestContext, StorageClient } from './azure-storage.ts';
import { type Committed, readDone, writeDone } from './partition-window.ts';

/** A checkpoint of ours, as the blob of a partition keeps it. */
export interface DeliveryCheckpoint extends Committed {
  /** The blob. */
  name: string;
  /** Which version of the blob was read or written. */
  etag: string;
  /** The position that today's SDKs would go on from, as Event Hubs wrote it on the last event that is done. */
  position: string | undefined;
}

/** What is to be written. */
export interface CheckpointUpdate extends Committed {
  position: string;
  /** The version that it replaces; undefined where there was none. */
  replaces: Pick<DeliveryCheckpoint, 'name' | 'etag'> | undefined;
}

/** Where a stream begins, in the words of Event Hubs. */
export const beforeAllEvents = '-1';

/** What is done beyond the checkpoint, after the number that it is counted from. */
const doneKey = 'x-ms-meta-eventide';

/**
 * The checkpoint of a partition; undefined where nobody has written one.
 *
 * @throws Fault of the storage; SOURCE_NOT_FOUND without the container; SOURCE_ANSWER_INVALID for a checkpoint that
 *   cannot be understood
 */
export async function readDeliveryCheckpoint(
  storage: StorageClient,
  { plan, partition }: { plan: CheckpointPlan; partition: string },
  at: RequestContext,
): Promise<DeliveryCheckpoint | undefined> {
  for (const name of checkpointNames(plan, partition)) {
    const path = [plan.container, ...name.split('/')];
    try {
      const { headers } = await storage.send({ method: 'HEAD', path }, at);
      return checkpointOf(headers, name, storage.nameOf(path));
    } catch (thrown) {
      if (!(thrown instanceof Fault) || !/: BlobNotFound\b/.test(thrown.message)) throw thrown;
    }
  }
  return undefined;
}

function checkpointOf(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  name: string,
  what: string,
): DeliveryCheckpoint {
  const text = headers['x-ms-meta-sequencenumber'];
  const sequence = typeof text === 'string' && /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  const { etag } = headers;
  if (!Number.isSafeInteger(sequence) || sequence < -1 || typeof etag !== 'string') {
    throw new Fault('SOURCE_ANSWER_INVALID', `the checkpoint ${what} has no sequencenumber to go on from`);
  }
  const [, base, marks = null] = /^(-?\d+) (.*)$/.exec(String(headers[doneKey] ?? '')) ?? [];
  const position = headers['x-ms-meta-offset'];
  const offset = sequence + 1;
  return {
    name,
    etag,
    offset,
    // Whoever moves the checkpoint by hand may leave what was counted from where it was.
    done: base === String(sequence) ? readDone(offset, marks) : new Set(),
    position: typeof position === 'string' && position !== '' ? position : undefined,
  };
}

/**
 * Writes a checkpoint as today's SDKs do, where nobody else has written it in the meantime.
 *
 * @returns what is there now; undefined where somebody else was first
 * @throws Fault of the storage
 */
export async function writeDeliveryCheckpoint(
  storage: StorageClient,
  { plan, partition, update }: { plan: CheckpointPlan; partition: string; update: CheckpointUpdate },
  at: RequestContext,
): Promise<DeliveryCheckpoint | undefined> {
  const { offset, done, position, replaces } = update;
  const name = replaces?.name ?? checkpointNames(plan, partition)[0] ?? '';
  const sequence = String(offset - 1);
  const marks = writeDone({ offset, done });
  const headers: Record<string, string> = {
    'x-ms-blob-type': 'BlockBlob',
    'x-ms-meta-sequencenumber': sequence,
    'x-ms-meta-offset': position,
  };
  if (marks !== '') headers[doneKey] = `${sequence} ${marks}`;
  if (replaces === undefined) headers['if-none-match'] = '*';
  else headers['if-match'] = replaces.etag;
  const path = [plan.container, ...name.split('/')];
  try {
    const { headers: said } = await storage.send({ method: 'PUT', path, headers }, at);
    const { etag } = said;
    if (typeof etag === 'string') return { name, etag, offset, done, position };
    throw new Fault('SOURCE_ANSWER_INVALID', `${storage.nameOf(path)} was written without an ETag`);
  } catch (thrown) {
    const passed = /: (ConditionNotMet|BlobAlreadyExists)\b/;
    if (thrown instanceof Fault && passed.test(thrown.message)) return undefined;
    throw thrown;
  }
}
