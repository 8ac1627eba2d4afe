import type { UsedObject } from '../auth/lookup.ts';
import { sleep } from '../base/clock.ts';
import { Fault, type FaultCode, faultOf } from '../base/errors.ts';
import { backoffMs } from '../base/retry.ts';
import type { Reading } from '../decide/reading.ts';
import type { BoundRead, BoundTrigger } from '../scaler/bind.ts';
import type { ReadContext } from '../scaler/context.ts';
import type { Measure, MetricSpec } from '../scaler/define.ts';
import type { Trigger, Workload } from '../spec/workload.ts';
import { bind } from './binding.ts';
import type { EngineContext } from './context.ts';

/** One trigger and what it said last. */
export interface TriggerState {
  readonly trigger: Trigger;
  /** Which of its metrics; 0 but where a source describes several. */
  readonly nth: number;
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
export const placeOf = ({ trigger, nth }: TriggerState) =>
  nth === 0 ? `${trigger.index} ${trigger.type}` : `${trigger.index} ${trigger.type} ${nth}`;

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
  /** What the source has said by itself of the trigger's metrics; undefined where nobody listens. */
  specs: readonly MetricSpec[] | undefined;
}

function newlyHeld(trigger: Trigger, nth: number): Held {
  return {
    trigger,
    nth,
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
    specs: undefined,
  };
}

/** Something that a source says by itself. */
interface Stream<T> {
  signal: AbortSignal;
  begin(context: ReadContext<unknown>): AsyncIterable<T>;
  take(told: T): Promise<void>;
  /** Called when nothing comes any more, until it does again. */
  over?(): void;
}

/** Whether a source describes something else than before. */
function isNewMetric(before: BoundTrigger, bound: BoundTrigger): boolean {
  return (
    before.kind === 'read' &&
    bound.kind === 'read' &&
    (before.metricName !== bound.metricName || before.target.value !== bound.target.value)
  );
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
    this.#held = workload.triggers.map(trigger => newlyHeld(trigger, 0));
  }

  /** One for each metric, always the same list: a trigger whose source describes several has more than one in it. */
  get states(): readonly TriggerState[] {
    return this.#held;
  }

  /** Binds what is not bound yet, or not any more. Never throws: see the states. */
  async prepare(): Promise<void> {
    const now = this.#context.clock.now();
    const due = this.#held.filter(({ nth, stale, renewAt }) => nth === 0 && (stale || now >= renewAt));
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
      ({ nth, used, stale }) =>
        (nth === 0 && used === undefined && !stale) ||
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
    const { binding: options, sources, clock } = this.#context;
    const told = held.specs;
    const now = clock.now();
    const binding = await bind(this.#workload, held.trigger, { ...options, refused, sources, told, now });
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
    if (before !== undefined && binding.ok && binding.digest === held.digest) {
      // The connection is the same, and so is what listens on it.
      if (isNewMetric(before, binding.bound)) held.bound = binding.bound;
      this.#holdOthers(held, binding.others);
      return;
    }
    if (!binding.ok) {
      for (const each of this.#held.filter(({ trigger }) => trigger === held.trigger)) {
        this.#letGo(each);
        each.fault = binding.fault;
      }
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
    this.#holdOthers(held, binding.others);
    if (bound.kind === 'read') this.#listen(held, bound);
  }

  /** The other metrics of a trigger stand behind all triggers. A ScaledJob counts by the first one, as in KEDA. */
  #holdOthers({ trigger }: Held, bounds: readonly BoundRead[]): void {
    const present = this.#held.filter(each => each.trigger === trigger && each.nth > 0);
    const wanted = this.#workload.kind === 'ScaledJob' ? [] : bounds;
    for (const each of present.slice(wanted.length)) {
      this.#letGo(each);
      this.#held.splice(this.#held.indexOf(each), 1);
    }
    for (const [place, bound] of wanted.entries()) {
      const held = present[place] ?? newlyHeld(trigger, place + 1);
      if (present[place] === undefined) this.#held.push(held);
      held.fault = undefined;
      if (
        held.bound?.kind === 'read' &&
        held.bound.readingKey === bound.readingKey &&
        !isNewMetric(held.bound, bound)
      )
        continue;
      this.#context.sources.retain(bound);
      this.#letGo(held);
      held.bound = bound;
    }
  }

  #letGo(held: Held): void {
    held.watch?.abort();
    held.watch = undefined;
    held.told = false;
    held.specs = undefined;
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

  /** Takes what the source says by itself, where it does. */
  #listen(held: Held, bound: BoundRead): void {
    const { scaler, params } = bound;
    if (scaler.watch === undefined && scaler.watchMetrics === undefined) return;
    if (this.#workload.kind === 'ScaledJob' && scaler.describe !== undefined) {
      const warning =
        'what the source says by itself is not listened to for a ScaledJob, only what it is asked';
      this.#context.log.warn(warning, { workload: this.#workload.key, trigger: held.trigger.index });
      return;
    }
    const control = new AbortController();
    const { signal } = control;
    held.watch = control;
    const { watch, watchMetrics } = scaler;
    if (watch !== undefined) {
      const take = (told: Measure | 'active') => this.#hear(held, told, signal);
      void this.#follow(bound, { signal, begin: context => watch(params, context), take });
    }
    if (watchMetrics !== undefined) {
      const take = async (specs: readonly MetricSpec[]) => {
        held.specs = specs;
        held.stale = true;
        this.#onPush();
      };
      const over = () => {
        held.specs = undefined;
      };
      void this.#follow(bound, { signal, begin: context => watchMetrics(params, context), take, over });
    }
  }

  async #hear(held: Held, told: Measure | 'active', signal: AbortSignal): Promise<void> {
    const { readings, clock } = this.#context;
    const { bound } = held;
    if (bound?.kind !== 'read') return;
    if (told === 'active') {
      const reading = await readings.read(bound);
      if (signal.aborted) return;
      // Where the number cannot be had, what keeps one replica busy says no more than that it is active.
      const value = reading.ok ? reading.value : bound.target.value;
      held.reading = { ok: true, value, active: true, at: clock.now() };
    } else {
      held.reading = readings.judge(bound, told);
    }
    held.told = true;
    this.#onPush();
  }

  /** Takes what comes, and begins anew with growing pauses when nothing comes any more. */
  async #follow<T>(bound: BoundRead, stream: Stream<T>): Promise<void> {
    const { sources, clock, log, random } = this.#context;
    const { signal, begin, take, over } = stream;
    let failures = 0;
    const listen = async (context: ReadContext<unknown>) => {
      for await (const told of begin(context)) {
        if (signal.aborted) return;
        failures = 0;
        await take(told);
      }
    };
    while (!signal.aborted) {
      const ended = await sources.follow(bound, listen, signal).then(
        () => true,
        thrown => {
          if (!signal.aborted) {
            log.warn('a source stopped telling', { workload: this.#workload.key, fault: faultOf(thrown) });
          }
          return false;
        },
      );
      if (!signal.aborted) over?.();
      // One that ends it in good order, as servers do now and then, is not failing.
      failures = ended ? 1 : failures + 1;
      await sleep(clock, backoffMs(watchBackoff, failures, random), signal).catch(() => undefined);
    }
  }
}
