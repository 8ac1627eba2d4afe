import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { parseAllDocuments } from 'yaml';

/** An object of Kubernetes, as tests look at it. */
export interface ClusterObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    finalizers?: string[];
    deletionTimestamp?: string;
    creationTimestamp?: string;
    ownerReferences?: { kind: string; name: string; uid: string; controller?: boolean }[];
  };
  // biome-ignore lint/suspicious/noExplicitAny: tests look into objects of any kind
  [field: string]: any;
}

/** What to write: at least a kind and a name, or a prefix of it. */
export type Manifest = { apiVersion: string; kind: string; metadata?: object; [field: string]: unknown };

/** An answer of the API server, whatever its status. */
export interface ApiAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** Parsed when it is JSON. */
  body: unknown;
}

/** The API server answered with a failure. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string | undefined;

  constructor(what: string, { status, body }: ApiAnswer) {
    const said = body as { message?: string; reason?: string } | string;
    super(`${what}: ${status} ${typeof said === 'string' ? said : said?.message}`);
    this.status = status;
    this.reason = typeof said === 'string' ? undefined : said?.reason;
  }
}

export interface ApiOptions {
  url: string;
  ca: string | undefined;
  cert?: string | undefined;
  key?: string | undefined;
  token?: string | undefined;
}

interface RequestOptions {
  body?: unknown;
  contentType?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

interface WaitOptions {
  /** 30 seconds unless given. */
  timeoutMs?: number;
  /** Between two looks; 100 ms unless given. */
  everyMs?: number;
}

const patchTypes = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

/** A client of the API server for tests, on undici alone: it shares no code with what is tested. */
export class Api implements AsyncDisposable {
  readonly #options: ApiOptions;
  readonly #agent: Agent;
  readonly #plurals = new Map<string, { plural: string; namespaced: boolean }>();

  constructor(options: ApiOptions) {
    this.#options = options;
    const { ca, cert, key } = options;
    this.#agent = new Agent({ connect: { ca, cert, key }, bodyTimeout: 0 });
  }

