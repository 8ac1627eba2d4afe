import type { References } from '../src/auth/references.ts';
import { Secret } from '../src/base/secret.ts';
import type { TriggerAuthenticationSpec } from '../src/spec/trigger-authentication.ts';

type Contents = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** The objects a test has, by `namespace/name`; a ClusterTriggerAuthentication by its name alone. */
export interface Objects {
  secrets?: Contents;
  configMaps?: Contents;
  auths?: Readonly<Record<string, TriggerAuthenticationSpec>> | undefined;
  podTemplate?: unknown;
}

/** References to objects in memory, and what was read, such as `Secret shop/db`. */
export function references(objects: Objects = {}): References & { readonly reads: string[] } {
  const reads: string[] = [];
  const read = <T>(
    kind: string,
    all: Readonly<Record<string, T>> | undefined,
    key: string,
  ): T | undefined => {
    reads.push(`${kind} ${key}`);
    return all?.[key];
  };
  return {
    reads,
    clusterNamespace: 'eventide',
    async secret(namespace, name) {
      const values = read('Secret', objects.secrets, `${namespace}/${name}`);
      return (
        values && new Map(Object.entries(values).map(([key, value]) => [key, new Secret(value)] as const))
      );
    },
    async configMap(namespace, name) {
      const values = read('ConfigMap', objects.configMaps, `${namespace}/${name}`);
      return values && new Map(Object.entries(values));
    },
    async triggerAuthentication(namespace, name) {
      const key = namespace === undefined ? name : `${namespace}/${name}`;
      return read('auth', objects.auths, key);
    },
    async podTemplate() {
      reads.push('podTemplate');
      return objects.podTemplate;
    },
  };
}
