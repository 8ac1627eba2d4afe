import { failed, type Value } from './values.ts';

/** expr's own limit: elements of all arrays and maps made in one evaluation. */
export const mostElements = 1_000_000;
/** Nodes worked through in one evaluation: about a tenth of a second at the worst. */
export const mostSteps = 5_000_000;
/** Characters in one string. */
export const longestText = 1_000_000;

/**
 * What one evaluation works with: the triggers' values, the variables of `let`, what the predicates around a place
 * look at, and what may still be spent. One frame serves a formula for ever: evaluation neither waits nor nests.
 */
export class Frame {
  readonly values: (number | null)[];
  readonly names: readonly string[];
  readonly locals: Value[] = [];
  /** By depth of predicate: the element, its index and what reduce has gathered. */
  readonly items: Value[] = [];
  readonly indexes: number[] = [];
  readonly gathered: Value[] = [];
  /** Where in the text the operation stands that runs now; set before whatever may fail. */
  at = 0;
  #steps = mostSteps;
  #elements = mostElements;

  constructor(names: readonly string[]) {
    this.names = names;
    this.values = names.map(() => null);
  }

  /** Gives the whole budget for an evaluation. */
  begin(): void {
    this.#steps = mostSteps;
    this.#elements = mostElements;
    this.at = 0;
  }

  /** Lets go of what an evaluation kept, which may be large. */
  end(): void {
    if (this.locals.length > 0) this.locals.length = 0;
    if (this.items.length > 0) {
      this.items.length = 0;
      this.gathered.length = 0;
    }
  }

  /** Counts work; throws when the formula has had its share. */
  spend(steps: number): void {
    this.#steps -= steps;
    if (this.#steps < 0) throw failed('the formula takes too many steps');
  }

  /** Counts elements before they are made; throws when there would be too many. */
  grow(elements: number): void {
    this.#elements -= elements;
    if (this.#elements <= 0) {
      throw failed(`the formula makes arrays of ${mostElements} elements or more`);
    }
    this.spend(elements);
  }

  /** Counts the work of going through a text; throws when the text is longer than any may be. */
  read(length: number): void {
    if (length > longestText)
      throw failed(`the formula makes a string of more than ${longestText} characters`);
    this.spend(1 + (length >> 4));
  }
}

/** A formula, or a part of one, ready to run. */
export type Code = (frame: Frame) => Value;
