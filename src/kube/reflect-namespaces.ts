import type { KubeObject } from './objects.ts';
import { type ReflectOptions, type Reflector, reflect } from './reflector.ts';

/** A reflector of one namespace, of several, or of all. */
export type NamespacesReflector<K> = Pick<Reflector<K>, 'get' | 'put' | 'synced' | 'whenSynced'> &
  AsyncDisposable;

/**
 * Follows a kind in these namespaces, or everywhere where none are given: an operator that may see a few namespaces
 * only is not allowed to watch all of them at once.
 */
export function reflectIn<T extends KubeObject, K>(
  namespaces: readonly string[] | undefined,
  options: Omit<ReflectOptions<T, K>, 'namespace'>,
): NamespacesReflector<K> {
  if (namespaces === undefined) return reflect<T, K>(options);
  const parts = new Map(
    namespaces.map(namespace => [namespace, reflect<T, K>({ ...options, namespace })] as const),
  );
  const all = [...parts.values()];
  const partOf = (key: string) => parts.get(key.slice(0, key.indexOf('/')));
  return {
    get: key => partOf(key)?.get(key),
    put: (key, answer) => partOf(key)?.put(key, answer),
    get synced() {
      return all.every(({ synced }) => synced);
    },
    async whenSynced(signal) {
      await Promise.all(all.map(each => each.whenSynced(signal)));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(all.map(each => each[Symbol.asyncDispose]()));
    },
  };
}
