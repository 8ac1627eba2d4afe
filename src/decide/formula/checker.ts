import { compilePattern } from '../../base/pattern.ts';
import { didYouMean } from '../../spec/suggest.ts';
import { isBuiltin } from './grammar.ts';
import { Misspelling } from './lexer.ts';
import { constantOf } from './operators.ts';
import { binaryType, checkIn, literalType, searchType } from './rules.ts';
import { signatures } from './signatures.ts';
import type { Node, NodeOf } from './syntax.ts';
import {
  array,
  arrayOf,
  assignable,
  bare,
  bool,
  elementOf,
  float,
  groups,
  int,
  isNumber,
  isUnknown,
  map,
  nil,
  type Type,
  typeName,
  unknown,
} from './types.ts';

/** expr's own limit of nodes; a comparison in the middle of a chain counts twice, since it is worked out twice. */
const mostNodes = 10_000;
/** Deeper trees (`a+a+a+…`) would exhaust the stack that evaluates them. */
const deepest = 1_000;

/**
 * Gives a parsed formula its type, or throws a `Misspelling`. `names` are the variables, all of them floats.
 * The rules are those of expr 1.17's checker: ints and floats mix in arithmetic, `%` and `..` take ints only,
 * what comes out of a mixed array or of JSON is believed until the formula runs.
 */
export function check(node: Node, names: readonly string[]): Type {
  return new Checker(names).visit(node);
}

class Checker {
  readonly #names: readonly string[];
  readonly #known: ReadonlySet<string>;
  readonly #variables: { name: string; type: Type }[] = [];
  readonly #predicates: { over: Type; pointers: ReadonlyMap<string, Type> }[] = [];
  #nodes = 0;
  #depth = 0;

  constructor(names: readonly string[]) {
    this.#names = names;
    this.#known = new Set(names);
  }

  visit(node: Node): Type {
    this.#nodes += 1;
    this.#depth += 1;
    if (this.#nodes > mostNodes)
      throw new Misspelling(`the formula has more than ${mostNodes} parts`, node.at);
    if (this.#depth > deepest)
      throw new Misspelling(`the formula nests deeper than ${deepest} levels`, node.at);
    const type = this.#typeOf(node);
    this.#depth -= 1;
    return type;
  }

  #typeOf(node: Node): Type {
    switch (node.kind) {
      case 'literal':
        return literalType(node.value);
      case 'name':
        return this.#name(node);
      case 'unary':
        return this.#unary(node);
      case 'binary':
        return this.#binary(node);
      case 'chain':
        return this.visit(node.of);
      case 'member':
        return this.#member(node);
      case 'slice':
        return this.#slice(node);
      case 'call':
        return this.#call(node);
      case 'loop':
        return this.#loop(node);
      case 'pointer':
        return this.#pointer(node);
      case 'let':
        return this.#let(node);
      case 'sequence':
        return node.nodes.map(each => this.visit(each)).at(-1) ?? nil;
      case 'conditional':
        return this.#conditional(node);
      case 'array':
        return this.#array(node);
      case 'map':
        for (const { key, value } of node.pairs) {
          const type = this.visit(key);
          if (type.kind !== 'string' && !isUnknown(type)) {
            throw new Misspelling(`the key of a map must be a string, not ${typeName(type)}`, key.at);
          }
          this.visit(value);
        }
        return map;
    }
  }

  #name({ name, at }: NodeOf<'name'>): Type {
    const variable = this.#variables.findLast(each => each.name === name);
    if (variable !== undefined) return variable.type;
    if (name === '$env') return unknown;
    if (this.#known.has(name)) return float;
    if (isBuiltin(name)) throw new Misspelling(`${name} is a function and must be called: ${name}(…)`, at);
    throw this.#unknownName(name, at);
  }

  #unknownName(name: string, at: number): Misspelling {
    const visible = [...this.#variables.map(each => each.name), ...this.#names];
    const dashed = this.#names.find(each => each.startsWith(`${name}-`));
    const hint =
      dashed === undefined
        ? didYouMean(name, visible)
        : `; a name with a dash is read as a subtraction, write $env["${dashed}"]`;
    const there =
      visible.length === 0
        ? 'no trigger has a name that the formula could use'
        : `there is ${visible.map(each => JSON.stringify(each)).join(', ')}`;
    return new Misspelling(`unknown name "${name}"${hint === '' ? '' : hint} (${there})`, at);
  }

  #unary({ op, of, at }: NodeOf<'unary'>): Type {
    const type = this.visit(of);
    if (op === 'not' && (type.kind === 'bool' || isUnknown(type))) return bool;
    if (op !== 'not' && isNumber(type)) return type;
    if (op !== 'not' && isUnknown(type)) return unknown;
    throw new Misspelling(`${op} cannot be applied to ${typeName(type)}`, at);
  }

