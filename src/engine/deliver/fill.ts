import type { Clock } from '../../base/clock.ts';
import type { Outlet } from './outlet.ts';

export interface FillContext {
  outlets: readonly Outlet[];
  batchSize: number;
  clock: Clock;
  freeSlots(): number;
  closed(): boolean;
  /** Claims at most so many messages; resolves with how many came. Does not throw. */
  claim(outlet: Outlet, most: number): Promise<number>;
  /** Begins the Jobs there are slots for; each promise says whether a Job was created. */
  startWaiting(): Promise<boolean>[];
}

/** How long a call waits for sources that take their time, in milliseconds. What they give becomes Jobs all the same. */
const patienceMs = 1000;

/**
 * Makes the function that fills free slots. Every source is asked again until it has nothing, and what it gives
 * becomes Jobs at once: a slow source keeps its share of the slots, and delays no other. Calls that come while a
 * source is being asked share its next answer, so many Jobs that end together are replaced by few claims; nobody
 * waits for a creation before the next claim.
 *
 * @returns a function that resolves with the number of Jobs created since it last did
 */
export function slotFiller(context: FillContext): () => Promise<number> {
  const { outlets, batchSize, clock, freeSlots } = context;
  /** Sources that may have a message. */
  const promising = new Set<Outlet>();
  /** Those being asked, with the slots that are kept for the answer. */
  const asked = new Map<Outlet, { slots: number; answer: Promise<void> }>();
  const creations = new Set<Promise<void>>();
  let calls = 0;
  let created = 0;
  let turn = 0;

  function start(): void {
    for (const creation of context.startWaiting()) {
      const work = creation.then(isNew => {
        if (isNew) created += 1;
        creations.delete(work);
      });
      creations.add(work);
    }
  }

  function ask(): void {
    if (context.closed()) return;
    const idle = outlets.filter(outlet => promising.has(outlet) && !asked.has(outlet));
    const slots = shares(idle.length);
    for (const [index, outlet] of idle.entries()) {
      const share = slots[index] ?? 0;
      if (share > 0) asked.set(outlet, { slots: share, answer: claim(outlet, share) });
    }
  }

  async function claim(outlet: Outlet, slots: number): Promise<void> {
    const call = calls;
    const came = await context.claim(outlet, slots * batchSize);
    asked.delete(outlet);
    // Who called since may know of a message that was too late for this claim.
    if (came === 0 && call === calls) promising.delete(outlet);
    start();
    ask();
  }

  /** The free slots, spread evenly over the sources; what is left over goes to another one each time. */
  function shares(count: number): number[] {
    let free = freeSlots();
    for (const { slots } of asked.values()) free -= slots;
    free = Math.max(0, free);
    turn += 1;
    const extra = (index: number) => ((index + turn) % count < free % count ? 1 : 0);
    return Array.from({ length: count }, (_, index) => Math.floor(free / count) + extra(index));
  }

  async function answered(): Promise<void> {
    while (asked.size > 0) await Promise.all([...asked.values()].map(({ answer }) => answer));
  }

  return async () => {
    calls += 1;
    for (const outlet of outlets) promising.add(outlet);
    start();
    ask();
    await new Promise<void>(resolve => {
      const patience = clock.after(patienceMs, resolve);
      void answered().then(() => {
        patience[Symbol.dispose]();
        resolve();
      });
    });
    await Promise.all(creations);
    const count = created;
    created = 0;
    return count;
  };
}
