import { isMap, isPair, isScalar, isSeq, type ParsedNode, type YAMLMap } from 'yaml';
import { type FieldPath, formatPath } from './field-path.ts';
import type { Place } from './problem.ts';
import { yamlDocuments } from './yaml-text.ts';

/** Turns offsets into lines and columns; finds the line starts when first asked. */
export class Lines {
  readonly #text: string;
  #starts: number[] | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  at(offset: number): { line: number; column: number } {
    this.#starts ??= lineStarts(this.#text);
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (this.#starts[low] ?? 0) + 1 };
  }
}

function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return starts;
}

/** The places in one YAML document. Keeps its text rather than its tree: few documents are ever asked. */
export class Positions {
  readonly #text: string;
  readonly #offset: number;
  readonly #lines: Lines;
  readonly #file: string;
  #root: ParsedNode | null | undefined;

  constructor(text: string, offset: number, lines: Lines, file: string) {
    this.#text = text;
    this.#offset = offset;
    this.#lines = lines;
    this.#file = file;
  }

  place(base: FieldPath, field: FieldPath): Place {
    const { offset } = this.#find([...base, ...field]);
    return { file: this.#file, ...this.#lines.at(this.#offset + offset), field: formatPath(field) };
  }

  spelling(path: FieldPath): string | undefined {
    const { node, complete } = this.#find(path);
    return complete && isScalar(node) && typeof node.source === 'string' ? node.source : undefined;
  }

  #find(path: FieldPath): { node: ParsedNode | null; offset: number; complete: boolean } {
    this.#root ??= this.#parse();
    let node: ParsedNode | null = this.#root;
    let offset: number = node?.range[0] ?? 0;
    for (const step of path) {
      const next = childOf(node, step);
      if (next === undefined) return { node, offset, complete: false };
      node = next.node;
      offset = next.offset;
    }
    return { node, offset, complete: true };
  }

  #parse(): ParsedNode | null {
    const [first] = yamlDocuments(this.#text);
    return first?.contents ?? null;
  }
}

function childOf(node: ParsedNode | null, step: string | number) {
  if (typeof step === 'number' && isSeq(node)) {
    const item = node.items[step];
    if (item === undefined || isPair(item)) return undefined;
    return { node: item as ParsedNode, offset: (item as ParsedNode).range[0] };
  }
  if (!isMap(node)) return undefined;
  const pair = pairsOf(node).get(String(step));
  if (pair === undefined) return undefined;
  return { node: pair.value as ParsedNode | null, offset: (pair.key as ParsedNode).range[0] };
}

type Pairs = ReadonlyMap<string, YAMLMap['items'][number]>;
const pairsByMap = new WeakMap<YAMLMap, Pairs>();

/** By key, made once: a map may have a hundred thousand keys and something wrong with each of them. */
function pairsOf(map: YAMLMap): Pairs {
  const known = pairsByMap.get(map);
  if (known !== undefined) return known;
  const pairs = new Map(map.items.map(pair => [isScalar(pair.key) ? String(pair.key.value) : '', pair]));
  pairsByMap.set(map, pairs);
  return pairs;
}
