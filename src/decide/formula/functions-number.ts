import type { Frame } from './frame.ts';
import { failed, kindOf, less, truncate, type Value, wrap } from './values.ts';

type NumberFunction = (frame: Frame, args: readonly Value[]) => Value;

/** A function of one number that gives a float. */
function rounding(name: string, round: (value: number) => number): NumberFunction {
  return (_frame, args) => {
    const value = args[0] ?? null;
    if (typeof value === 'number') return round(value);
    if (typeof value === 'bigint') return Number(value);
    throw failed(`${name} takes a number, not ${kindOf(value)}`);
  };
}

/** Rounds half away from zero; JavaScript's own rounds half up. */
function round(value: number): number {
  const whole = Math.trunc(value);
  return Math.abs(value - whole) >= 0.5 ? whole + Math.sign(value) : whole;
}

function bits(name: string, work: (a: bigint, b: bigint) => bigint): NumberFunction {
  return (_frame, [a = null, b = null]) => {
    if (typeof a === 'bigint' && typeof b === 'bigint') return wrap(work(a, b));
    throw failed(`${name} takes two ints, not ${kindOf(a)} and ${kindOf(b)}`);
  };
}

function shift(name: string, work: (a: bigint, by: bigint) => bigint): NumberFunction {
  return bits(name, (a, by) => {
    if (by < 0n) throw failed(`${name} cannot shift by ${by}`);
    return work(a, by > 64n ? 64n : by);
  });
}

/** The largest or least of numbers and of arrays of numbers; nil where there is none. */
function extreme(name: string, beats: (frame: Frame, held: Value, value: Value) => boolean): NumberFunction {
  const search = (frame: Frame, values: readonly Value[], depth: number): Value => {
    if (depth > 1_000) throw failed('an array nests deeper than 1000 levels');
    let held: Value = null;
    for (const value of values) {
      frame.spend(1);
      const found = Array.isArray(value) ? search(frame, value, depth + 1) : value;
      if (found === null && Array.isArray(value)) continue;
      if (typeof found !== 'number' && typeof found !== 'bigint') {
        throw failed(`${name} takes numbers and arrays of them, not ${kindOf(found)}`);
      }
      if (held === null || beats(frame, held, found)) held = found;
    }
    return held;
  };
  return (frame, args) => {
    const [only = null] = args;
    // Alone and no array, whatever is there is the extreme.
    return args.length === 1 && !Array.isArray(only) ? only : search(frame, args, 0);
  };
}

/** All numbers of arguments and of arrays among them, as floats. */
function gather(name: string, frame: Frame, values: readonly Value[], depth = 0): number[] {
  if (depth > 1_000) throw failed('an array nests deeper than 1000 levels');
  const numbers: number[] = [];
  for (const value of values) {
    frame.spend(1);
    if (typeof value === 'number' || typeof value === 'bigint') numbers.push(Number(value));
    else if (Array.isArray(value))
      for (const each of gather(name, frame, value, depth + 1)) numbers.push(each);
    else throw failed(`${name} takes numbers and arrays of them, not ${kindOf(value)}`);
  }
  return numbers;
}

function mean(frame: Frame, values: readonly Value[], depth = 0): { count: number; sum: number } {
  if (depth > 1_000) throw failed('an array nests deeper than 1000 levels');
  const total = { count: 0, sum: 0 };
  for (const value of values) {
    frame.spend(1);
    if (typeof value === 'number' || typeof value === 'bigint') {
      total.count += 1;
      total.sum += Number(value);
    } else if (Array.isArray(value)) {
      // An inner array is summed on its own first: floats depend on the order they are added in.
      const inner = mean(frame, value, depth + 1);
      total.count += inner.count;
      total.sum += inner.sum;
    } else throw failed(`mean takes numbers and arrays of them, not ${kindOf(value)}`);
  }
  return total;
}

function median(numbers: number[]): number {
  if (numbers.length === 0) return 0;
  // Go puts NaN first.
  numbers.sort((a, b) =>
    Number.isNaN(a) || Number.isNaN(b) ? Number(Number.isNaN(b)) - Number(Number.isNaN(a)) : a - b,
  );
  const middle = numbers.length >> 1;
  const upper = numbers[middle] ?? 0;
  return numbers.length % 2 === 1 ? upper : ((numbers[middle - 1] ?? 0) + upper) / 2;
}

function toInt(value: Value): Value {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return truncate(value);
  if (typeof value === 'string' && /^[+-]?\d{1,40}$/.test(value)) {
    const whole = BigInt(value.replace(/^\+/, ''));
    if (wrap(whole) === whole) return whole;
  }
  throw failed(
    `int cannot be made of ${typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : kindOf(value)}`,
  );
}

function toFloat(value: Value): Value {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  const float = typeof value === 'string' ? parseFloat64(value) : undefined;
  if (float !== undefined) return float;
  throw failed(
    `float cannot be made of ${typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : kindOf(value)}`,
  );
}

/** What Go's ParseFloat takes: decimals, hexadecimals with a binary exponent, inf and nan; nothing too large. */
function parseFloat64(written: string): number | undefined {
  const text = written.replace(/(?<=[\dxX])_(?=\d)/g, '');
  const special = /^([+-]?)(?:inf|infinity)$/i.exec(text);
  if (special !== null) return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (/^nan$/i.test(text)) return Number.NaN;
  let float: number | undefined;
  if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) float = Number(text);
  const hex = /^([+-]?)0x([\da-f]*)\.?([\da-f]*)p([+-]?\d{1,6})$/i.exec(text);
  if (hex !== null && `${hex[2]}${hex[3]}` !== '') {
    const [, sign, whole = '', part = '', exponent] = hex;
    const size = Number(BigInt(`0x${whole}${part}`)) * 2 ** (Number(exponent) - part.length * 4);
    float = sign === '-' ? -size : size;
  }
  return float !== undefined && Number.isFinite(float) ? float : undefined;
}

/** The built-ins that work on numbers. */
export const numberFunctions: Readonly<Record<string, NumberFunction>> = {
  abs: (_frame, [value = null]) => {
    if (typeof value === 'number') return value < 0 ? -value : value;
    if (typeof value === 'bigint') return value < 0n ? wrap(-value) : value;
    throw failed(`abs takes a number, not ${kindOf(value)}`);
  },
  ceil: rounding('ceil', Math.ceil),
  floor: rounding('floor', Math.floor),
  round: rounding('round', round),
  int: (_frame, [value = null]) => toInt(value),
  float: (_frame, [value = null]) => toFloat(value),
  max: extreme('max', (frame, held, value) => less(frame, [held, value])),
  min: extreme('min', (frame, held, value) => less(frame, [value, held])),
  mean: (frame, args) => {
    const { count, sum } = mean(frame, args);
    return count === 0 ? 0 : sum / count;
  },
  median: (frame, args) => median(gather('median', frame, args)),
  bitand: bits('bitand', (a, b) => a & b),
  bitor: bits('bitor', (a, b) => a | b),
  bitxor: bits('bitxor', (a, b) => a ^ b),
  bitnand: bits('bitnand', (a, b) => a & ~b),
  bitshl: shift('bitshl', (a, by) => a << by),
  bitshr: shift('bitshr', (a, by) => a >> by),
  bitushr: shift('bitushr', (a, by) => BigInt.asUintN(64, a) >> by),
  bitnot: (_frame, [value = null]) => {
    if (typeof value === 'bigint') return ~value;
    throw failed(`bitnot takes an int, not ${kindOf(value)}`);
  },
};
