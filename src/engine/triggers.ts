import type { UsedObject } from '../auth/lookup.ts';
import { sleep } from '../base/clock.ts';
import { Fault, type FaultCode, faultOf } from '../base/errors.ts';
import { backoffMs } from '../base/retry.ts';
import type { Reading } from '../decide/reading.ts';
import type { BoundRead, BoundTrigger } from '../scaler/bind.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { Trigger, Workload } from '../spec/workload.ts';
import { bind } from './binding.ts';
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
  /** How long the last reading took, in milliseconds. */
  latencyMs: number;
  /** Readings that failed. */
  errors: number;
}

/** What is remembered of a trigger is filed under its place and type, from one version of a workload to the next. */
export const placeOf = ({ trigger }: TriggerState) => `${trigger.index} ${trigger.type}`;

interface Held extends TriggerState {
  /** What its credentials came from; undefined before the first binding. */
  used: readonly UsedObject[] | undefined;
  /** Credentials may have changed, or were refused: bind anew before the next reading. */
  stale: boolean;
  /** The credentials that are in use were refused. */
  refused: boolean;
  /** Of the credentials that are in use. */
  digest: string | undefined;
  /** When to bind anew though nothing was told of, in epoch milliseconds; Infinity for never. */
  renewAt: number;
  /** The source told the reading by itself, and no decision has used it yet. */
  told: boolean;
  watch: AbortController | undefined;
}

/** Faults that other credentials would mend. */
const refusals: ReadonlySet<FaultCode> = new Set(['SOURCE_REFUSED', 'AUTH_FAILED']);
const watchBackoff = { firstMs: 2000, maxMs: 60_000 };

/** The triggers of one workload: bound to their sources, read together, bound anew when credentials change. */
export class Triggers {
  readonly #workload: Workload;
  readonly #context: EngineContext;
  readonly #held: Held[];
  readonly #onPush: () => void;
  #disposed = false;