  /** One request; an answer of any status is returned. */
  async request(method: string, path: string, options: RequestOptions = {}): Promise<ApiAnswer> {
    const { body, contentType = 'application/json', headers = {}, signal } = options;
    const { token, url } = this.#options;
    const answer = await request(`${url}${path}`, {
      method: method as 'GET',
      dispatcher: this.#agent,
      headers: {
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': contentType }),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(signal !== undefined && { signal }),
    });
    const text = await answer.body.text();
    const isJson = String(answer.headers['content-type']).includes('json');
    return { status: answer.statusCode, headers: answer.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** The object at a path, or undefined when there is none. */
  async get(path: string): Promise<ClusterObject | undefined> {
    const answer = await this.request('GET', path);
    if (answer.status === 404) return undefined;
    return succeeded(`GET ${path}`, answer) as ClusterObject;
  }

  /** The items of the list at a path, which may have a query. */
  async list(path: string): Promise<ClusterObject[]> {
    const list = succeeded(`GET ${path}`, await this.request('GET', path)) as { items: ClusterObject[] };
    return list.items;
  }

  /** Creates one object; `namespace` is for those that name none. */
  async create(manifest: Manifest, namespace?: string): Promise<ClusterObject> {
    const { collection } = await this.#place(manifest, namespace);
    const answer = await this.request('POST', collection, { body: manifest });
    return succeeded(`POST ${collection}`, answer) as ClusterObject;
  }

  /**
   * Creates or changes objects, given as objects or as YAML, in their order (server-side apply, as field
   * manager `bed`). A kind whose CRD was just applied is waited for.
   */
  async apply(manifests: string | Manifest | Manifest[], namespace?: string): Promise<ClusterObject[]> {
    const applied: ClusterObject[] = [];
    for (const manifest of manifestsOf(manifests)) {
      const path = await this.path(manifest, namespace);
      const answer = await this.request('PATCH', `${path}?fieldManager=bed&force=true`, {
        body: manifest,
        contentType: patchTypes.apply,
      });
      applied.push(succeeded(`apply ${path}`, answer) as ClusterObject);
    }
    return applied;
  }

  /** Puts an object in the place of the one that is there; its resourceVersion is minded when it has one. */
  async replace(path: string, object: object): Promise<ClusterObject> {
    return succeeded(`PUT ${path}`, await this.request('PUT', path, { body: object })) as ClusterObject;
  }

  async patch(path: string, body: unknown, type: keyof typeof patchTypes = 'merge'): Promise<ClusterObject> {
    const answer = await this.request('PATCH', path, { body, contentType: patchTypes[type] });
    return succeeded(`PATCH ${path}`, answer) as ClusterObject;
  }

  /** Deletes what is at a path, an object or a whole collection, in the background; nothing there is fine. */
  async delete(path: string): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Background' };
    const answer = await this.request('DELETE', path, { body });
    if (answer.status !== 404) succeeded(`DELETE ${path}`, answer);
  }

  /** Sets the replicas at a path's scale subresource. */
  async scale(path: string, replicas: number): Promise<void> {
    await this.patch(`${path}/scale`, { spec: { replicas } });
  }

  /** Waits until the object at a path (undefined while there is none) is as it should be, and returns it. */
  async waitFor(
    path: string,
    predicate: (object: ClusterObject | undefined) => boolean,
    options?: WaitOptions,
  ): Promise<ClusterObject | undefined> {
    const seen = await until(() => this.get(path), predicate, options).catch(timedOut(path));
    return seen;
  }

  /** Waits until the items of a list are as they should be, and returns them. */
  async waitForList(
    path: string,
    predicate: (items: ClusterObject[]) => boolean,
    options?: WaitOptions,
  ): Promise<ClusterObject[]> {
    return until(() => this.list(path), predicate, options).catch(timedOut(path));
  }

  /** Where an object is, by its kind and name. */
  async path(manifest: Manifest, namespace?: string): Promise<string> {
    const { collection, name } = await this.#place(manifest, namespace);
    return `${collection}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #place(manifest: Manifest, namespace = 'default'): Promise<{ collection: string; name: string }> {
    const { apiVersion, kind } = manifest;
    const metadata = manifest.metadata as { name?: string; namespace?: string } | undefined;
    const { plural, namespaced } = await this.#resource(apiVersion, kind);
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const within = namespaced ? `/namespaces/${metadata?.namespace ?? namespace}` : '';
    return { collection: `${root}${within}/${plural}`, name: metadata?.name ?? '' };
  }

  async #resource(apiVersion: string, kind: string): Promise<{ plural: string; namespaced: boolean }> {
    const known = this.#plurals.get(`${apiVersion} ${kind}`);
    if (known !== undefined) return known;
    const path = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    type Found = { resources: { name: string; kind: string; namespaced: boolean }[] };
    const { resources } = await until(
      async () => (await this.request('GET', path)).body as Found,
      found =>
        found.resources?.some(({ name, ...resource }) => resource.kind === kind && !name.includes('/')),
      { timeoutMs: 15_000 },
    ).catch(timedOut(`a resource of ${apiVersion} ${kind}`));
    for (const resource of resources.filter(({ name }) => !name.includes('/'))) {
      const { name: plural, namespaced } = resource;
      this.#plurals.set(`${apiVersion} ${resource.kind}`, { plural, namespaced });
    }
    return this.#resource(apiVersion, kind);
  }
}

class NotInTime extends Error {
  readonly last: unknown;

  constructor(last: unknown) {
    super('not in time');
    this.last = last;
  }
}

/**
 * Looks again and again until what it sees is as it should be, and returns that. A look that fails counts as
 * not yet.
 *
 * @throws Error when the time is over.
 */
export async function until<Seen>(
  look: () => Seen | Promise<Seen>,
  predicate: (seen: Seen) => boolean,
  { timeoutMs = 30_000, everyMs = 100 }: WaitOptions = {},
): Promise<Seen> {
  const giveUpAt = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const seen = await look();
      last = seen;
      if (predicate(seen)) return seen;
    } catch (error) {
      last = error;
    }
    if (Date.now() > giveUpAt) throw new NotInTime(last);
    await pause(everyMs);
  }
}

function timedOut(what: string): (error: unknown) => never {
  return error => {
    if (!(error instanceof NotInTime)) throw error;
    const { last } = error;
    const seen = last instanceof Error ? String(last) : JSON.stringify(last, null, 1);
    throw new Error(`${what} did not become as expected in time; seen last: ${seen?.slice(0, 6_000)}`);
  };
}

function succeeded(what: string, answer: ApiAnswer): unknown {
  if (answer.status >= 200 && answer.status < 300) return answer.body;
  throw new ApiError(what, answer);
}

function manifestsOf(manifests: string | Manifest | Manifest[]): Manifest[] {
  if (typeof manifests !== 'string') return Array.isArray(manifests) ? manifests : [manifests];
  return parseAllDocuments(manifests)
    .map(document => document.toJS() as Manifest | null)
    .filter(manifest => manifest !== null);
}
