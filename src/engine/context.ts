import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { ScaledObject } from '../spec/workload.ts';
import type { BindingOptions } from './binding.ts';
import type { World } from './ports.ts';
import type { Readings } from './readings.ts';
import type { Sources } from './sources.ts';

/** What everything that runs in the engine shares. */
export interface EngineContext {
  world: World;
  /** Who sets the replicas of a ScaledObject above one. */
  autoscalerOf(workload: ScaledObject): 'hpa' | 'direct';
  binding: BindingOptions;
  sources: Sources;
  readings: Readings;
  clock: Clock;
  log: Log;
  /** A number in [0, 1), to spread waits. */
  random: () => number;
  /** Aborted when the engine stops; changes that were begun have signals of their own. */
  stop: AbortSignal;
  /** When the engine started, epoch milliseconds. */
  startedAt: number;
}