  #binary(node: NodeOf<'binary'>): Type {
    const left = this.visit(node.left);
    const right = this.visit(node.right);
    if (node.op === 'in') return checkIn(left, right, node.at);
    if (node.op === 'matches' && node.right.kind === 'literal' && typeof node.right.value === 'string') {
      checkPattern(node.right.value, node.right.at);
    }
    if (node.op === '%' && constantOf(node.right) === 0n && typeof constantOf(node.left) === 'bigint') {
      throw new Misspelling('% by zero', node.at);
    }
    const type = binaryType(node.op, left, right);
    if (type !== undefined) return type;
    const hint =
      (node.op === '%' || node.op === '..') && isNumber(left) && isNumber(right)
        ? '; triggers are floats, int(…) makes an int of one'
        : '';
    throw new Misspelling(
      `${node.op} cannot stand between ${typeName(left)} and ${typeName(right)} (mismatched types)${hint}`,
      node.at,
    );
  }

  #member({ of, key, optional, at }: NodeOf<'member'>): Type {
    if (of.kind === 'name' && of.name === '$env' && key.kind === 'literal' && typeof key.value === 'string') {
      if (this.#known.has(key.value)) return float;
      if (optional) return unknown;
      throw this.#unknownName(key.value, key.at);
    }
    const base = this.visit(of);
    const index = this.visit(key);
    if (isUnknown(base)) return unknown;
    if (base.kind === 'map') {
      if (base.key === 'string' && !isUnknown(index) && index.kind !== 'string') {
        throw new Misspelling(`this map has strings as keys, not ${typeName(index)}`, key.at);
      }
      return elementOf(base);
    }
    if (base.kind === 'array') {
      if (isUnknown(index) || index.kind === 'int') return elementOf(base);
      throw new Misspelling(`an array is indexed by an int, not ${typeName(index)}`, key.at);
    }
    const field = key.kind === 'literal' ? ` ${JSON.stringify(String(key.value))}` : '';
    throw new Misspelling(`${typeName(base)} has no field${field}`, at);
  }

  #slice({ of, from, to, at }: NodeOf<'slice'>): Type {
    const type = this.visit(of);
    for (const end of [from, to]) {
      if (end === undefined) continue;
      const index = this.visit(end);
      if (!isUnknown(index) && index.kind !== 'int') {
        throw new Misspelling(`a slice ends at an int, not at ${typeName(index)}`, end.at);
      }
    }
    if (isUnknown(type)) return unknown;
    if (type.kind === 'array' || type.kind === 'string') return type;
    throw new Misspelling(`${typeName(type)} cannot be sliced`, at);
  }

  #call({ name, args, at }: NodeOf<'call'>): Type {
    const [base, key] = args;
    const environment = base?.kind === 'name' && base.name === '$env';
    const types = args.map(arg => this.visit(arg));
    if (name === 'get' && environment && key?.kind === 'literal' && this.#known.has(String(key.value)))
      return float;
    const result = Object.hasOwn(signatures, name) ? signatures[name]?.(types) : undefined;
    if (result === undefined || typeof result === 'string') {
      throw new Misspelling(`${name} ${result ?? 'is no function'}`, at);
    }
    return result;
  }

  #loop(node: NodeOf<'loop'>): Type {
    const over = this.visit(node.over);
    if (over.kind !== 'array' && !isUnknown(over)) {
      throw new Misspelling(`${node.name} takes an array, not ${typeName(over)}`, node.over.at);
    }
    const pointers = new Map<string, Type>();
    if (node.name === 'map' || node.name === 'reduce') pointers.set('index', int);
    if (node.name === 'reduce') pointers.set('acc', unknown);
    let out: Type = nil;
    if (node.body !== undefined) {
      this.#predicates.push({ over, pointers });
      out = this.visit(node.body);
      this.#predicates.pop();
      if (out.kind === 'nil') throw new Misspelling('a predicate must give a value, not nil', node.body.at);
    }
    const extra = node.extra === undefined ? undefined : this.visit(node.extra);
    switch (node.name) {
      case 'map':
        return arrayOf(out);
      case 'reduce':
        return out;
      case 'groupBy':
        return groups;
      case 'sortBy':
        if (extra !== undefined && extra.kind !== 'string' && !isUnknown(extra)) {
          throw new Misspelling(`sortBy takes "asc" or "desc" as order, not ${typeName(extra)}`, node.at);
        }
        return over;
      case 'sum':
        if (node.body !== undefined) return bare(out);
        return isUnknown(over) ? unknown : elementOf(over);
      default:
        if (node.body !== undefined && out.kind !== 'bool' && !isUnknown(out)) {
          throw new Misspelling(
            `the predicate of ${node.name} must give a bool, not ${typeName(out)}`,
            node.body.at,
          );
        }
        return searchType(node.name, over);
    }
  }

  #pointer({ name, at }: NodeOf<'pointer'>): Type {
    const scope = this.#predicates.at(-1);
    if (scope === undefined) throw new Misspelling('# means nothing outside of a predicate', at);
    if (name === '') return isUnknown(scope.over) ? unknown : elementOf(scope.over);
    const type = scope.pointers.get(name);
    if (type !== undefined) return type;
    throw new Misspelling(`#${name} means nothing in this predicate`, at);
  }

  #let({ name, value, body, at }: NodeOf<'let'>): Type {
    const taken = this.#known.has(name)
      ? 'a trigger'
      : isBuiltin(name)
        ? 'a function'
        : this.#variables.some(each => each.name === name)
          ? 'a variable'
          : undefined;
    if (taken !== undefined) throw new Misspelling(`${taken} is already named ${name}`, at);
    this.#variables.push({ name, type: this.visit(value) });
    const type = this.visit(body);
    this.#variables.pop();
    return type;
  }

  #conditional({ test, yes, no }: NodeOf<'conditional'>): Type {
    const condition = this.visit(test);
    if (condition.kind !== 'bool' && !isUnknown(condition)) {
      throw new Misspelling(`a condition must be a bool, not ${typeName(condition)}`, test.at);
    }
    const first = this.visit(yes);
    const second = this.visit(no);
    if (first.kind === 'nil') return second;
    if (second.kind === 'nil') return first;
    if (!assignable(first, second)) return unknown;
    if (first.kind === 'array' && second.kind === 'array') {
      const same =
        assignable(elementOf(first), elementOf(second)) && assignable(elementOf(second), elementOf(first));
      if (!same) return array;
    }
    return first;
  }

  #array({ items }: NodeOf<'array'>): Type {
    const types = items.map(item => this.visit(item));
    const last = types.at(-1) ?? unknown;
    const shape = ({ kind }: Type): string => (kind === 'nil' ? 'unknown' : kind);
    return types.every(type => shape(type) === shape(last)) ? arrayOf(last) : array;
  }
}

/** What a formula may give: a number, or something only the moment will tell. */
export function mayBeNumber(type: Type): boolean {
  return isNumber(type) || isUnknown(type) || type.kind === 'nil';
}

/** Refuses a pattern that is written in the formula, before it runs. Throws a `Misspelling`. */
function checkPattern(source: string, at: number): void {
  try {
    compilePattern(source);
  } catch (thrown) {
    throw new Misspelling(thrown instanceof Error ? thrown.message : String(thrown), at);
  }
}
