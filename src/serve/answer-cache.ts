import type { Clock } from '../base/clock.ts';

// The API server keeps as many tokens; what is forgotten is only asked once more.
const most = 4096;

/**
 * Keeps answers for a while. Equal questions that are asked while the first is under way share its answer; a
 * question that failed is asked again.
 */
export class AnswerCache<T> {
  readonly #clock: Clock;
  readonly #keepMs: number;
  readonly #kept = new Map<string, { answer: Promise<T>; until: number }>();

  constructor(clock: Clock, keepMs: number) {
    this.#clock = clock;
    this.#keepMs = keepMs;
  }

  get(key: string, ask: () => Promise<T>): Promise<T> {
    const now = this.#clock.elapsed();
    const known = this.#kept.get(key);
    if (known !== undefined && known.until > now) return known.answer;
    // Those asked last stay at the end, so that the first are those which run out first.
    this.#kept.delete(key);
    for (const [old, { until }] of this.#kept) {
      if (until > now && this.#kept.size < most) break;
      this.#kept.delete(old);
    }
    const entry = { answer: ask(), until: Number.POSITIVE_INFINITY };
    this.#kept.set(key, entry);
    entry.answer.then(
      () => {
        entry.until = this.#clock.elapsed() + this.#keepMs;
      },
      () => {
        if (this.#kept.get(key) === entry) this.#kept.delete(key);
      },
    );
    return entry.answer;
  }
}
