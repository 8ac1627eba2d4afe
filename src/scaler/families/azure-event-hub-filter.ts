import type { AmqpMessage } from './azure-amqp-frames.ts';
import { type AmqpValue, Described, fieldOf } from './azure-amqp-types.ts';

/** Whether an event is one of those that count. It never throws: what an event does not have is null. */
export type EventFilter = (event: AmqpMessage) => boolean;

type Value =
  | string
  | number
  | bigint
  | boolean
  | null
  | readonly Value[]
  | { readonly [name: string]: Value };
type Evaluate = (event: EventView) => Value;

const mostCharacters = 4096;
const mostDeep = 32;

/**
 * Compiles an expression over `body`, `properties` and `system`; docs/event-filters.md is its reference.
 *
 * @throws Error with the rest of a sentence that begins with the expression
 */
export function compileEventFilter(text: string): EventFilter {
  if (text.length > mostCharacters) throw new Error(`is longer than ${mostCharacters} characters`);
  const evaluate = new Parser(tokensOf(text)).whole();
  return event => evaluate(new EventView(event)) === true;
}

/** An event as expressions see it; its body is taken apart only where it is asked for. */
class EventView {
  readonly #event: AmqpMessage;
  #body: Value | undefined;

  constructor(event: AmqpMessage) {
    this.#event = event;
  }

