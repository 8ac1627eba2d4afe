import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { KubeClient } from './client.ts';
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
  /** Whether the first list is in. */
  readonly synced: boolean;
  /** Ends when the first list is in. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** When the server last said anything, bookmarks included, on the monotonic clock; undefined before. */
  readonly heardAt: number | undefined;
}
