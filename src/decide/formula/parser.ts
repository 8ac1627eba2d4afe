import { didYouMean } from '../../spec/suggest.ts';
import { comparisons, infixes, loops, negatable, prefixes } from './grammar.ts';
import { Misspelling, type Token, tokenize } from './lexer.ts';
import { dateFunctions, functionNames } from './signatures.ts';
import type { BinaryOperator, Node } from './syntax.ts';

/** How deep brackets, prefixes and branches may nest: deeper ones would exhaust the stack that parses them. */
const deepest = 150;

/**
 * Parses a formula. `names` are the variables: one that is named like a built-in hides it, as in expr.
 * Throws a `Misspelling`.
 */
export function parse(text: string, names: ReadonlySet<string>): Node {
  return new Parser(tokenize(text), names).whole();
}

class Parser {
  readonly #tokens: Token[];
  readonly #names: ReadonlySet<string>;
  #next = 0;
  #depth = 0;
  /** How many predicates enclose the place: outside of one there is no `#`. */
  #predicates = 0;

  constructor(tokens: Token[], names: ReadonlySet<string>) {
    this.#tokens = tokens;
    this.#names = names;
  }

  whole(): Node {
    const node = this.#sequence();
    if (this.#current.kind !== 'end') throw this.#unexpected();
    return node;
  }

  get #current(): Token {
    return this.#tokens[this.#next] ?? { kind: 'end', value: '', at: 0, end: 0 };
  }

