import { type Clock, sleep } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Backoff, backoffMs } from '../base/retry.ts';
import type { KubeClient, WatchEvent } from './client.ts';
import { gate } from './gate.ts';
import type { KubeObject, Resource } from './objects.ts';

export interface ReflectOptions<T extends KubeObject, K> {
  client: KubeClient;
  clock: Clock;
  log: Log;
  resource: Resource;
  /** All namespaces unless given. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Ask for metadata only; `keep` then sees objects that have nothing else. */
  metadataOnly?: boolean;
  /** What is kept of an object; undefined keeps nothing, as if the object were not there. Called once per version. */
  keep(object: T): K | undefined;
  /** Something kept is new or another version. `before` is what was kept of it until now. */
  onSet?(key: string, kept: K, before: K | undefined): void;
  onDelete?(key: string, before: K): void;
  random?: () => number;
}

/**
 * The objects of one kind as the API server has them, kept up to date by a watch: a list first, then its changes,
 * resumed where it broke off, and a new list where that is not possible any more. What is gone after a new list is
 * deleted, and what is there is exactly what the list says.
 */
export interface Reflector<K> extends AsyncDisposable {
  /** By `namespace/name`, or `name` for kinds without namespaces. */
  get(key: string): K | undefined;
  readonly all: ReadonlyMap<string, K>;
  /**
   * Takes in what a request of the caller's own answered, so that it counts before the watch tells of it: a
   * version, unless a newer one is known, or that there is no such object. No handler is called. Also for an
   * object that `keep` did not want when the watch told of it.
   */
  put(key: string, answer: { version: string; kept: K } | undefined): void;
  /** Whether the first list is in. */
  readonly synced: boolean;
  /** Ends when the first list is in. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** When the server last said anything, bookmarks included, on the monotonic clock; undefined before. */
  readonly heardAt: number | undefined;
}

/** A server that comes back is noticed within seconds; a dozen reflectors asking so often are no load. */
const backoff: Backoff = { firstMs: 200, maxMs: 5_000 };

/** A watch that lasted this long without a word was a good one: the server ended it because it was time. */
const goodWatchMs = 30_000;

/** Failures in a row that the server answered with, after which not the moment but the resume point is at fault. */
const refusalsUntilRelist = 3;

const sayAgainMs = 60_000;

/** Begins at once, and goes on until it is disposed of. A handler that throws is logged and changes nothing. */
export function reflect<T extends KubeObject, K>(options: ReflectOptions<T, K>): Reflector<K> {
  const { client, clock, resource, random = Math.random } = options;
  const log = options.log.with({ kind: resource.kind });
  const ending = new AbortController();
  const { signal } = ending;
  const store = storeOf(options, log);
  const synced = gate();
  let heardAt: number | undefined;
  /** Where to resume; undefined when only a new list can tell what is there. */
  let resumeAt: string | undefined;
  let failures = 0;
  let refusals = 0;
  /** When it was last said that we cannot follow. */
  let saidAt: number | undefined;

  const query = {
    signal,
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
    ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
    ...(options.metadataOnly === undefined ? {} : { metadataOnly: options.metadataOnly }),
  };

  const heard = () => {
    heardAt = clock.elapsed();
  };

  /**
   * Lists without a resourceVersion, which means "no older than now". With "0" an API server may answer from a
   * cache that is behind what another one, or itself before a restart, has told us already: the store would go
   * back in time. Since Kubernetes 1.31 the fresh answer comes from the cache as well, once it has caught up
   * with etcd, so it costs no more. And where etcd was restored from a backup, the past is what there is.
   */
  const list = async () => {
    const listed = new Set<string>();
    let version = '';
    for await (const page of client.pages<T>(resource, query)) {
      if (signal.aborted) return;
      heard();
      for (const object of page.items) {
        store.set(object);
        // Also what is not kept: somebody may begin to care for it before the last page.
        listed.add(keyOf(object));
      }
      version = page.resourceVersion;
    }
    store.deleteAllBut(listed, version);
    resumeAt = version;
    synced.open();
  };

  const watch = async (from: string) => {
    const startedAt = clock.elapsed();
    for await (const event of client.watch<T>(resource, { ...query, resourceVersion: from })) {
      // What was read already still comes after the end.
      if (signal.aborted) return;
      heard();
      recovered();
      const version = versionIn(event);
      if (isOlder(version, resumeAt)) {
        store.forgetAhead();
        throw wentBack(resource);
      }
      resumeAt = version;
      if (event.type === 'DELETED') store.delete(keyOf(event.object), version);
      else if (event.type !== 'BOOKMARK') store.set(event.object);
    }
    if (clock.elapsed() - startedAt >= goodWatchMs) recovered();
    else failures += 1;
  };

  const failed = (thrown: unknown) => {
    const fault = faultOf(thrown, 'KUBE_FAILED');
    failures += 1;
    if (fault.code !== 'KUBE_UNREACHABLE') refusals += 1;
    if (fault.code === 'KUBE_EXPIRED' || refusals >= refusalsUntilRelist) {
      resumeAt = undefined;
      refusals = 0;
    }
    // One failure is how an API server restarts.
    const isNews = failures > 1 && (saidAt === undefined || clock.elapsed() - saidAt >= sayAgainMs);
    if (!isNews) return;
    saidAt = clock.elapsed();
    log.warn('cannot follow the cluster', { fault, failures });
  };

  const recovered = () => {
    failures = 0;
    refusals = 0;
    if (saidAt === undefined) return;
    saidAt = undefined;
    log.info('following the cluster again');
  };

  const run = async () => {
    while (!signal.aborted) {
      try {
        if (resumeAt === undefined) await list();
        if (resumeAt !== undefined) await watch(resumeAt);
      } catch (thrown) {
        if (signal.aborted) return;
        failed(thrown);
      }
      if (failures > 0) await sleep(clock, backoffMs(backoff, failures, random), signal).catch(() => {});
    }
  };
  const running = run();

  return {
    get: key => store.kept.get(key),
    all: store.kept,
    put: store.put,
    get synced() {
      return synced.isOpen;
    },
    whenSynced: waiting => synced.passed(waiting),
    get heardAt() {
      return heardAt;
    },
    async [Symbol.asyncDispose]() {
      const stopped = new Fault('CANCELLED', `stopped following ${resource.plural}`);
      ending.abort(stopped);
      synced.close(stopped);
      await running;
    },
  };
}

