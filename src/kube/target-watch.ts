import type { Clock } from '../base/clock.ts';
import { faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { KubeClient, ObjectName } from './client.ts';
import type { ScalableKind } from './discovery.ts';
import type { KubeObject } from './objects.ts';
import { type Reflector, reflect } from './reflector.ts';

/** What is kept of a target. */
export interface TargetView {
  uid: string;
  resourceVersion: string;
  generation: number;
  /** Undefined for kinds whose replicas only their `/scale` tells. */
  replicas: number | undefined;
  readyReplicas: number;
}

/** Deployments, StatefulSets and ReplicaSets of apps/v1: everything is in the object. */
interface AppsObject extends KubeObject {
  spec?: { replicas?: number };
  status?: { readyReplicas?: number };
}

export interface TargetWatchOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  kind: ScalableKind;
  /** All namespaces unless given. */
  namespace?: string;
  /** A target appeared that was missed, changed its replicas, or is gone; not for what we did ourselves. */
  onChange(workloadKey: string): void;
  /** A target has another spec, whoever gave it one and whatever is new in it. */
  onSpec?(workloadKey: string): void;
}

/** What is known of one target besides what the watch keeps. */
interface Entry {
  /** The workloads that scale it: one, where nobody made a mistake. */
  users: Set<string>;
  /** Whether the watch will tell of it whatever happens; until then it has to be asked for. */
  confirmed: boolean;
  /** Somebody was told that it is not there. */
  missed: boolean;
  /** What we are just setting its replicas to. */
  setting: number | undefined;
}

/**
 * How long ago the API server may have said its last word, in milliseconds, for its older ones to be believed. It
 * says something every minute.
 */
const believedMs = 150_000;

/** Follows the targets of one kind that workloads refer to, and keeps nothing of all others. */
export class TargetWatch implements AsyncDisposable {
  readonly kind: ScalableKind;
  readonly #options: TargetWatchOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #hasReplicas: boolean;
  #reflector: Reflector<TargetView> | undefined;

  constructor(options: TargetWatchOptions) {
    this.#options = options;
    this.kind = options.kind;
    this.#hasReplicas = options.kind.group === 'apps' && options.kind.version === 'v1';
  }

  /** Whether anybody refers to a target of this kind. */
  get used(): boolean {
    return this.#entries.size > 0;
  }

