import { compilePattern } from '../../base/pattern.ts';
import { add, contains, fetch, inRange, makeRange, negate, slice, truth } from './arithmetic.ts';
import type { Code, Frame } from './frame.ts';
import { builtIns } from './functions.ts';
import { compileLoop } from './loops.ts';
import { arithmetic, comparison, constantOf, textOperator, writtenFloat } from './operators.ts';
import type { Node, NodeOf } from './syntax.ts';
import { equal, failed, kindOf, Pairs, type Value } from './values.ts';

/** Makes a checked formula into closures, once; the values of `names` are looked up in the frame by their order. */
export function compile(node: Node, names: readonly string[]): Code {
  return new Compiler(names).code(node);
}

class Compiler {
  readonly #places: ReadonlyMap<string, number>;
  /** The variables in scope, with their place among the frame's locals; a place is never used twice. */
  readonly #scope: { name: string; place: number }[] = [];
  #locals = 0;
  #level = 0;
  /** Nodes compiled so far: the difference over a predicate is what one turn of it costs. */
  #nodes = 0;

  constructor(names: readonly string[]) {
    this.#places = new Map(names.map((name, place) => [name, place]));
  }

  code(node: Node): Code {
    this.#nodes += 1;
    const constant = constantOf(node);
    if (constant !== undefined) return () => constant;
    switch (node.kind) {
      case 'literal': {
        const { value } = node;
        return () => value;
      }
      case 'name':
        return this.#name(node.name);
      case 'unary':
        return this.#unary(node);
      case 'binary':
        return this.#binary(node);
      case 'chain':
        return this.#chain(node);
      case 'member':
        return this.#member(node);
      case 'slice':
        return this.#slice(node);
      case 'call':
        return this.#call(node);
      case 'loop':
        return this.#loop(node);
      case 'pointer':
        return this.#pointer(node.name);
      case 'let':
        return this.#let(node);
      case 'sequence': {
        const codes = node.nodes.map(each => this.code(each));
        return frame => {
          let last: Value = null;
          for (const code of codes) last = code(frame);
          return last;
        };
      }
      case 'conditional': {
        const [test, yes, no] = [this.code(node.test), this.code(node.yes), this.code(node.no)];
        const { at } = node.test;
        return frame => {
          const answer = test(frame);
          if (answer === true) return yes(frame);
          if (answer === false) return no(frame);
          frame.at = at;
          return truth(answer);
        };
      }
      case 'array':
        return this.#array(node);
      case 'map':
        return this.#map(node);
    }
  }

