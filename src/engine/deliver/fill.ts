import type { Outlet } from './outlet.ts';

export interface FillContext {
  outlets: readonly Outlet[];
  batchSize: number;
  freeSlots(): number;
  closed(): boolean;
  /** Claims at most so many messages; resolves with how many came. Does not throw. */
  claim(outlet: Outlet, most: number): Promise<number>;
  /** Begins the Jobs there are slots for; each promise says whether a Job was created. */
  startWaiting(): Promise<boolean>[];
}

/**
 * Makes the function that fills free slots. Calls that come while one is claiming share the next one, so many
 * Jobs that end together are replaced by few claims; nobody waits for a creation before the next claim.
 *
 * @returns a function that resolves with the number of Jobs created
 */
export function slotFiller(context: FillContext): (signal: AbortSignal) => Promise<number> {
  const { outlets, batchSize, freeSlots } = context;
  let current: Promise<Promise<boolean>[]> | undefined;
  let next: Promise<Promise<boolean>[]> | undefined;
  let turn = 0;

  function begin(signal: AbortSignal): Promise<Promise<boolean>[]> {
    next = undefined;
    const work = claimAll(signal).finally(() => {
      current = undefined;
    });
    current = work;
    return work;
  }

  async function claimAll(signal: AbortSignal): Promise<Promise<boolean>[]> {
    const started = context.startWaiting();
    let open = outlets;
    while (open.length > 0 && freeSlots() > 0 && !context.closed() && !signal.aborted) {
      const slots = shares(open.length);
      const dry = await Promise.all(
        open.map(async (outlet, index) => {
          const most = (slots[index] ?? 0) * batchSize;
          return most > 0 && (await context.claim(outlet, most)) === 0;
        }),
      );
      open = open.filter((_, index) => !dry[index]);
      started.push(...context.startWaiting());
    }
    return started;
  }

  /** The free slots, spread evenly over the sources; what is left over goes to another one each time. */
  function shares(count: number): number[] {
    const free = freeSlots();
    turn += 1;
    const extra = (index: number) => ((index + turn) % count < free % count ? 1 : 0);
    return Array.from({ length: count }, (_, index) => Math.floor(free / count) + extra(index));
  }

  return async signal => {
    if (current !== undefined) next ??= current.then(() => begin(signal));
    const started = await (next ?? begin(signal));
    return (await Promise.all(started)).filter(created => created).length;
  };
}
