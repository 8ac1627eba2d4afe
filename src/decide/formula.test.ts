import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../base/errors.ts';
import { compileFormula } from './formula.ts';

const names = ['queue', 'orders', 'my-topic'];
const readings = new Map<string, number | null>([
  ['queue', 10],
  ['orders', 4],
  ['my-topic', 6],
]);

function faultOf(work: () => unknown): Fault {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown;
    throw thrown;
  }
  throw new Error('nothing was thrown');
}

describe('a formula over readings', () => {
  it('is compiled once and evaluated for each reading', () => {
    const formula = compileFormula('queue > 5 ? queue * 2 : orders', names);

    const results = [9, 3].map(queue => formula.evaluate(new Map([...readings, ['queue', queue]])));

    expect(results).toEqual([18, 4]);
  });

  it('gives null where it gives nil, for the fallback to step in', () => {
    const formula = compileFormula('queue ?? orders', names);

    expect(formula.evaluate(new Map([['queue', null]]))).toBeNull();
  });

  it('takes an absent reading for nil', () => {
    const formula = compileFormula('(queue ?? 1) + (orders ?? 2)', names);

    expect(formula.evaluate(new Map([['orders', 5]]))).toBe(6);
  });

  it('fails at the operator that met a reading without a value, and says how to mend it', () => {
    const formula = compileFormula('orders +\n  queue * 2', names);

    const fault = faultOf(() => formula.evaluate(new Map([...readings, ['queue', null]])));

    expect(fault.code).toBe('FORMULA_FAILED');
    expect(fault.message).toMatch(/^2:9: \* cannot stand between nil and int: .*\?\?/);
  });

  it('works again after it failed', () => {
    const formula = compileFormula('[1, 2][int(queue)]', ['queue']);

    expect(faultOf(() => formula.evaluate(new Map([['queue', 5]]))).message).toMatch(
      /index 5 is outside of 2/,
    );
    expect(formula.evaluate(new Map([['queue', 1]]))).toBe(2);
  });

  it('has its whole budget at each evaluation', () => {
    const formula = compileFormula('sum(1..600000)', []);

    const results = [1, 2, 3].map(() => formula.evaluate(new Map()));

    expect(results).toEqual([180_000_300_000, 180_000_300_000, 180_000_300_000]);
  });

  it('reads a trigger with a dash in its name through $env', () => {
    expect(compileFormula('$env["my-topic"] + 1', names).evaluate(readings)).toBe(7);
  });

  it('gives an int as a number when the formula undoes its own cast', () => {
    expect(compileFormula('float(queue) > 5 ? 2 : 1', names).evaluate(readings)).toBe(2);
  });

  it('lets infinities and NaN through for the caller to judge', () => {
    expect(compileFormula('queue / 0', names).evaluate(readings)).toBe(Number.POSITIVE_INFINITY);
    expect(compileFormula('(queue - queue) / 0', names).evaluate(readings)).toBeNaN();
  });
});