/** By `namespace/name`, or `name` for kinds without namespaces. */
export function keyOf({ metadata: { namespace, name } }: KubeObject): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function storeOf<T extends KubeObject, K>(options: ReflectOptions<T, K>, log: Log) {
  const kept = new Map<string, K>();
  // Apart from what is kept, which belongs to whoever made it. Nothing is remembered of what was rejected.
  const versions = new Map<string, string>();
  /** Versions that were put, until the watch has come that far. */
  const ahead = new Map<string, string>();
  /** Whether news of this version is older than what was put. */
  const isBehind = (key: string, version: string) => {
    if (isOlder(version, ahead.get(key))) return true;
    ahead.delete(key);
    return false;
  };
  const guarded = (key: string, handler: () => void) => {
    try {
      handler();
    } catch (thrown) {
      log.error('a handler of changes failed', { object: key, fault: faultOf(thrown) });
    }
  };
  const remove = (key: string) => {
    const before = kept.get(key);
    if (before === undefined) return;
    kept.delete(key);
    versions.delete(key);
    guarded(key, () => options.onDelete?.(key, before));
  };
  return {
    kept,
    delete(key: string, version: string) {
      if (!isBehind(key, version)) remove(key);
    },
    put(key: string, answer: { version: string; kept: K } | undefined) {
      if (answer === undefined) {
        kept.delete(key);
        versions.delete(key);
        ahead.delete(key);
      } else if (!isOlder(answer.version, versions.get(key))) {
        kept.set(key, answer.kept);
        versions.set(key, answer.version);
        ahead.set(key, answer.version);
      }
    },
    forgetAhead: () => ahead.clear(),
    set(object: T) {
      const key = keyOf(object);
      const version = object.metadata.resourceVersion;
      // The answer of a request may lack what the object itself has, so the same version counts once more.
      const isNews = ahead.has(key) || versions.get(key) !== version;
      if (!isNews || isBehind(key, version)) return;
      guarded(key, () => {
        const now = options.keep(object);
        if (now === undefined) return remove(key);
        const before = kept.get(key);
        kept.set(key, now);
        versions.set(key, version);
        options.onSet?.(key, now, before);
      });
    },
    /** @param version of the list: what was put since is not in it */
    deleteAllBut(listed: ReadonlySet<string>, version: string) {
      for (const key of kept.keys()) if (!listed.has(key) && !isBehind(key, version)) remove(key);
    },
  };
}

const versionIn = <T extends KubeObject>(event: WatchEvent<T>): string =>
  event.type === 'BOOKMARK' ? event.resourceVersion : event.object.metadata.resourceVersion;

/** Versions of one kind are decimal numbers that only grow; others are not compared. */
function isOlder(version: string, known: string | undefined): boolean {
  if (known === undefined || version === known) return false;
  const less = version.length === known.length ? version < known : version.length < known.length;
  return less && /^\d+$/.test(version) && /^\d+$/.test(known);
}

/**
 * After etcd was restored from a backup the server tells of no change until it is past the version that we know;
 * only its bookmarks show it. One of several API servers that is merely behind costs a list.
 */
const wentBack = ({ plural }: Resource) =>
  new Fault('KUBE_EXPIRED', `the API server's ${plural} are older than they were`);
