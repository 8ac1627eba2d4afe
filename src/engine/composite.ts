import { type Fault, faultOf } from '../base/errors.ts';
import type { CompositeAnswer } from '../decide/activity.ts';
import { answerForNil, compositeFallback } from '../decide/fallback.ts';
import { compileFormula, type Formula } from '../decide/formula.ts';
import type { Answer } from '../decide/reading.ts';
import { isResource } from '../spec/rules-of-scaling.ts';
import type { Fallback, ScaledObject, Trigger } from '../spec/workload.ts';

/** The name of the one metric that a formula makes of all triggers; KEDA's. */
export const compositeName = 'composite-metric';

/** The formula of a ScaledObject, ready to be computed. */
export interface Composite {
  readonly formula: Formula | undefined;
  /** Why it does not compile. */
  readonly fault: Fault | undefined;
  readonly target: number;
  readonly targetType: 'AverageValue' | 'Value';
  readonly activationTarget: number;
}

/** Compiles the formula of a ScaledObject; undefined where it has none. Never throws: see `fault`. */
export function compositeOf({ scalingModifiers, triggers }: ScaledObject): Composite | undefined {
  if (scalingModifiers?.formula === undefined) return undefined;
  const { formula: text, target, activationTarget, metricType = 'AverageValue' } = scalingModifiers;
  const names = triggers.flatMap(each => (each.name === undefined || isResource(each) ? [] : [each.name]));
  const rest = {
    target: Number(target ?? 0),
    targetType: metricType,
    activationTarget: Number(activationTarget ?? 0),
  };
  try {
    return { formula: compileFormula(text, names), fault: undefined, ...rest };
  } catch (thrown) {
    return { formula: undefined, fault: faultOf(thrown, 'FORMULA_INVALID'), ...rest };
  }
}

/** What is known of a trigger when the formula is computed. */
export interface Term {
  trigger: Trigger;
  answer: Answer | undefined;
}

/**
 * Computes the formula. One unknown trigger makes the whole unknown; one on its fallback stands for the whole.
 *
 * @param now epoch milliseconds
 */
export function combine(
  { formula, fault, target, activationTarget }: Composite,
  { terms, fallback }: { terms: readonly Term[]; fallback: Fallback | undefined },
  now: number,
): CompositeAnswer {
  const given = terms.flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
  const answer = compositeFallback(given) ?? evaluate();
  return { metricName: compositeName, answer, activationTarget };

  function evaluate(): Answer {
    if (formula === undefined) return { kind: 'unknown', fault: fault ?? faultOf('no formula'), at: now };
    const values = new Map<string, number | null>();
    for (const { trigger, answer: value } of terms) {
      if (value === undefined || trigger.name === undefined) continue;
      if (value.kind === 'unknown') return value;
      values.set(trigger.name, value.kind === 'absent' ? null : value.value);
    }
    try {
      const value = formula.evaluate(values);
      if (value === null) return answerForNil(fallback, target, now);
      return { kind: 'read', value, active: value > activationTarget, at: now };
    } catch (thrown) {
      return { kind: 'unknown', fault: faultOf(thrown, 'FORMULA_FAILED'), at: now };
    }
  }
}
