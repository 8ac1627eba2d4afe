import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { parseAllDocuments, parse as parseYaml, type ScalarTag, type Tags } from 'yaml';
import { Fault } from '../../base/errors.ts';
import { parseQuantity } from '../../base/quantity.ts';
import type { Problem } from '../../spec/problem.ts';
import { gjsonGet } from './gjson.ts';
import { isValid } from './gjson-modifiers.ts';
import { textOf } from './gjson-scan.ts';
import { parsePrometheusNumber } from './prometheus-answer.ts';
import { findSample, isPrometheusText, parseSelector } from './prometheus-text.ts';

export const valueFormats = ['json', 'yaml', 'xml', 'prometheus'] as const;
export type ValueFormat = (typeof valueFormats)[number];

/** The largest answers that are looked at, in bytes: as much as can be read without keeping others waiting. */
export const mostBytes: Record<ValueFormat, number> = {
  json: 4 * 1024 * 1024,
  prometheus: 4 * 1024 * 1024,
  xml: 1024 * 1024,
  yaml: 256 * 1024,
};

/**
 * Takes one number out of an answer.
 *
 * @param what names the source in sentences
 * @throws Fault SOURCE_ANSWER_INVALID, or SOURCE_NOT_FOUND where the location leads nowhere
 */
export type TakeValue = (body: Buffer, what: string) => number;

/** What a number or text found at a location stands for; undefined where that is no number. */
export type Meaning = (found: number | string) => number | undefined;

/** A number, or a Kubernetes quantity such as `100m`. */
const numberOrQuantity: Meaning = found => (typeof found === 'number' ? found : parseQuantity(found));

/**
 * Prepares taking the value at a location: a GJSON path for json, dotted names for yaml and xml, a PromQL
 * selector for prometheus.
 *
 * @param meaning not used for prometheus
 * @throws Error with a sentence about a location that cannot be read
 */
export function valueAt(format: ValueFormat, location: string, meaning = numberOrQuantity): TakeValue {
  const at = `"${location}"`;
  switch (format) {
    case 'json':
      return (body, what) => fromJson(body.toString('utf8'), location, { what, at, meaning });
    case 'yaml':
      return (body, what) => fromYaml(body.toString('utf8'), location, { what, at, meaning });
    case 'xml':
      return (body, what) => fromXml(body.toString('utf8'), location, { what, at, meaning });
    case 'prometheus': {
      const selector = parseSelector(location);
      return (body, what) => {
        const page = body.toString('utf8');
        const value = orInvalid(what, 'the Prometheus text format', () => findSample(page, selector));
        if (value !== undefined) return finite(value, { what, at });
        if (isPrometheusText(page)) throw nothingAt({ what, at });
        throw new Fault('SOURCE_ANSWER_INVALID', `${what} did not answer in the Prometheus text format`);
      };
    }
  }
}

/** The same for the parameter `valueLocation`: undefined, and a problem more, where it cannot be read. */
export function valueAtLocation(
  format: ValueFormat,
  location: string,
  problems: Problem[],
): TakeValue | undefined {
  try {
    return valueAt(format, location);
  } catch (thrown) {
    const sentence = thrown instanceof Error ? thrown.message : String(thrown);
    problems.push({ problem: `"${location}" ${sentence}`, place: { field: 'metadata.valueLocation' } });
    return undefined;
  }
}

/** Where a sentence says something is. */
interface Spot {
  what: string;
  at: string;
}

/** And how what stands there is to be taken. */
interface Place extends Spot {
  meaning: Meaning;
}

function nothingAt({ what, at }: Spot): Fault {
  return new Fault('SOURCE_NOT_FOUND', `the answer of ${what} has nothing at ${at}`);
}

function orInvalid<T>(what: string, format: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause);
    const sentence = `${what} did not answer in ${format}: ${reason?.slice(0, 200)}`;
    throw new Fault('SOURCE_ANSWER_INVALID', sentence, { cause });
  }
}

function fromJson(text: string, location: string, spot: Place): number {
  const value = gjsonGet(text, location);
  if (value === undefined) {
    if (isValid(text)) throw nothingAt(spot);
    throw new Fault('SOURCE_ANSWER_INVALID', `${spot.what} did not answer with JSON`);
  }
  if (value.kind === 'string') return meant(textOf(value), spot);
  if (value.kind !== 'number')
    throw notNumber(value.kind === 'json' ? 'an object or array' : value.kind, spot);
  const number = parsePrometheusNumber(value.raw);
  if (number === undefined) throw notNumber(value.raw.slice(0, 50), spot);
  return meant(number, spot);
}

