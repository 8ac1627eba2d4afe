import type { ManifestDocument } from './documents.ts';
import { type FieldPath, nameOfType, shortened } from './field-path.ts';
import type { Problem } from './problem.ts';

/** Where everything that is found about a document is gathered, seen from one of its fields. */
export class Findings {
  readonly document: ManifestDocument;
  readonly path: FieldPath;
  readonly problems: Problem[];
  readonly notices: Problem[];
  /** Those of the problems that leave the rest of the document as clear as without them. */
  readonly surpluses: Problem[];
  /** Those of the problems that KEDA and the API server let pass at first. */
  readonly tolerances: Problem[];

  constructor(document: ManifestDocument, path: FieldPath = [], gathered?: Findings) {
    this.document = document;
    this.path = path;
    this.problems = gathered?.problems ?? [];
    this.notices = gathered?.notices ?? [];
    this.surpluses = gathered?.surpluses ?? [];
    this.tolerances = gathered?.tolerances ?? [];
  }

  /** The same gathering, seen from a field further in. */
  at(...steps: (string | number)[]): Findings {
    return new Findings(this.document, [...this.path, ...steps], this);
  }

  /** Always undefined, so that a reader can return it. */
  problem(problem: string, mending?: string): undefined {
    this.problems.push(this.#placed(problem, mending));
    return undefined;
  }

  /** Something is here that should not be, and everything else can be read all the same. */
  surplus(problem: string, mending?: string): void {
    const placed = this.#placed(problem, mending);
    this.problems.push(placed);
    this.surpluses.push(placed);
  }

  /**
   * Something that nothing can be made of, although KEDA and the API server take the object in. Always undefined, so
   * that a reader can return it.
   */
  tolerated(problem: string, mending?: string): undefined {
    const placed = this.#placed(problem, mending);
    this.problems.push(placed);
    this.tolerances.push(placed);
    return undefined;
  }

  notice(notice: string, mending?: string): void {
    this.notices.push(this.#placed(notice, mending));
  }

  /** Says what should be here, what is, and how to turn one into the other where that is simple. */
  wrongType(wanted: string, value: unknown): undefined {
    const simple = typeof value === 'number' || typeof value === 'boolean';
    // Not every object can be made a text: a manifest may call a field toString.
    const spelled = simple ? shortened(this.spelling() ?? String(value)) : '';
    if (wanted === 'a text' && simple) {
      return this.problem(`must be a text, is ${nameOfType(value)}`, `write "${spelled}" with quotes`);
    }
    const number = typeof value === 'string' && /^-?\d+$/.test(value) && wanted === 'a whole number';
    const truth = typeof value === 'string' && /^(true|false)$/.test(value) && wanted === 'true or false';
    if (number || truth) return this.problem(`must be ${wanted}, is a text`, `write ${value} without quotes`);
    const shown = simple ? ` (${spelled})` : typeof value === 'string' ? ` ("${shortened(value)}")` : '';
    return this.problem(`must be ${wanted}, is ${nameOfType(value)}${shown}`);
  }

  /** The scalar here as the file spells it. */
  spelling(): string | undefined {
    return this.document.spelling(this.path);
  }

  #placed(problem: string, mending: string | undefined): Problem {
    return { problem, ...(mending === undefined ? {} : { mending }), place: this.document.place(this.path) };
  }
}
