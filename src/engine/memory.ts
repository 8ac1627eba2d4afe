import type { Clock } from '../base/clock.ts';
import type { Fault } from '../base/errors.ts';
import type { Health } from '../decide/fallback.ts';
import { type HpaHistory, shifted } from '../decide/hpa-history.ts';
import type { JobList } from './job-list.ts';
import type { AutoscalerMetric, Report } from './ports.ts';
import { Records } from './records.ts';

/** What is remembered of a workload from decision to decision, and from one version of it to the next. */
export interface Memory {
  readonly records: Records;
  /** The last one sent. */
  report: Report | undefined;
  /** How each metric has been doing, by the trigger's place and type. */
  readonly healths: Map<string, Health>;
  history: HpaHistory | undefined;
  /** Epoch milliseconds. */
  lastActiveAt: number | undefined;
  /** Whether the target was there to be read at least once. */
  metTarget: boolean;
  /** The replicas that the target was last seen at, or set to; undefined before. */
  replicas: number | undefined;
  /** What the HorizontalPodAutoscaler was last told to ask for, by the trigger's place and type. */
  readonly metrics: Map<string, AutoscalerMetric>;
  /** Decisions that something could not be read for, or that could not be carried out. */
  errors: number;
  /** Why what was decided last could not be done, by its code; undefined where it could. */
  complaint: Fault['code'] | undefined;
  /** What the formula last came to; undefined without one, or before. */
  composite: { value: number | undefined; active: boolean } | undefined;
  /** Changes of the target's replicas by us, and those that were not done. */
  readonly changes: { out: number; in: number; failed: number };
  /** Messages handed to Jobs, and what became of them. */
  readonly messages: { claimed: number; acknowledged: number; released: number; deadLettered: number };
  /** How much later than due the last decision was begun, in milliseconds. */
  lateMs: number;
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
    replicas: undefined,
    metrics: new Map(),
    errors: 0,
    complaint: undefined,
    composite: undefined,
    changes: { out: 0, in: 0, failed: 0 },
    messages: { claimed: 0, acknowledged: 0, released: 0, deadLettered: 0 },
    lateMs: 0,
    jobs: undefined,
    lead: undefined,
  };
}

/**
 * Whether a failure to do what was decided is worth a line in the log: one line when it begins, however often it is
 * tried again.
 *
 * @param failed undefined where nothing failed
 */
export function beginsToFail(memory: Memory, failed: Fault | undefined): failed is Fault {
  const before = memory.complaint;
  memory.complaint = failed?.code;
  return failed !== undefined && failed.code !== before;
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
