import { faultOf } from '../base/errors.ts';
import { descend } from '../spec/field-path.ts';
import type { KubeClient } from './client.ts';

/** A CustomResourceDefinition that does not keep all that we take. */
export interface PrunedFields {
  crd: string;
  uid: string;
  fields: string[];
}

/**
 * Looks whether the CRDs in the cluster are ours: KEDA's drop what only Eventide has, and the API server drops it
 * before we could see it.
 *
 * @returns what is dropped, of each CRD that drops anything; undefined where the CRDs cannot be read
 */
export async function prunedFields(
  client: KubeClient,
  signal: AbortSignal,
): Promise<PrunedFields[] | undefined> {
  try {
    const found = await Promise.all(
      ['scaledobjects.keda.sh', 'scaledjobs.keda.sh'].map(async crd => {
        const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${crd}`;
        const object = await client.raw({ method: 'GET', path, signal });
        return { crd, uid: String(descend(object, ['metadata', 'uid'])), fields: droppedBy(object) };
      }),
    );
    return found.filter(({ fields }) => fields.length > 0);
  } catch (thrown) {
    if (signal.aborted) throw faultOf(thrown);
    return undefined;
  }
}

/** What a CRD drops of ours. */
export function droppedBy(crd: unknown): string[] {
  const versions = descend(crd, ['spec', 'versions']);
  const served = Array.isArray(versions)
    ? versions.find(each => descend(each, ['name']) === 'v1alpha1')
    : undefined;
  const spec = descend(served, ['schema', 'openAPIV3Schema', 'properties', 'spec']);
  const at = (...path: string[]) => descend(spec, path);
  const dropped: string[] = [];
  if (at('properties', 'eventide') === undefined) dropped.push('spec.eventide');
  const metadata = [
    'properties',
    'triggers',
    'items',
    'properties',
    'metadata',
    'additionalProperties',
    'type',
  ];
  if (at(...metadata) === 'string') dropped.push('trigger metadata that is not text');
  return dropped;
}
