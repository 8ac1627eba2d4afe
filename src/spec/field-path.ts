/** The way to a field: keys of objects and indexes of lists. */
export type FieldPath = readonly (string | number)[];

/** `spec.triggers[0].metadata.queueLength`; keys that are no plain names stand in brackets and quotes. */
export function formatPath(path: FieldPath): string {
  return path
    .map((step, depth) => {
      if (typeof step === 'number') return `[${step}]`;
      if (step.length > mostShown || !/^[\w-]+$/.test(step)) return `[${JSON.stringify(shortened(step))}]`;
      return depth === 0 ? step : `.${step}`;
    })
    .join('');
}

/** Splits a written path; where a key of the value itself contains dots, the longest such key wins. */
export function parsePath(text: string, value: unknown): FieldPath {
  const path: (string | number)[] = [];
  let rest = text;
  while (rest !== '') {
    const index = /^\[(\d+)\]\.?/.exec(rest);
    if (index !== null) {
      path.push(Number(index[1]));
      value = descend(value, [Number(index[1])]);
      rest = rest.slice(index[0].length);
      continue;
    }
    const known = isRecord(value)
      ? Object.keys(value)
          .filter(key => key !== '' && rest.startsWith(key) && /^$|^[.[]/.test(rest.slice(key.length)))
          .sort((a, b) => b.length - a.length)[0]
      : undefined;
    const key = known ?? /^[^.[]*/.exec(rest)?.[0] ?? rest;
    path.push(key === '' ? rest : key);
    value = descend(value, [key]);
    rest = key === '' ? '' : rest.slice(key.length).replace(/^\./, '');
  }
  return path;
}

/** Whether a value is an object with keys, neither a list nor null. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What stands at a path, or undefined. */
export function descend(value: unknown, path: FieldPath): unknown {
  for (const step of path) {
    if (typeof step === 'number') value = Array.isArray(value) ? value[step] : undefined;
    else value = isRecord(value) && Object.hasOwn(value, step) ? value[step] : undefined;
  }
  return value;
}

/** For sentences: `a list`, `a text`, `an object`, `a number`, `true or false`, `nothing`. */
export function nameOfType(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return 'a text';
  return typeof value === 'boolean' ? 'true or false' : 'a number';
}

const mostShown = 100;

/** At most the first hundred letters: what a manifest holds may be megabytes, a sentence may not. */
export function shortened(text: string): string {
  return text.length > mostShown ? `${text.slice(0, mostShown)}…` : text;
}
