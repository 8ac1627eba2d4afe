import { add, compare, divide, multiply, negate, power, remainder, subtract } from './arithmetic.ts';
import type { Code, Frame } from './frame.ts';
import type { Node, NodeOf } from './syntax.ts';
import { failed, kindOf, type Value, wrap } from './values.ts';

interface Sides {
  left: Code;
  right: Code;
  at: number;
  /** The right side as float where it is a written int: converted here once, not at each reading. */
  float: number | undefined;
}

type Arithmetic = '+' | '-' | '*' | '/' | '%' | '**';
type Comparison = '<' | '>' | '<=' | '>=';
type Slow = (frame: Frame, a: Value, b: Value) => Value;

const slowWays: Record<Arithmetic, Slow> = {
  '+': add,
  '-': (_frame, a, b) => subtract(a, b),
  '*': (_frame, a, b) => multiply(a, b),
  '/': (_frame, a, b) => divide(a, b),
  '%': (_frame, a, b) => remainder(a, b),
  '**': (_frame, a, b) => power(a, b),
};

const quickWays: Partial<Record<Arithmetic, (a: number, b: number) => number>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
};

const quickComparisons: Record<Comparison, (a: number, b: number) => boolean> = {
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

/** An arithmetic operator: two floats take a short way, all else the one that looks. */
export function arithmetic(op: Arithmetic, sides: Sides): Code {
  const work = slowWays[op];
  const { left, right, at } = sides;
  const quick = quickWays[op];
  if (quick !== undefined) return fork(quick, work, sides);
  return frame => {
    const a = left(frame);
    const b = right(frame);
    frame.at = at;
    return work(frame, a, b);
  };
}

/** One of the four comparisons: two floats take a short way. */
export function comparison(op: Comparison, sides: Sides): Code {
  return fork(quickComparisons[op], (frame, a, b) => compare(frame, op, [a, b]), sides);
}

function fork(quick: (a: number, b: number) => Value, slow: Slow, { left, right, at, float }: Sides): Code {
  if (float !== undefined) {
    return frame => {
      const a = left(frame);
      if (typeof a === 'number') return quick(a, float);
      frame.at = at;
      return slow(frame, a, right(frame));
    };
  }
  return frame => {
    const a = left(frame);
    const b = right(frame);
    if (typeof a === 'number' && typeof b === 'number') return quick(a, b);
    frame.at = at;
    return slow(frame, a, b);
  };
}

/** contains, startsWith and endsWith; false where either side is nil. */
export function textOperator(
  op: 'contains' | 'startsWith' | 'endsWith',
  { left, right, at }: Omit<Sides, 'float'>,
): Code {
  return frame => {
    const whole = left(frame);
    const part = right(frame);
    frame.at = at;
    if (whole === null || part === null) return false;
    if (typeof whole !== 'string' || typeof part !== 'string') {
      throw failed(`${op} takes two strings, not ${kindOf(whole)} and ${kindOf(part)}`);
    }
    frame.read(whole.length);
    if (op === 'contains') return whole.includes(part);
    return op === 'startsWith' ? whole.startsWith(part) : whole.endsWith(part);
  };
}

const foldable: Partial<Record<NodeOf<'binary'>['op'], (a: number | bigint, b: number | bigint) => Value>> = {
  '+': (a, b) => (typeof a === 'bigint' && typeof b === 'bigint' ? wrap(a + b) : Number(a) + Number(b)),
  '-': subtract,
  '*': multiply,
  '/': divide,
  // By zero there is nothing to fold: the checker refuses what the formula's own text divides so.
  '%': (a, b) => (b === 0n ? null : remainder(a, b)),
  '**': power,
};

/** The value of a node that is the same at all times, or undefined: literals and arithmetic of written numbers. */
export function constantOf(node: Node): NonNullable<Value> | undefined {
  if (node.kind === 'literal') return node.value ?? undefined;
  if (node.kind === 'unary' && node.op !== 'not') {
    const value = constantOf(node.of);
    if (typeof value !== 'number' && typeof value !== 'bigint') return undefined;
    return node.op === '+' ? value : (negate(value) ?? undefined);
  }
  if (node.kind !== 'binary') return undefined;
  const work = foldable[node.op];
  if (work === undefined) return undefined;
  const left = constantOf(node.left);
  if (typeof left !== 'number' && typeof left !== 'bigint') return undefined;
  const right = constantOf(node.right);
  if (typeof right !== 'number' && typeof right !== 'bigint') return undefined;
  return work(left, right) ?? undefined;
}

/** A written int as float, for an operator whose left side turns out to be a float. */
export function writtenFloat(node: Node): number | undefined {
  const constant = constantOf(node);
  return typeof constant === 'bigint' ? Number(constant) : undefined;
}
