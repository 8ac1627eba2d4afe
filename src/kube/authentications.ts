import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Workload } from '../spec/workload.ts';
import type { AuthenticationView, AuthenticationWatch } from './authentication-watch.ts';
import type { KubeClient } from './client.ts';
import type { EventNote, EventRecorder } from './events.ts';
import { removeFinalizer } from './finalizers.ts';
import { keyedWork } from './keyed-work.ts';
import { marks } from './marks.ts';
import { type Resource, resources } from './objects.ts';

export interface AuthenticationsOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  events: EventRecorder;
  watch: AuthenticationWatch;
  random?: () => number;
}

/** A workload by its names. */
type User = Pick<Workload, 'kind' | 'key' | 'namespace' | 'name'>;

/** Holds TriggerAuthentications and ClusterTriggerAuthentications, and keeps in their status who uses them. */
export interface Authentications extends AsyncDisposable {
  /** A workload is there, in this version. What it does not refer to any more keeps its name, as in KEDA. */
  join(workload: Workload): void;
  /** A workload is gone: its name is taken from the status of those it referred to. */
  leave(user: User): void;
  /** From now on it is ours to write. */
  lead(): void;
  /** How many there are, by type and namespace; a cluster's count in `default`, as KEDA has it. */
  registered(): Iterable<Registered>;
}

/** How many objects of a type there are in a namespace. */
export interface Registered {
  type: 'trigger_authentication' | 'cluster_trigger_authentication';
  namespace: string;
  count: number;
}

type Kind = AuthenticationView['kind'];

/** How far apart two writes of one object are, in milliseconds: a thousand new users are not a thousand writes. */
const spacingMs = 1000;
const nobody: ReadonlySet<string> = new Set();

/** Writes nothing before it leads. */
export function kubeAuthentications(options: AuthenticationsOptions): Authentications {
  const { client, clock, log, events } = options;
  const all = new Map<string, AuthenticationView>();
  /** By authentication, the keys of the workloads that use it. */
  const users = new Map<string, Set<string>>();
  const leavers = new Map<string, Set<string>>();
  /** By workload, what it refers to. */
  const referred = new Map<string, readonly string[]>();
  let leading = false;
  const random = options.random === undefined ? {} : { random: options.random };
  const work = keyedWork({
    clock,
    work: settle,
    spacingMs,
    ...random,
    onFault(authentication, fault, failures) {
      if (failures === 2) log.warn('the authentication cannot be written now', { authentication, fault });
    },
  });
  options.watch.listen({
    onSet: changed,
    onDelete: ({ kind, namespace, name }) => void all.delete(keyOf(kind, namespace, name)),
  });

  function changed(kept: AuthenticationView, before: AuthenticationView | undefined): void {
    const key = keyOf(kept.kind, kept.namespace, kept.name);
    all.set(key, kept);
    if (!leading) return;
    if (before?.uid === kept.uid && before.generation !== kept.generation && !kept.deleting) {
      // KEDA has this one reason for both kinds.
      tell(kept, 'ClusterTriggerAuthenticationUpdated', `The ${kept.kind} was changed.`);
    }
    if (isToDo(key, kept)) work.ask(key);
  }

  function isToDo(key: string, kept: AuthenticationView): boolean {
    const held = kept.finalizers.includes(marks.kedaFinalizer);
    return kept.deleting ? held : !held || statusPatch(key, kept) !== undefined;
  }

  async function settle(key: string, signal: AbortSignal): Promise<void> {
    const kept = all.get(key);
    if (kept === undefined) return;
    const resource = resourceOf(kept.kind);
    const at = placeOf(kept);
    const held = kept.finalizers.indexOf(marks.kedaFinalizer);
    if (kept.deleting) {
      if (held < 0) return;
      await removeFinalizer(
        client,
        { resource, at, finalizer: marks.kedaFinalizer, place: held },
        { signal },
      );
      tell(kept, `${kept.kind}Deleted`, `The ${kept.kind} was deleted.`);
      return;
    }
    try {
      if (held < 0) await hold(kept, signal);
      const leaving = [...(leavers.get(key) ?? nobody)];
      const status = statusPatch(key, kept);
      if (status !== undefined) {
        const how = { type: 'merge', subresource: 'status', urgency: 'status', signal } as const;
        await client.patch(resource, at, { status }, how);
      }
      for (const left of leaving) remove(leavers, key, left);
    } catch (thrown) {
      if (!(thrown instanceof Fault && thrown.code === 'KUBE_NOT_FOUND')) throw thrown;
    }
  }

  async function hold(kept: AuthenticationView, signal: AbortSignal): Promise<void> {
    const { resourceVersion, finalizers } = kept;
    const patch = { metadata: { resourceVersion, finalizers: [...finalizers, marks.kedaFinalizer] } };
    const how = { type: 'merge', urgency: 'object', signal } as const;
    await client.patch(resourceOf(kept.kind), placeOf(kept), patch, how);
    tell(kept, `${kept.kind}Added`, `The ${kept.kind} can be used now.`);
  }

  function statusPatch(key: string, kept: AuthenticationView): Record<string, string | null> | undefined {
    const [using, leaving] = [users.get(key) ?? nobody, leavers.get(key) ?? nobody];
    const patch: Record<string, string | null> = {};
    for (const [field, kind] of [
      ['scaledobjects', 'ScaledObject'],
      ['scaledjobs', 'ScaledJob'],
    ] as const) {
      const wanted = namesAfter(kept[field], named(using, kind), named(leaving, kind));
      if (wanted !== kept[field]) patch[field] = wanted === '' ? null : wanted;
    }
    return Object.keys(patch).length === 0 ? undefined : patch;
  }

  function tell(kept: AuthenticationView, reason: string, note: string): void {
    const { kind, namespace, name, uid } = kept;
    const place = namespace === '' ? {} : { namespace };
    const regarding: EventNote['regarding'] = { apiVersion: 'keda.sh/v1alpha1', kind, ...place, name, uid };
    events.record({ regarding, type: 'Normal', reason, note });
  }

  function ask(key: string): void {
    const kept = all.get(key);
    if (leading && kept !== undefined && isToDo(key, kept)) work.ask(key);
  }

  return {
    join(workload) {
      const { key } = workload;
      const before = referred.get(key) ?? [];
      const now = referencesOf(workload);
      for (const auth of before) if (!now.includes(auth)) remove(users, auth, key);
      if (now.length === 0) referred.delete(key);
      else referred.set(key, now);
      for (const auth of now) {
        add(users, auth, key);
        remove(leavers, auth, key);
        ask(auth);
      }
    },
    leave({ key }) {
      for (const auth of referred.get(key) ?? []) {
        remove(users, auth, key);
        if (!all.has(auth)) continue;
        add(leavers, auth, key);
        ask(auth);
      }
      referred.delete(key);
    },
    registered() {
      const found = new Map<string, Registered>();
      for (const { kind, namespace: its } of all.values()) {
        const type =
          kind === 'TriggerAuthentication' ? 'trigger_authentication' : 'cluster_trigger_authentication';
        const namespace = its === '' ? 'default' : its;
        const one = found.get(`${type} ${namespace}`) ?? { type, namespace, count: 0 };
        one.count += 1;
        found.set(`${type} ${namespace}`, one);
      }
      return found.values();
    },
    lead() {
      leading = true;
      for (const key of all.keys()) ask(key);
    },
    [Symbol.asyncDispose]: () => work[Symbol.asyncDispose](),
  };
}

