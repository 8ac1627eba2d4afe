import type { References } from '../src/auth/references.ts';
import { Fault } from '../src/base/errors.ts';
import { Secret } from '../src/base/secret.ts';
import type { TriggerAuthenticationSpec } from '../src/spec/trigger-authentication.ts';

type Contents = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** The objects a test has, by `namespace/name`; a ClusterTriggerAuthentication by its name alone. */
export interface Objects {
  secrets?: Contents;
  configMaps?: Contents;
  /** The annotations of each. */
  serviceAccounts?: Contents;
  /** The tokens of service accounts, each good for an hour from the start of 2026. */
  serviceAccountTokens?: Readonly<Record<string, string>>;
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
    async serviceAccount(namespace, name) {
      const annotations = read('ServiceAccount', objects.serviceAccounts, `${namespace}/${name}`);
      return annotations && new Map(Object.entries(annotations));
    },
    async serviceAccountToken(namespace, name) {
      const token = read('token', objects.serviceAccountTokens, `${namespace}/${name}`);
      if (token === undefined)
        throw new Fault('AUTH_MISSING', `there is no ServiceAccount ${namespace}/${name}`);
      return { token: new Secret(token), endsAt: Date.UTC(2026, 0, 1, 1) };
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
