import type { Workload } from '../spec/workload.ts';
import type { Due } from './due-heap.ts';
import type { Memory } from './memory.ts';
import type { Job } from './ports.ts';

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
  /**
   * An object was edited; triggers that use it look again at their next reading.
   *
   * @returns whether one of them cannot be read now, so that looking again should not wait
   */
  referenceChanged(kind: string, namespace: string, name: string): boolean;
  readonly memory: Memory;
  /** Stops what runs by itself. A tick under way finishes what it is applying, and decides nothing more. */
  close(): Promise<void>;
}
