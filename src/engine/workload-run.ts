import type { Workload } from '../spec/workload.ts';
import type { Due } from './due-heap.ts';
import type { Job, Report } from './ports.ts';
import type { DecisionRecord } from './records.ts';

/** One workload as the engine runs it. */
export interface WorkloadRun extends Due {
  readonly workload: Workload;
  /** Reads, decides, applies and reports once. Never throws. */
  tick(): Promise<void>;
  /** Whether it stands at zero, and so is to be read first. Never throws. */
  isAtZero(): Promise<boolean>;
  /** A Job of it changed, or is gone. */
  jobChanged(job: Job): void;
  jobGone(name: string): void;
  /** Whether it uses this object's content; its triggers then look again. */
  referenceChanged(kind: string, namespace: string, name: string): boolean;
  readonly records: readonly DecisionRecord[];
  /** The last one sent. */
  readonly report: Report | undefined;
  /** Stops what runs by itself; a tick under way finishes. */
  close(): Promise<void>;
}