  #name(name: string): Code {
    const local = this.#scope.findLast(each => each.name === name)?.place;
    if (local !== undefined) return frame => frame.locals[local] ?? null;
    if (name === '$env') return frame => environment(frame);
    const place = this.#places.get(name) ?? -1;
    return frame => frame.values[place] ?? null;
  }

  #unary({ op, of, at }: NodeOf<'unary'>): Code {
    const code = this.code(of);
    if (op === '+') return code;
    if (op === 'not') {
      return frame => {
        const value = code(frame);
        if (typeof value === 'boolean') return !value;
        frame.at = at;
        return !truth(value);
      };
    }
    return frame => {
      const value = code(frame);
      if (typeof value === 'number') return -value;
      frame.at = at;
      return negate(value);
    };
  }

  #binary(node: NodeOf<'binary'>): Code {
    const { op, at } = node;
    if (op === 'in' && node.right.kind === 'binary' && node.right.op === '..') {
      return this.#inRange(node.left, node.right, at);
    }
    const left = this.code(node.left);
    const right = this.code(node.right);
    switch (op) {
      case '&&':
        return frame => (yes(frame, left(frame), at) ? yes(frame, right(frame), at) : false);
      case '||':
        return frame => (yes(frame, left(frame), at) ? true : yes(frame, right(frame), at));
      case '??':
        return frame => left(frame) ?? right(frame);
      case '==':
        return guarded(at, frame => equal(frame, left(frame), right(frame)));
      case '!=':
        return guarded(at, frame => !equal(frame, left(frame), right(frame)));
      case '<':
      case '>':
      case '<=':
      case '>=':
        return comparison(op, { left, right, at, float: writtenFloat(node.right) });
      case 'matches':
        return this.#matches(node, left, right);
      case 'in':
        return guarded(at, frame => contains(frame, left(frame), right(frame)));
      case '..':
        return frame => {
          const from = left(frame);
          const to = right(frame);
          frame.at = at;
          return makeRange(frame, from, to);
        };
      case 'contains':
      case 'startsWith':
      case 'endsWith':
        return textOperator(op, { left, right, at });
      default:
        return arithmetic(op, { left, right, at, float: writtenFloat(node.right) });
    }
  }

  #inRange(needle: Node, range: NodeOf<'binary'>, at: number): Code {
    const value = this.code(needle);
    const from = this.code(range.left);
    const to = this.code(range.right);
    return frame => {
      const [each, first, last] = [value(frame), from(frame), to(frame)];
      frame.at = at;
      return inRange(each, first, last);
    };
  }

  #matches({ right, at }: NodeOf<'binary'>, left: Code, pattern: Code): Code {
    const written = constantOf(right);
    const ready = typeof written === 'string' ? compilePattern(written) : undefined;
    return frame => {
      const text = left(frame);
      const source = ready === undefined ? pattern(frame) : null;
      frame.at = at;
      if (text === null || (ready === undefined && source === null)) return false;
      if (typeof text !== 'string') throw failed(`matches takes a string, not ${kindOf(text)}`);
      if (ready !== undefined) return ready.test(text, steps => frame.spend(steps));
      if (typeof source !== 'string')
        throw failed(`matches takes a string as pattern, not ${kindOf(source)}`);
      frame.spend(10 + source.length);
      const made = compilePattern(source);
      frame.spend(made.size);
      return made.test(text, steps => frame.spend(steps));
    };
  }

  #chain({ of }: NodeOf<'chain'>): Code {
    const code = this.code(of);
    return frame => {
      const value = code(frame) as Value | typeof cut;
      return value === cut ? null : value;
    };
  }

  #member({ of, key, optional, at }: NodeOf<'member'>): Code {
    const base = this.code(of);
    const index = this.code(key);
    return frame => {
      const value = base(frame) as Value | typeof cut;
      // What was cut short deeper in the chain stays so up to the chain's own end.
      if (value === cut || (optional && value === null)) return cut as unknown as Value;
      const place = index(frame);
      frame.at = at;
      return fetch(value, place);
    };
  }

  #slice(node: NodeOf<'slice'>): Code {
    const of = this.code(node.of);
    const from = node.from === undefined ? () => 0n : this.code(node.from);
    const to = node.to === undefined ? undefined : this.code(node.to);
    const { at } = node;
    return frame => {
      const value = of(frame);
      const ends = { to: to?.(frame), from: from(frame) };
      frame.at = at;
      return slice(frame, value, ends);
    };
  }

  #call({ name, args, at }: NodeOf<'call'>): Code {
    const codes = args.map(arg => this.code(arg));
    const work = builtIns[name];
    if (work === undefined) throw failed(`there is no function ${name}`);
    const [first, second] = codes;
    if (name === 'float' && first !== undefined) {
      return frame => {
        const value = first(frame);
        if (typeof value === 'number') return value;
        frame.at = at;
        return work(frame, [value]);
      };
    }
    if (
      (name === 'max' || name === 'min') &&
      first !== undefined &&
      second !== undefined &&
      codes.length === 2
    ) {
      const larger = name === 'max';
      return frame => {
        const a = first(frame);
        const b = second(frame);
        if (typeof a === 'number' && typeof b === 'number') return (larger ? a < b : b < a) ? b : a;
        frame.at = at;
        return work(frame, [a, b]);
      };
    }
    return frame => {
      const values = codes.map(code => code(frame));
      frame.at = at;
      return work(frame, values);
    };
  }

  #loop(node: NodeOf<'loop'>): Code {
    const total = node.name === 'sum' && node.body === undefined ? this.#sumOfItems(node.over) : undefined;
    if (total !== undefined) return total;
    const over = this.code(node.over);
    const level = this.#level;
    const before = this.#nodes;
    this.#level += 1;
    const body = node.body === undefined ? undefined : this.code(node.body);
    const weight = 1 + this.#nodes - before;
    const extra = node.extra === undefined ? undefined : this.code(node.extra);
    this.#level -= 1;
    return compileLoop({ name: node.name, over, body, extra, level, weight, at: node.at });
  }

  /** expr adds a written array up from its end, unless all of it is written values; floats show the difference. */
  #sumOfItems(over: Node): Code | undefined {
    if (over.kind !== 'array' || over.items.length < 2) return undefined;
    if (over.items.every(item => constantOf(item) !== undefined)) return undefined;
    const codes = over.items.map(item => this.code(item));
    return frame => {
      const values = codes.map(code => code(frame));
      frame.at = over.at;
      let sum = values.pop() ?? null;
      for (let value = values.pop(); value !== undefined; value = values.pop()) sum = add(frame, value, sum);
      return sum;
    };
  }

  #pointer(name: string): Code {
    const level = this.#level - 1;
    if (name === 'index') return frame => BigInt(frame.indexes[level] ?? 0);
    if (name === 'acc') return frame => frame.gathered[level] ?? null;
    return frame => frame.items[level] ?? null;
  }

  #let({ name, value, body }: NodeOf<'let'>): Code {
    const first = this.code(value);
    const place = this.#locals;
    this.#locals += 1;
    this.#scope.push({ name, place });
    const then = this.code(body);
    this.#scope.pop();
    return frame => {
      frame.locals[place] = first(frame);
      return then(frame);
    };
  }

  #array({ items, at }: NodeOf<'array'>): Code {
    const codes = items.map(item => this.code(item));
    return frame => {
      frame.at = at;
      frame.grow(codes.length);
      return codes.map(code => code(frame));
    };
  }

  #map({ pairs, at }: NodeOf<'map'>): Code {
    const codes = pairs.map(({ key, value }) => ({ key: this.code(key), value: this.code(value) }));
    return frame => {
      frame.at = at;
      frame.grow(codes.length);
      const entries = new Map<Value, Value>();
      for (const { key, value } of codes) {
        const name = key(frame);
        if (typeof name !== 'string') throw failed(`the key of a map must be a string, not ${kindOf(name)}`);
        const each = value(frame);
        // As in expr, a key that is written twice keeps its first value.
        if (!entries.has(name)) entries.set(name, each);
      }
      return new Pairs(entries, true);
    };
  }
}

/** What an optional member gives when it finds nil: the chain around it ends there. Never seen outside of a chain. */
const cut = Symbol('cut');

function environment(frame: Frame): Value {
  frame.grow(1 + frame.names.length);
  return new Pairs(new Map(frame.names.map((name, place) => [name, frame.values[place] ?? null])), true);
}

function yes(frame: Frame, value: Value, at: number): boolean {
  if (typeof value === 'boolean') return value;
  frame.at = at;
  return truth(value);
}

function guarded(at: number, code: Code): Code {
  return frame => {
    frame.at = at;
    return code(frame);
  };
}
