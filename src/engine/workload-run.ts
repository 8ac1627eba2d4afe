import type { Workload } from '../spec/workload.ts';
import type { Due } from './due-heap.ts';
import type { Memory } from './memory.ts';
import type { Job } from './ports.ts';
import type { MetricAnswer } from './trigger-answers.ts';
import type { TriggerState } from './triggers.ts';

/** One workload as the engine runs it. */
export interface WorkloadRun extends Due {
  readonly workload: Workload;
  /** Reads, decides, applies and reports once. Never throws. */
  tick(): Promise<void>;
  /** Whether its first reading should not wait for its turn: it stands at zero, or is new. Never throws. */
  isUrgent(): Promise<boolean>;
  /** Whether a change of its target is to be decided on at once. Never throws. */
  isNews(): Promise<boolean>;
  /** What an autoscaler that asks for this metric is told. Never throws. */
  metric(metricName: string): Promise<MetricAnswer>;
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
  readonly triggers: readonly TriggerState[];
  /** Stops what runs by itself. A tick under way finishes what it is applying, and decides nothing more. */
  close(): Promise<void>;
}
