import type { BoundRead } from '../../scaler/bind.ts';
import type { ReadContext } from '../../scaler/context.ts';

/** One trigger whose messages are delivered, with the use of its connection: opened, shared and reopened by the engine. */
export interface DeliverySource {
  readonly trigger: BoundRead;
  /** Runs `work` with an open connection. @throws Fault of the source, or CANCELLED */
  use<T>(work: (context: ReadContext<unknown>) => Promise<T>, signal: AbortSignal): Promise<T>;
}
