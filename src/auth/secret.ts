import type { Secret } from '../base/secret.ts';
import { type KeyReference, type Lookup, requireKey } from './lookup.ts';

/**
 * Parameters from keys of Secrets: `secretTargetRef`, and values given inline in a trigger.
 *
 * @throws Fault AUTH_MISSING where a Secret or a key is not there
 */
export async function fromSecrets(
  references: readonly KeyReference[],
  namespace: string,
  lookup: Lookup,
): Promise<Record<string, Secret>> {
  const found: Record<string, Secret> = {};
  for (const reference of references) {
    const values = await lookup.secret(namespace, reference.name);
    found[reference.parameter] = requireKey(values, reference, { kind: 'Secret', namespace });
  }
  return found;
}
