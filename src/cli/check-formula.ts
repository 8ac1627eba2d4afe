import { faultOf } from '../base/errors.ts';
import { compileFormula } from '../decide/formula.ts';
import type { Problem } from '../spec/problem.ts';

/** What is wrong with a formula over these variables. Rules are given it, because they may not import the language. */
export function checkFormula(formula: string, names: readonly string[]): Problem[] {
  try {
    compileFormula(formula, names);
    return [];
  } catch (thrown) {
    return [{ problem: faultOf(thrown, 'FORMULA_INVALID').message }];
  }
}
