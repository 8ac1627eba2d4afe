import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { isActive } from '../decide/activity.ts';
import type { Reading } from '../decide/reading.ts';
import type { BoundRead } from '../scaler/bind.ts';
import type { Measure } from '../scaler/define.ts';
import type { Sources } from './sources.ts';

/** Someone who waits for a value that is read together with others. */
interface Waiting {
  bound: BoundRead;
  resolve(measure: Measure): void;
  reject(thrown: unknown): void;
}

/**
 * Reads triggers. Equal questions that are asked while one is under way share its answer, and those that one
 * request can answer together are asked together. A reading never throws: what went wrong is in it.
 */
export class Readings {
  readonly #sources: Sources;
  readonly #clock: Clock;
  readonly #underWay = new Map<string, Promise<Measure>>();
  readonly #batches = new Map<string, Waiting[]>();

  constructor(sources: Sources, clock: Clock) {
    this.#sources = sources;
    this.#clock = clock;
  }

  async read(bound: BoundRead): Promise<Reading> {
    try {
      return this.judge(bound, await this.#shared(bound));
    } catch (thrown) {
      return { ok: false, fault: faultOf(thrown), at: this.#clock.now() };
    }
  }

  /** Makes a reading of a value that a source gave. One that is no number is a failure, not a zero. */
  judge(bound: BoundRead, measure: Measure): Reading {
    const at = this.#clock.now();
    const value = typeof measure === 'number' ? measure : measure.value;
    if (Number.isFinite(value)) {
      const active = typeof measure === 'number' ? isActive(value, bound.activation) : measure.active;
      return { ok: true, value, active, at };
    }
    const message = `${bound.metricName}: the source gave ${value} instead of a number`;
    return { ok: false, fault: new Fault('SOURCE_ANSWER_INVALID', message), at };
  }

  #shared(bound: BoundRead): Promise<Measure> {
    const { readingKey } = bound;
    if (readingKey === undefined) return this.#value(bound);
    const present = this.#underWay.get(readingKey);
    if (present !== undefined) return present;
    const reading = this.#value(bound);
    this.#underWay.set(readingKey, reading);
    const over = () => void this.#underWay.delete(readingKey);
    reading.then(over, over);
    return reading;
  }

  #value(bound: BoundRead): Promise<Measure> {
    const { scaler, params } = bound;
    if (scaler.readMany !== undefined) return this.#together(bound);
    return this.#sources.use(bound, context => scaler.read(params, context));
  }

  /** Waits for the others of this turn of the event loop: what is due together is asked together. */
  #together(bound: BoundRead): Promise<Measure> {
    return new Promise((resolve, reject) => {
      const waiting = { bound, resolve, reject };
      const key = `${bound.scaler.type} ${bound.connectionKey}`;
      const batch = this.#batches.get(key);
      if (batch !== undefined) {
        batch.push(waiting);
        return;
      }
      const started = [waiting];
      this.#batches.set(key, started);
      setImmediate(() => {
        this.#batches.delete(key);
        void this.#ask(started);
      });
    });
  }

  async #ask(batch: readonly Waiting[]): Promise<void> {
    const [first] = batch;
    if (first === undefined) return;
    const { scaler } = first.bound;
    try {
      const params = batch.map(({ bound }) => bound.params);
      const measures = await this.#sources.use(
        first.bound,
        async context => (await scaler.readMany?.(params, context)) ?? [],
      );
      for (const [index, { resolve, reject }] of batch.entries()) {
        const measure = measures[index] ?? Number.NaN;
        if (measure instanceof Fault) reject(measure);
        else resolve(measure);
      }
    } catch (thrown) {
      for (const { reject } of batch) reject(thrown);
    }
  }
}
