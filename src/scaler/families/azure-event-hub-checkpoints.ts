import { Fault } from '../../base/errors.ts';
import type { RequestContext, StorageClient } from './azure-storage.ts';
import { childrenOf, parseStorageXml, textOf } from './azure-storage-xml.ts';

/** Where the consumers of a group keep how far they are. */
export interface CheckpointPlan {
  strategy: 'goSdk' | 'dapr' | 'blobMetadata' | 'azureFunction' | 'legacy';
  container: string;
  namespace: string;
  hub: string;
  group: string;
}

/** The container that Azure Functions always use. */
const functionsContainer = 'azure-webjobs-eventhub';

/** KEDA's choice: a strategy that it does not know is the legacy one, or that of Functions without a container. */
export function checkpointPlan(
  strategy: string | undefined,
  container: string | undefined,
  place: { namespace: string; hub: string; group: string },
): CheckpointPlan {
  const { namespace, hub, group } = place;
  const of = (chosen: CheckpointPlan['strategy'], at: string): CheckpointPlan => ({
    strategy: chosen,
    container: at,
    namespace,
    hub,
    group,
  });
  switch (strategy) {
    case 'goSdk':
    case 'dapr':
    case 'blobMetadata':
      return of(strategy, container ?? '');
    default:
      return strategy === 'azureFunction' || container === undefined
        ? of('azureFunction', functionsContainer)
        : of('legacy', container);
  }
}

/**
 * The names that a partition's checkpoint may have in the container, the likeliest first. Today's SDKs write theirs in
 * lower case; KEDA looks for a hub and namespace as they are written in the manifest.
 */
export function checkpointNames(plan: CheckpointPlan, partition: string): readonly string[] {
  const { strategy, namespace, hub, group } = plan;
  switch (strategy) {
    case 'goSdk':
      return [partition];
    case 'dapr':
      return [`dapr-${hub}-${group}-${partition}`];
    case 'blobMetadata': {
      const name = `${namespace}/${hub}/${group.toLowerCase()}/checkpoint/${partition}`;
      const lower = name.toLowerCase();
      return name === lower ? [name] : [lower, name];
    }
    case 'azureFunction':
      return [`${namespace}/${hub}/${group}/${partition}`];
    case 'legacy':
      return [`${group}/${partition}`];
  }
}

/** No checkpoint comes near. */
const mostBytes = 64 * 1024;

/** From so many partitions on, one list is cheaper than asking for each of them. */
const worthAList = 4;
/** 2,000 blobs, each with a name of 1,024 characters and some metadata. */
const listBytes = 8 * 1024 * 1024;

/**
 * The numbers of the last events that were processed, in the order of the partitions; undefined where nobody has
 * written a checkpoint yet.
 *
 * @throws as `readCheckpoint` does
 */
export async function readCheckpoints(
  storage: StorageClient,
  { plan, partitions }: { plan: CheckpointPlan; partitions: readonly string[] },
  context: RequestContext,
): Promise<(bigint | undefined)[]> {
  const inMetadata = plan.strategy === 'blobMetadata';
  const list =
    inMetadata && partitions.length >= worthAList ? await listed(storage, plan, context) : undefined;
  return await Promise.all(
    partitions.map(partition => {
      const names = checkpointNames(plan, partition);
      const [name = ''] = names;
      if (list?.has(name)) return ofMetadata(list.get(name), storage.nameOf([plan.container, name]));
      const knownMissing = list !== undefined && names.length === 1;
      return knownMissing ? undefined : readCheckpoint(storage, { plan, partition }, context);
    }),
  );
}

/**
 * The sequence numbers in the metadata of all checkpoints, by name, undefined for one that lacks it; undefined where we
 * may not list them.
 */
async function listed(
  storage: StorageClient,
  plan: CheckpointPlan,
  context: RequestContext,
): Promise<ReadonlyMap<string, string | undefined> | undefined> {
  const path = [plan.container];
  const [prefix = ''] = checkpointNames(plan, '');
  const query = { restype: 'container', comp: 'list', include: 'metadata', prefix };
  let body: Buffer;
  try {
    ({ body } = await storage.send({ method: 'GET', path, query, maxBytes: listBytes }, context));
  } catch (thrown) {
    // A signature may allow reading and not listing; a container that is missing is found out there, too.
    if (thrown instanceof Fault && /^SOURCE_(REFUSED|NOT_FOUND)$/.test(thrown.code)) return undefined;
    throw thrown;
  }
  const list = parseStorageXml(body, 'EnumerationResults', storage.nameOf(path));
  const found = new Map<string, string | undefined>();
  for (const blob of childrenOf(childrenOf(list, 'Blobs')[0], 'Blob')) {
    const [metadata] = childrenOf(blob, 'Metadata');
    const key = Object.keys(metadata ?? {}).find(each => each.toLowerCase() === 'sequencenumber');
    found.set(textOf(blob, 'Name') ?? '', key === undefined ? undefined : textOf(metadata, key));
  }
  // More than a page has other things below the same name; what is asked for one by one is found all the same.
  return textOf(list, 'NextMarker') ? undefined : found;
}

