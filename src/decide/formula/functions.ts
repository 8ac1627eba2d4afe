import { Buffer } from 'node:buffer';
import { fetch, toIndex } from './arithmetic.ts';
import type { Frame } from './frame.ts';
import { numberFunctions } from './functions-number.ts';
import { textFunctions } from './functions-text.ts';
import { equal, failed, kindOf, less, mapKey, Pairs, show, type Value } from './values.ts';

/** A built-in at work. The checker has seen the arguments, but where it knew no types it let anything through. */
export type BuiltIn = (frame: Frame, args: readonly Value[]) => Value;

const argument = (args: readonly Value[], index: number): Value => args[index] ?? null;

function arrayAt(args: readonly Value[], index: number, name: string): Value[] {
  const value = argument(args, index);
  if (Array.isArray(value)) return value;
  throw failed(`${name} takes an array, not ${kindOf(value)}`);
}

function mapAt(args: readonly Value[], name: string): Pairs {
  const value = argument(args, 0);
  if (value instanceof Pairs) return value;
  throw failed(`${name} takes a map, not ${kindOf(value)}`);
}

function lookUp(base: Value, key: Value): Value {
  if (base instanceof Pairs) return base.get(key);
  if (typeof base !== 'string' && !Array.isArray(base)) return null;
  const length = typeof base === 'string' ? Buffer.byteLength(base) : base.length;
  const index = toIndex(key);
  return index >= -length && index < length ? fetch(base, BigInt(index)) : null;
}

function flatten(frame: Frame, values: readonly Value[], depth = 0): Value[] {
  if (depth > 1_000) throw failed('an array nests deeper than 1000 levels');
  const flat: Value[] = [];
  for (const value of values) {
    frame.spend(1);
    if (!Array.isArray(value)) flat.push(value);
    else for (const each of flatten(frame, value, depth + 1)) flat.push(each);
  }
  return flat;
}

/** Sorts by keys, ascending or descending; equal elements keep their order. */
export function sortBy(
  frame: Frame,
  values: readonly Value[],
  { keys, order }: { keys: readonly Value[]; order: Value },
): Value[] {
  if (order !== 'asc' && order !== 'desc') throw failed('the order of a sort is "asc" or "desc"');
  frame.grow(values.length);
  frame.spend(values.length * Math.ceil(Math.log2(values.length + 1)));
  const sign = order === 'asc' ? 1 : -1;
  const places = values.map((value, index) => ({ value, key: keys[index] ?? null }));
  places.sort(({ key: a }, { key: b }) => (less(frame, [a, b]) ? -sign : less(frame, [b, a]) ? sign : 0));
  return places.map(({ value }) => value);
}

const arrayFunctions: Record<string, BuiltIn> = {
  len: (frame, args) => {
    const value = argument(args, 0);
    if (typeof value === 'string') {
      frame.read(value.length);
      let count = 0n;
      for (const _ of value) count += 1n;
      return count;
    }
    if (Array.isArray(value)) return BigInt(value.length);
    if (value instanceof Pairs) return BigInt(value.entries.size);
    throw failed(`len cannot be given ${kindOf(value)}`);
  },
  type: (_frame, args) => kindOf(argument(args, 0)),
  string: (frame, args) => {
    const text = show(frame, argument(args, 0));
    frame.read(text.length);
    return text;
  },
  first: (_frame, args) => lookUp(argument(args, 0), 0n),
  last: (_frame, args) => lookUp(argument(args, 0), -1n),
  get: (_frame, args) => lookUp(argument(args, 0), argument(args, 1)),
  take: (frame, args) => {
    const from = arrayAt(args, 0, 'take');
    const count = argument(args, 1);
    if (typeof count !== 'bigint') throw failed(`take takes a count of elements, not ${kindOf(count)}`);
    if (count < 0n) throw failed('take cannot take fewer than 0 elements');
    frame.spend(from.length);
    return from.slice(0, Number(count));
  },
  keys: (frame, args) => {
    const { entries } = mapAt(args, 'keys');
    frame.grow(entries.size);
    return [...entries.keys()];
  },
  values: (frame, args) => {
    const { entries } = mapAt(args, 'values');
    frame.grow(entries.size);
    return [...entries.values()];
  },
  toPairs: (frame, args) => {
    const { entries } = mapAt(args, 'toPairs');
    frame.grow(entries.size * 2);
    return [...entries].map(([key, value]) => [key, value]);
  },
  fromPairs: (frame, args) => {
    const pairs = arrayAt(args, 0, 'fromPairs');
    frame.grow(pairs.length);
    const entries = new Map<Value, Value>();
    for (const pair of pairs) {
      if (!Array.isArray(pair) || pair.length !== 2)
        throw failed('fromPairs takes arrays of a key and a value');
      entries.set(mapKey(pair[0] ?? null), pair[1] ?? null);
    }
    return new Pairs(entries, false);
  },
  reverse: (frame, args) => {
    const values = arrayAt(args, 0, 'reverse');
    frame.grow(values.length);
    return values.toReversed();
  },
  uniq: (frame, args) => {
    const kept: Value[] = [];
    for (const value of arrayAt(args, 0, 'uniq')) {
      frame.spend(1 + kept.length);
      if (!kept.some(each => equal(frame, each, value))) kept.push(value);
    }
    return kept;
  },
  concat: (frame, args) => {
    const arrays = args.map((_, index) => arrayAt(args, index, 'concat'));
    frame.grow(arrays.reduce((sum, { length }) => sum + length, 0));
    return arrays.flat();
  },
  flatten: (frame, args) => {
    const flat = flatten(frame, arrayAt(args, 0, 'flatten'));
    frame.grow(flat.length);
    return flat;
  },
  sort: (frame, args) => {
    const values = arrayAt(args, 0, 'sort');
    return sortBy(frame, values, { keys: values, order: args[1] === undefined ? 'asc' : args[1] });
  },
};

/** The built-ins that take no predicate, by name; the same names as in `signatures.ts`. */
export const builtIns: Readonly<Record<string, BuiltIn>> = {
  ...arrayFunctions,
  ...numberFunctions,
  ...textFunctions,
};