  /** @param onPush called when a source said something by itself */
  constructor(workload: Workload, context: EngineContext, onPush: () => void) {
    this.#workload = workload;
    this.#context = context;
    this.#onPush = onPush;
    this.#held = workload.triggers.map(trigger => ({
      trigger,
      bound: undefined,
      fault: undefined,
      reading: undefined,
      latencyMs: 0,
      errors: 0,
      used: undefined,
      stale: true,
      refused: false,
      digest: undefined,
      renewAt: Number.POSITIVE_INFINITY,
      told: false,
      watch: undefined,
    }));
  }

  get states(): readonly TriggerState[] {
    return this.#held;
  }

  /** Binds what is not bound yet, or not any more. Never throws: see the states. */
  async prepare(): Promise<void> {
    const now = this.#context.clock.now();
    const due = this.#held.filter(({ stale, renewAt }) => stale || now >= renewAt);
    if (due.length > 0) await Promise.all(due.map(held => this.#bind(held)));
  }

  /** Reads all triggers that have a source; their states have the readings then. Never throws. */
  async read(): Promise<void> {
    await this.prepare();
    await Promise.all(this.#held.map(held => this.#read(held)));
  }

  /**
   * An object was edited: triggers whose credentials come from it look them up anew at the next reading.
   *
   * @returns whether one of these cannot be read now, so that looking again should not wait
   */
  changed(kind: string, namespace: string, name: string): boolean {
    // While the first binding is under way nobody can tell what it has read already.
    const affected = this.#held.filter(
      ({ used, stale }) =>
        (used === undefined && !stale) ||
        used?.some(each => each.kind === kind && each.namespace === namespace && each.name === name),
    );
    for (const held of affected) held.stale = true;
    return affected.some(({ fault, reading }) => fault !== undefined || reading?.ok === false);
  }

  /** Lets go of all connections; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const held of this.#held) this.#letGo(held);
  }

  async #bind(held: Held): Promise<void> {
    // What changes from here on may not be seen any more, and is to be looked up again.
    held.stale = false;
    held.renewAt = Number.POSITIVE_INFINITY;
    const { refused } = held;
    held.refused = false;
    const binding = await bind(this.#workload, held.trigger, { ...this.#context.binding, refused });
    if (this.#disposed) return;
    const before = held.bound;
    // Old credentials are used on while new ones cannot be had; those that were taken away are not.
    if (before !== undefined && !binding.ok && binding.fault.retry && binding.fault.code !== 'AUTH_MISSING') {
      held.stale = true;
      held.refused = refused;
      return;
    }
    held.used = binding.used;
    held.renewAt = binding.renewAt;
    if (before !== undefined && binding.ok && binding.digest === held.digest) return;
    if (!binding.ok) {
      this.#letGo(held);
      held.fault = binding.fault;
      return;
    }
    const { bound } = binding;
    held.fault = undefined;
    held.digest = binding.digest;
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
    if (bound.kind === 'read' && bound.scaler.watch !== undefined) void this.#watch(held, bound);
  }

  #letGo(held: Held): void {
    held.watch?.abort();
    held.watch = undefined;
    held.told = false;
    if (held.bound?.kind === 'read') this.#context.sources.release(held.bound);
    held.bound = undefined;
  }

  async #read(held: Held): Promise<void> {
    const { bound, fault } = held;
    if (fault !== undefined) {
      held.reading = this.#unbuilt(held, fault);
      return;
    }
    if (bound?.kind !== 'read') return;
    if (held.told) {
      held.told = false;
      return;
    }
    const reading = await this.#now(held, bound);
    // What the source has told since is newer.
    if (held.bound !== bound || held.told) return;
    held.reading = reading;
  }

  /**
   * Reads one trigger for somebody who asks between the regular readings. Where the trigger says
   * `useCachedMetrics`, the last regular one is the answer. Never throws.
   */
  async ask(state: TriggerState): Promise<Reading> {
    const held = this.#held.find(each => each === state);
    const { bound, fault, reading, trigger } = state;
    if (trigger.useCachedMetrics && reading !== undefined) return reading;
    if (held !== undefined && bound?.kind === 'read') return await this.#now(held, bound);
    const why = fault ?? new Fault('CANCELLED', `trigger ${trigger.index} is not read any more`);
    return held === undefined
      ? { ok: false, fault: why, at: this.#context.clock.now() }
      : this.#unbuilt(held, why);
  }

  #unbuilt(held: Held, fault: Fault): Reading {
    // What is wrong may have been mended where nobody tells us, such as a variable of the target's pods.
    held.stale = true;
    held.errors += 1;
    return { ok: false, fault, at: this.#context.clock.now() };
  }

  async #now(held: Held, bound: BoundRead): Promise<Reading> {
    const { readings, clock } = this.#context;
    const begun = clock.elapsed();
    const reading = await readings.read(bound);
    held.latencyMs = clock.elapsed() - begun;
    if (!reading.ok) {
      held.errors += 1;
      if (refusals.has(reading.fault.code)) {
        held.stale = true;
        held.refused = true;
      }
    }
    return reading;
  }

  /** Takes what the source says by itself, and asks again with growing pauses when it stops saying anything. */
  async #watch(held: Held, bound: BoundRead): Promise<void> {
    const { sources, readings, clock, log, random } = this.#context;
    const control = new AbortController();
    const { signal } = control;
    held.watch = control;
    let failures = 0;
    const listen = async (context: ReadContext<unknown>) => {
      for await (const value of bound.scaler.watch?.(bound.params, context) ?? []) {
        if (signal.aborted) return;
        failures = 0;
        held.reading = readings.judge(bound, value);
        held.told = true;
        this.#onPush();
      }
    };
    while (!signal.aborted) {
      await sources.follow(bound, listen, signal).catch(thrown => {
        if (signal.aborted) return;
        log.warn('a source stopped telling', { workload: this.#workload.key, fault: faultOf(thrown) });
      });
      failures += 1;
      await sleep(clock, backoffMs(watchBackoff, failures, random), signal).catch(() => undefined);
    }
  }
}
