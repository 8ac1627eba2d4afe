import type { Problem } from './problem.ts';
import type { Rule, Subject } from './rule.ts';
import { rulesOfAuth } from './rules-of-auth.ts';
import { rulesOfScaling } from './rules-of-scaling.ts';
import { rulesOfTarget } from './rules-of-target.ts';
import type { Surroundings } from './surroundings.ts';

/** Every rule, for the admission webhook as for `eventide check`. Names are unique and stable. */
export const rules: readonly Rule[] = [...rulesOfScaling, ...rulesOfTarget, ...rulesOfAuth];

/** What validation found; only problems refuse. */
export interface Validation {
  problems: Problem[];
  notices: Problem[];
}

/** Checks a parsed object by all rules of its kind. Each problem carries the name of its rule. */
export function validate(subject: Subject, around: Surroundings): Validation {
  const found: Validation = { problems: [], notices: [] };
  for (const rule of rules) {
    const breaches = rule.check(subject, around);
    (rule.level === 'refuse' ? found.problems : found.notices).push(...breaches);
  }
  return found;
}

/** KEDA's word for breaking a rule, where it has one. */
export function reasonOf(ruleName: string): string | undefined {
  return rules.find(({ name }) => name === ruleName)?.reason;
}
