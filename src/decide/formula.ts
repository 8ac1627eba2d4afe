import { Fault, faultOf } from '../base/errors.ts';
import { check, mayBeNumber } from './formula/checker.ts';
import { compile } from './formula/compile.ts';
import { Frame } from './formula/frame.ts';
import { lineAndColumn, Misspelling } from './formula/lexer.ts';
import { parse } from './formula/parser.ts';
import { typeName } from './formula/types.ts';
import { kindOf, type Value } from './formula/values.ts';

/** A formula of scalingModifiers, ready to be evaluated for each reading. */
export interface Formula {
  /** The formula as the manifest has it. */
  readonly text: string;
  /**
   * The composite value. A name that is absent or null is nil in the formula: arithmetic with it fails, `??` gives it
   * a value. Null comes back where the formula gives nil, which means "no value": KEDA then reports fallback
   * replicas × target, and without a fallback it is an error. NaN and infinities come back as they are.
   * Throws FORMULA_FAILED with line and column.
   */
  evaluate(values: ReadonlyMap<string, number | null>): number | null;
}

/** Characters in a formula. */
const longest = 16_384;
const castBefore = 'float(';
const resultName = '_kedaCompositeResult';

/**
 * Compiles a formula of scalingModifiers: expr-lang/expr 1.17 over floats, wrapped as KEDA wraps it so that it gives
 * a float, or nil where it contains `??`. `names` are the names of all triggers that a formula may use (cpu and memory
 * are none of them). As KEDA does on admission, the formula is tried once with every trigger at -1.
 *
 * Differences from KEDA: a formula that can only ever give a bool, string, array or map is refused here, not when it
 * first runs; one that gives an int although it begins with `float(` is accepted; dates, durations and byte strings
 * are refused by name.
 *
 * Throws FORMULA_INVALID; the message begins with line:column.
 */
export function compileFormula(text: string, names: readonly string[]): Formula {
  const { before, after } = wrapping(text);
  const whole = before + text + after;
  const place = (at: number): string => lineAndColumn(text, at - before.length);
  try {
    if (text.trim() === '') throw new Misspelling('the formula is empty', before.length);
    if (text.length > longest) {
      throw new Misspelling(`the formula is longer than ${longest} characters`, before.length);
    }
    const node = parse(whole, new Set(names));
    const type = check(node, names);
    if (!mayBeNumber(type)) {
      throw new Misspelling(`the formula gives ${typeName(type)}, but must give a number`, before.length);
    }
    const formula = new CompiledFormula(text, { names, place, node });
    formula.evaluate(new Map(names.map(name => [name, -1])));
    return formula;
  } catch (thrown) {
    throw invalid(thrown, { place, ends: before.length + text.length });
  }
}

/** What KEDA puts around a formula: a cast to float, which lets nil through where `??` shows that it is expected. */
function wrapping(text: string): { before: string; after: string } {
  const first = `let ${resultName} = `;
  if (text.includes('??')) {
    if (text.startsWith(first)) return { before: '', after: '' };
    return { before: `${first}(`, after: `); ${resultName} == nil ? nil : float(${resultName})` };
  }
  return text.startsWith(castBefore) ? { before: '', after: '' } : { before: castBefore, after: ')' };
}

function invalid(thrown: unknown, { place, ends }: { place: (at: number) => string; ends: number }): Fault {
  if (thrown instanceof Misspelling) {
    // A complaint about what was put around the formula is one about its end.
    const message =
      thrown.at >= ends
        ? thrown.message.replace(/^unexpected "."/, 'the formula ends too early')
        : thrown.message;
    return new Fault('FORMULA_INVALID', `${place(thrown.at)}: ${message}`);
  }
  if (thrown instanceof RangeError) {
    return new Fault('FORMULA_INVALID', '1:1: the formula nests too deeply', { cause: thrown });
  }
  const { message, code } = faultOf(thrown);
  if (code === 'INTERNAL') return faultOf(thrown);
  return new Fault('FORMULA_INVALID', `${message} when it is tried with every trigger at -1`, {
    cause: thrown,
  });
}

class CompiledFormula implements Formula {
  readonly text: string;
  readonly #names: readonly string[];
  readonly #frame: Frame;
  readonly #code: ReturnType<typeof compile>;
  readonly #place: (at: number) => string;

  constructor(
    text: string,
    parts: { names: readonly string[]; place: (at: number) => string; node: Parameters<typeof compile>[0] },
  ) {
    this.text = text;
    this.#names = parts.names;
    this.#frame = new Frame(parts.names);
    this.#code = compile(parts.node, parts.names);
    this.#place = parts.place;
  }

  evaluate(values: ReadonlyMap<string, number | null>): number | null {
    const frame = this.#frame;
    frame.begin();
    for (let index = 0; index < this.#names.length; index += 1) {
      frame.values[index] = values.get(this.#names[index] ?? '') ?? null;
    }
    let result: Value;
    try {
      result = this.#code(frame);
    } catch (thrown) {
      throw this.#failure(thrown);
    } finally {
      frame.end();
    }
    if (typeof result === 'number' || result === null) return result;
    if (typeof result === 'bigint') return Number(result);
    throw new Fault('FORMULA_FAILED', `1:1: the formula gives ${kindOf(result)}, but must give a number`);
  }

  #failure(thrown: unknown): Fault {
    const where = this.#place(this.#frame.at);
    // Arrays can nest deeper than the stack when a formula builds them level by level.
    if (thrown instanceof RangeError) {
      return new Fault('FORMULA_FAILED', `${where}: the formula works with values that nest too deeply`, {
        cause: thrown,
      });
    }
    const fault = faultOf(thrown);
    return fault.code === 'FORMULA_FAILED' ? new Fault(fault.code, `${where}: ${fault.message}`) : fault;
  }
}
