import { isRecord, shortened } from './field-path.ts';
import type { Findings } from './findings.ts';
import { didYouMean } from './suggest.ts';

/** The part of OpenAPI v3 that a structural schema of a CustomResourceDefinition may use. */
export interface JsonSchema {
  [keyword: string]: unknown;
}

/** What every field says about itself. */
export interface FieldOptions {
  /** One sentence for the CRD and for people. */
  doc?: string;
  required?: boolean;
  /** What stands in for a field that is left out. */
  default?: unknown;
  /** The default also stands in the CRD, so that the API server writes it into objects. */
  defaultInCrd?: boolean;
  /** Other spellings, accepted with a notice that names this one. */
  also?: readonly string[];
  /** Read and forgotten, with this sentence as a notice. */
  needless?: string;
}

/**
 * A declared field: the one source of its TypeScript type, its validation, its default and its CRD schema.
 * `Sure` is true where a valid object always has a value for it.
 */
export interface Field<T, Sure extends boolean = boolean> extends FieldOptions {
  /** Checks and converts a present value; undefined where it is wrong, with the problem in `findings`. */
  read(value: unknown, findings: Findings): T | undefined;
  schema(): JsonSchema;
  /** Never there; carries the types. */
  readonly _type?: { value: T; sure: Sure };
}

export type Fields = Readonly<Record<string, Field<unknown>>>;

/** The type a declaration stands for. */
export type Infer<F> = F extends { readonly _type?: { value: infer T; sure: boolean } } ? T : never;

type SureNames<S> = {
  [K in keyof S]: S[K] extends { readonly _type?: { value: unknown; sure: true } } ? K : never;
}[keyof S];

type ObjectOf<S extends Fields> = Simplify<
  { [K in SureNames<S>]: Infer<S[K]> } & { [K in Exclude<keyof S, SureNames<S>>]?: Infer<S[K]> }
>;

type Simplify<T> = { [K in keyof T]: T[K] };

type SureOf<O> = O extends { required: true } | { default: string | number | boolean | object }
  ? true
  : false;

function field<T, O extends FieldOptions>(
  options: O,
  read: Field<T>['read'],
  schema: () => JsonSchema,
): Field<T, SureOf<O>> {
  const described = () => ({
    ...(options.doc === undefined ? {} : { description: options.doc }),
    ...schema(),
    ...(options.defaultInCrd ? { default: options.default } : {}),
  });
  return { ...options, read, schema: described } as Field<T, SureOf<O>>;
}

interface TextOptions extends FieldOptions {
  minLength?: number;
}

function text<const O extends TextOptions>(options: O) {
  const { minLength = 0 } = options;
  return field<string, O>(
    options,
    (value, findings) => {
      if (typeof value !== 'string') return findings.wrongType('a text', value);
      if (value.length < minLength) return findings.problem('must not be empty');
      return value;
    },
    () => ({ type: 'string', ...(minLength > 0 ? { minLength } : {}) }),
  );
}

interface IntegerOptions extends FieldOptions {
  min?: number;
  max?: number;
  /** The limits are ours or the API server's elsewhere: KEDA's CRD does not have them, so ours may not. */
  limitsNotInCrd?: boolean;
}

function int32<const O extends IntegerOptions>(options: O) {
  const { min = -(2 ** 31), max = 2 ** 31 - 1 } = options;
  return field<number, O>(
    options,
    (value, findings) => {
      if (typeof value !== 'number' || !Number.isInteger(value)) {
        return findings.wrongType('a whole number', value);
      }
      if (value >= min && value <= max) return value;
      const problem = `${value} is too ${value < min ? 'small' : 'large'}`;
      const mending = value < min ? `the least is ${min}` : `the most is ${max}`;
      return options.limitsNotInCrd
        ? findings.tolerated(problem, mending)
        : findings.problem(problem, mending);
    },
    () => ({
      type: 'integer',
      format: 'int32',
      ...(options.min === undefined || options.limitsNotInCrd ? {} : { minimum: options.min }),
      ...(options.max === undefined || options.limitsNotInCrd ? {} : { maximum: options.max }),
    }),
  );
}

function bool<const O extends FieldOptions>(options: O) {
  return field<boolean, O>(
    options,
    (value, findings) => (typeof value === 'boolean' ? value : findings.wrongType('true or false', value)),
    () => ({ type: 'boolean' }),
  );
}

interface ChoiceOptions extends FieldOptions {
  /** KEDA's CRD takes any text here, so ours must. */
  choicesNotInCrd?: boolean;
}

function choice<const C extends readonly string[], const O extends ChoiceOptions>(choices: C, options: O) {
  return field<C[number], O>(
    options,
    (value, findings) => {
      if (typeof value !== 'string') return findings.wrongType('a text', value);
      if (choices.includes(value)) return value;
      const hint = didYouMean(value, choices);
      const shown = choices.map(each => (each === '' ? '""' : each)).join(', ');
      const known = choices.length > 8 && hint !== '' ? 'known' : `one of ${shown}`;
      const problem = `"${shortened(value)}" is not ${known}${hint}`;
      return options.choicesNotInCrd ? findings.tolerated(problem) : findings.problem(problem);
    },
    () => ({ type: 'string', ...(options.choicesNotInCrd ? {} : { enum: [...choices] }) }),
  );
}

/** A Kubernetes quantity: a text or a number, always read as text. */
function quantity<const O extends FieldOptions>(options: O) {
  const pattern =
    '^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$';
  return field<string, O>(
    options,
    (value, findings) => {
      const written = typeof value === 'number' ? (findings.spelling() ?? String(value)) : value;
      if (typeof written === 'string' && new RegExp(pattern).test(written)) return written;
      return findings.wrongType('a quantity such as 0.05 or 50m', value);
    },
    () => ({ anyOf: [{ type: 'integer' }, { type: 'string' }], pattern, 'x-kubernetes-int-or-string': true }),
  );
}

