import { Secret } from '../base/secret.ts';
import { type KeyReference, type Lookup, requireKey } from './lookup.ts';

/**
 * Parameters from keys of ConfigMaps: `configMapTargetRef`.
 *
 * @throws Fault AUTH_MISSING where a ConfigMap or a key is not there
 */
export async function fromConfigMaps(
  references: readonly KeyReference[],
  namespace: string,
  lookup: Lookup,
): Promise<Record<string, Secret>> {
  const found: Record<string, Secret> = {};
  for (const reference of references) {
    const values = await lookup.configMap(namespace, reference.name);
    found[reference.parameter] = new Secret(requireKey(values, reference, { kind: 'ConfigMap', namespace }));
  }
  return found;
}