describe('a formula that is refused says where and why', () => {
  it.each([
    ['', '1:1: the formula is empty'],
    ['queue +', '1:8: the formula ends too early'],
    ['(queue + orders', '1:16: the formula ends too early'],
    ['queue ?? (orders', '1:17: the formula ends too early'],
    ['queue orders', '1:7: unexpected "orders"'],
    ['qeue + 1', '1:1: unknown name "qeue", did you mean "queue"? (there is "queue", "orders", "my-topic")'],
    [
      'my-topic + 1',
      '1:1: unknown name "my"; a name with a dash is read as a subtraction, write $env["my-topic"]',
    ],
    ['queue +\n foo', '2:2: unknown name "foo" (there is "queue", "orders", "my-topic")'],
    ['nax(queue, 1)', '1:1: there is no function nax, did you mean "max"?'],
    ['max + 1', '1:1: max is a function and must be called: max(…)'],
    ['queue % 2', '1:7: % cannot stand between float and int (mismatched types); triggers are floats'],
    ['queue + "1"', '1:7: + cannot stand between float and string'],
    ['1 % 0', '1:3: % by zero'],
    ['queue > 1', '1:1: float cannot be given bool'],
    ['[queue]', '1:1: float cannot be given array of float'],
    ['float(queue) > 1', '1:1: the formula gives bool, but must give a number'],
    ['"five"', '1:1: float cannot be made of "five" when it is tried with every trigger at -1'],
    ['[1, 2][int(queue) - 9]', '1:7: index -10 is outside of 2 elements when it is tried'],
    ['queue ? 1 : 2', '1:1: a condition must be a bool, not float'],
    ['queue ?? 1 + 1', '1:12: put brackets around the ?? before "+"'],
    ['map([1], #acc)[0]', '1:10: #acc means nothing in this predicate'],
    ['# + 1', '1:1: # stands for an element'],
    ['let queue = 1; queue', '1:5: a trigger is already named queue'],
    ['"abc" matches "(" ? 1 : 0', '1:15: the pattern "(" cannot be used: a ( is not closed'],
    ['now().Hour()', '1:1: now works with dates or durations'],
    ['len(b"abc")', '1:5: byte strings (b"…") cannot be used'],
    ['queue.size', '1:7: float has no field "size"'],
    ['upper(queue)', '1:1: upper takes string as argument 1, not float'],
    ['abs()', '1:1: abs takes 1 argument, not 0'],
  ])('%j', (text, message) => {
    const fault = faultOf(() => compileFormula(text, names));

    expect(fault.code).toBe('FORMULA_INVALID');
    expect(fault.message).toContain(message);
    expect(fault.message.startsWith(message.slice(0, 4))).toBe(true);
  });

  it('says so when no trigger has a name', () => {
    expect(faultOf(() => compileFormula('queue', [])).message).toBe(
      '1:1: unknown name "queue" (no trigger has a name that the formula could use)',
    );
  });

  it('lets a trigger named like a function hide the function, which :: still reaches', () => {
    expect(faultOf(() => compileFormula('max(1, 2)', ['max'])).message).toMatch(
      /^1:1: max is the value of a trigger/,
    );
    expect(compileFormula('::max(max, 2)', ['max']).evaluate(new Map([['max', 1]]))).toBe(2);
  });
});

describe('no formula can hold the engine up', () => {
  it.each([
    ['a huge range', 'reduce(1..100000000, #acc + #)', /1000000 elements or more/],
    ['loops in loops', 'sum(map(1..900, sum(map(1..900, sum(1..900)))))', /elements or more/],
    ['work without arrays', 'let r = 1..9999; sum(r, sum(r, #))', /too many steps/],
    ['a string that doubles', 'len(reduce(1..100, #acc + #acc, "x"))', /more than 1000000 characters/],
    ['an array that doubles', 'len(reduce(1..100, concat(#acc, #acc), [1]))', /elements or more/],
    ['arrays that share parts', 'len(string(reduce(1..60, [#acc, #acc], [1])))', /elements or more/],
    [
      'equality of shared parts',
      'let x = reduce(1..60, [#acc, #acc], 1); let y = reduce(1..60, [#acc, #acc], 1); x == y ? 1 : 0',
      /too many steps/,
    ],
    ['JSON of shared parts', 'len(toJSON(reduce(1..60, [#acc, #acc], [1])))', /elements or more/],
    ['arrays too deep to print', 'len(string(reduce(1..100000, [#acc], [1])))', /nest too deeply/],
    ['arrays too deep to flatten', 'len(flatten(reduce(1..100000, [#acc], [1])))', /deeper than 1000/],
    ['JSON too deep', 'len(fromJSON(repeat("[", 100000) + repeat("]", 100000)))', /nest too deeply/],
    ['a pattern of many paths', 'repeat("a", 900000) matches "(a?){1000}b" ? 1 : 0', /too many steps/],
    ['quadratic uniqueness', 'len(uniq(1..900000))', /too many steps/],
    ['repetition', 'len(repeat("abc", 999999))', /more than 1000000 characters/],
    ['brackets', `${'('.repeat(8_000)}queue${')'.repeat(8_000)}`, /nests deeper than 150/],
    ['prefixes', `${'-'.repeat(16_000)}queue`, /nests deeper than 150/],
    ['a long chain', `queue${'+queue'.repeat(2_000)}`, /nests deeper than 1000/],
    ['shared halves of a comparison', `${'1 < ('.repeat(30)}1${') < 3 ? 1 : 0'.repeat(30)}`, /10000 parts/],
    ['length', `queue${' '.repeat(17_000)}`, /longer than 16384/],
  ])('refuses %s', (_title, text, message) => {
    const fault = faultOf(() => compileFormula(text, names));

    expect(fault.code).toBe('FORMULA_INVALID');
    expect(fault.message).toMatch(message);
  });

  it('fails on readings that ask for too much', () => {
    const formula = compileFormula('len(1..int(queue))', names);

    const fault = faultOf(() => formula.evaluate(new Map([['queue', 1e9]])));

    expect(fault.code).toBe('FORMULA_FAILED');
    expect(fault.message).toMatch(/^1:6: the formula makes arrays of 1000000 elements or more/);
  });

  it('finds a number in a range of any size without making it', () => {
    expect(compileFormula('queue in 1..9000000000000 ? 1 : 0', names).evaluate(readings)).toBe(1);
  });
});

