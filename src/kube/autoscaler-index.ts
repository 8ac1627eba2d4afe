import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { AutoscalerState } from '../engine/ports.ts';
import { annotations } from '../spec/annotations.ts';
import type { Autoscaler } from '../spec/surroundings.ts';
import type { KubeClient } from './client.ts';
import { autoscalerMark, type HpaObject, owningScaledObject } from './hpa-object.ts';
import { resources } from './objects.ts';
import { type NamespacesReflector, reflectIn } from './reflect-namespaces.ts';

/** What is kept of a HorizontalPodAutoscaler. */
export interface AutoscalerView extends Autoscaler {
  uid: string;
  deleting: boolean;
  /** The uid of the ScaledObject that controls it; undefined where none does. */
  ownerUid: string | undefined;
  /** A digest of all of it that a ScaledObject decides; undefined where none controls it. */
  mark: string | undefined;
  state: AutoscalerState;
}

interface AutoscalerIndexOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** All unless given. */
  namespaces?: readonly string[] | undefined;
  onSet(key: string, now: AutoscalerView, before: AutoscalerView | undefined): void;
  onDelete(key: string, before: AutoscalerView): void;
}

const none: ReadonlySet<string> = new Set();

/** The HorizontalPodAutoscalers there are, by name, by owner and by what they scale. */
export class AutoscalerIndex implements AsyncDisposable {
  readonly #reflector: NamespacesReflector<AutoscalerView>;
  readonly #byOwner = new Map<string, Set<string>>();
  readonly #byTarget = new Map<string, Set<string>>();

  constructor({ client, clock, log, namespaces, onSet, onDelete }: AutoscalerIndexOptions) {
    this.#reflector = reflectIn<HpaObject, AutoscalerView>(namespaces, {
      client,
      clock,
      log,
      resource: resources.autoscalers,
      keep: autoscalerView,
      onSet: (key, now, before) => {
        this.#index(key, now, before);
        onSet(key, now, before);
      },
      onDelete: (key, before) => {
        this.#index(key, undefined, before);
        onDelete(key, before);
      },
    });
  }

  get synced(): boolean {
    return this.#reflector.synced;
  }

  whenSynced(signal: AbortSignal): Promise<void> {
    return this.#reflector.whenSynced(signal);
  }

  /** @param key `namespace/name` */
  get(key: string): AutoscalerView | undefined {
    return this.#reflector.get(key);
  }

  /** The keys of those that a ScaledObject controls. */
  ownedBy(uid: string): ReadonlySet<string> {
    return this.#byOwner.get(uid) ?? none;
  }

  /** Those of a namespace that scale something of this name, of whatever kind. */
  byTarget(namespace: string, target: string): readonly AutoscalerView[] {
    const keys = this.#byTarget.get(`${namespace}/${target}`);
    return [...(keys ?? none)].flatMap(key => this.get(key) ?? []);
  }

  /** Takes in what a request of ours answered. */
  put(key: string, object: HpaObject | undefined): AutoscalerView | undefined {
    const before = this.get(key);
    const answer =
      object === undefined
        ? undefined
        : { version: object.metadata.resourceVersion, kept: autoscalerView(object) };
    this.#reflector.put(key, answer);
    this.#index(key, this.get(key), before);
    return answer?.kept;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reflector[Symbol.asyncDispose]();
  }

  #index(key: string, now: AutoscalerView | undefined, before: AutoscalerView | undefined): void {
    move(this.#byOwner, key, { from: before?.ownerUid, to: now?.ownerUid });
    move(this.#byTarget, key, {
      from: before && `${before.namespace}/${before.target.name}`,
      to: now && `${now.namespace}/${now.target.name}`,
    });
  }
}

function move(
  groups: Map<string, Set<string>>,
  key: string,
  { from, to }: { from: string | undefined; to: string | undefined },
): void {
  if (from === to) return;
  const old = from === undefined ? undefined : groups.get(from);
  old?.delete(key);
  if (from !== undefined && old?.size === 0) groups.delete(from);
  if (to === undefined) return;
  const group = groups.get(to);
  if (group === undefined) groups.set(to, new Set([key]));
  else group.add(key);
}

function autoscalerView(object: HpaObject): AutoscalerView {
  const { metadata, spec, status } = object;
  const owner = owningScaledObject(object);
  const { apiVersion = '', kind, name } = spec.scaleTargetRef;
  const ownership = metadata.annotations?.[annotations.hpaOwnership];
  const active = status?.conditions?.find(({ type }) => type === 'ScalingActive');
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    annotations: ownership === undefined ? noAnnotations : { [annotations.hpaOwnership]: ownership },
    target: { apiVersion, kind, name },
    owners: (metadata.ownerReferences ?? []).map(each => ({ kind: each.kind, name: each.name })),
    uid: metadata.uid,
    deleting: metadata.deletionTimestamp !== undefined,
    ownerUid: owner?.uid,
    mark: owner === undefined ? undefined : autoscalerMark(object),
    state: {
      name: metadata.name,
      scalingActive: active && {
        status: active.status,
        reason: active.reason ?? '',
        message: active.message ?? '',
      },
    },
  };
}

const noAnnotations = {};
