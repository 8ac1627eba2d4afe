import { Lookup, type UsedObject } from '../auth/lookup.ts';
import type { References } from '../auth/references.ts';
import { type ResolvedAuth, resolveAuth } from '../auth/resolve.ts';
import type { SecretStores } from '../auth/stores.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { fingerprint, type Secret } from '../base/secret.ts';
import { type BoundTrigger, bindTrigger } from '../scaler/bind.ts';
import type { AnyScaler } from '../scaler/define.ts';
import { formatProblem, type Problem } from '../spec/problem.ts';
import type { Trigger, Workload } from '../spec/workload.ts';

/** What binding a trigger needs. */
export interface BindingOptions {
  references: References;
  /** The scaler of a type; undefined for a type nobody knows. */
  loadScaler(type: string): Promise<AnyScaler | undefined>;
  signal: AbortSignal;
  /** The folder below which credentials may be read from files; none unless given. */
  fileRoot?: string;
  /** Without them, what secret stores hold counts as missing. */
  stores?: SecretStores;
  /** The credentials found last were refused where they were used. */
  refused?: boolean;
}

/** A trigger that is ready to be read, or why it is not. */
export type TriggerBinding = {
  readonly used: readonly UsedObject[];
  /** When it is to be bound anew though none of them changed, in epoch milliseconds; Infinity for never. */
  readonly renewAt: number;
  readonly notices: readonly Problem[];
} & (
  | {
      readonly ok: true;
      readonly bound: BoundTrigger;
      /** The same where a trigger is bound anew and nothing of its credentials has changed. */
      readonly digest: string;
    }
  | { readonly ok: false; readonly fault: Fault; readonly problems: readonly Problem[] }
);

/**
 * Finds a trigger's credentials and reads its parameters. Never throws: a trigger that cannot be built is one
 * whose reading fails, and counts as such.
 */
export async function bind(
  workload: Workload,
  trigger: Trigger,
  options: BindingOptions,
): Promise<TriggerBinding> {
  const lookup = new Lookup(options);
  try {
    const scaler = await options.loadScaler(trigger.type);
    if (scaler === undefined) {
      throw new Fault('TYPE_UNKNOWN', `there is no trigger type "${trigger.type}"`);
    }
    const resolved = await resolveAuth(trigger, workload, { ...options, lookup });
    const { auth, inline, env, podIdentity, used, renewAt } = resolved;
    const context = {
      podIdentity,
      namespace: workload.namespace,
      triggerIndex: trigger.index,
      asMetricSource: workload.kind === 'ScaledObject' && workload.scalingModifiers?.formula !== undefined,
    };
    const binding = bindTrigger(scaler, trigger, { metadata: trigger.metadata, auth, inline, env }, context);
    const { notices } = binding;
    if (binding.ok) {
      const digest = digestOf(resolved);
      return { ok: true, bound: binding.bound, digest, notices, used, renewAt };
    }
    const sentences = binding.problems.map(formatProblem).join('; ');
    const fault = new Fault('PARAM_INVALID', `trigger ${trigger.index} (${trigger.type}): ${sentences}`);
    return { ok: false, fault, problems: binding.problems, notices, used, renewAt };
  } catch (thrown) {
    const { used, renewAt } = lookup;
    return { ok: false, fault: faultOf(thrown), problems: [], notices: [], used, renewAt };
  }
}

function digestOf({ auth, inline, env, podIdentity }: ResolvedAuth): string {
  const plain = (secrets: Readonly<Record<string, Secret>>) =>
    Object.entries(secrets).map(([name, secret]) => [name, secret.reveal()]);
  return fingerprint(JSON.stringify([plain(auth), plain(inline), env, podIdentity]));
}
