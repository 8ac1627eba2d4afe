import { Buffer } from 'node:buffer';
import type { Frame } from './frame.ts';
import { equal, failed, kindOf, less, Pairs, truncate, type Value, wrap } from './values.ts';

// The slow paths of the operators: whatever is not two floats comes here.

function mismatch(op: string, a: Value, b: Value): never {
  const hint = a === null || b === null ? ': a trigger has no value; ?? gives it one' : '';
  throw failed(`${op} cannot stand between ${kindOf(a)} and ${kindOf(b)}${hint}`);
}

const isNumeric = (value: Value): value is number | bigint =>
  typeof value === 'number' || typeof value === 'bigint';

/** The sum of numbers, or two strings as one. Throws FORMULA_FAILED for other kinds. */
export function add(frame: Frame, a: Value, b: Value): Value {
  if (typeof a === 'bigint' && typeof b === 'bigint') return wrap(a + b);
  if (isNumeric(a) && isNumeric(b)) return Number(a) + Number(b);
  if (typeof a === 'string' && typeof b === 'string') {
    frame.read(a.length + b.length);
    return a + b;
  }
  return mismatch('+', a, b);
}

/** The difference of numbers; ints wrap at 64 bits. Throws FORMULA_FAILED for other kinds. */
export function subtract(a: Value, b: Value): Value {
  if (typeof a === 'bigint' && typeof b === 'bigint') return wrap(a - b);
  if (isNumeric(a) && isNumeric(b)) return Number(a) - Number(b);
  return mismatch('-', a, b);
}

/** The product of numbers; ints wrap at 64 bits. Throws FORMULA_FAILED for other kinds. */
export function multiply(a: Value, b: Value): Value {
  if (typeof a === 'bigint' && typeof b === 'bigint') return wrap(a * b);
  if (isNumeric(a) && isNumeric(b)) return Number(a) * Number(b);
  return mismatch('*', a, b);
}

/** Division always gives a float, and by zero an infinity or NaN. */
export function divide(a: Value, b: Value): Value {
  return isNumeric(a) && isNumeric(b) ? Number(a) / Number(b) : mismatch('/', a, b);
}

/** The remainder of ints, with the sign of the dividend. */
export function remainder(a: Value, b: Value): Value {
  if (typeof a !== 'bigint' || typeof b !== 'bigint') return mismatch('%', a, b);
  if (b === 0n) throw failed('% by zero');
  return a % b;
}

/** A power, always a float; unlike JavaScript, Go says 1 for 1**NaN and for (±1)**±Inf. */
export function power(a: Value, b: Value): Value {
  if (!isNumeric(a) || !isNumeric(b)) return mismatch('**', a, b);
  const base = Number(a);
  const exponent = Number(b);
  if (base === 1 || (base === -1 && Math.abs(exponent) === Number.POSITIVE_INFINITY)) return 1;
  return base ** exponent;
}

/** A number with its sign turned. Throws FORMULA_FAILED for other kinds. */
export function negate(value: Value): Value {
  if (typeof value === 'number') return -value;
  if (typeof value === 'bigint') return wrap(-value);
  const hint = value === null ? ': a trigger has no value; ?? gives it one' : '';
  throw failed(`- cannot be applied to ${kindOf(value)}${hint}`);
}

/** A bool as it is. Throws FORMULA_FAILED for other kinds, nil among them. */
export function truth(value: Value): boolean {
  if (typeof value === 'boolean') return value;
  throw failed(`a bool is needed here, not ${kindOf(value)}`);
}

/** An index or a bound: an int, or a float cut to one as expr does where it cannot know better. */
export function toInt(value: Value): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return truncate(value);
  throw failed(`an int is needed here, not ${kindOf(value)}`);
}

/** An int as a place in an array; what is too large for a place stays too large. Throws as `toInt` does. */
export function toIndex(value: Value): number {
  return Number(toInt(value));
}

/** The ints from one to another, both among them; none where they run backwards. */
export function makeRange(frame: Frame, from: Value, to: Value): Value {
  const first = toInt(from);
  const size = Number(toInt(to) - first + 1n);
  if (size <= 0) return [];
  frame.grow(size);
  return Array.from({ length: size }, (_, index) => first + BigInt(index));
}

/** Whether a number lies in a range, without making the range. */
export function inRange(needle: Value, from: Value, to: Value): boolean {
  const first = toInt(from);
  const last = toInt(to);
  return (
    (typeof needle === 'bigint' || (typeof needle === 'number' && Number.isInteger(needle))) &&
    needle >= first &&
    needle <= last
  );
}

/** Whether an array has an element equal to the needle, or a map has it as a key; nil has nothing. */
export function contains(frame: Frame, needle: Value, hay: Value): boolean {
  if (hay === null) return false;
  if (hay instanceof Pairs) return hay.has(needle);
  if (!Array.isArray(hay)) throw failed(`in needs an array or a map at its right, not ${kindOf(hay)}`);
  frame.spend(hay.length);
  return hay.some(each => equal(frame, each, needle));
}

/** An element or entry; `base[-1]` is the last. What is not in a map is nil, what is not in an array a failure. */
export function fetch(base: Value, key: Value): Value {
  if (base instanceof Pairs) return base.get(key);
  if (typeof base === 'string' || Array.isArray(base)) {
    const hay = typeof base === 'string' ? Buffer.from(base) : base;
    const index = toIndex(key);
    const value = hay[index < 0 ? hay.length + index : index];
    if (value === undefined) throw failed(`index ${index} is outside of ${hay.length} elements`);
    return typeof base === 'string' ? BigInt(value as number) : (value as Value);
  }
  throw failed(`${kindOf(base)} has no field${typeof key === 'string' ? ` ${JSON.stringify(key)}` : 's'}`);
}

/** The part of an array, or of a string in bytes, between two places; places outside are moved to the nearest end. */
export function slice(frame: Frame, base: Value, ends: { from: Value; to: Value | undefined }): Value {
  if (typeof base !== 'string' && !Array.isArray(base)) throw failed(`${kindOf(base)} cannot be sliced`);
  const bytes = typeof base === 'string' ? Buffer.from(base) : base;
  const { length } = bytes;
  const end = (index: number): number => Math.min(Math.max(index < 0 ? length + index : index, 0), length);
  const to = end(ends.to === undefined ? length : toIndex(ends.to));
  const from = Math.min(end(toIndex(ends.from)), to);
  frame.spend(1 + to - from);
  return Array.isArray(bytes) ? bytes.slice(from, to) : bytes.subarray(from, to).toString();
}

/** The four comparisons. NaN is before and after nothing. */
export function compare(frame: Frame, op: '<' | '>' | '<=' | '>=', [a, b]: readonly [Value, Value]): boolean {
  const left = typeof a === 'bigint' && typeof b === 'number' ? Number(a) : a;
  const right = typeof b === 'bigint' && typeof a === 'number' ? Number(b) : b;
  switch (op) {
    case '<':
      return less(frame, [left, right]);
    case '>':
      return less(frame, [right, left], op);
    case '<=':
      return less(frame, [left, right], op) || left === right;
    case '>=':
      return less(frame, [right, left], op) || left === right;
  }
}
