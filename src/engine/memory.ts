import type { Clock } from '../base/clock.ts';
import type { Health } from '../decide/fallback.ts';
import { type HpaHistory, shifted } from '../decide/hpa-history.ts';
import type { JobList } from './job-list.ts';
import type { Report } from './ports.ts';
import { Records } from './records.ts';

/** What is remembered of a workload from decision to decision, and from one version of it to the next. */
export interface Memory {
  readonly records: Records;
  /** The last one sent. */
  report: Report | undefined;
  /** How each metric has been doing, by the trigger's place and type. */
  healths: ReadonlyMap<string, Health>;
  history: HpaHistory | undefined;
  /** Epoch milliseconds. */
  lastActiveAt: number | undefined;
  /** Whether the target was there to be read at least once. */
  metTarget: boolean;
  /** Undefined for a ScaledObject. */
  jobs: JobList | undefined;
  /** The wall clock's lead over the monotonic one when the times above were right; undefined before there are any. */
  lead: number | undefined;
}

/** The memory of a workload that nothing is known of. */
export function newMemory(recordsPerWorkload: number): Memory {
  return {
    records: new Records(recordsPerWorkload),
    report: undefined,
    healths: new Map(),
    history: undefined,
    lastActiveAt: undefined,
    metTarget: false,
    jobs: undefined,
    lead: undefined,
  };
}

/** Less than this is the clock being slewed, not set; in milliseconds. */
const jumpMs = 1000;

/** Moves remembered times along where the wall clock was set since, so that a cooldown or window lasts as long as it says. */
export function followClock(memory: Memory, clock: Clock): void {
  const lead = clock.now() - clock.elapsed();
  memory.lead ??= lead;
  const jump = lead - memory.lead;
  if (Math.abs(jump) < jumpMs) return;
  memory.lead = lead;
  if (memory.lastActiveAt !== undefined) memory.lastActiveAt += jump;
  memory.history = memory.history && shifted(memory.history, jump);
}
