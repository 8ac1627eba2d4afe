import { add, truth } from './arithmetic.ts';
import type { Code, Frame } from './frame.ts';
import { sortBy } from './functions.ts';
import { failed, kindOf, mapKey, Pairs, type Value } from './values.ts';

/** What a built-in with a predicate is made of. `level` counts the predicates around it. */
export interface LoopParts {
  name: string;
  over: Code;
  body: Code | undefined;
  extra: Code | undefined;
  level: number;
  /** What one turn of the body costs, in nodes. */
  weight: number;
  at: number;
}

/** Visits the elements and gives what the body makes of each; `each` answers true to stop. */
type Walk = (frame: Frame, values: readonly Value[], each: (value: Value, index: number) => boolean) => void;

/** Puts a built-in that takes a predicate together. Throws FORMULA_FAILED as it runs. */
export function compileLoop(parts: LoopParts): Code {
  const { name, over, at } = parts;
  const work = loopWork(parts);
  return frame => {
    const values = over(frame);
    frame.at = at;
    if (!Array.isArray(values)) throw failed(`${name} takes an array, not ${kindOf(values)}`);
    return work(frame, values);
  };
}

function walks({ body, level, weight, at }: LoopParts): { forward: Walk; backward: Walk } {
  const turn = (frame: Frame, value: Value, index: number): Value => {
    frame.at = at;
    frame.spend(weight);
    if (body === undefined) return value;
    frame.items[level] = value;
    frame.indexes[level] = index;
    return body(frame);
  };
  return {
    forward: (frame, values, each) => {
      for (let index = 0; index < values.length; index += 1) {
        if (each(turn(frame, values[index] ?? null, index), index)) return;
      }
    },
    backward: (frame, values, each) => {
      for (let index = values.length - 1; index >= 0; index -= 1) {
        if (each(turn(frame, values[index] ?? null, index), index)) return;
      }
    },
  };
}

function loopWork(parts: LoopParts): (frame: Frame, values: Value[]) => Value {
  const { forward, backward } = walks(parts);
  /** The index of the first element that the predicate says yes (or no) to, or undefined. */
  const search = (
    frame: Frame,
    values: Value[],
    { walk = forward, wanted = true } = {},
  ): number | undefined => {
    let found: number | undefined;
    walk(frame, values, (value, index) => {
      if (truth(value) !== wanted) return false;
      found = index;
      return true;
    });
    return found;
  };
  const count = (frame: Frame, values: Value[]): bigint => {
    let yes = 0n;
    forward(frame, values, value => {
      if (truth(value)) yes += 1n;
      return false;
    });
    return yes;
  };
  const place = (index: number | undefined): Value => (index === undefined ? null : BigInt(index));
  const element = (values: Value[], index: number | undefined): Value =>
    index === undefined ? null : (values[index] ?? null);

  switch (parts.name) {
    case 'all':
      return (frame, values) => search(frame, values, { wanted: false }) === undefined;
    case 'none':
      return (frame, values) => search(frame, values) === undefined;
    case 'any':
      return (frame, values) => search(frame, values) !== undefined;
    case 'one':
      return (frame, values) => count(frame, values) === 1n;
    case 'count':
      return count;
    case 'find':
      return (frame, values) => element(values, search(frame, values));
    case 'findIndex':
      return (frame, values) => place(search(frame, values));
    case 'findLast':
      return (frame, values) => element(values, search(frame, values, { walk: backward }));
    case 'findLastIndex':
      return (frame, values) => place(search(frame, values, { walk: backward }));
    case 'filter':
      return (frame, values) => {
        const kept: Value[] = [];
        forward(frame, values, (value, index) => {
          if (truth(value)) kept.push(values[index] ?? null);
          return false;
        });
        frame.grow(kept.length);
        return kept;
      };
    case 'map':
      return (frame, values) => {
        frame.grow(values.length);
        const made: Value[] = [];
        forward(frame, values, value => {
          made.push(value);
          return false;
        });
        return made;
      };
    case 'sum':
      return (frame, values) => {
        let sum: Value = 0n;
        forward(frame, values, value => {
          sum = add(frame, value, sum);
          return false;
        });
        return sum;
      };
    case 'groupBy':
      return groupBy(forward);
    case 'sortBy':
      return sortByKeys(parts, forward);
    default:
      return reduce(parts);
  }
}

function groupBy(forward: Walk): (frame: Frame, values: Value[]) => Value {
  return (frame, values) => {
    const groups = new Map<Value, Value[]>();
    frame.grow(values.length);
    forward(frame, values, (key, index) => {
      const value = values[index] ?? null;
      const group = groups.get(mapKey(key));
      if (group === undefined) groups.set(key, [value]);
      else group.push(value);
      return false;
    });
    return new Pairs(groups, false);
  };
}

/** expr works the third argument out inside the loop: a `#` in it is this array's first element, not the outer one's. */
function third(frame: Frame, values: readonly Value[], { extra, level }: LoopParts): Value | undefined {
  if (extra === undefined) return undefined;
  frame.items[level] = values[0] ?? null;
  frame.indexes[level] = 0;
  frame.gathered[level] = null;
  return extra(frame);
}

function sortByKeys(parts: LoopParts, forward: Walk): (frame: Frame, values: Value[]) => Value {
  return (frame, values) => {
    const order = third(frame, values, parts) ?? 'asc';
    const keys: Value[] = [];
    forward(frame, values, key => {
      keys.push(key);
      return false;
    });
    frame.at = parts.at;
    return sortBy(frame, values, { keys, order });
  };
}

function reduce(parts: LoopParts): (frame: Frame, values: Value[]) => Value {
  const { body, extra, level, weight, at } = parts;
  return (frame, values) => {
    if (extra === undefined && values.length === 0) {
      throw failed('reduce of an empty array needs a first value as third argument');
    }
    let gathered = third(frame, values, parts) ?? (extra === undefined ? (values[0] ?? null) : null);
    for (let index = extra === undefined ? 1 : 0; index < values.length; index += 1) {
      frame.at = at;
      frame.spend(weight);
      frame.items[level] = values[index] ?? null;
      frame.indexes[level] = index;
      frame.gathered[level] = gathered;
      gathered = body === undefined ? null : body(frame);
    }
    return gathered;
  };
}
