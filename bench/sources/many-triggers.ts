import { systemClock } from '../../src/base/clock.ts';
import { Fault } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { Readings } from '../../src/engine/readings.ts';
import { Sources } from '../../src/engine/sources.ts';
import type { BoundRead } from '../../src/scaler/bind.ts';
import { noTokens } from '../../test/no-tokens.ts';

/** What reading many triggers at once took. */
export interface Passes {
  /** The first one, which opens the connections, in milliseconds. */
  firstMs: number;
  /** The middle one of those after it. */
  passMs: number;
  /** What each trigger read in the last pass. */
  values: (number | string)[];
  /** What `look` saw while the connections were open. */
  seen: number;
}

const passes = 9;

/**
 * Reads all triggers as the engine does, again and again.
 *
 * @param look asked once after the passes, such as for the connections that the server sees
 */
export async function readMany(triggers: readonly BoundRead[], look: () => Promise<number>): Promise<Passes> {
  const none = () => Promise.reject(new Fault('NOT_SUPPORTED', 'not here'));
  const stop = new AbortController();
  await using sources = new Sources({
    clock: systemClock,
    log: silentLog,
    random: Math.random,
    tokens: noTokens,
    http: {},
    cluster: { get: none },
    clientName: 'eventide',
    readTimeoutMs: 30_000,
    stop: stop.signal,
  });
  const readings = new Readings(sources, systemClock);
  for (const trigger of triggers) sources.retain(trigger);
  const times: number[] = [];
  let values: (number | string)[] = [];
  for (let pass = 0; pass <= passes; pass += 1) {
    const begin = performance.now();
    const all = await Promise.all(triggers.map(trigger => readings.read(trigger)));
    times.push(performance.now() - begin);
    values = all.map(reading => (reading.ok ? reading.value : reading.fault.message));
  }
  const [firstMs = Number.NaN, ...rest] = times;
  const passMs = rest.sort((a, b) => a - b)[Math.floor(passes / 2)] ?? Number.NaN;
  return { firstMs, passMs, values, seen: await look() };
}
