import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Call, caller, json, refusalOf } from './call.ts';
import { connection } from './connection.ts';
import type { KubeConfig } from './kubeconfig.ts';
import { silenceGuard } from './limits.ts';
import type { KubeObject, ObjectMeta, Resource } from './objects.ts';
import { listSearch, nameOf, objectPath, type Place, withKind } from './paths.ts';
import type { Status } from './status-fault.ts';
import { lineSplitter, watchEventOf } from './watch-stream.ts';

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
    options: { signal: AbortSignal; subresource?: string; urgency?: 'lease' },
  ): Promise<T | undefined>;
  /** All objects as they are at one moment. Items of built-in kinds come without `apiVersion` and `kind`. */
  list<T extends KubeObject>(resource: Resource, query: ListQuery): Promise<ListAnswer<T>>;
  /**
   * The same page by page, so that a long list is never whole in memory.
   *
   * @throws Fault KUBE_EXPIRED where the server forgot that moment between two pages: begin anew
   */
  pages<T extends KubeObject>(resource: Resource, query: ListQuery): AsyncIterable<ListAnswer<T>>;
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

/** Who owns the fields that we apply, as `managedFields` names it. */
const fieldManager = 'eventide';

const callDeadlineMs = 30_000;
/**
 * A read that was sent while etcd was away may get no answer though others do since it is back: whoever reads asks
 * again, so it is given up early.
 */
const readDeadlineMs = 10_000;
/** Of one page. */
const listDeadlineMs = 20_000;
const pageSize = 500;
const shortestWatchSeconds = 300;

const metadataList = `${json};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,${json}`;
const metadataWatch = `${json};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,${json}`;

const patchTypes: Record<PatchType, string> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
};

interface ListBody<T> {
  items: T[] | null;
  metadata: { resourceVersion: string; continue?: string };
}

type WriteRequest = Pick<Call, 'contentType' | 'urgency' | 'signal' | 'doing' | 'missing'> & {
  place: Place;
  body: unknown;
  search?: string;
};

export interface KubeClientOptions {
  clock: Clock;
  log: Log;
  /** `eventide` unless told. */
  userAgent?: string;
  random?: () => number;
}

