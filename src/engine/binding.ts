import { Lookup, type UsedObject } from '../auth/lookup.ts';
import type { References } from '../auth/references.ts';
import { type ResolvedAuth, resolveAuth } from '../auth/resolve.ts';
import type { SecretStores } from '../auth/stores.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { fingerprint, type Secret } from '../base/secret.ts';
import { type BoundRead, type BoundTrigger, bindMetrics, bindTrigger } from '../scaler/bind.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { AnyScaler, MetricSpec } from '../scaler/define.ts';
import { formatProblem, type Problem } from '../spec/problem.ts';
import type { Trigger, Workload } from '../spec/workload.ts';
import type { Sources } from './sources.ts';

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
  /** Where a trigger is described whose source alone knows its metrics; without it such a trigger has none yet. */
  sources?: Sources;
  /** What the source has said of them by itself, which then is not asked. */
  told?: readonly MetricSpec[] | undefined;
  /** Epoch milliseconds. */
  now?: number;
}

/** How long what a source says of its metrics is taken to be so, in milliseconds. */
const describedMs = 10_000;

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
      /** Its other metrics, where its source describes several. */
      readonly others: readonly BoundRead[];
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
      workload: workload.name,
      triggerIndex: trigger.index,
      asMetricSource: workload.kind === 'ScaledObject' && workload.scalingModifiers?.formula !== undefined,
    };
    const binding = bindTrigger(scaler, trigger, { metadata: trigger.metadata, auth, inline, env }, context);
    const { notices } = binding;
    if (binding.ok) {
      const digest = digestOf(resolved);
      const { bound } = binding;
      if (bound.kind === 'resource' || bound.scaler.describe === undefined) {
        return { ok: true, bound, others: [], digest, notices, used, renewAt };
      }
      const [first = bound, ...others] = await metricsOf(bound, options);
      const again = Math.min(renewAt, (options.now ?? 0) + describedMs);
      return { ok: true, bound: first, others, digest, notices, used, renewAt: again };
    }
    const sentences = binding.problems.map(formatProblem).join('; ');
    const fault = new Fault('PARAM_INVALID', `trigger ${trigger.index} (${trigger.type}): ${sentences}`);
    return { ok: false, fault, problems: binding.problems, notices, used, renewAt };
  } catch (thrown) {
    const { used, renewAt } = lookup;
    return { ok: false, fault: faultOf(thrown), problems: [], notices: [], used, renewAt };
  }
}

async function metricsOf(bound: BoundRead, { sources, told }: BindingOptions): Promise<BoundRead[]> {
  if (told !== undefined) return bindMetrics(bound, told);
  if (sources === undefined) return [];
  sources.retain(bound);
  try {
    const ask = async (context: ReadContext<unknown>) =>
      (await bound.scaler.describe?.(bound.params, context)) ?? [];
    return bindMetrics(bound, await sources.use(bound, ask));
  } finally {
    sources.release(bound);
  }
}

function digestOf({ auth, inline, env, podIdentity }: ResolvedAuth): string {
  const plain = (secrets: Readonly<Record<string, Secret>>) =>
    Object.entries(secrets).map(([name, secret]) => [name, secret.reveal()]);
  return fingerprint(JSON.stringify([plain(auth), plain(inline), env, podIdentity]));
}
