import type { Document } from 'yaml';
import { descend, type FieldPath, formatPath, isRecord, nameOfType, parsePath } from './field-path.ts';
import { plainValue } from './plain-value.ts';
import { Lines, Positions } from './positions.ts';
import type { Place, Problem } from './problem.ts';
import { tooDeep, yamlDocuments } from './yaml-text.ts';

/** One Kubernetes object of a manifest file, or one that came from elsewhere, with the places of its fields. */
export interface ManifestDocument {
  file: string;
  /** Among all objects of the file, those in lists counted singly. */
  index: number;
  apiVersion: string;
  kind: string;
  /** `default` where the manifest names none. */
  namespace: string;
  /** Empty where the manifest gives none. */
  name: string;
  value: Readonly<Record<string, unknown>>;
  /** Where a field stands, or the nearest thing around it that does. Costs a second parse at its first call. */
  place(path: FieldPath): Place;
  /** A scalar as the file spells it (`1.0`, not `1`); undefined where there is no such scalar or no file. */
  spelling(path: FieldPath): string | undefined;
}

export interface ReadDocuments {
  documents: ManifestDocument[];
  problems: Problem[];
}

/** A manifest file larger than this is refused unread. */
export const maxManifestBytes = 5_000_000;

/**
 * Reads all Kubernetes objects of a file: YAML (one or many documents) or JSON, with lists taken apart. Never
 * throws for anything a file can hold: what cannot be read is in `problems`, the rest in `documents`.
 */
export function readDocuments(text: string | Uint8Array, file: string): ReadDocuments {
  const decoded = decode(text, file);
  if (typeof decoded !== 'string') return { documents: [], problems: [decoded] };
  const reader = new Reader(decoded, file);
  try {
    for (const parsed of yamlDocuments(decoded)) reader.take(parsed);
  } catch (thrown) {
    reader.problems.push(unreadable(thrown, file));
  }
  if (reader.documents.length === 0 && reader.problems.length === 0) {
    reader.problems.push({ problem: 'the file holds no manifest', place: { file } });
  }
  return { documents: reader.documents, problems: reader.problems };
}

/**
 * Wraps an object that did not come from a file, such as one a cluster sent; its places have a field only.
 *
 * @param file what to call its origin in problems; nothing unless given
 */
export function documentOf(value: Readonly<Record<string, unknown>>, file = ''): ManifestDocument {
  const place = (path: FieldPath): Place => ({ ...(file === '' ? {} : { file }), field: formatPath(path) });
  return { file, index: 0, ...identityOf(value), value, place, spelling: () => undefined };
}

/**
 * Gives a problem whose field is relative to some part of a document (`metadata.queueLength` of a trigger) its
 * place in the file.
 *
 * @param prefix the path of that part, such as `['spec', 'triggers', 0]`
 */
export function placeProblem(document: ManifestDocument, prefix: FieldPath, problem: Problem): Problem {
  const inner = problem.place?.field ?? '';
  const start = descend(document.value, prefix);
  return { ...problem, place: document.place([...prefix, ...parsePath(inner, start)]) };
}

function decode(text: string | Uint8Array, file: string): string | Problem {
  const bytes = typeof text === 'string' ? Buffer.byteLength(text) : text.length;
  if (bytes > maxManifestBytes) {
    const problem = `the file has ${bytes.toLocaleString('en')} bytes, more than the ${maxManifestBytes.toLocaleString('en')} a manifest may have`;
    return { problem, mending: 'split it into several files', place: { file } };
  }
  let decoded: string;
  try {
    decoded = typeof text === 'string' ? text : new TextDecoder('utf-8', { fatal: true }).decode(text);
  } catch {
    return { problem: 'the file is not UTF-8 text', place: { file } };
  }
  if (decoded.includes('\u0000')) return { problem: 'the file is binary, not a manifest', place: { file } };
  return decoded.startsWith('\ufeff') ? decoded.slice(1) : decoded;
}

function unreadable(thrown: unknown, file: string): Problem {
  // A RangeError is the end of the stack: the parser goes down one call per level.
  const why =
    thrown instanceof RangeError ? tooDeep : thrown instanceof Error ? thrown.message : String(thrown);
  return { problem: `the file is not YAML: ${why}`, place: { file } };
}

class Reader {
  readonly documents: ManifestDocument[] = [];
  readonly problems: Problem[] = [];
  readonly #text: string;
  readonly #file: string;
  readonly #lines: Lines;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
    this.#lines = new Lines(text);
  }

  take(parsed: Document.Parsed): void {
    const error = parsed.errors[0];
    if (error !== undefined) {
      const first = /call stack/.test(error.message) ? tooDeep : error.message.slice(0, 200);
      const template = this.#text.includes('{{');
      this.#complain(
        error.pos[0],
        `this is not YAML: ${first}`,
        template ? 'render the template first' : undefined,
      );
      return;
    }
    const plain = plainValue(parsed.contents);
    if (!plain.ok) {
      for (const { problem, mending, offset } of plain.problems) this.#complain(offset, problem, mending);
      return;
    }
    const [start, , end] = parsed.range;
    this.#add(plain.value, new Positions(this.#text.slice(start, end), start, this.#lines, this.#file), []);
  }

  #add(value: unknown, positions: Positions, path: FieldPath): void {
    if (value === null || value === undefined) return;
    if (!isRecord(value)) {
      const problem = `a manifest is an object with apiVersion and kind, this is ${nameOfType(value)}`;
      this.problems.push({ problem, place: positions.place(path, []) });
      return;
    }
    const items = value['items'];
    const { kind, apiVersion } = identityOf(value);
    if (kind.endsWith('List') && Array.isArray(items) && path.length < 8) {
      const missing = kind === 'List' ? {} : { apiVersion, kind: kind.slice(0, -'List'.length) };
      items.forEach((item: unknown, index) => {
        this.#add(isRecord(item) ? { ...missing, ...item } : item, positions, [...path, 'items', index]);
      });
      return;
    }
    if (kind === '' || apiVersion === '') {
      const problem = kind === '' ? 'the object has no kind' : 'the object has no apiVersion';
      const mending =
        kind === '' ? 'add one, such as kind: ScaledObject' : 'add one, such as apiVersion: keda.sh/v1alpha1';
      this.problems.push({ problem, mending, place: positions.place(path, []) });
      return;
    }
    this.documents.push({
      file: this.#file,
      index: this.documents.length,
      ...identityOf(value),
      value,
      place: field => positions.place(path, field),
      spelling: field => positions.spelling([...path, ...field]),
    });
  }

  #complain(offset: number, problem: string, mending: string | undefined): void {
    const place = { file: this.#file, ...this.#lines.at(offset) };
    this.problems.push({ problem, ...(mending === undefined ? {} : { mending }), place });
  }
}

function identityOf(value: Readonly<Record<string, unknown>>) {
  const metadata = isRecord(value['metadata']) ? value['metadata'] : {};
  const text = (found: unknown) => (typeof found === 'string' ? found : '');
  return {
    apiVersion: text(value['apiVersion']),
    kind: text(value['kind']),
    namespace: text(metadata['namespace']) || 'default',
    name: text(metadata['name']),
  };
}
