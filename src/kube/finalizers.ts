import { Fault } from '../base/errors.ts';
import type { KubeClient, ObjectName, Urgency } from './client.ts';
import type { KubeObject, Resource } from './objects.ts';

/** A step of a JSON patch. */
export type PatchStep =
  | { op: 'test' | 'add' | 'replace'; path: string; value: unknown }
  | { op: 'remove'; path: string };

export interface FinalizerWrite {
  signal: AbortSignal;
  urgency?: Urgency;
}

/** How often somebody else may get in between before it is given up for now. */
const tries = 5;

/** The steps that take a finalizer from its place, and fail where it is not there any more. */
export function finalizerRemoval(finalizer: string, place: number): PatchStep[] {
  const path = `/metadata/finalizers/${place}`;
  return [
    { op: 'test', path, value: finalizer },
    { op: 'remove', path },
  ];
}

/**
 * Takes our finalizer from an object, and touches no other.
 *
 * @param place where it was seen last; looked up where it is not there any more
 * @returns the object as it is then; undefined where it was gone, or went by it
 * @throws Fault KUBE_CONFLICT where others kept getting in between, and what the client throws
 */
export async function removeFinalizer<T extends KubeObject>(
  client: KubeClient,
  {
    resource,
    at,
    finalizer,
    place,
  }: { resource: Resource; at: ObjectName; finalizer: string; place?: number },
  { signal, urgency = 'object' }: FinalizerWrite,
): Promise<T | undefined> {
  let found = place ?? -1;
  for (let left = tries; left > 0; left -= 1) {
    if (found < 0) {
      const object = await client.get<T>(resource, at, { signal });
      found = object?.metadata.finalizers?.indexOf(finalizer) ?? -1;
      if (found < 0) return object;
    }
    try {
      const steps = finalizerRemoval(finalizer, found);
      return await client.patch<T>(resource, at, steps, { type: 'json', urgency, signal });
    } catch (thrown) {
      if (isFault(thrown, 'KUBE_NOT_FOUND')) return undefined;
      if (!isFault(thrown, 'KUBE_INVALID') && !isFault(thrown, 'KUBE_CONFLICT')) throw thrown;
      found = -1;
    }
  }
  throw new Fault('KUBE_CONFLICT', `${resource.kind} ${at.name} is changed all the time by somebody else`);
}

function isFault(thrown: unknown, code: Fault['code']): boolean {
  return thrown instanceof Fault && thrown.code === code;
}
