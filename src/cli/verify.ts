import type { References } from '../auth/references.ts';
import type { SecretStores } from '../auth/stores.ts';
import { bind, type TriggerBinding } from '../engine/binding.ts';
import { loadScaler, scalerTypes } from '../scalers/index.gen.ts';
import { type ManifestDocument, placeProblem } from '../spec/documents.ts';
import type { Problem } from '../spec/problem.ts';
import { snapshotOf, surroundingsOf } from '../spec/surroundings.ts';
import { validate } from '../spec/validate.ts';
import type { Trigger } from '../spec/workload.ts';
import { checkFormula } from './check-formula.ts';
import type { LoadedWorkload, Manifests } from './manifests.ts';

/** A trigger whose parameters could be read. */
export interface VerifiedTrigger {
  loaded: LoadedWorkload;
  trigger: Trigger;
  binding: TriggerBinding;
}

export interface Verified {
  problems: Problem[];
  notices: Problem[];
  triggers: VerifiedTrigger[];
}

/**
 * Everything that can be said of manifests without asking a source: the rules, and the parameters of every
 * trigger with the credentials that the same files hold. What the files lack is a notice, for a cluster may have it.
 *
 * @param stores asks secret stores too
 */
export async function verify(
  manifests: Manifests,
  references: References,
  { signal, stores }: { signal: AbortSignal; stores?: SecretStores },
): Promise<Verified> {
  const problems: Problem[] = [];
  const notices: Problem[] = [];
  const scaledObjects = manifests.workloads.flatMap(({ workload }) =>
    workload.kind === 'ScaledObject' ? [workload] : [],
  );
  const around = surroundingsOf(snapshotOf(manifests.documents, scaledObjects), {
    operation: 'create',
    dryRun: false,
    triggerTypes: scalerTypes,
    checkFormula,
  });
  const subjects = [
    ...manifests.workloads.map(({ workload: manifest, document }) => ({ manifest, document })),
    ...manifests.authentications.map(({ authentication: manifest, document }) => ({ manifest, document })),
  ];
  for (const subject of subjects) {
    const found = validate(subject, around);
    problems.push(...found.problems);
    notices.push(...found.notices);
  }
  const triggers: VerifiedTrigger[] = [];
  for (const loaded of manifests.workloads) {
    for (const trigger of loaded.workload.triggers) {
      if (!scalerTypes.includes(trigger.type)) continue;
      const binding = await bind(loaded.workload, trigger, {
        references,
        loadScaler,
        signal,
        ...(stores === undefined ? {} : { stores }),
      });
      const said = judge(loaded, trigger, binding);
      problems.push(...said.problems);
      notices.push(...said.notices);
      triggers.push({ loaded, trigger, binding });
    }
  }
  return { problems, notices, triggers };
}

function judge(
  { workload, document }: LoadedWorkload,
  trigger: Trigger,
  binding: TriggerBinding,
): { problems: Problem[]; notices: Problem[] } {
  const path = ['spec', 'triggers', trigger.index];
  const placed = (problem: Problem) => placeProblem(document, path, problem);
  const notices = binding.notices.map(placed);
  if (binding.ok) {
    const problems =
      workload.kind === 'ScaledJob' && workload.delivery !== undefined ? undeliverable(binding) : [];
    return { problems: problems.map(placed), notices };
  }
  if (binding.problems.length > 0) return { problems: binding.problems.map(placed), notices };
  const { code, message } = binding.fault;
  const field = trigger.authenticationRef === undefined ? 'metadata' : 'authenticationRef';
  if (code === 'AUTH_MISSING') {
    const problem = `${message} in these files, so the parameters of this trigger are not checked`;
    return { problems: [], notices: [placed({ problem, place: { field } })] };
  }
  return { problems: [placed({ problem: message, place: { field } })], notices: [] };
}

function undeliverable(binding: TriggerBinding): Problem[] {
  if (!binding.ok || (binding.bound.kind === 'read' && binding.bound.scaler.deliver !== undefined)) return [];
  const { type } = binding.bound.trigger;
  return [
    {
      problem: `messages of ${type} cannot be handed to Jobs, as the source has none to claim`,
      mending: 'leave KEDA_TASK_DATA and spec.eventide.delivery out, and have the Job fetch its work itself',
      place: { field: 'type' },
    },
  ];
}

/** In the order of the files: by file, line and column. */
export function inOrder(problems: readonly Problem[], documents: readonly ManifestDocument[]): Problem[] {
  const files = [...new Set(documents.map(({ file }) => file))];
  const rank = ({ place }: Problem) => [
    files.indexOf(place?.file ?? ''),
    place?.line ?? 0,
    place?.column ?? 0,
  ];
  return [...problems].sort((a, b) => {
    const [ranksA, ranksB] = [rank(a), rank(b)];
    const differing = ranksA.findIndex((value, index) => value !== ranksB[index]);
    return (ranksA[differing] ?? 0) - (ranksB[differing] ?? 0);
  });
}
