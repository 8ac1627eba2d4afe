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

interface AuthenticationSpecsOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** Where TriggerAuthentications are looked for; everywhere unless given. */
  namespaces?: readonly string[] | undefined;
  /** Only those with these labels. */
  labelSelector?: string | undefined;
  /** One is there now, has another spec, or is gone; the namespace of a cluster's is empty. */
  onChange(kind: TriggerAuthentication['kind'], namespace: string, name: string): void;
}

/** What TriggerAuthentications and ClusterTriggerAuthentications say. */
export interface AuthenticationSpecs extends AsyncDisposable {
  /**
   * @param namespace undefined for a ClusterTriggerAuthentication
   * @returns undefined where there is none
   * @throws Fault MANIFEST_INVALID where it cannot be understood
   */
  get(namespace: string | undefined, name: string): TriggerAuthenticationSpec | undefined;
  readonly synced: boolean;
  /** @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
}

interface Kept {
  uid: string;
  generation: number;
  spec: TriggerAuthenticationSpec | Fault;
}

/** Follows both kinds from now on. */
export function authenticationSpecs(options: AuthenticationSpecsOptions): AuthenticationSpecs {
  const { client, clock, log, labelSelector, onChange } = options;
  const follow = (resource: Resource, namespaces: readonly string[] | undefined) => {
    const kind = resource.kind as TriggerAuthentication['kind'];
    const tell = (key: string) => {
      const [namespace, name] = resource.namespaced ? key.split('/') : ['', key];
      onChange(kind, namespace ?? '', name ?? '');
    };
    const reflector = reflectIn<KubeObject, Kept>(namespaces, {
      client,
      clock,
      log,
      resource,
      ...(labelSelector === undefined ? {} : { labelSelector }),
      keep: object => keptOf(resource, object),
      onSet: (key, now, before) => {
        // Until the first list is in nobody was told anything; a new status is no news.
        const isNews = now.uid !== before?.uid || now.generation !== before.generation;
        if (isNews && reflector.synced) tell(key);
      },
      onDelete: tell,
    });
    return reflector;
  };
  const ofNamespaces = follow(resources.triggerAuthentications, options.namespaces);
  const ofCluster = follow(resources.clusterTriggerAuthentications, undefined);
  const both = [ofNamespaces, ofCluster];
  return {
    get(namespace, name) {
      const kept = namespace === undefined ? ofCluster.get(name) : ofNamespaces.get(`${namespace}/${name}`);
      if (kept?.spec instanceof Fault) throw kept.spec;
      return kept?.spec;
    },
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

function keptOf(resource: Resource, object: KubeObject): Kept {
  const { uid, generation = 0 } = object.metadata;
  return { uid, generation, spec: specOf(resource, object) };
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
