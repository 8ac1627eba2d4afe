import { Fault } from './errors.ts';
import { none, type Part, parsePattern } from './pattern-parser.ts';

/**
 * Regular expressions in the part of Go's RE2 syntax that decides whether something matches: classes,
 * groups, repetition, anchors, word boundaries and the flags i, s, m. A pattern becomes a small machine whose states
 * all advance together, so the time is at most (length of the text) × (size of the pattern): JavaScript's own engine
 * backtracks, and what a manifest gives could hang the process with it.
 */
export interface Pattern {
  /** Whether the text matches somewhere. `spend` is told each step's cost and may throw to end a search. */
  test(text: string, spend: (steps: number) => void): boolean;
  /** How many steps the machine has. */
  size: number;
}

type Step = Extract<Part, { kind: 'chars' | 'assert' }> | { kind: 'split'; to: number[] } | { kind: 'match' };

const mostSteps = 5_000;

/** Compiles a pattern; throws a Fault FORMULA_FAILED that says what is wrong with it. */
export function compilePattern(source: string): Pattern {
  const steps = assemble(parsePattern(source));
  return { test: (text, spend) => run(steps, text, spend), size: steps.length };
}

function assemble(whole: Part): Step[] {
  const steps: Step[] = [];
  const add = (step: Step): void => {
    steps.push(step);
    if (steps.length > mostSteps) {
      throw new Fault(
        'FORMULA_FAILED',
        `the pattern is too large: it unfolds to more than ${mostSteps} steps`,
      );
    }
  };
  const split = (): number[] => {
    const to: number[] = [steps.length + 1];
    add({ kind: 'split', to });
    return to;
  };
  const lay = (part: Part): void => {
    switch (part.kind) {
      case 'chars':
      case 'assert':
        add(part);
        break;
      case 'all':
        for (const each of part.parts) lay(each);
        break;
      case 'either': {
        const jumps: number[][] = [];
        for (const each of part.parts) {
          const skip = split();
          lay(each);
          const jump = split();
          jump.length = 0;
          jumps.push(jump);
          skip.push(steps.length);
        }
        // Whoever falls off the last alternative has matched none.
        add({ kind: 'chars', chars: () => false });
        for (const jump of jumps) jump.push(steps.length);
        break;
      }
      case 'repeat': {
        for (let count = 0; count < part.least; count += 1) lay(part.part);
        if (part.most === Number.POSITIVE_INFINITY) {
          const start = steps.length;
          const skip = split();
          lay(part.part);
          add({ kind: 'split', to: [start] });
          skip.push(steps.length);
        } else {
          const skips: number[][] = [];
          for (let count = part.least; count < part.most; count += 1) {
            skips.push(split());
            lay(part.part);
          }
          for (const skip of skips) skip.push(steps.length);
        }
      }
    }
  };
  lay(whole);
  add({ kind: 'match' });
  return steps;
}

function run(steps: readonly Step[], text: string, spend: (steps: number) => void): boolean {
  let now: number[] = [];
  let before = none;
  let at = 0;
  // Which step was last looked at for which character, counted from one.
  const seen = new Uint32Array(steps.length);
  for (let turn = 1; ; turn += 1) {
    const after = text.codePointAt(at) ?? none;
    const next: number[] = [];
    // A match may begin anywhere, so the first step is tried anew at each character.
    const open = [0, ...now.toReversed()];
    let looked = 1;
    while (open.length > 0) {
      const index = open.pop() ?? 0;
      if (seen[index] === turn) continue;
      seen[index] = turn;
      looked += 1;
      const step = steps[index];
      if (step === undefined) continue;
      if (step.kind === 'match') return true;
      if (step.kind === 'split') open.push(...step.to);
      else if (step.kind === 'assert') {
        if (step.holds(before, after)) open.push(index + 1);
      } else if (after !== none && step.chars(after)) next.push(index + 1);
    }
    spend(looked);
    if (after === none) return false;
    now = next;
    before = after;
    at += after > 0xffff ? 2 : 1;
  }
}
