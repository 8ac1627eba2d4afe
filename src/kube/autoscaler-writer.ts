import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { KubeClient } from './client.ts';
import {
  autoscalerPatch,
  type HpaObject,
  isAsWanted,
  owningScaledObject,
  type PatchBase,
  type WantedHpa,
} from './hpa-object.ts';
import { apiVersionOf, resources } from './objects.ts';

/** What is known of an autoscaler before it is written. */
interface Before {
  /** What was wanted of it last; undefined where nothing was. */
  previous: WantedHpa | undefined;
  /** The one that is there; `known` says that it is what was wanted last. Undefined where there seems to be none. */
  live: { uid: string; known: boolean } | undefined;
}

interface AutoscalerWriter {
  /**
   * Makes an autoscaler what is wanted with as few requests as that takes: one, where it is known how it is.
   *
   * @returns how it is now
   * @throws Fault TARGET_TAKEN where another ScaledObject has one of that name, or what the client throws
   */
  make(wanted: WantedHpa, before: Before, signal: AbortSignal): Promise<HpaObject>;
  delete(one: { namespace: string; name: string; uid: string }, signal: AbortSignal): Promise<void>;
}

const attempts = 2;
const resource = resources.autoscalers;
const frame = { apiVersion: apiVersionOf(resource), kind: resource.kind };

/** Writes autoscalers; that somebody else does so, too, makes it look again. */
export function autoscalerWriter({ client, log }: { client: KubeClient; log: Log }): AutoscalerWriter {
  /** Undefined where there is one already. */
  async function create(wanted: WantedHpa, signal: AbortSignal): Promise<HpaObject | undefined> {
    const object = { ...frame, metadata: wanted.metadata, spec: wanted.spec };
    const made = await unless(['KUBE_EXISTS'], () =>
      client.create<HpaObject>(resource, object, { signal, urgency: 'autoscaler' }),
    );
    if (made !== undefined) log.info('made a HorizontalPodAutoscaler', placeOf(wanted));
    return made;
  }

  /** Undefined where it is not the one that was meant, or gone. */
  async function patch(
    wanted: WantedHpa,
    base: PatchBase,
    signal: AbortSignal,
  ): Promise<HpaObject | undefined> {
    const write = { signal, urgency: 'autoscaler', type: 'merge' } as const;
    const body = autoscalerPatch(wanted, base);
    const made = await unless(['KUBE_CONFLICT', 'KUBE_NOT_FOUND'], () =>
      client.patch<HpaObject>(resource, placeOf(wanted), body, write),
    );
    if (made !== undefined) log.info('changed a HorizontalPodAutoscaler', placeOf(wanted));
    return made;
  }

  return {
    async make(wanted, { previous, live }, signal) {
      if (live === undefined) {
        const made = await create(wanted, signal);
        if (made !== undefined) return made;
      } else if (live.known) {
        const made = await patch(wanted, { uid: live.uid, previous, owners: undefined }, signal);
        if (made !== undefined) return made;
      }
      for (let attempt = 0; attempt < attempts; attempt += 1) {
        const found = await client.get<HpaObject>(resource, placeOf(wanted), { signal });
        if (found !== undefined) refuseOther(found, wanted);
        if (found !== undefined && isAsWanted(found, wanted)) return found;
        const made =
          found === undefined
            ? await create(wanted, signal)
            : await patch(wanted, { ...baseOf(found), previous }, signal);
        if (made !== undefined) return made;
      }
      const sentence = `HorizontalPodAutoscaler "${wanted.metadata.name}" is made and deleted by somebody else all the time`;
      throw new Fault('KUBE_CONFLICT', sentence);
    },
    async delete({ namespace, name, uid }, signal) {
      await unless(['KUBE_CONFLICT', 'KUBE_NOT_FOUND'], () =>
        client.delete(resource, { namespace, name }, { signal, urgency: 'autoscaler', uid }),
      );
      log.info('deleted a HorizontalPodAutoscaler', { namespace, name });
    },
  };
}

const placeOf = ({ metadata: { namespace, name } }: WantedHpa) => ({ namespace, name });

const baseOf = ({ metadata }: HpaObject): Pick<PatchBase, 'uid' | 'owners'> => ({
  uid: metadata.uid,
  owners: metadata.ownerReferences ?? [],
});

/** KEDA would take it over, and the two ScaledObjects would go on taking it from each other. */
function refuseOther(found: HpaObject, { metadata }: WantedHpa): void {
  const owner = owningScaledObject(found);
  const mine = metadata.ownerReferences[0];
  // One of the same name and another uid is gone: this is what it left behind.
  if (owner === undefined || owner.name === mine?.name) return;
  const sentence = `HorizontalPodAutoscaler "${metadata.name}" belongs to ScaledObject "${owner.name}"`;
  throw new Fault('TARGET_TAKEN', sentence);
}

async function unless<T>(codes: readonly Fault['code'][], work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof Fault && codes.includes(thrown.code)) return undefined;
    throw thrown;
  }
}