/** Opens nothing yet; connections are made by the first request. */
export function kubeClient(config: KubeConfig, options: KubeClientOptions): KubeClient {
  const { clock, log, random = Math.random } = options;
  const line = connection(config, { clock, log, userAgent: options.userAgent ?? 'eventide' });
  const ask = caller({ line, clock, log });
  const base = new URL(config.server).pathname.replace(/\/$/, '');
  const pathOf = (resource: Resource, place: Place) => base + objectPath(resource, place);

  async function* pages<T extends KubeObject>(
    resource: Resource,
    query: ListQuery & { limit?: number | undefined },
  ): AsyncGenerator<ListAnswer<T>> {
    const doing = `list ${resource.kind}`;
    let next = '';
    do {
      const answer = await ask({
        method: 'GET',
        path: `${pathOf(resource, query)}?${listSearch(query, { limit: query.limit ?? pageSize, continue: next })}`,
        accept: query.metadataOnly ? metadataList : json,
        deadlineMs: listDeadlineMs,
        signal: query.signal,
        doing,
      });
      const { items, metadata } = answer as ListBody<T>;
      yield { items: items ?? [], resourceVersion: metadata.resourceVersion };
      next = metadata.continue ?? '';
    } while (next !== '');
  }

  async function* watch<T extends KubeObject>(
    resource: Resource,
    query: WatchQuery,
  ): AsyncGenerator<WatchEvent<T>> {
    const doing = `watch ${resource.kind}`;
    const search = listSearch(query, {
      watch: 1,
      allowWatchBookmarks: true,
      resourceVersion: query.resourceVersion,
      // Spread, so that watches that began together do not all begin anew together.
      timeoutSeconds: Math.round(shortestWatchSeconds * (1 + random())),
    });
    using silence = silenceGuard(clock, { signal: query.signal, doing });
    try {
      const response = await line.send({
        method: 'GET',
        path: `${pathOf(resource, query)}?${search}`,
        accept: query.metadataOnly ? metadataWatch : json,
        purpose: 'watch',
        signal: silence.signal,
      });
      if (response.statusCode !== 200) {
        throw refusalOf(response, await response.body.text(), { line, doing }).fault;
      }
      const lines = lineSplitter();
      for await (const chunk of response.body as AsyncIterable<Buffer>) {
        silence.heard();
        for (const text of lines.push(chunk)) {
          const event = watchEventOf<T>(text, doing);
          if (event !== undefined) yield event;
        }
      }
    } catch (thrown) {
      throw line.faultOf(thrown, silence.signal);
    }
  }

  const write = (
    method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    resource: Resource,
    { place, body, contentType = json, search, ...rest }: WriteRequest,
  ) =>
    ask({
      method,
      path: `${pathOf(resource, place)}${search === undefined ? '' : `?${search}`}`,
      body: JSON.stringify(body),
      contentType,
      deadlineMs: callDeadlineMs,
      ...rest,
    });

  return {
    server: config.server,
    async get<T extends KubeObject>(
      resource: Resource,
      at: ObjectName,
      { signal, subresource, urgency }: { signal: AbortSignal; subresource?: string; urgency?: 'lease' },
    ) {
      const doing = `get ${nameOf(resource, at)}`;
      const path = pathOf(resource, { ...at, subresource });
      const missing = (status: Status | undefined) => Boolean(status?.details?.name);
      return (await ask({
        method: 'GET',
        path,
        deadlineMs: readDeadlineMs,
        urgency,
        signal,
        doing,
        missing,
      })) as T | undefined;
    },
    pages,
    async list<T extends KubeObject>(resource: Resource, query: ListQuery) {
      try {
        return await gather(pages<T>(resource, query));
      } catch (thrown) {
        if (!(thrown instanceof Fault && thrown.code === 'KUBE_EXPIRED')) throw thrown;
        // The server compacts faster than we read pages: all at once then.
        return await gather(pages<T>(resource, { ...query, limit: 0 }));
      }
    },
    watch,
    async create<T extends KubeObject>(
      resource: Resource,
      object: { metadata: { namespace?: string } },
      { urgency, signal }: Write,
    ) {
      const { namespace, name = 'a new one' } = object.metadata as Partial<ObjectMeta>;
      return (await write('POST', resource, {
        place: { namespace },
        body: withKind(resource, object),
        search: `fieldManager=${fieldManager}`,
        urgency,
        signal,
        doing: `create ${nameOf(resource, { namespace, name })}`,
      })) as T;
    },
    async patch<T extends KubeObject>(
      resource: Resource,
      at: ObjectName,
      patch: unknown,
      { type, subresource, urgency, signal }: Write & { type: PatchType; subresource?: string },
    ) {
      return (await write('PATCH', resource, {
        place: { ...at, subresource },
        body: type === 'apply' && subresource !== 'scale' ? withKind(resource, patch) : patch,
        contentType: patchTypes[type],
        search: `fieldManager=${fieldManager}${type === 'apply' ? '&force=true' : ''}`,
        urgency,
        signal,
        doing: `patch ${nameOf(resource, at, subresource)}`,
      })) as T;
    },
    async replace<T extends KubeObject>(
      resource: Resource,
      object: T,
      { subresource, urgency, signal }: Write & { subresource?: string },
    ) {
      const { namespace, name } = object.metadata;
      return (await write('PUT', resource, {
        place: { namespace, name, subresource },
        body: withKind(resource, object),
        search: `fieldManager=${fieldManager}`,
        urgency,
        signal,
        doing: `replace ${nameOf(resource, { namespace, name }, subresource)}`,
      })) as T;
    },
    async delete(resource, at, { propagation, uid, urgency, signal }) {
      const deleteOptions = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        propagationPolicy: propagation,
        preconditions: uid === undefined ? undefined : { uid },
      };
      try {
        await write('DELETE', resource, {
          place: at,
          body: deleteOptions,
          urgency,
          signal,
          doing: `delete ${nameOf(resource, at)}`,
          missing: () => true,
        });
      } catch (thrown) {
        // The object with that uid is gone; the one with its name is another.
        if (uid !== undefined && thrown instanceof Fault && thrown.code === 'KUBE_CONFLICT') return;
        throw thrown;
      }
    },
    raw: ({ method, path, body, contentType, accept, urgency, signal }) =>
      ask({
        method,
        path: base + path,
        body: body === undefined ? undefined : JSON.stringify(body),
        contentType: body === undefined ? undefined : (contentType ?? json),
        accept,
        urgency,
        deadlineMs: callDeadlineMs,
        signal,
        doing: `${method === 'GET' ? 'read' : method} ${path.replace(/\?.*/, '')}`,
      }),
    [Symbol.asyncDispose]: () => line[Symbol.asyncDispose](),
  };
}

async function gather<T>(pages: AsyncIterable<ListAnswer<T>>): Promise<ListAnswer<T>> {
  const items: T[] = [];
  let resourceVersion = '';
  for await (const page of pages) {
    for (const item of page.items) items.push(item);
    resourceVersion = page.resourceVersion;
  }
  return { items, resourceVersion };
}
