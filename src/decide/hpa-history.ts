/** What the algorithm wanted at a moment, before stabilisation. `at` is in epoch milliseconds. */
interface Recommendation {
  readonly replicas: number;
  readonly at: number;
}

/** A change that was made: how many replicas, in one direction. */
interface ScaleEvent {
  readonly change: number;
  readonly at: number;
}

/**
 * What the HPA remembers between two decisions, as an immutable value of bounded size. Of all recommendations
 * only those are kept that can still be the highest (or lowest) of some window that ends now: `highs` falls
 * and `lows` rises from old to new. That answers every window exactly with a handful of entries.
 */
export interface HpaHistory {
  readonly highs: readonly Recommendation[];
  readonly lows: readonly Recommendation[];
  readonly ups: readonly ScaleEvent[];
  readonly downs: readonly ScaleEvent[];
}

// More than the HPA itself can gather in its longest window: an hour of decisions every 15 s.
const most = 256;

/** The history of an autoscaler that has just met its target: it recommends what is there. */
export function newHistory(replicas: number, now: number): HpaHistory {
  const first = [{ replicas, at: now }];
  return { highs: first, lows: first, ups: [], downs: [] };
}

/** Adds a recommendation and forgets those older than `keepMs`. */
export function recommend(
  history: HpaHistory,
  replicas: number,
  { now, keepMs }: { now: number; keepMs: number },
): HpaHistory {
  const oldest = now - keepMs;
  return {
    highs: pushed(history.highs, { replicas, at: now }, { oldest, falling: true }),
    lows: pushed(history.lows, { replicas, at: now }, { oldest, falling: false }),
    ups: history.ups,
    downs: history.downs,
  };
}

function pushed(
  list: readonly Recommendation[],
  next: Recommendation,
  { oldest, falling }: { oldest: number; falling: boolean },
): Recommendation[] {
  const kept: Recommendation[] = [];
  for (const entry of list) {
    if (entry.at < oldest) continue;
    // The list is sorted by value too: from the first entry that the new one outlives and outdoes, all are.
    if (falling ? entry.replicas <= next.replicas : entry.replicas >= next.replicas) break;
    kept.push(entry);
  }
  kept.push(next);
  if (kept.length > most) {
    // Beyond the limit the oldest two become one that stays as long as the younger and holds as hard as the
    // older: a crowded history makes scaling slower, never quicker.
    const [first, second] = kept as [Recommendation, Recommendation];
    kept.splice(0, 2, { replicas: first.replicas, at: second.at });
  }
  // A copy takes only the room it needs; what was pushed to has room for sixteen more, in every history kept.
  return kept.slice();
}

/** The highest recommendation since `from` (epoch ms; `from` itself counts where `inclusive`), at least `least`. */
export function highestSince(history: HpaHistory, from: number, least: number, inclusive = false): number {
  for (const entry of history.highs) {
    if (entry.at > from || (inclusive && entry.at === from)) return Math.max(entry.replicas, least);
  }
  return least;
}

/** The lowest recommendation after `from` (epoch ms), at most `highest`. */
export function lowestSince(history: HpaHistory, from: number, highest: number): number {
  for (const entry of history.lows) {
    if (entry.at > from) return Math.min(entry.replicas, highest);
  }
  return highest;
}

/** How many replicas the events changed after `from` (epoch ms). */
export function changedSince(events: readonly ScaleEvent[], from: number): number {
  let sum = 0;
  for (const event of events) if (event.at > from) sum += event.change;
  return sum;
}

/**
 * Adds the change from one number of replicas to another. As Kubernetes does, one event that is older than
 * the longest period of its direction's policies (`keepMs`) gives up its place.
 */
export function recordChange(
  history: HpaHistory,
  { from, to, keepMs }: { from: number; to: number; keepMs: number },
  now: number,
): HpaHistory {
  const grew = to > from;
  const events = [...(grew ? history.ups : history.downs)];
  const event = { change: Math.abs(to - from), at: now };
  const outdated = events.findLastIndex(e => e.at < now - keepMs);
  if (outdated === -1) events.push(event);
  else events[outdated] = event;
  if (events.length > most) {
    // As above: counted together until the younger one expires, so a rate limit errs to the slow side.
    const [first, second] = events as [ScaleEvent, ScaleEvent];
    events.splice(0, 2, { change: first.change + second.change, at: Math.max(first.at, second.at) });
  }
  return grew ? { ...history, ups: events } : { ...history, downs: events };
}

/**
 * The history as of `now`, where the wall clock may have been set back since: what seems to come from the
 * future happened just now, so that a window never lasts longer than it says.
 */
export function notAfter(history: HpaHistory, now: number): HpaHistory {
  const newest = history.highs.at(-1);
  if (newest === undefined || newest.at <= now) return history;
  const past = <T extends { at: number }>(entry: T): T => (entry.at > now ? { ...entry, at: now } : entry);
  return {
    highs: history.highs.map(past),
    lows: history.lows.map(past),
    ups: history.ups.map(past),
    downs: history.downs.map(past),
  };
}

/** The history with every time moved by so many milliseconds, for a wall clock that was set by as many. */
export function shifted(history: HpaHistory, ms: number): HpaHistory {
  const moved = <T extends { at: number }>(entry: T): T => ({ ...entry, at: entry.at + ms });
  return {
    highs: history.highs.map(moved),
    lows: history.lows.map(moved),
    ups: history.ups.map(moved),
    downs: history.downs.map(moved),
  };
}
