/** The same fields, where those that are undefined may be missing instead. */
type Given<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K];
} & { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> };

/** Leaves out the fields whose value is undefined: an optional field is absent, never undefined. */
export function given<T extends object>(values: T): Given<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Given<T>;
}

/**
 * Adds those fields whose value is not undefined to an object that was just made. Ten thousand objects made so
 * share their shape in memory; spreading one into the literal of another gives each a shape of its own.
 */
export function withGiven<T extends object, U extends object>(base: T, values: U): T & Given<U> {
  return Object.assign(base, given(values));
}
