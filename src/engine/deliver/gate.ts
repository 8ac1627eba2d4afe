/** Runs work, but only so much of it at once. */
export type Gate = <T>(work: () => Promise<T>) => Promise<T>;

/** Lets at most `limit` pieces of work run at once; the others wait in the order they came. */
export function gate(limit: number): Gate {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async work => {
    if (running < limit) running += 1;
    else await new Promise<void>(resolve => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
