import { Fault } from '../../base/errors.ts';

/** A value inside a formula: an int is a bigint of 64 bits, a float a number, nil is null. */
export type Value = null | boolean | bigint | number | string | Value[] | Pairs;

/** A map. Literals and JSON have strings as keys and refuse others; fromPairs and groupBy take any key. */
export class Pairs {
  readonly entries: Map<Value, Value>;
  readonly textKeys: boolean;

  constructor(entries: Map<Value, Value>, textKeys: boolean) {
    this.entries = entries;
    this.textKeys = textKeys;
  }

  get(key: Value): Value {
    return this.entries.get(this.#checked(key)) ?? null;
  }

  has(key: Value): boolean {
    return this.entries.has(this.#checked(key));
  }

  #checked(key: Value): Value {
    if (this.textKeys && key === null) return '';
    if (this.textKeys && typeof key !== 'string')
      throw failed(`this map has strings as keys, not ${kindOf(key)}`);
    return mapKey(key);
  }
}

/** A key that can be found again; arrays and maps cannot be keys. */
export function mapKey(key: Value): Value {
  if (typeof key === 'object' && key !== null) throw failed(`${kindOf(key)} cannot be the key of a map`);
  return key;
}

/** The Fault of a formula that fails while it runs. The sentence gets its place in `compile.ts`. */
export function failed(sentence: string): Fault {
  return new Fault('FORMULA_FAILED', sentence);
}

/** The kind of a value as the built-in `type` says it. */
export function kindOf(value: Value): string {
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'int';
    case 'number':
      return 'float';
    case 'string':
      return 'string';
    default:
      return value === null ? 'nil' : Array.isArray(value) ? 'array' : 'map';
  }
}

/** What going through a value costs is counted here: values may share parts, and unfold to more than ever was made. */
export interface Budget {
  spend(steps: number): void;
  grow(elements: number): void;
}

/** Whether two values are equal: ints and floats by value, arrays by element, maps by entry. */
export function equal(budget: Budget, a: Value, b: Value): boolean {
  if (typeof a === 'string' && typeof b === 'string') budget.spend(a.length >> 4);
  if (a === b) return true;
  if (typeof a === 'number' || typeof a === 'bigint') {
    if (typeof b !== 'number' && typeof b !== 'bigint') return false;
    // Two ints that differ in their last bits must not meet in the same float.
    return typeof a === typeof b ? false : Number(a) === Number(b);
  }
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    budget.spend(1 + a.length);
    return a.every((each, index) => equal(budget, each, b[index] ?? null));
  }
  if (a instanceof Pairs) {
    if (!(b instanceof Pairs) || a.entries.size !== b.entries.size) return false;
    budget.spend(1 + a.entries.size);
    // Inside maps expr compares as Go does: an int there never equals a float.
    for (const [key, value] of a.entries) {
      const other = b.entries.get(key) ?? null;
      if (!b.entries.has(key) || kindOf(value) !== kindOf(other) || !equal(budget, value, other))
        return false;
    }
    return true;
  }
  return false;
}

/** Whether a comes before b. Numbers and strings have an order, and only among themselves. */
export function less(budget: Budget, [a, b]: readonly [Value, Value], op = '<'): boolean {
  if (typeof a === 'number' || typeof a === 'bigint') {
    if (typeof b === typeof a) return a < (b as typeof a);
    if (typeof b === 'number' || typeof b === 'bigint') return Number(a) < Number(b);
  }
  if (typeof a === 'string' && typeof b === 'string') {
    budget.spend(Math.min(a.length, b.length) >> 4);
    return a < b;
  }
  throw failed(`${kindOf(a)} and ${kindOf(b)} cannot be compared by ${op}`);
}

/** Wraps an exact result into 64 bits, as Go's int does. */
export function wrap(value: bigint): bigint {
  return BigInt.asIntN(64, value);
}

/** The int of a float as Go truncates it on amd64: what does not fit becomes the least int. */
export function truncate(value: number): bigint {
  if (!(value >= -(2 ** 63) && value < 2 ** 63)) return -0x8000_0000_0000_0000n;
  return BigInt(Math.trunc(value));
}

/** A value as Go's %v prints it. */
export function show(budget: Budget, value: Value): string {
  budget.grow(1);
  if (value === null) return '<nil>';
  if (typeof value === 'number') return showFloat(value);
  if (typeof value === 'string') {
    budget.spend(value.length);
    return value;
  }
  if (typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return `[${value.map(each => show(budget, each)).join(' ')}]`;
  const entries = [...value.entries].sort(([a], [b]) => byKey(budget, a, b));
  return `map[${entries.map(([key, each]) => `${show(budget, key)}:${show(budget, each)}`).join(' ')}]`;
}

function byKey(budget: Budget, a: Value, b: Value): number {
  if (kindOf(a) !== kindOf(b)) return kindOf(a) < kindOf(b) ? -1 : 1;
  if (typeof a === 'boolean' || a === null) return Number(a) - Number(b);
  return less(budget, [a, b]) ? -1 : 1;
}

function showFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  if (Object.is(value, -0)) return '-0';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e21)) {
    return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  }
  return String(value);
}
