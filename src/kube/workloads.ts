import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { labelValue } from '../spec/label-value.ts';
import type { ScaledObject, Workload } from '../spec/workload.ts';
import type { KubeClient } from './client.ts';
import { removeFinalizer } from './finalizers.ts';
import { keyedWork } from './keyed-work.ts';
import { marks } from './marks.ts';
import { type KubeObject, resources } from './objects.ts';
import { reflect } from './reflector.ts';
import type { Identity, LiveObject } from './status.ts';
import { conditionIn, type Status } from './status-object.ts';
import {
  type FormulaCheck,
  type KeptWorkload,
  keepWorkload,
  type ObjectWithStatus,
  statusText,
} from './workload-object.ts';

/** What an earlier process, or KEDA, left in the status of a workload. */
export interface Remembered {
  /**
   * Epoch milliseconds. Undefined for what was active when nobody was there to say until when: nothing is known of
   * what was since, and a cooldown starts anew.
   */
  lastActiveAt: number | undefined;
}

export interface KubeWorkloadsOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** Those to watch; all unless given. */
  namespaces?: readonly string[];
  labelSelector?: string;
  checkFormula: FormulaCheck;
  /** A workload, or a version of it with something in it that matters, is there and can be run. */
  onSet(workload: Workload, remembered: Remembered): void;
  /** The current version is there, but cannot be run: others may not have what it has all the same. */
  onUnfit?(workload: Workload): void;
  /** The current version cannot be run; one before it may go on. */
  onRefused(object: Identity, message: string): void;
  /** It is gone, or going: awaited before anything else is done about that. */
  onRemove(object: Identity): Promise<void> | void;
  /** What is to be done before a workload may go, after `onRemove`; what it throws is tried again. */
  beforeGone?(object: Identity, signal: AbortSignal): Promise<void>;
  /** Its finalizer is off: it is deleted. */
  onDeleted?(object: Identity): void;
  /** Sets the target of a ScaledObject that is deleted to what it stood at before. */
  restore(workload: ScaledObject, replicas: number, signal: AbortSignal): Promise<void>;
  random?: () => number;
}

/** The ScaledObjects and ScaledJobs of a cluster. */
export interface KubeWorkloads extends AsyncDisposable {
  whenSynced(signal: AbortSignal): Promise<void>;
  /** From now on it is ours to write. To be called once it is synced. */
  lead(): void;
  /** By the workload's key. */
  live(key: string): LiveObject | undefined;
  /** Whether it is there and not being deleted; undefined before all are known. */
  exists(key: string, uid: string | undefined): boolean | undefined;
  /** Takes the answer to a write of ours, which the watch will only bring later. */
  written(key: string, object: KubeObject): void;
  readonly size: number;
  /** When the API server last said anything, on the monotonic clock; undefined before it said something of each kind. */
  readonly heardAt: number | undefined;
}

const kinds = { ScaledObject: resources.scaledObjects, ScaledJob: resources.scaledJobs } as const;

