import type { ListQuery, ObjectName } from './client.ts';
import { apiVersionOf, type Resource } from './objects.ts';

/** Where something is below the API server's address. Without a name it is the whole collection. */
export interface Place {
  namespace?: string | undefined;
  name?: string | undefined;
  subresource?: string | undefined;
}

/** Such as `/apis/apps/v1/namespaces/shop/deployments/web/scale`. */
export function objectPath(resource: Resource, { namespace, name, subresource }: Place): string {
  const root = resource.group === '' ? '/api' : '/apis';
  const within =
    resource.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const leaf = name === undefined ? '' : `/${encodeURIComponent(name)}`;
  const below = subresource === undefined ? '' : `/${subresource}`;
  return `${root}/${apiVersionOf(resource)}${within}/${resource.plural}${leaf}${below}`;
}

/** The query of a list or a watch. Numbers that are 0 and texts that are empty are left out. */
export function listSearch(
  { labelSelector, fieldSelector }: Pick<ListQuery, 'labelSelector' | 'fieldSelector'>,
  more: Record<string, string | number | boolean>,
): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries({ labelSelector, fieldSelector, ...more })) {
    if (value) search.set(name, String(value));
  }
  return search.toString();
}

/** For people: `Deployment shop/web`, `scale of Deployment shop/web`. */
export function nameOf(
  resource: Resource,
  { namespace, name }: Partial<ObjectName> | Place,
  subresource?: string,
): string {
  const place = namespace === undefined || !resource.namespaced ? name : `${namespace}/${name}`;
  return `${subresource === undefined ? '' : `${subresource} of `}${resource.kind} ${place}`;
}

/** The same object with what it is, which list items of built-in kinds do not say. */
export function withKind(resource: Resource, object: unknown): unknown {
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...(object as object) };
}