/**
 * The number of the last event that was processed; undefined where nobody has written a checkpoint yet.
 *
 * @throws Fault of the storage; SOURCE_ANSWER_INVALID for a checkpoint that cannot be understood
 */
async function readCheckpoint(
  storage: StorageClient,
  { plan, partition }: { plan: CheckpointPlan; partition: string },
  context: RequestContext,
): Promise<bigint | undefined> {
  for (const name of checkpointNames(plan, partition)) {
    const sequence = await readNamed(storage, { plan, name }, context);
    if (sequence !== undefined) return sequence;
  }
  return undefined;
}

async function readNamed(
  storage: StorageClient,
  { plan, name }: { plan: CheckpointPlan; name: string },
  context: RequestContext,
): Promise<bigint | undefined> {
  const path = [plan.container, ...name.split('/')];
  const metadata = plan.strategy === 'blobMetadata';
  try {
    const method = metadata ? 'HEAD' : 'GET';
    const { headers, body } = await storage.send({ method, path, maxBytes: mostBytes }, context);
    const what = storage.nameOf(path);
    return metadata ? ofMetadata(headers['x-ms-meta-sequencenumber'], what) : ofBody(body, plan, what);
  } catch (thrown) {
    // Another 404 is no word about checkpoints: of a proxy, say, or of an account that is gone.
    const none = /: (BlobNotFound|ContainerNotFound)\b/;
    if (thrown instanceof Fault && thrown.code === 'SOURCE_NOT_FOUND' && none.test(thrown.message))
      return undefined;
    throw thrown;
  }
}

function ofMetadata(value: unknown, name: string): bigint {
  if (typeof value !== 'string') throw strange(name, 'has no sequencenumber in its metadata');
  if (!/^[+-]?\d+$/.test(value)) throw strange(name, 'has a sequencenumber that is not a number');
  return inRange(BigInt(value.replace(/^\+/, '')), name);
}

function ofBody(body: Buffer, { strategy }: CheckpointPlan, name: string): bigint {
  const document = parse(body, name);
  switch (strategy) {
    case 'goSdk':
    case 'dapr': {
      const checkpoint = entry(document, 'checkpoint', name);
      return checkpoint === undefined ? 0n : sequenceOf(checkpoint, 'sequencenumber', name);
    }
    case 'legacy': {
      const number = sequenceOf(document, 'sequencenumber', name);
      // An older SDK for Python spells it so.
      return number === 0n ? sequenceOf(document, 'sequence_number', name) : number;
    }
    default:
      return sequenceOf(document, 'sequencenumber', name);
  }
}

/** JSON whose whole numbers stay exact: each becomes a bigint. */
function parse(body: Buffer, name: string): unknown {
  const text = body.toString('utf8').replace(/^\uFEFF/, '');
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, token =>
    /^-?\d+$/.test(token) ? `{"int":"${token}"}` : token,
  );
  try {
    JSON.parse(text);
    return JSON.parse(marked, (_, value) => (isMarked(value) ? BigInt(value.int) : value));
  } catch (cause) {
    throw new Fault('SOURCE_ANSWER_INVALID', `${name} is not JSON`, { cause });
  }
}

const isMarked = (value: unknown): value is { int: string } =>
  typeof value === 'object' && value !== null && 'int' in value && /^-?\d+$/.test(String(value.int));

/** A member by its name in whatever case; undefined where there is none, or null. */
function entry(document: unknown, key: string, name: string): unknown {
  if (document === null) return undefined;
  if (typeof document !== 'object' || Array.isArray(document)) throw strange(name, 'is not a JSON object');
  const found = Object.entries(document).filter(([each]) => each.toLowerCase() === key);
  return found.at(-1)?.[1] ?? undefined;
}

function sequenceOf(document: unknown, key: string, name: string): bigint {
  const value = entry(document, key, name) ?? 0n;
  if (typeof value !== 'bigint') throw strange(name, `has a ${key} that is not a whole number`);
  return inRange(value, name);
}

function inRange(value: bigint, name: string): bigint {
  if (BigInt.asIntN(64, value) !== value) throw strange(name, 'has a sequence number that is too large');
  return value;
}

const strange = (name: string, what: string) =>
  new Fault('SOURCE_ANSWER_INVALID', `the checkpoint ${name} ${what}`);
