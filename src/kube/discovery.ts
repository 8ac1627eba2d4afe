import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { KubeClient } from './client.ts';
import { apiVersionOf, type Resource, resources } from './objects.ts';

/** A kind as paths name it, and whether it can be scaled. */
export interface ScalableKind extends Resource {
  /** Whether it has a `/scale` subresource. */
  scalable: boolean;
}

/** Tells how the API server calls a kind. */
export interface Discovery {
  /**
   * Looks a kind up; known ones without asking, others at the API server, once.
   *
   * @param apiVersion `v1`, or `group/version`
   * @throws Fault KUBE_NOT_FOUND where the API server has no such kind, or what the client throws
   */
  find(apiVersion: string, kind: string, signal: AbortSignal): Promise<ScalableKind>;
  /** What is known already; undefined where the API server would have to be asked. */
  known(apiVersion: string, kind: string): ScalableKind | undefined;
}

interface ResourceList {
  resources?: readonly { name: string; kind: string; namespaced: boolean }[];
}

interface Group {
  kinds: ReadonlyMap<string, ScalableKind>;
  /** On the monotonic clock. */
  askedAt: number;
}

/**
 * How long a kind that is not there, or cannot be scaled, is taken to stay so, in milliseconds: a thousand
 * workloads that wait for one definition ask for it together, and it is found soon after it is made.
 */
const askAgainMs = 5_000;

const builtIn: readonly ScalableKind[] = [
  resources.deployments,
  resources.statefulSets,
  { group: 'apps', version: 'v1', kind: 'ReplicaSet', plural: 'replicasets', namespaced: true },
].map(resource => Object.assign({ scalable: true }, resource));

const builtInByName = new Map(builtIn.map(kind => [`${apiVersionOf(kind)}/${kind.kind}`, kind] as const));

/** Asks nothing before it is asked. */
export function kubeDiscovery({ client, clock }: { client: KubeClient; clock: Clock }): Discovery {
  const groups = new Map<string, Group>();
  const asking = new Map<string, Promise<Group>>();

  async function ask(apiVersion: string): Promise<Group> {
    const askedAt = clock.elapsed();
    const path = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    // Many wait for one answer; none of them giving up may take it from the others. The client has a deadline.
    const signal = new AbortController().signal;
    try {
      const answer = (await client.raw({ method: 'GET', path, signal })) as ResourceList;
      return { kinds: kindsOf(apiVersion, answer), askedAt };
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code === 'KUBE_NOT_FOUND') return { kinds: new Map(), askedAt };
      throw thrown;
    }
  }

  function groupOf(apiVersion: string): Promise<Group> {
    const under = asking.get(apiVersion);
    if (under !== undefined) return under;
    const asked = ask(apiVersion)
      .then(group => {
        groups.set(apiVersion, group);
        return group;
      })
      .finally(() => asking.delete(apiVersion));
    asking.set(apiVersion, asked);
    return asked;
  }

  function known(apiVersion: string, kind: string): ScalableKind | undefined {
    return builtInByName.get(`${apiVersion}/${kind}`) ?? groups.get(apiVersion)?.kinds.get(kind);
  }

  return {
    known,
    async find(apiVersion, kind, signal) {
      const before = known(apiVersion, kind);
      if (before?.scalable === true) return before;
      const askedAt = groups.get(apiVersion)?.askedAt;
      const recent = askedAt !== undefined && clock.elapsed() - askedAt < askAgainMs;
      const found = recent ? before : (await groupOf(apiVersion)).kinds.get(kind);
      signal.throwIfAborted();
      if (found !== undefined) return found;
      throw new Fault('KUBE_NOT_FOUND', `the API server has no kind ${kind} in ${apiVersion}`);
    },
  };
}

function kindsOf(apiVersion: string, { resources: listed = [] }: ResourceList): Map<string, ScalableKind> {
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const scalable = new Set(
    listed.filter(({ name }) => name.endsWith('/scale')).map(({ name }) => name.slice(0, -'/scale'.length)),
  );
  const kinds = new Map<string, ScalableKind>();
  for (const { name: plural, kind, namespaced } of listed) {
    if (plural.includes('/')) continue;
    kinds.set(kind, {
      group: group ?? '',
      version: version ?? '',
      kind,
      plural,
      namespaced,
      scalable: scalable.has(plural),
    });
  }
  return kinds;
}
