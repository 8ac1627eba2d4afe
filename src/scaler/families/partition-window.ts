/** Where a group is in a partition, as it is kept for us. */
export interface Committed {
  /** Everything before it is done. */
  offset: number;
  /** What is done beyond it. */
  done: ReadonlySet<number>;
}

interface Held {
  /** Epoch milliseconds. */
  until: number;
  deliveryCount: number;
}

interface Ready {
  /** Epoch milliseconds. */
  notBefore: number;
  deliveryCount: number;
}

/** How far beyond the first message that is not done others may be handed out: what the commit has room to say. */
export const windowSize = 10_000;

/**
 * The messages of one partition that are neither behind the group nor unseen: which are held, which may be handed out
 * again, which are done although one before them is not. Pure; whoever uses it fetches and commits.
 */
export class PartitionWindow {
  #seen: number;
  #done: Set<number>;
  #next: number;
  readonly #held = new Map<number, Held>();
  readonly #ready = new Map<number, Ready>();

  constructor({ offset, done }: Committed) {
    this.#seen = offset;
    this.#next = offset;
    this.#done = new Set(done);
  }

  /** What is to be committed. */
  get committed(): { offset: number; done: Set<number> } {
    const offset = this.#first();
    return { offset, done: new Set([...this.#done].filter(each => each >= offset)) };
  }

  /** Whether more is done in a row than was committed. */
  get isBehind(): boolean {
    return this.#first() > this.#seen;
  }

  /**
   * Takes in what is committed, which another process may have moved on; or somebody may have set the group back
   * to have messages again, and then that counts.
   */
  merge({ offset, done }: Committed): void {
    if (offset < this.#seen) {
      this.#done = new Set(done);
      this.#next = offset;
      this.#ready.clear();
    } else {
      for (const each of done) this.#finish(each);
      this.#next = Math.max(this.#next, offset);
      this.#forget(offset);
    }
    this.#seen = offset;
  }

  /** Remembers what was committed. */
  wrote(offset: number): void {
    this.#seen = offset;
    for (const each of this.#done) if (each < offset) this.#done.delete(each);
  }

  /** Lets messages be handed out again that nobody has held on to. */
  expire(now: number): void {
    for (const [offset, { until, deliveryCount }] of this.#held) {
      if (until > now) continue;
      this.#held.delete(offset);
      this.#ready.set(offset, { notBefore: now, deliveryCount });
    }
  }

  /** Where to fetch from: the first message that may be handed out again from `from` on, or the first unseen one. */
  fetchFrom(now: number, from = 0): number {
    let first = this.#next;
    for (const [offset, { notBefore }] of this.#ready) {
      if (notBefore <= now && offset >= from) first = Math.min(first, offset);
    }
    return first;
  }

  /**
   * Offers a message that was fetched; to be called in order.
   *
   * @returns how often it was handed out if it is handed out now, this time included; undefined if it is not
   */
  offer(offset: number, { now, until }: { now: number; until: number }): number | undefined {
    const ready = this.#ready.get(offset);
    const isNew = offset >= this.#next;
    if (isNew) this.#next = offset + 1;
    if (this.#done.has(offset) || this.#held.has(offset)) return undefined;
    if (ready === undefined ? !isNew : ready.notBefore > now) return undefined;
    const deliveryCount = (ready?.deliveryCount ?? 0) + 1;
    this.#ready.delete(offset);
    this.#held.set(offset, { until, deliveryCount });
    return deliveryCount;
  }

  /** Whether a message so far ahead may be handed out. */
  hasRoom(offset: number): boolean {
    return offset < this.#first() + windowSize;
  }

  /** Everything from `from` up to `to` was looked at: what was not `found` is not there any more. */
  passed(from: number, to: number, found: ReadonlySet<number>): void {
    for (const offset of this.#ready.keys()) {
      if (offset >= from && offset < to && !found.has(offset)) this.#ready.delete(offset);
    }
    if (from <= this.#next) this.#next = Math.max(this.#next, to);
  }

  /** @returns false where the message is done */
  hold(offset: number, until: number): boolean {
    if (this.isDone(offset)) return false;
    const { deliveryCount } = this.#held.get(offset) ?? this.#ready.get(offset) ?? { deliveryCount: 1 };
    this.#ready.delete(offset);
    this.#held.set(offset, { until, deliveryCount });
    return true;
  }

  /** @returns false where the message is done */
  release(offset: number, notBefore: number): boolean {
    if (this.isDone(offset)) return false;
    const { deliveryCount } = this.#held.get(offset) ?? { deliveryCount: 1 };
    this.#held.delete(offset);
    // One that nobody has looked at yet will be found.
    if (offset < this.#next) this.#ready.set(offset, { notBefore, deliveryCount });
    return true;
  }

  /** It is done, and waits only to be committed. @returns false where it was done already */
  finish(offset: number): boolean {
    if (this.isDone(offset)) return false;
    this.#finish(offset);
    return true;
  }

  isDone(offset: number): boolean {
    return offset < this.#seen || this.#done.has(offset);
  }

  #finish(offset: number): void {
    this.#held.delete(offset);
    this.#ready.delete(offset);
    this.#done.add(offset);
    while (this.#done.has(this.#next)) this.#next += 1;
  }

  #forget(before: number): void {
    for (const each of this.#done) if (each < before) this.#done.delete(each);
    for (const each of this.#held.keys()) if (each < before) this.#held.delete(each);
    for (const each of this.#ready.keys()) if (each < before) this.#ready.delete(each);
  }

  /** The first that is not done, or that nobody has looked at. */
  #first(): number {
    let first = this.#next;
    for (const offset of this.#held.keys()) first = Math.min(first, offset);
    for (const offset of this.#ready.keys()) first = Math.min(first, offset);
    return first;
  }
}

const mark = 'eventide:1:';

/** What is done beyond a commit, as text to be kept beside it: a bitmap from the commit on. */
export function writeDone({ offset, done }: Committed): string {
  if (done.size === 0) return '';
  const last = Math.max(...done);
  const bits = Buffer.alloc(Math.floor((last - offset) / 8) + 1);
  for (const each of done) {
    const at = each - offset;
    bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
  }
  return `${mark}${bits.toString('base64url')}`;
}

/** The reverse; texts of others say nothing. */
export function readDone(offset: number, text: string | null): Set<number> {
  const done = new Set<number>();
  if (text === null || !text.startsWith(mark)) return done;
  for (const [index, byte] of Buffer.from(text.slice(mark.length), 'base64url').entries()) {
    for (let bit = 0; bit < 8; bit += 1) if (byte & (1 << bit)) done.add(offset + index * 8 + bit);
  }
  return done;
}