/** A point in time in the format of RFC 3339. */
function time<const O extends FieldOptions>(options: O) {
  return field<string, O>(
    options,
    (value, findings) => {
      if (typeof value === 'string' && !Number.isNaN(Date.parse(value))) return value;
      return findings.wrongType('a time such as 2026-01-31T12:00:00Z', value);
    },
    () => ({ type: 'string', format: 'date-time' }),
  );
}

interface ListOptions extends FieldOptions {
  minItems?: number;
  atomic?: boolean;
}

function list<T, const O extends ListOptions>(item: Field<T>, options: O) {
  const { minItems = 0 } = options;
  return field<readonly T[], O>(
    options,
    (value, findings) => {
      if (!Array.isArray(value)) return findings.wrongType('a list', value);
      if (value.length < minItems) {
        return findings.problem(`should have at least ${minItems} items`, 'add one');
      }
      return value.flatMap((each: unknown, index) => {
        const read = readPresent(item, each, findings.at(index));
        return read === undefined ? [] : [read];
      });
    },
    () => ({
      type: 'array',
      items: item.schema(),
      ...(minItems > 0 ? { minItems } : {}),
      ...(options.atomic ? { 'x-kubernetes-list-type': 'atomic' } : {}),
    }),
  );
}

function map<T, const O extends FieldOptions>(item: Field<T>, options: O) {
  return field<Readonly<Record<string, T>>, O>(
    options,
    (value, findings) => {
      if (!isRecord(value)) return findings.wrongType('an object', value);
      const entries = Object.entries(value).flatMap(([key, each]) => {
        const read = readPresent(item, each, findings.at(key));
        return read === undefined ? [] : [[key, read] as const];
      });
      return Object.fromEntries(entries);
    },
    () => ({ type: 'object', additionalProperties: item.schema() }),
  );
}

/** Any object: what is in it is not ours to judge. */
function open<const O extends FieldOptions & { known?: Fields }>(options: O) {
  const { known = {} } = options;
  return field<Readonly<Record<string, unknown>>, O>(
    options,
    (value, findings) => {
      if (!isRecord(value)) return findings.wrongType('an object', value);
      readFields(known, value, findings);
      return value;
    },
    () => ({ ...objectSchema(known), 'x-kubernetes-preserve-unknown-fields': true }),
  );
}

function object<const S extends Fields, const O extends FieldOptions>(fields: S, options: O) {
  return field<ObjectOf<S>, O>(
    options,
    (value, findings) => {
      if (!isRecord(value)) return findings.wrongType('an object', value);
      refuseUnknown(fields, value, findings);
      return readFields(fields, value, findings) as ObjectOf<S>;
    },
    () => objectSchema(fields),
  );
}

/** How fields are declared. */
export const s = { text, int32, bool, choice, quantity, time, list, map, open, object, custom: field };

function readPresent<T>(item: Field<T>, value: unknown, findings: Findings): T | undefined {
  return value === null || value === undefined
    ? findings.wrongType('a value', value)
    : item.read(value, findings);
}

function readFields(fields: Fields, value: Readonly<Record<string, unknown>>, findings: Findings) {
  const result: Record<string, unknown> = {};
  for (const [name, declared] of Object.entries(fields)) {
    const found = findField(name, declared, value, findings);
    if (found !== undefined && declared.needless !== undefined) {
      findings.at(name).notice(`"${name}" is not needed here and is ignored`, declared.needless);
      continue;
    }
    const read = found === undefined ? declared.default : declared.read(found.value, findings.at(found.name));
    if (found === undefined && declared.required) findings.problem(`"${name}" is missing`, declared.doc);
    if (read !== undefined) result[name] = read;
  }
  return result;
}

/** Null counts as left out, as it does for the API server. */
function findField(
  name: string,
  declared: Field<unknown>,
  value: Readonly<Record<string, unknown>>,
  findings: Findings,
): { name: string; value: unknown } | undefined {
  const present = [name, ...(declared.also ?? [])].filter(
    each => Object.hasOwn(value, each) && value[each] !== null && value[each] !== undefined,
  );
  const [first, second] = present;
  if (second !== undefined)
    findings.at(second).surplus(`"${second}" and "${first}" are the same`, 'keep one of them');
  if (first === undefined) return undefined;
  if (first !== name) findings.at(first).notice(`"${first}" is accepted`, `KEDA's spelling is ${name}`);
  return { name: first, value: value[first] };
}

function refuseUnknown(fields: Fields, value: Readonly<Record<string, unknown>>, findings: Findings): void {
  const known = Object.keys(fields);
  const accepted = new Set(Object.entries(fields).flatMap(([name, { also = [] }]) => [name, ...also]));
  for (const name of Object.keys(value)) {
    if (accepted.has(name)) continue;
    findings.at(name).surplus(`there is no field "${shortened(name)}" here${didYouMean(name, known)}`);
  }
}

function objectSchema(fields: Fields): JsonSchema {
  const entries = Object.entries(fields);
  const properties = entries.flatMap(([name, declared]) => {
    const schema = declared.schema();
    const others = (declared.also ?? []).map(other => [
      other,
      { ...schema, description: `Read as ${name}.` },
    ]);
    return [[name, schema], ...others];
  });
  const required = entries.filter(([, declared]) => declared.required).map(([name]) => name);
  return {
    type: 'object',
    ...(properties.length > 0 ? { properties: Object.fromEntries(properties) } : {}),
    ...(required.length > 0 ? { required: required.sort() } : {}),
  };
}
