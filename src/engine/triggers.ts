import { sleep } from '../base/clock.ts';
import { type Fault, faultOf } from '../base/errors.ts';
import { backoffMs } from '../base/retry.ts';
import type { Reading } from '../decide/reading.ts';
import type { BoundRead, BoundTrigger } from '../scaler/bind.ts';
import type { Trigger, Workload } from '../spec/workload.ts';
import { type BindingOptions, bind, type TriggerBinding } from './binding.ts';
import type { EngineContext } from './context.ts';

/** One trigger and what it said last. */
export interface TriggerState {
  readonly trigger: Trigger;
  /** Undefined while it cannot be built. */
  bound: BoundTrigger | undefined;
  /** Why it cannot be built. */
  fault: Fault | undefined;
  /** Undefined before the first reading, and for cpu and memory, which are not read from a source. */
  reading: Reading | undefined;
}

interface Held extends TriggerState {
  binding: TriggerBinding | undefined;
  /** Credentials may have changed, or were refused: bind anew before the next reading. */
  stale: boolean;
  watch: AbortController | undefined;
}

const watchBackoff = { firstMs: 2000, maxMs: 60_000 };

/** The triggers of one workload: bound to their sources, read together, bound anew when credentials change. */
export class Triggers {
  readonly #workload: Workload;
  readonly #context: EngineContext;
  readonly #binding: BindingOptions;
  readonly #held: Held[];
  readonly #onPush: () => void;
  #disposed = false;

  /** @param onPush called when a source said something by itself */
  constructor(workload: Workload, context: EngineContext, onPush: () => void) {
    this.#workload = workload;
    this.#context = context;
    this.#onPush = onPush;
    const { references, loadScaler, log, stop, fileRoot } = context;
    this.#binding = {
      references,
      loadScaler,
      log,
      signal: stop,
      ...(fileRoot === undefined ? {} : { fileRoot }),
    };
    this.#held = workload.triggers.map(trigger => ({
      trigger,
      bound: undefined,
      fault: undefined,
      reading: undefined,
      binding: undefined,
      stale: true,
      watch: undefined,
    }));
  }

  get states(): readonly TriggerState[] {
    return this.#held;
  }

  /** Binds what is not bound yet, or not any more. Never throws: see the states. */
  async prepare(): Promise<void> {
    if (this.#held.every(held => !held.stale)) return;
    await Promise.all(this.#held.map(held => (held.stale ? this.#bind(held) : undefined)));
  }

  /** Reads all triggers that have a source; their states have the readings then. Never throws. */
  async read(): Promise<void> {
    await this.prepare();
    await Promise.all(this.#held.map(held => this.#read(held)));
  }

  /** Whether a trigger's credentials come from this object; they are then looked up anew at the next reading. */
  changed(kind: string, namespace: string, name: string): boolean {
    const affected = this.#held.filter(({ binding }) =>
      binding?.used.some(used => used.kind === kind && used.namespace === namespace && used.name === name),
    );
    for (const held of affected) held.stale = true;
    return affected.length > 0;
  }

  /** Lets go of all connections; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const held of this.#held) this.#letGo(held);
  }

  async #bind(held: Held): Promise<void> {
    const binding = await bind(this.#workload, held.trigger, this.#binding);
    if (this.#disposed) return;
    const before = held.bound;
    // Old credentials are used on while new ones cannot be had; those that were taken away are not.
    const goesOn =
      before !== undefined && !binding.ok && binding.fault.retry && binding.fault.code !== 'AUTH_MISSING';
    held.stale = goesOn;
    if (goesOn) return;
    held.binding = binding;
    if (!binding.ok) {
      this.#letGo(held);
      held.fault = binding.fault;
      return;
    }
    const { bound } = binding;
    held.fault = undefined;
    for (const { problem, place } of before === undefined ? binding.notices : []) {
      this.#context.log.warn(problem, {
        workload: this.#workload.key,
        trigger: held.trigger.index,
        field: place?.field,
      });
    }
    if (bound.kind === 'read') this.#context.sources.retain(bound);
    this.#letGo(held);
    held.bound = bound;
    if (bound.kind === 'read' && bound.scaler.watch !== undefined) this.#watch(held, bound);
  }

  #letGo(held: Held): void {
    held.watch?.abort();
    held.watch = undefined;
    if (held.bound?.kind === 'read') this.#context.sources.release(held.bound);
    held.bound = undefined;
  }

  async #read(held: Held): Promise<void> {
    const { bound, fault } = held;
    if (fault !== undefined) {
      held.reading = { ok: false, fault, at: this.#context.clock.now() };
      // What is missing may have come; looking again costs no connection.
      held.stale = fault.retry;
      return;
    }
    if (bound?.kind !== 'read') return;
    const reading = await this.#context.readings.read(bound);
    if (held.bound !== bound) return;
    held.reading = reading;
    if (!reading.ok && reading.fault.code === 'SOURCE_REFUSED') held.stale = true;
  }

  /** Takes what the source says by itself, and asks again with growing pauses when it stops saying anything. */
  #watch(held: Held, bound: BoundRead): void {
    const { sources, readings, clock, log, random, stop } = this.#context;
    const control = new AbortController();
    held.watch = control;
    const signal = AbortSignal.any([control.signal, stop]);
    const follow = async () => {
      let failures = 0;
      while (!signal.aborted) {
        try {
          await sources.use(
            bound,
            async context => {
              for await (const value of bound.scaler.watch?.(bound.params, context) ?? []) {
                failures = 0;
                held.reading = readings.judge(bound, value);
                this.#onPush();
              }
            },
            signal,
          );
        } catch (thrown) {
          if (signal.aborted) return;
          log.warn('a source stopped telling', { workload: this.#workload.key, fault: faultOf(thrown) });
        }
        failures += 1;
        await sleep(clock, backoffMs(watchBackoff, failures, random), signal).catch(() => undefined);
      }
    };
    void follow();
  }
}
