import type { Clock } from '../base/clock.ts';
import { type GroupUse, usesOf } from './process-table.ts';

/** What process groups use, by their leaders. */
export interface ResourceUse {
  /** Cores, over the time between the last two samples; undefined at the first. */
  cpu: number | undefined;
  /** Bytes. */
  memory: number;
}

interface Sample {
  /** Monotonic milliseconds. */
  at: number;
  uses: Map<number, GroupUse>;
}

/** Below this the hundredths of a second that the system counts in would show. */
const shortestMs = 1000;

/** Samples the use of process groups, when asked and not more often than is of use. */
export class ProcessUse {
  readonly #clock: Clock;
  readonly #leaders: () => ReadonlySet<number>;
  #before: Sample | undefined;
  #last: Sample | undefined;
  #sampling: Promise<Sample> | undefined;

  /** @param leaders all groups there are, so that one look at the system serves every question */
  constructor(clock: Clock, leaders: () => ReadonlySet<number>) {
    this.#clock = clock;
    this.#leaders = leaders;
  }

  /** The use of one group each; those that are not running any more are left out. */
  async read(): Promise<Map<number, ResourceUse>> {
    const last = this.#last;
    const fresh = last !== undefined && this.#clock.elapsed() - last.at < shortestMs;
    const { uses, at } = fresh ? last : await this.#sample();
    const before = this.#before;
    return new Map(
      [...uses].map(([leader, { cpuSeconds, memoryBytes }]) => {
        const earlier = before?.uses.get(leader);
        const cpu =
          before === undefined || earlier === undefined
            ? undefined
            : Math.max(0, cpuSeconds - earlier.cpuSeconds) / ((at - before.at) / 1000);
        return [leader, { cpu, memory: memoryBytes }];
      }),
    );
  }

  async #sample(): Promise<Sample> {
    this.#sampling ??= (async () => {
      const at = this.#clock.elapsed();
      const sample = { at, uses: await usesOf(this.#leaders()) };
      this.#before = this.#last;
      this.#last = sample;
      return sample;
    })().finally(() => {
      this.#sampling = undefined;
    });
    return await this.#sampling;
  }
}