  #advance(): Token {
    const token = this.#current;
    if (token.kind !== 'end') this.#next += 1;
    return token;
  }

  #is(kind: Token['kind'], value: string): boolean {
    return this.#current.kind === kind && this.#current.value === value;
  }

  #accept(kind: Token['kind'], value: string): boolean {
    if (!this.#is(kind, value)) return false;
    this.#next += 1;
    return true;
  }

  #expect(kind: Token['kind'], value: string): void {
    if (!this.#accept(kind, value)) throw this.#unexpected(`"${value}"`);
  }

  #unexpected(wanted?: string): Misspelling {
    const { kind, value, at } = this.#current;
    const found = kind === 'end' ? 'the formula ends too early' : `unexpected ${JSON.stringify(value)}`;
    return new Misspelling(wanted === undefined ? found : `${found}, expected ${wanted}`, at);
  }

  #sequence(): Node {
    const first = this.#expression(0);
    const nodes = [first];
    while (this.#accept('operator', ';')) {
      if (this.#current.kind === 'end') break;
      nodes.push(this.#expression(0));
    }
    return nodes.length === 1 ? first : { kind: 'sequence', nodes, at: first.at };
  }

  #expression(binds: number): Node {
    this.#depth += 1;
    if (this.#depth > deepest) {
      throw new Misspelling(`the formula nests deeper than ${deepest} levels`, this.#current.at);
    }
    try {
      if (binds === 0 && this.#is('operator', 'let')) return this.#declaration();
      if (binds === 0 && this.#is('operator', 'if')) return this.#branches();
      const node = this.#operators(this.#primary(), binds);
      return binds === 0 ? this.#ternary(node) : node;
    } finally {
      this.#depth -= 1;
    }
  }

  #operators(left: Node, binds: number): Node {
    let before = '';
    for (;;) {
      const start = this.#next;
      const negation = this.#accept('operator', 'not');
      const token = this.#current;
      if (negation && !negatable.has(token.value))
        throw this.#unexpected('in, matches, contains, startsWith or endsWith');
      const infix =
        token.kind === 'operator' && Object.hasOwn(infixes, token.value) ? infixes[token.value] : undefined;
      if (infix === undefined || infix.binds < binds) {
        this.#next = start;
        return left;
      }
      this.#advance();
      if (infix.op === '|') {
        const callee = this.#current;
        if (callee.kind !== 'name') throw this.#unexpected('the name of a function after |');
        this.#advance();
        left = this.#call(callee, { first: left });
      } else if (before === '??' && token.value !== '??') {
        throw new Misspelling(
          `put brackets around the ?? before "${token.value}": the two do not mix`,
          token.at,
        );
      } else if (comparisons.has(token.value)) {
        left = this.#comparison(left, token);
      } else {
        const right = this.#expression(infix.right ? infix.binds : infix.binds + 1);
        left = { kind: 'binary', op: infix.op, left, right, at: token.at };
        if (negation) left = { kind: 'unary', op: 'not', of: left, at: token.at };
      }
      before = token.value;
    }
  }

  /** `1 < a < 5` means `1 < a && a < 5`. */
  #comparison(left: Node, token: Token): Node {
    let whole: Node | undefined;
    for (;;) {
      const right = this.#expression(21);
      const one: Node = { kind: 'binary', op: token.value as BinaryOperator, left, right, at: token.at };
      whole = whole === undefined ? one : { kind: 'binary', op: '&&', left: whole, right: one, at: token.at };
      if (this.#current.kind !== 'operator' || !comparisons.has(this.#current.value)) return whole;
      token = this.#advance();
      left = right;
    }
  }

  #declaration(): Node {
    this.#expect('operator', 'let');
    const { kind, value: name, at } = this.#current;
    if (kind !== 'name') throw this.#unexpected('a name after let');
    this.#advance();
    this.#expect('operator', '=');
    const value = this.#expression(0);
    this.#expect('operator', ';');
    return { kind: 'let', name, value, body: this.#sequence(), at };
  }

  #branches(): Node {
    const { at } = this.#advance();
    const test = this.#expression(0);
    const yes = this.#block();
    this.#expect('operator', 'else');
    const no = this.#is('operator', 'if') ? this.#expression(0) : this.#block();
    return { kind: 'conditional', test, yes, no, at };
  }

  #block(): Node {
    this.#expect('bracket', '{');
    const node = this.#sequence();
    this.#expect('bracket', '}');
    return node;
  }

  #ternary(node: Node): Node {
    while (this.#is('operator', '?')) {
      const { at } = this.#advance();
      if (this.#accept('operator', ':')) {
        node = { kind: 'conditional', test: node, yes: node, no: this.#expression(0), at };
      } else {
        const yes = this.#expression(0);
        this.#expect('operator', ':');
        node = { kind: 'conditional', test: node, yes, no: this.#expression(0), at };
      }
    }
    return node;
  }

  #primary(): Node {
    const token = this.#current;
    if (token.kind === 'operator' && Object.hasOwn(prefixes, token.value)) {
      const prefix = prefixes[token.value];
      if (prefix !== undefined) {
        this.#advance();
        const of = this.#expression(prefix.binds);
        return this.#postfix({ kind: 'unary', op: prefix.op, of, at: token.at });
      }
    }
    if (this.#accept('bracket', '(')) {
      const node = this.#sequence();
      this.#expect('bracket', ')');
      return this.#postfix(node);
    }
    if (this.#predicates > 0 && token.kind === 'operator' && (token.value === '#' || token.value === '.')) {
      return this.#postfix({ kind: 'pointer', name: this.#pointerName(), at: token.at });
    }
    if (token.kind === 'operator' && token.value === '#') {
      throw new Misspelling('# stands for an element and means nothing outside of a predicate', token.at);
    }
    if (this.#accept('operator', '::')) {
      const callee = this.#current;
      if (callee.kind !== 'name') throw this.#unexpected('the name of a built-in function after ::');
      this.#advance();
      return this.#postfix(this.#call(callee, { builtin: true }));
    }
    return this.#secondary();
  }

  #pointerName(): string {
    if (!this.#is('operator', '#')) return '';
    const { end } = this.#advance();
    // `#acc` is one word: after a space the name belongs to something else.
    if (this.#current.kind === 'name' && this.#current.at === end) return this.#advance().value;
    return '';
  }

  #secondary(): Node {
    const token = this.#current;
    const { at } = token;
    switch (token.kind) {
      case 'number':
        this.#advance();
        return { kind: 'literal', value: numberLiteral(token), at };
      case 'text':
        this.#advance();
        return this.#postfix({ kind: 'literal', value: token.value, at });
      case 'name':
        this.#advance();
        if (token.value === 'true' || token.value === 'false') {
          return { kind: 'literal', value: token.value === 'true', at };
        }
        if (token.value === 'nil') return { kind: 'literal', value: null, at };
        if (this.#is('bracket', '(')) return this.#postfix(this.#call(token, {}));
        return this.#postfix({ kind: 'name', name: token.value, at });
      default:
        if (token.kind === 'bracket' && token.value === '[') return this.#postfix(this.#array());
        if (token.kind === 'bracket' && token.value === '{') return this.#postfix(this.#map());
        throw this.#unexpected();
    }
  }

  #call(callee: Token, { first, builtin = false }: { first?: Node; builtin?: boolean }): Node {
    const { value: name, at } = callee;
    if (!builtin && this.#names.has(name)) {
      throw new Misspelling(`${name} is the value of a trigger here and cannot be called`, at);
    }
    const loop = Object.hasOwn(loops, name) ? loops[name] : undefined;
    if (loop !== undefined) return this.#loop(callee, loop, first);
    if (dateFunctions.includes(name)) {
      throw new Misspelling(`${name} works with dates or durations, which a formula cannot use here`, at);
    }
    if (!functionNames.includes(name)) {
      const known = [...functionNames, ...Object.keys(loops)];
      throw new Misspelling(`there is no function ${name}${didYouMean(name, known)}`, at);
    }
    const args = first === undefined ? [] : [first];
    this.#list(')', () => args.push(this.#expression(0)));
    return { kind: 'call', name, args, at };
  }

  #loop({ value: name, at }: Token, shape: { predicate: string; extra?: true }, first?: Node): Node {
    const parts = first === undefined ? [] : [first];
    this.#list(')', () => {
      if (parts.length === 1) parts.push(this.#predicate());
      else if (parts.length === 0 || (parts.length === 2 && shape.extra)) parts.push(this.#expression(0));
      else throw this.#unexpected('")"');
    });
    const [over, body, extra] = parts;
    if (over === undefined || (body === undefined && shape.predicate === 'required')) {
      throw new Misspelling(`${name} needs an array and a predicate`, at);
    }
    return {
      kind: 'loop',
      name,
      over,
      ...(body === undefined ? {} : { body }),
      ...(extra === undefined ? {} : { extra }),
      at,
    };
  }

  #predicate(): Node {
    this.#predicates += 1;
    const bracketed = this.#is('bracket', '{');
    const node = bracketed ? this.#block() : this.#expression(0);
    if (!bracketed && this.#is('operator', ';')) {
      throw new Misspelling('put { and } around a predicate of several expressions', this.#current.at);
    }
    this.#predicates -= 1;
    return node;
  }

  /** Items parted by commas up to a closing bracket; a comma may trail. The opening bracket is taken too. */
  #list(close: ')' | ']' | '}', item: () => void): void {
    this.#expect('bracket', { ')': '(', ']': '[', '}': '{' }[close]);
    for (let count = 0; !this.#is('bracket', close); count += 1) {
      if (count > 0) {
        if (!this.#accept('operator', ',')) throw this.#unexpected(`"," or "${close}"`);
        if (this.#is('bracket', close)) break;
      }
      item();
    }
    this.#expect('bracket', close);
  }

  #array(): Node {
    const { at } = this.#current;
    const items: Node[] = [];
    this.#list(']', () => items.push(this.#expression(0)));
    return { kind: 'array', items, at };
  }

  #map(): Node {
    const { at } = this.#current;
    const pairs: { key: Node; value: Node }[] = [];
    this.#list('}', () => {
      const token = this.#current;
      let key: Node;
      if (token.kind === 'number' || token.kind === 'text' || token.kind === 'name') {
        this.#advance();
        key = { kind: 'literal', value: token.value, at: token.at };
      } else if (this.#is('bracket', '(')) {
        key = this.#expression(0);
      } else {
        throw this.#unexpected('a key: a name, a string, a number or an expression in brackets');
      }
      this.#expect('operator', ':');
      pairs.push({ key, value: this.#expression(0) });
    });
    return { kind: 'map', pairs, at };
  }

  #postfix(node: Node): Node {
    for (;;) {
      const { at } = this.#current;
      if (this.#accept('operator', '.')) node = this.#field(node, false);
      else if (this.#accept('operator', '?.')) {
        node = this.#is('bracket', '[') ? this.#index(node, true) : this.#field(node, true);
      } else if (this.#is('bracket', '[')) node = this.#index(node, false);
      else return node;
      if (this.#is('bracket', '(') && node.kind !== 'slice') {
        throw new Misspelling('only built-in functions can be called', at);
      }
    }
  }

  #field(base: Node, optional: boolean): Node {
    const token = this.#advance();
    const word = token.kind === 'name' || (token.kind === 'operator' && /^\p{L}/u.test(token.value));
    if (!word) throw new Misspelling('expected the name of a field after the dot', token.at);
    const chained = base.kind === 'chain';
    const key: Node = { kind: 'literal', value: token.value, at: token.at };
    const node: Node = { kind: 'member', of: chained ? base.of : base, key, optional, at: token.at };
    return chained || optional ? { kind: 'chain', of: node, at: token.at } : node;
  }

  #index(of: Node, optional: boolean): Node {
    const { at } = this.#advance();
    const from = this.#is('operator', ':') ? undefined : this.#expression(0);
    if (this.#accept('operator', ':')) {
      const to = this.#is('bracket', ']') ? undefined : this.#expression(0);
      this.#expect('bracket', ']');
      const ends = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
      return { kind: 'slice', of, ...ends, at };
    }
    this.#expect('bracket', ']');
    if (from === undefined) throw this.#unexpected('an index');
    const node: Node = { kind: 'member', of, key: from, optional, at };
    return optional ? { kind: 'chain', of: node, at } : node;
  }
}

/** The value of a number as written: a bigint for an int, a number for a float. Ints are 64 bits wide, as in Go. */
function numberLiteral({ value, at }: Token): bigint | number {
  const plain = value.replaceAll('_', '');
  const lower = plain.toLowerCase();
  if (!lower.startsWith('0x') && /[.e]/.test(lower)) {
    const float = /^(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/.test(lower) ? Number(plain) : Number.NaN;
    if (Number.isFinite(float)) return float;
    throw new Misspelling(`"${value}" is not a number, or too large for one`, at);
  }
  const whole = /^(?:0x[0-9a-f]+|0b[01]+|0o[0-7]+|\d+)$/.test(lower) ? BigInt(lower) : undefined;
  if (whole === undefined) throw new Misspelling(`"${value}" is not a number`, at);
  if (whole > 0x7fff_ffff_ffff_ffffn) {
    throw new Misspelling(`${value} is too large for an int of 64 bits; write it as a float`, at);
  }
  return whole;
}