  root(name: string): Value {
    switch (name) {
      case 'body':
        this.#body ??= bodyOf(this.#event.body);
        return this.#body;
      case 'properties':
        return plain(this.#event.applicationProperties);
      default:
        return systemOf(this.#event);
    }
  }
}

/** JSON where it is JSON, the text itself otherwise. */
function bodyOf(body: AmqpValue): Value {
  const value = plain(body);
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** Places in the list of a message's standard properties. */
const standard = { messageId: 0, subject: 3, correlationId: 5, contentType: 6 } as const;

function systemOf({ annotations, properties }: AmqpMessage): Value {
  const named: Record<string, Value> = Object.create(null);
  for (const [name, value] of annotations) named[String(name)] = plain(value);
  for (const [name, place] of Object.entries(standard)) named[name] = plain(fieldOf(properties, place));
  named['sequenceNumber'] = named['x-opt-sequence-number'] ?? null;
  named['offset'] = named['x-opt-offset'] ?? null;
  named['enqueuedTime'] = named['x-opt-enqueued-time'] ?? null;
  named['partitionKey'] = named['x-opt-partition-key'] ?? null;
  return named;
}

function plain(value: AmqpValue): Value {
  if (value instanceof Described) return plain(value.value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Buffer.isBuffer(value)) return value.toString('utf8');
  if (value instanceof Map) {
    const object: Record<string, Value> = Object.create(null);
    for (const [name, each] of value) object[String(name)] = plain(each);
    return object;
  }
  if (Array.isArray(value)) return value.map(plain);
  return value as Value;
}

interface Token {
  kind: 'name' | 'text' | 'number' | 'sign' | 'end';
  text: string;
  at: number;
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  const pattern =
    /\s*(?:(?<name>[A-Za-z_$][\w$-]*)|(?<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?<sign>==|!=|<=|>=|&&|\|\||[<>!()[\],.]))/y;
  const end = text.trimEnd().length;
  while (pattern.lastIndex < end) {
    const from = pattern.lastIndex + (/^\s*/.exec(text.slice(pattern.lastIndex))?.[0].length ?? 0);
    const found = pattern.exec(text);
    if (found === null) throw new Error(`has something at character ${from + 1} that is not understood`);
    const [kind, piece] = Object.entries(found.groups ?? {}).find(([, part]) => part !== undefined) ?? [];
    tokens.push({
      kind: kind as Token['kind'],
      text: piece ?? '',
      at: pattern.lastIndex - (piece ?? '').length,
    });
  }
  tokens.push({ kind: 'end', text: 'the end', at: end });
  return tokens;
}

const comparisons: Readonly<Record<string, (a: Value, b: Value) => boolean>> = {
  '==': same,
  '!=': (a, b) => !same(a, b),
  '<': (a, b) => order(a, b) === -1,
  '<=': (a, b) => [-1, 0].includes(order(a, b) ?? 2),
  '>': (a, b) => order(a, b) === 1,
  '>=': (a, b) => [1, 0].includes(order(a, b) ?? 2),
  contains: (a, b) => (Array.isArray(a) ? a.some(each => same(each, b)) : onTexts(a, b, 'includes')),
  startsWith: (a, b) => onTexts(a, b, 'startsWith'),
  endsWith: (a, b) => onTexts(a, b, 'endsWith'),
  in: (a, b) => Array.isArray(b) && b.some(each => same(each, a)),
};

function onTexts(a: Value, b: Value, method: 'includes' | 'startsWith' | 'endsWith'): boolean {
  return typeof a === 'string' && typeof b === 'string' && a[method](b);
}

const isNumber = (value: Value): value is number | bigint =>
  typeof value === 'number' || typeof value === 'bigint';

/** Numbers with numbers, texts with texts; nothing else has an order. */
function order(a: Value, b: Value): -1 | 0 | 1 | undefined {
  if (!(isNumber(a) && isNumber(b)) && !(typeof a === 'string' && typeof b === 'string')) return undefined;
  if (a < b) return -1;
  return a > b ? 1 : 0;
}

function same(a: Value, b: Value): boolean {
  return isNumber(a) && isNumber(b) ? order(a, b) === 0 : a === b;
}

class Parser {
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  whole(): Evaluate {
    const evaluate = this.#either();
    if (this.#peek().kind !== 'end') throw this.#unexpected();
    return evaluate;
  }

  #either(): Evaluate {
    this.#depth += 1;
    if (this.#depth > mostDeep) throw new Error(`nests deeper than ${mostDeep}`);
    let left = this.#both();
    while (this.#took('||')) {
      const [first, second] = [left, this.#both()];
      left = event => first(event) === true || second(event) === true;
    }
    this.#depth -= 1;
    return left;
  }

  #both(): Evaluate {
    let left = this.#comparison();
    while (this.#took('&&')) {
      const [first, second] = [left, this.#comparison()];
      left = event => first(event) === true && second(event) === true;
    }
    return left;
  }

  #comparison(): Evaluate {
    if (this.#took('!')) {
      this.#depth += 1;
      if (this.#depth > mostDeep) throw new Error(`nests deeper than ${mostDeep}`);
      const inner = this.#comparison();
      this.#depth -= 1;
      return event => inner(event) !== true;
    }
    const left = this.#value();
    const { kind, text } = this.#peek();
    const compare = kind !== 'text' && Object.hasOwn(comparisons, text) ? comparisons[text] : undefined;
    if (compare === undefined) return left;
    this.#next += 1;
    const right = text === 'in' ? this.#list() : this.#value();
    return event => compare(left(event), right(event));
  }

  #list(): Evaluate {
    if (this.#peek().text !== '[') return this.#value();
    this.#next += 1;
    const items: Evaluate[] = [];
    while (!this.#took(']')) {
      if (items.length > 0) this.#expect(',');
      items.push(this.#value());
    }
    return event => items.map(item => item(event));
  }

  #value(): Evaluate {
    if (this.#took('(')) {
      const inner = this.#either();
      this.#expect(')');
      return inner;
    }
    const token = this.#peek();
    this.#next += 1;
    switch (token.kind) {
      case 'text': {
        const text = unquoted(token.text);
        return () => text;
      }
      case 'number': {
        const number = Number(token.text);
        return () => number;
      }
      case 'name':
        return this.#named(token);
      default:
        this.#next -= 1;
        throw this.#unexpected();
    }
  }

  #named({ text, at }: Token): Evaluate {
    switch (text) {
      case 'true':
      case 'false':
        return () => text === 'true';
      case 'null':
        return () => null;
      case 'body':
      case 'properties':
      case 'system':
        return this.#path(text);
      default: {
        const known = 'only body, properties, system, true, false and null';
        throw new Error(`has "${text}" at character ${at + 1}, where ${known} may be`);
      }
    }
  }

  #path(root: string): Evaluate {
    const steps: string[] = [];
    for (;;) {
      if (this.#took('.')) {
        const { kind, text } = this.#peek();
        if (kind !== 'name') throw this.#unexpected();
        this.#next += 1;
        steps.push(text);
      } else if (this.#took('[')) {
        const { kind, text } = this.#peek();
        if (kind !== 'text' && !/^\d+$/.test(text)) throw this.#unexpected();
        this.#next += 1;
        steps.push(kind === 'text' ? unquoted(text) : text);
        this.#expect(']');
      } else {
        return event => steps.reduce<Value>(member, event.root(root));
      }
    }
  }

  #peek(): Token {
    return this.#tokens[this.#next] ?? { kind: 'end', text: 'the end', at: 0 };
  }

  #took(sign: string): boolean {
    const { kind, text } = this.#peek();
    if (kind !== 'sign' || text !== sign) return false;
    this.#next += 1;
    return true;
  }

  #expect(sign: string): void {
    if (!this.#took(sign)) throw this.#unexpected(sign);
  }

  #unexpected(wanted?: string): Error {
    const { kind, text, at } = this.#peek();
    const seen = kind === 'end' ? 'ends too early' : `has ${text} at character ${at + 1}`;
    return new Error(
      wanted === undefined ? `${seen}, where a value must be` : `${seen}, where ${wanted} must be`,
    );
  }
}

const unquoted = (text: string) => text.slice(1, -1).replace(/\\(.)/g, '$1');

function member(value: Value, name: string): Value {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return null;
  return (value as Readonly<Record<string, Value>>)[name] ?? null;
}
