import type { KubeObject, Resource } from './objects.ts';

/** Where one object is. */
export interface ObjectName {
  /** Left out for kinds without namespaces. */
  namespace?: string;
  name: string;
}

/**
 * How much a request matters while more are waiting than may be under way: the first goes first. Reads have
 * lanes of their own, so that no write waits behind a list.
 */
export type Urgency = 'lease' | 'scale' | 'job' | 'autoscaler' | 'object' | 'status' | 'event';

export interface Write {
  urgency: Urgency;
  signal: AbortSignal;
}

/** How a patch is to be understood. `apply` is server-side apply, with us as the field manager. */
export type PatchType = 'merge' | 'json' | 'apply';

export interface ListQuery {
  /** All namespaces unless given. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Only metadata: the items have nothing else. */
  metadataOnly?: boolean;
  signal: AbortSignal;
}

export interface ListAnswer<T> {
  items: T[];
  resourceVersion: string;
}

export interface WatchQuery extends ListQuery {
  resourceVersion: string;
}

/** One line of a watch. The status of an `ERROR` is thrown as a Fault instead. */
export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  | { type: 'BOOKMARK'; resourceVersion: string };

export interface RawRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With its query, such as `/apis/metrics.k8s.io/v1beta1/pods?limit=5`. */
  path: string;
  body?: unknown;
  contentType?: string;
  accept?: string;
  /** Left out for reads. */
  urgency?: Urgency;
  signal: AbortSignal;
}

/**
 * Talks to one API server. Every call has a deadline of its own besides the given signal, honours 429 and
 * Retry-After, and throws Faults: KUBE_NOT_FOUND, KUBE_CONFLICT, KUBE_EXISTS, KUBE_EXPIRED (410), KUBE_INVALID
 * (400 and 422), KUBE_REFUSED (401 and 403), KUBE_UNREACHABLE (no answer, or none in time) and KUBE_FAILED.
 */
export interface KubeClient extends AsyncDisposable {
  /** Where the API server is, for people. */
  readonly server: string;
  /** @returns undefined where there is no such object */
  get<T extends KubeObject>(
    resource: Resource,
    at: ObjectName,
    options: { signal: AbortSignal; subresource?: string },
  ): Promise<T | undefined>;
  /** All objects, page by page. */
  list<T extends KubeObject>(resource: Resource, query: ListQuery): Promise<ListAnswer<T>>;
  /** Ends when the server ends it, and throws when the connection breaks or nothing has come for too long. */
  watch<T extends KubeObject>(resource: Resource, query: WatchQuery): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(
    resource: Resource,
    object: { metadata: { namespace?: string } },
    write: Write,
  ): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource,
    at: ObjectName,
    patch: unknown,
    write: Write & { type: PatchType; subresource?: string },
  ): Promise<T>;
  /** A PUT: the object's resourceVersion guards against overwriting what somebody else wrote meanwhile. */
  replace<T extends KubeObject>(
    resource: Resource,
    object: T,
    write: Write & { subresource?: string },
  ): Promise<T>;
  /** Does nothing where there is no such object. */
  delete(
    resource: Resource,
    at: ObjectName,
    write: Write & { propagation?: 'Foreground' | 'Background'; uid?: string },
  ): Promise<void>;
  /** For what is not an object: discovery, metrics, reviews. @returns the parsed JSON */
  raw(request: RawRequest): Promise<unknown>;
}