function meant(found: number | string, spot: Place): number {
  const value = spot.meaning(found);
  if (value !== undefined) return finite(value, spot);
  throw notNumber(typeof found === 'string' ? `"${found.slice(0, 50)}"` : String(found), spot);
}

function notNumber(found: string, { what, at }: Spot): Fault {
  return new Fault('SOURCE_ANSWER_INVALID', `the answer of ${what} has ${found} at ${at}, not a number`);
}

function finite(value: number, spot: Spot): number {
  if (Number.isFinite(value)) return value;
  throw notNumber(String(value), spot);
}

function fromScalar(value: unknown, spot: Place): number {
  if (typeof value === 'number' || typeof value === 'string') return meant(value, spot);
  if (value === null || typeof value !== 'object') throw notNumber(String(value), spot);
  throw notNumber('an object or array', spot);
}

function fromYaml(text: string, location: string, spot: Place): number {
  if (text.trim() === '') throw new Fault('SOURCE_ANSWER_INVALID', `${spot.what} answered with nothing`);
  const root = orInvalid(spot.what, 'YAML', () => firstDocument(text));
  if (!isRecord(root))
    throw new Fault('SOURCE_ANSWER_INVALID', `${spot.what} did not answer with a YAML mapping`);
  let value: unknown = root;
  for (const key of location.split('.')) {
    // As in KEDA, what a path has beyond a plain value is not looked at.
    if (!isRecord(value)) break;
    if (!Object.hasOwn(value, key)) throw nothingAt(spot);
    value = (value as Record<string, unknown>)[key];
  }
  return fromScalar(value, spot);
}

/** KEDA's reader knows the numbers of YAML 1.1 as well: `0b11`, `1_000`, and `010`, which is 8. */
const olderNumber: ScalarTag = {
  tag: 'tag:yaml.org,2002:float',
  default: true,
  test: /^[-+]?(0b[01_]+|0[0-7_]+|\d[\d_]*(\.[\d_]*)?(e[-+]?\d+)?)$/i,
  resolve(text) {
    const [, sign = '', digits = ''] = /^([-+]?)(.*)$/.exec(text.replaceAll('_', '')) ?? [];
    const value = Number(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits);
    return sign === '-' ? -value : value;
  },
};

const yamlOptions = {
  merge: true,
  // Looking for keys written twice takes time that grows with the square of their number.
  uniqueKeys: false,
  logLevel: 'error',
  // A date is no number that begins with its year.
  customTags: (tags: Tags): Tags => [olderNumber, 'timestamp', ...tags],
} as const;

function firstDocument(text: string): unknown {
  try {
    return parseYaml(text, yamlOptions);
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code !== 'MULTIPLE_DOCS') throw thrown;
    const [first] = parseAllDocuments(text, yamlOptions);
    return first !== undefined && 'toJS' in first ? first.toJS() : undefined;
  }
}

/** An object or an array. */
function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

const xml = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  textNodeName: '#text',
  parseTagValue: false,
  parseAttributeValue: false,
  removeNSPrefix: true,
  ignoreDeclaration: true,
  ignorePiTags: true,
  processEntities: false,
});

function fromXml(text: string, location: string, spot: Place): number {
  const root: unknown = orInvalid(spot.what, 'XML', () => {
    const checked = XMLValidator.validate(text);
    if (checked !== true) throw new Error(checked.err.msg);
    return xml.parse(text) as unknown;
  });
  let value = root;
  for (const key of location.split(/(?<!\\)\./).map(name => name.replaceAll('\\.', '.'))) {
    value = stepInto(value, key);
    if (value === undefined) throw nothingAt(spot);
  }
  const first: unknown = Array.isArray(value) ? value[0] : value;
  const inner = isRecord(first) ? (first as Record<string, unknown>)['#text'] : first;
  return fromScalar(typeof inner === 'string' ? inner.trim() : first, spot);
}

/** A repeated element is the first of its kind unless an index follows; a single one has the index 0. */
function stepInto(value: unknown, key: string): unknown {
  if (Array.isArray(value))
    return /^\d+$/.test(key) ? (value[Number(key)] as unknown) : stepInto(value[0], key);
  if (isRecord(value) && Object.hasOwn(value, key)) return (value as Record<string, unknown>)[key];
  return key === '0' ? value : undefined;
}
