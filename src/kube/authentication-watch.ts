import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { documentOf } from '../spec/documents.ts';
import { formatProblem } from '../spec/problem.ts';
import {
  parseTriggerAuthentication,
  type TriggerAuthentication,
  type TriggerAuthenticationSpec,
} from '../spec/trigger-authentication.ts';
import type { KubeClient } from './client.ts';
import { apiVersionOf, type KubeObject, type Resource, resources } from './objects.ts';
import { reflectIn } from './reflect-namespaces.ts';

export interface AuthenticationWatchOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** Where TriggerAuthentications are looked for; everywhere unless given. */
  namespaces?: readonly string[] | undefined;
  /** Only those with these labels. */
  labelSelector?: string | undefined;
  random?: () => number;
}

interface AuthenticationObject extends KubeObject {
  status?: { scaledobjects?: string; scaledjobs?: string };
}

/** What is kept of a TriggerAuthentication or ClusterTriggerAuthentication. */
export interface AuthenticationView {
  kind: TriggerAuthentication['kind'];
  /** Empty for a ClusterTriggerAuthentication. */
  namespace: string;
  name: string;
  uid: string;
  resourceVersion: string;
  generation: number;
  finalizers: readonly string[];
  deleting: boolean;
  /** Names of its users, with commas between them, as its status has them. */
  scaledobjects: string;
  scaledjobs: string;
  /** Why it cannot be used, where it cannot be understood. */
  spec: TriggerAuthenticationSpec | Fault;
}

export interface AuthenticationListener {
  /** One is there, or another version of it. */
  onSet(now: AuthenticationView, before: AuthenticationView | undefined): void;
  onDelete(before: AuthenticationView): void;
}

/** What TriggerAuthentications and ClusterTriggerAuthentications there are, for all who need to know. */
export interface AuthenticationWatch extends AsyncDisposable {
  /**
   * @param namespace undefined for a ClusterTriggerAuthentication
   * @returns undefined where there is none
   * @throws Fault MANIFEST_INVALID where it cannot be understood
   */
  spec(namespace: string | undefined, name: string): TriggerAuthenticationSpec | undefined;
  /** Tells of what happens from now on; who listens when the watch begins hears of all there are. */
  listen(listener: AuthenticationListener): void;
  readonly synced: boolean;
  /** @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
}

/** Follows both kinds from now on: one watch for what triggers are told by them and for what is written to them. */
export function authenticationWatch(options: AuthenticationWatchOptions): AuthenticationWatch {
  const { client, clock, log, labelSelector, random } = options;
  const listeners: AuthenticationListener[] = [];
  const follow = (resource: Resource, namespaces: readonly string[] | undefined) =>
    reflectIn<AuthenticationObject, AuthenticationView>(namespaces, {
      client,
      clock,
      log,
      resource,
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(random === undefined ? {} : { random }),
      keep: object => viewOf(resource, object),
      onSet(_key, now, before) {
        for (const each of listeners) each.onSet(now, before);
      },
      onDelete(_key, before) {
        for (const each of listeners) each.onDelete(before);
      },
    });
  const ofNamespaces = follow(resources.triggerAuthentications, options.namespaces);
  const ofCluster = follow(resources.clusterTriggerAuthentications, undefined);
  const both = [ofNamespaces, ofCluster];
  return {
    spec(namespace, name) {
      const kept = namespace === undefined ? ofCluster.get(name) : ofNamespaces.get(`${namespace}/${name}`);
      if (kept?.spec instanceof Fault) throw kept.spec;
      return kept?.spec;
    },
    listen: listener => void listeners.push(listener),
    get synced() {
      return both.every(({ synced }) => synced);
    },
    async whenSynced(signal) {
      await Promise.all(both.map(each => each.whenSynced(signal)));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(both.map(each => each[Symbol.asyncDispose]()));
    },
  };
}

function viewOf(resource: Resource, object: AuthenticationObject): AuthenticationView {
  const { metadata, status = {} } = object;
  return {
    kind: resource.kind as TriggerAuthentication['kind'],
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    uid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
    generation: metadata.generation ?? 1,
    finalizers: metadata.finalizers ?? [],
    deleting: metadata.deletionTimestamp !== undefined,
    scaledobjects: status.scaledobjects ?? '',
    scaledjobs: status.scaledjobs ?? '',
    spec: specOf(resource, object),
  };
}

function specOf(resource: Resource, object: KubeObject): TriggerAuthenticationSpec | Fault {
  const identity = { apiVersion: apiVersionOf(resource), kind: resource.kind };
  // Items of a list do not say what they are.
  const parsed = parseTriggerAuthentication(documentOf({ ...object, ...identity }));
  if (parsed.ok) return parsed.value.spec;
  // Fields that a later KEDA has and we have not are no reason to have nothing.
  if (parsed.rest !== undefined) return parsed.rest.spec;
  const [first] = parsed.problems;
  const why = first === undefined ? '' : `: ${formatProblem(first)}`;
  return new Fault('MANIFEST_INVALID', `${resource.kind} "${object.metadata.name}" cannot be used${why}`);
}