  /** @param target `namespace/name` */
  use(target: string, workloadKey: string): void {
    const entry = this.#entries.get(target);
    if (entry !== undefined) {
      entry.users.add(workloadKey);
      return;
    }
    this.#entries.set(target, {
      users: new Set([workloadKey]),
      // What is said before the watch begins is asked for by it.
      confirmed: this.#reflector === undefined,
      missed: false,
      setting: undefined,
    });
  }

  drop(target: string, workloadKey: string): void {
    const entry = this.#entries.get(target);
    entry?.users.delete(workloadKey);
    if (entry?.users.size !== 0) return;
    this.#entries.delete(target);
    this.#reflector?.put(target, undefined);
  }

  /** What the watch has; undefined where it has nothing, which need not mean that there is nothing. */
  peek(target: string): TargetView | undefined {
    return this.#reflector?.get(target);
  }

  /** Begins to watch, if that is not done yet. */
  start(): Reflector<TargetView> {
    const { client, clock, log, kind, namespace } = this.#options;
    this.#reflector ??= reflect<KubeObject, TargetView>({
      client,
      clock,
      log,
      resource: kind,
      ...(namespace === undefined ? {} : { namespace }),
      metadataOnly: !this.#hasReplicas,
      keep: object =>
        this.#entries.has(`${object.metadata.namespace}/${object.metadata.name}`)
          ? this.#view(object)
          : undefined,
      onSet: (key, kept, before) => this.#changed(key, kept, before),
      onDelete: key => this.#tell(this.#entries.get(key)),
    });
    return this.#reflector;
  }

  /**
   * How the target is now: as the watch says or, where it cannot know or has been silent too long, as the API
   * server answers.
   *
   * @returns undefined where there is no such target
   * @throws what the client throws
   */
  async read(target: string, signal: AbortSignal): Promise<TargetView | undefined> {
    const reflector = this.start();
    const entry = this.#entries.get(target);
    const silence = this.#options.clock.elapsed() - (reflector.heardAt ?? Number.NEGATIVE_INFINITY);
    const knows = reflector.synced && entry?.confirmed === true && silence < believedMs;
    const view = knows ? reflector.get(target) : await this.#ask(target, signal);
    if (entry !== undefined) entry.missed = view === undefined;
    return view;
  }

  /** Takes in what a write of ours answered; the watch's own word on it comes later. */
  wrote(target: string, { replicas, resourceVersion }: { replicas: number; resourceVersion: string }): void {
    const view = this.#reflector?.get(target);
    if (view === undefined || view.replicas === undefined) return;
    this.#reflector?.put(target, {
      version: resourceVersion,
      kept: {
        uid: view.uid,
        resourceVersion,
        generation: view.generation,
        replicas,
        readyReplicas: view.readyReplicas,
      },
    });
  }

  /** While `work` goes on the watch's news of exactly this many replicas is none. */
  async setting<T>(target: string, replicas: number, work: () => Promise<T>): Promise<T> {
    const entry = this.#entries.get(target);
    if (entry !== undefined) entry.setting = replicas;
    try {
      return await work();
    } finally {
      if (entry !== undefined) entry.setting = undefined;
    }
  }

  /**
   * A request found that there is no such target.
   *
   * @param view what the watch had of it when the request was sent; what it has learned since is newer
   */
  gone(target: string, view: TargetView | undefined): void {
    const now = this.#reflector?.get(target);
    if (now !== view) return;
    if (view !== undefined) this.#reflector?.put(target, undefined);
    const entry = this.#entries.get(target);
    if (entry !== undefined) entry.missed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reflector?.[Symbol.asyncDispose]();
  }

  async #ask(target: string, signal: AbortSignal): Promise<TargetView | undefined> {
    const reflector = this.start();
    const before = reflector.get(target);
    const [namespace = '', name = ''] = target.split('/');
    const object = await this.#get({ namespace, name }, signal);
    const entry = this.#entries.get(target);
    if (entry === undefined) return object === undefined ? undefined : this.#view(object);
    if (object === undefined) this.gone(target, before);
    else reflector.put(target, { version: object.metadata.resourceVersion, kept: this.#view(object) });
    // Whatever happens to it from now on, the watch tells.
    if (reflector.synced) entry.confirmed = true;
    return reflector.get(target);
  }

  async #get(at: ObjectName, signal: AbortSignal): Promise<AppsObject | undefined> {
    const { client } = this.#options;
    try {
      return await client.get<AppsObject>(this.kind, at, { signal });
    } catch (thrown) {
      // Every `/scale` may be read by our role, but not every kind; it has the metadata of the whole.
      if (this.#hasReplicas || faultOf(thrown).code !== 'KUBE_REFUSED') throw thrown;
      return await client.get<KubeObject>(this.kind, at, { signal, subresource: 'scale' });
    }
  }

  #view({ metadata, spec, status }: AppsObject): TargetView {
    return {
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      generation: metadata.generation ?? 0,
      replicas: this.#hasReplicas ? (spec?.replicas ?? 1) : undefined,
      readyReplicas: status?.readyReplicas ?? 0,
    };
  }

  #changed(target: string, kept: TargetView, before: TargetView | undefined): void {
    const entry = this.#entries.get(target);
    if (entry === undefined) return;
    const isSpec = kept.uid !== before?.uid || kept.generation !== before.generation;
    if (isSpec && this.#reflector?.synced) for (const key of entry.users) this.#options.onSpec?.(key);
    if (before === undefined) {
      if (entry.missed) this.#tell(entry);
      entry.missed = false;
      return;
    }
    const same =
      kept.uid === before.uid &&
      kept.readyReplicas === before.readyReplicas &&
      (kept.replicas === before.replicas ||
        (kept.replicas === entry.setting && entry.setting !== undefined)) &&
      // Of other kinds nothing else tells that somebody changed the replicas.
      (kept.replicas !== undefined || kept.generation === before.generation);
    if (!same) this.#tell(entry);
  }

  #tell(entry: Entry | undefined): void {
    for (const key of entry?.users ?? []) this.#options.onChange(key);
  }
}