const resourceOf = (kind: Kind): Resource =>
  kind === 'TriggerAuthentication'
    ? resources.triggerAuthentications
    : resources.clusterTriggerAuthentications;

const placeOf = ({ namespace, name }: AuthenticationView) =>
  namespace === '' ? { name } : { namespace, name };

const keyOf = (kind: Kind, namespace: string, name: string) =>
  kind === 'TriggerAuthentication' ? `${kind}/${namespace}/${name}` : `${kind}//${name}`;

/** What a workload refers to, each once. */
function referencesOf({ triggers, namespace }: Workload): string[] {
  const keys = triggers.flatMap(({ authenticationRef: ref }) =>
    ref === undefined ? [] : [keyOf(ref.kind, namespace, ref.name)],
  );
  return [...new Set(keys)];
}

function add(sets: Map<string, Set<string>>, key: string, value: string): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([value]));
  else set.add(value);
}

function remove(sets: Map<string, Set<string>>, key: string, value: string): void {
  const set = sets.get(key);
  set?.delete(value);
  if (set?.size === 0) sets.delete(key);
}

/** The names, without namespaces, of workloads of a kind. */
function named(keys: ReadonlySet<string>, kind: Workload['kind']): Set<string> {
  const ofKind = [...keys].filter(key => key.startsWith(`${kind}/`));
  return new Set(ofKind.map(key => key.slice(key.lastIndexOf('/') + 1)));
}

/** Names separated by commas, after some came and some left; one that is still used by another of its name stays. */
export function namesAfter(
  before: string,
  coming: ReadonlySet<string>,
  leaving: ReadonlySet<string>,
): string {
  const names = new Set(
    before.split(',').filter(name => name !== '' && (!leaving.has(name) || coming.has(name))),
  );
  for (const name of coming) names.add(name);
  return [...names].join(',');
}
