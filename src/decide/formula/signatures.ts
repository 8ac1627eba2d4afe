import {
  any,
  array,
  bare,
  bool,
  elementOf,
  float,
  int,
  isNumber,
  isUnknown,
  pairsMap,
  string,
  strings,
  type Type,
  typeName,
  unknown,
} from './types.ts';

/** Says what calling a function with arguments of these types gives, or in a string why it cannot be called so. */
export type Signature = (args: readonly Type[]) => Type | string;

type Param = 'string' | 'int' | 'array' | 'anything';

/** A function of fixed parameters; those from `required` on may be left out. */
function fixed(params: readonly Param[], result: Type, required = params.length): Signature {
  return args => {
    if (args.length < required || args.length > params.length) {
      return countProblem(args, required, params.length);
    }
    for (const [index, arg] of args.entries()) {
      const param = params[index] ?? 'anything';
      if (param !== 'anything' && !isUnknown(arg) && arg.kind !== param) {
        return `takes ${param === 'array' ? 'an array' : param} as argument ${index + 1}, not ${typeName(arg)}`;
      }
    }
    return result;
  };
}

/** A function of one parameter that may have any of some kinds. */
function one(kinds: readonly Type['kind'][], result: Type | ((arg: Type) => Type)): Signature {
  return args => {
    const [arg] = args;
    if (arg === undefined || args.length > 1) return countProblem(args, 1, 1);
    if (!isUnknown(arg) && !kinds.includes(arg.kind)) return `cannot be given ${typeName(arg)}`;
    return typeof result === 'function' ? result(arg) : result;
  };
}

function countProblem(args: readonly Type[], least: number, most: number): string {
  const wanted = least === most ? `${least}` : `${least} to ${most}`;
  return `takes ${wanted} argument${wanted === '1' ? '' : 's'}, not ${args.length}`;
}

/** max, min, mean and median: numbers, or arrays of them. Like expr it looks no further than the first array. */
const aggregate: Signature = args => {
  const [first] = args;
  if (first === undefined) return 'takes at least 1 argument';
  for (const arg of args) {
    if (isUnknown(arg) || arg.kind === 'array') return any;
    if (!isNumber(arg)) return `takes numbers and arrays, not ${typeName(arg)}`;
  }
  return first;
};

const take: Signature = args => {
  const [from, count] = args;
  if (from === undefined || count === undefined || args.length > 2) return countProblem(args, 2, 2);
  if (!isUnknown(from) && from.kind !== 'array') return `cannot take from ${typeName(from)}`;
  if (!isUnknown(count) && count.kind !== 'int') return `takes a count of elements, not ${typeName(count)}`;
  return bare(from);
};

const concat: Signature = args => {
  if (args.length === 0) return 'takes at least 1 argument';
  const wrong = args.find(arg => !isUnknown(arg) && arg.kind !== 'array');
  return wrong === undefined ? array : `takes arrays, not ${typeName(wrong)}`;
};

const get: Signature = args => {
  const [base, key] = args;
  if (base === undefined || key === undefined || args.length > 2) return countProblem(args, 2, 2);
  if (isUnknown(base)) return unknown;
  if (base.kind === 'array') {
    return isUnknown(key) || key.kind === 'int'
      ? elementOf(base)
      : `takes an int as index, not ${typeName(key)}`;
  }
  if (base.kind !== 'map') return `cannot look into ${typeName(base)}`;
  if (base.key === 'string' && !isUnknown(key) && key.kind !== 'string') {
    return `takes a string as key of this map, not ${typeName(key)}`;
  }
  return elementOf(base);
};

const rounding = one(['int', 'float'], float);
const element = one(['array'], arg => (isUnknown(arg) ? any : elementOf(bare(arg))));
const textToText = fixed(['string'], string);
const bits = fixed(['int', 'int'], int);
const ofMap = one(['map'], array);
const ofArray = one(['array'], array);

/** The built-ins that take no predicate, with what expr's checker says of them (builtin/builtin.go there). */
export const signatures: Readonly<Record<string, Signature>> = {
  len: one(['array', 'map', 'string'], int),
  type: fixed(['anything'], string),
  abs: one(['int', 'float'], bare),
  ceil: rounding,
  floor: rounding,
  round: rounding,
  int: one(['int', 'float', 'string'], int),
  float: one(['int', 'float', 'string'], float),
  string: fixed(['anything'], string),
  trim: fixed(['string', 'string'], string, 1),
  trimPrefix: fixed(['string', 'string'], string, 1),
  trimSuffix: fixed(['string', 'string'], string, 1),
  upper: textToText,
  lower: textToText,
  split: fixed(['string', 'string', 'int'], strings, 2),
  splitAfter: fixed(['string', 'string', 'int'], strings, 2),
  replace: fixed(['string', 'string', 'string', 'int'], string, 3),
  repeat: fixed(['string', 'int'], string),
  join: fixed(['array', 'string'], string, 1),
  indexOf: fixed(['string', 'string'], int),
  lastIndexOf: fixed(['string', 'string'], int),
  hasPrefix: fixed(['string', 'string'], bool),
  hasSuffix: fixed(['string', 'string'], bool),
  max: aggregate,
  min: aggregate,
  mean: aggregate,
  median: aggregate,
  toJSON: fixed(['anything'], string),
  fromJSON: fixed(['string'], any),
  toBase64: textToText,
  fromBase64: textToText,
  first: element,
  last: element,
  get,
  take,
  keys: ofMap,
  values: ofMap,
  toPairs: ofMap,
  fromPairs: one(['array'], pairsMap),
  reverse: ofArray,
  uniq: ofArray,
  concat,
  flatten: ofArray,
  sort: fixed(['array', 'string'], array, 1),
  bitand: bits,
  bitor: bits,
  bitxor: bits,
  bitnand: bits,
  bitshl: bits,
  bitshr: bits,
  bitushr: bits,
  bitnot: fixed(['int'], int),
};

export const functionNames: readonly string[] = Object.keys(signatures);

/** Built-ins of expr that are not here: nothing in a formula of numbers is a date or a duration. */
export const dateFunctions: readonly string[] = ['now', 'date', 'duration', 'timezone'];