const words = fc.constantFrom(
  ...[
    'queue',
    'orders',
    '1',
    '2.5',
    '"s"',
    '+',
    '-',
    '*',
    '/',
    '%',
    '**',
    '(',
    ')',
    '[',
    ']',
    '{',
    '}',
    ',',
    '?',
    ':',
  ],
  ...[
    '??',
    '?.',
    '.',
    '#',
    '|',
    '..',
    'in',
    'not',
    'and',
    '==',
    '<',
    'let',
    'x',
    '=',
    ';',
    'if',
    'else',
    'nil',
  ],
  ...[
    'max',
    'sum',
    'map',
    'filter',
    'reduce',
    'len',
    'int',
    'matches',
    '#acc',
    '1..9999',
    'repeat',
    'concat',
  ],
);

describe('whatever is written', () => {
  it.each([
    ['any text', fc.string({ unit: 'binary', maxLength: 60 })],
    ['any words', fc.array(words, { maxLength: 25 }).map(each => each.join(' '))],
    [
      'any words with brackets',
      fc.array(words, { maxLength: 12 }).map(each => `max((${each.join(' ')}), 1)`),
    ],
  ])('%s is evaluated or refused with a Fault', (_title, texts) => {
    fc.assert(
      fc.property(texts, text => {
        try {
          const value = compileFormula(text, names).evaluate(readings);
          expect(value === null || typeof value === 'number').toBe(true);
        } catch (thrown) {
          if (!(thrown instanceof Fault)) throw thrown;
          expect(['FORMULA_INVALID', 'FORMULA_FAILED']).toContain(thrown.code);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('arithmetic', () => {
  const finite = fc.double({ noNaN: true, noDefaultInfinity: true });

  it.each<[string, (a: number, b: number) => number]>([
    ['a + b', (a, b) => a + b],
    ['a - b', (a, b) => a - b],
    ['a * b', (a, b) => a * b],
    ['a / b', (a, b) => a / b],
    ['-a + +b', (a, b) => -a + b],
    ['a < b ? b : a', (a, b) => Math.max(a, b)],
    ['max(a, b) + 0', (a, b) => Math.max(a, b) + 0],
    ['min([a, b]) + 0', (a, b) => Math.min(a, b) + 0],
    ['a >= b && a != b ? 1 : 0', (a, b) => (a > b ? 1 : 0)],
    ['sum([a, b, 0])', (a, b) => a + b],
    ['mean(a, b)', (a, b) => (0 + a + b) / 2],
    ['ceil(a) - floor(a)', a => Math.ceil(a) - Math.floor(a)],
    ['float(string(a))', a => a],
    ['fromJSON(toJSON(a)) + 0', a => a + 0],
    ['(let x = a; x * 2) + b', (a, b) => a * 2 + b],
  ])('%s over floats is what floats say', (text, expected) => {
    const formula = compileFormula(text, ['a', 'b']);

    fc.assert(
      fc.property(finite, finite, (a, b) => {
        const value = formula.evaluate(
          new Map([
            ['a', a],
            ['b', b],
          ]),
        );

        expect(value === expected(a, b) || (Number.isNaN(value) && Number.isNaN(expected(a, b)))).toBe(true);
      }),
    );
  });

  const int64 = fc.bigInt({ min: -0x7fff_ffff_ffff_ffffn, max: 0x7fff_ffff_ffff_ffffn });

  it.each<[string, (a: bigint, b: bigint) => bigint]>([
    ['+', (a, b) => BigInt.asIntN(64, a + b)],
    ['-', (a, b) => BigInt.asIntN(64, a - b)],
    ['*', (a, b) => BigInt.asIntN(64, a * b)],
    ['%', (a, b) => a % b],
  ])('%s over ints is exact and wraps at 64 bits', (op, expected) => {
    fc.assert(
      fc.property(int64, int64, (a, b) => {
        fc.pre(op !== '%' || b !== 0n);
        // Compared inside of the formula, where ints are still ints.
        const text = `int("${a}") ${op} int("${b}") == int("${expected(a, b)}") ? 1 : 0`;

        expect(compileFormula(text, []).evaluate(new Map())).toBe(1);
      }),
    );
  });
});
