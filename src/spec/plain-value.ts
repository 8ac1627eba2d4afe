import { isAlias, isMap, isScalar, isSeq, type ParsedNode } from 'yaml';

interface Complaint {
  problem: string;
  mending?: string;
  /** In the text of the whole file. */
  offset: number;
}

export type PlainValue = { ok: true; value: unknown } | { ok: false; problems: Complaint[] };

const deepest = 100;
const mostAliased = 100_000;

/**
 * Turns a YAML tree into plain values in one pass, as kubectl would understand them: merge keys are applied,
 * `0644` is octal. Refuses duplicate keys, unknown or self-containing aliases, nesting beyond 100 levels, and
 * aliases that stand for more than 100,000 values together ("billion laughs").
 */
export function plainValue(root: ParsedNode | null): PlainValue {
  const converter = new Converter();
  const { value } = converter.convert(root, 0);
  return converter.problems.length > 0 ? { ok: false, problems: converter.problems } : { ok: true, value };
}

interface Sized {
  value: unknown;
  /** How many values it consists of, aliases written out. */
  size: number;
}

const nothing: Sized = { value: null, size: 1 };

class Converter {
  readonly problems: Complaint[] = [];
  readonly #anchors = new Map<string, Sized>();
  #aliased = 0;

  convert(node: ParsedNode | null, depth: number): Sized {
    if (node === null || this.problems.length >= 20) return nothing;
    if (depth > deepest) {
      this.#complain(node, `nested more than ${deepest} levels deep`);
      return nothing;
    }
    if (isAlias(node)) return this.#resolve(node);
    const sized = isMap(node)
      ? this.#object(node as Branch, depth)
      : isSeq(node)
        ? this.#list(node as unknown as { items: ParsedNode[] }, depth)
        : { value: scalarOf(node), size: 1 };
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, sized);
    return sized;
  }

  #resolve(node: ParsedNode & { source: string }): Sized {
    const sized = this.#anchors.get(node.source);
    if (sized === undefined) {
      this.#complain(node, `there is no anchor &${node.source} before this alias`);
      return nothing;
    }
    return this.#spend(node, sized.size) ? sized : nothing;
  }

  /** Counts what aliases and merge keys stand for; false once it is too much. */
  #spend(node: ParsedNode | null, size: number): boolean {
    const before = this.#aliased;
    this.#aliased += size;
    if (this.#aliased <= mostAliased) return true;
    if (before <= mostAliased) {
      this.#complain(node, `the aliases stand for more than ${mostAliased.toLocaleString('en')} values`);
    }
    return false;
  }

  #list({ items }: { items: ParsedNode[] }, depth: number): Sized {
    let size = 1;
    const value = items.map(item => {
      const sized = this.convert(item, depth + 1);
      size += sized.size;
      return sized.value;
    });
    return { value, size };
  }

  #object({ items }: Branch, depth: number): Sized {
    const value: Record<string, unknown> = {};
    const merged: { key: ParsedNode; value: unknown }[] = [];
    const seen = new Set<string>();
    let size = 1;
    for (const { key, value: inner } of items) {
      const name = this.#keyOf(key, depth);
      const sized = this.convert(inner, depth + 1);
      size += sized.size;
      if (name === '<<' && isScalar(key) && key.type === 'PLAIN') {
        merged.push(...[sized.value].flat().map(each => ({ key, value: each })));
        continue;
      }
      if (seen.has(name))
        this.#complain(key, `the key "${name.slice(0, 100)}" is there twice`, 'keep one of them');
      seen.add(name);
      define(value, name, sized.value);
    }
    for (const { key, value: source } of merged) {
      const entries = typeof source === 'object' && source !== null ? Object.entries(source) : [];
      if (!this.#spend(key, entries.length)) break;
      for (const [name, each] of entries) if (!Object.hasOwn(value, name)) define(value, name, each);
    }
    return { value, size };
  }

  #keyOf(key: ParsedNode | null, depth: number): string {
    if (key === null) return '';
    const { value } = this.convert(key, depth + 1);
    return typeof value === 'object' && value !== null
      ? JSON.stringify(value).slice(0, 1000)
      : String(value ?? '');
  }

  #complain(node: ParsedNode | null, problem: string, mending?: string): void {
    this.problems.push({
      problem,
      offset: node?.range[0] ?? 0,
      ...(mending === undefined ? {} : { mending }),
    });
  }
}

interface Branch {
  items: { key: ParsedNode | null; value: ParsedNode | null }[];
}

function scalarOf(node: ParsedNode): unknown {
  if (!isScalar(node)) return null;
  // kubectl reads YAML 1.1, where a leading zero makes an octal number; file modes are written that way.
  if (node.type === 'PLAIN' && typeof node.source === 'string' && /^0[0-7]+$/.test(node.source)) {
    return Number.parseInt(node.source, 8);
  }
  const { value } = node;
  return typeof value === 'bigint' ? Number(value) : (value ?? null);
}

// A plain assignment of the key __proto__ would change the object's prototype.
function define(target: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}