/** Starts to watch them, and tells of those that can be run. Nothing is written, or said to be refused, before `lead`. */
export function kubeWorkloads(options: KubeWorkloadsOptions): KubeWorkloads {
  const { client, clock, log, checkFormula } = options;
  const all = new Map<string, KeptWorkload>();
  /** The last version of those that are being deleted, to restore their targets by. */
  const leaving = new Map<string, Workload>();
  let leading = false;
  const random = options.random === undefined ? {} : { random: options.random };
  const selector = options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector };
  const work = keyedWork({
    clock,
    work: tend,
    ...random,
    onFault(workload, fault, failures) {
      // A conflict is somebody else's edit coming first, and passes.
      if (failures === 3 || (failures === 1 && fault.code !== 'KUBE_CONFLICT')) {
        log.warn('the finalizer cannot be changed now', { workload, fault });
      }
    },
  });
  const places = (options.namespaces ?? [undefined]).map(namespace =>
    namespace === undefined ? {} : { namespace },
  );
  const watches = (['ScaledObject', 'ScaledJob'] as const).flatMap(kind =>
    places.map(place =>
      reflect<ObjectWithStatus, KeptWorkload>({
        client,
        clock,
        log,
        resource: kinds[kind],
        ...place,
        ...selector,
        ...random,
        keep(object) {
          const { namespace = '', name } = object.metadata;
          return keepWorkload(kind, object, {
            before: all.get(`${kind}/${namespace}/${name}`),
            checkFormula,
          });
        },
        onSet: (_key, kept) => changed(kept),
        onDelete: (_key, kept) => gone(kept),
      }),
    ),
  );

  function changed(kept: KeptWorkload): void {
    const before = all.get(kept.key);
    if (before !== undefined && before.uid !== kept.uid) gone(before);
    // Our own write has told us of a later status already.
    if (before?.ahead && before.uid === kept.uid && before.version > kept.version) {
      kept.status = before.status;
      kept.version = before.version;
      kept.finalizers = before.finalizers;
      kept.ahead = true;
    }
    all.set(kept.key, kept);
    tell(kept);
    if (leading) care(kept);
  }

  function tell(kept: KeptWorkload): void {
    const { fresh, key } = kept;
    if (fresh?.ok !== true) {
      if (kept.deleting) void options.onRemove(kept);
      else if (fresh?.admissible !== undefined) options.onUnfit?.(fresh.admissible);
      return;
    }
    kept.fresh = undefined;
    const { workload, notices } = fresh;
    if (kept.deleting) {
      leaving.set(key, workload);
      void options.onRemove(kept);
      return;
    }
    for (const { problem, place } of notices)
      log.info('about a manifest', { workload: key, field: place?.field, problem });
    options.onSet(workload, rememberedIn(kept));
  }

  /** Does what only the one who leads does. */
  function care(kept: KeptWorkload): void {
    const { fresh, key } = kept;
    kept.fresh = undefined;
    if (kept.deleting) {
      if (isHeld(kept)) work.ask(key);
      return;
    }
    if (fresh?.ok === false) options.onRefused(kept, fresh.message);
    if (!isHeld(kept) || !kept.labelled) work.ask(key);
  }

  function gone(kept: KeptWorkload): void {
    if (all.get(kept.key)?.uid !== kept.uid) return;
    all.delete(kept.key);
    leaving.delete(kept.key);
    work.drop(kept.key);
    void options.onRemove(kept);
  }

  async function tend(key: string, signal: AbortSignal): Promise<void> {
    const kept = all.get(key);
    if (kept === undefined) return;
    if (kept.deleting) await finalise(kept, signal);
    else if (!isHeld(kept) || !kept.labelled) await hold(kept, signal);
  }

  async function hold(
    { kind, namespace, name, version, finalizers }: KeptWorkload,
    signal: AbortSignal,
  ): Promise<void> {
    const held = finalizers.includes(marks.kedaFinalizer);
    const metadata = {
      // Somebody else's finalizers are in the list, too: it must not be an old one.
      resourceVersion: String(version),
      ...(held ? {} : { finalizers: [...finalizers, marks.kedaFinalizer] }),
      ...(kind === 'ScaledObject' ? { labels: { [marks.scaledObjectName]: labelValue(name) } } : {}),
    };
    const how = { type: 'merge', urgency: 'object', signal } as const;
    try {
      await client.patch(kinds[kind], { namespace, name }, { metadata }, how);
    } catch (thrown) {
      if (!(thrown instanceof Fault && thrown.code === 'KUBE_NOT_FOUND')) throw thrown;
    }
  }

  async function finalise(kept: KeptWorkload, signal: AbortSignal): Promise<void> {
    const { kind, key, namespace, name } = kept;
    const place = kept.finalizers.indexOf(marks.kedaFinalizer);
    if (place < 0) return;
    await options.onRemove(kept);
    const workload = leaving.get(key);
    if (workload?.kind === 'ScaledObject') await restore(workload, kept, signal);
    await options.beforeGone?.(kept, signal);
    const what = { resource: kinds[kind], at: { namespace, name }, finalizer: marks.kedaFinalizer, place };
    await removeFinalizer(client, what, { signal });
    leaving.delete(key);
    options.onDeleted?.(kept);
  }

  /** As in KEDA, a target that cannot be restored does not hold up the deletion. */
  async function restore(workload: ScaledObject, kept: KeptWorkload, signal: AbortSignal): Promise<void> {
    const { originalReplicaCount, scaleTargetGVKR } = JSON.parse(kept.status) as Status;
    if (!workload.restoreToOriginalReplicaCount) return;
    if (originalReplicaCount === undefined || scaleTargetGVKR === undefined) return;
    try {
      await options.restore(workload, originalReplicaCount, signal);
    } catch (thrown) {
      const fault = faultOf(thrown);
      if (fault.code === 'TARGET_MISSING' || fault.code === 'KUBE_NOT_FOUND') return;
      log.error('the target could not be restored', {
        workload: workload.key,
        replicas: originalReplicaCount,
        fault,
      });
    }
  }

  return {
    async whenSynced(signal) {
      await Promise.all(watches.map(watch => watch.whenSynced(signal)));
    },
    lead() {
      if (leading) return;
      leading = true;
      for (const kept of all.values()) care(kept);
    },
    live: key => all.get(key),
    exists(key, uid) {
      if (!watches.every(({ synced }) => synced)) return undefined;
      const kept = all.get(key);
      return kept !== undefined && !kept.deleting && (uid === undefined || kept.uid === uid);
    },
    written(key, { metadata, ...object }: ObjectWithStatus) {
      const kept = all.get(key);
      const version = Number(metadata.resourceVersion);
      if (kept === undefined || kept.uid !== metadata.uid || kept.version >= version) return;
      kept.version = version;
      kept.status = statusText(object.status);
      kept.finalizers = metadata.finalizers ?? [];
      kept.ahead = true;
    },
    get size() {
      return all.size;
    },
    get heardAt() {
      const times = watches.map(watch => watch.heardAt);
      return times.includes(undefined) ? undefined : Math.min(...times.map(each => each ?? 0));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(watches.map(watch => watch[Symbol.asyncDispose]()));
      await work[Symbol.asyncDispose]();
    },
  };
}

const isHeld = ({ finalizers }: KeptWorkload): boolean => finalizers.includes(marks.kedaFinalizer);

function rememberedIn(kept: KeptWorkload): Remembered {
  const status = JSON.parse(kept.status) as Status;
  const { lastActiveTime } = status;
  const isOver = conditionIn(status, 'Active')?.status === 'False';
  return { lastActiveAt: isOver && lastActiveTime !== undefined ? Date.parse(lastActiveTime) : undefined };
}
