import { readdirSync } from 'node:fs';
import process from 'node:process';
import { expect, it, vi } from 'vitest';
import { manualClock } from '../src/base/clock.ts';
import { Fault } from '../src/base/errors.ts';
import { silentLog } from '../src/base/log.ts';
import { Readings } from '../src/engine/readings.ts';
import { Sources } from '../src/engine/sources.ts';
import type { BoundRead } from '../src/scaler/bind.ts';
import type { OpenContext } from '../src/scaler/context.ts';
import { noTokens } from './no-tokens.ts';
import { type ScalerContract, type Served, until } from './scaler-contract.ts';

export interface Endurance {
  contract: ScalerContract;
  bound(served: Served): BoundRead;
  readOnce(bound: BoundRead): Promise<number>;
  openOnce(bound: BoundRead): Promise<void>;
  open: Partial<OpenContext>;
  now: number;
}

const rounds = 2000;
const atOnce = 8;
/** How long what was closed may take to be gone, and a server that was restarted to be found. */
const patienceMs = 20_000;

/** The cases of the contract that take a real server for long. */
export function enduranceCases({ contract, bound, readOnce, openOnce, open, now }: Endurance): void {
  const { expect: value, fill = value, readEvery = 1 } = contract;

  async function filled(): Promise<Served> {
    const served = await contract.serve();
    await served.fill?.(fill);
    return served;
  }

  it('leaves no socket or handle behind after two thousand opens and closes', async () => {
    await using served = await filled();
    const trigger = bound(served);
    const before = resources();

    let next = 0;
    const one = async () => {
      while (next < rounds) {
        next += 1;
        if (next % readEvery === 0) expect(await readOnce(trigger)).toBe(value);
        else await openOnce(trigger);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, one));

    let left: Record<string, number> = {};
    const end = performance.now() + patienceMs;
    await until(async () => {
      const { length = 0 } = (await served.clients?.()) ?? [];
      left = { ...more(resources(), before), ...(length > 0 && { 'connections of the server': length }) };
      return Object.keys(left).length === 0 || performance.now() > end;
    });

    expect(left).toEqual({});
  }, 240_000);

  if (contract.at === undefined) return;

  it('recovers by itself from a server that was restarted', async () => {
    await using served = await filled();
    const { stop, restart } = served;
    if (stop === undefined || restart === undefined) throw new Error('the server cannot be restarted');
    await using engine = reader(bound(served), { open, now });
    const { clock, outcome } = engine;
    // One that is between two readings all the while.
    await using idle = reader(bound(served), { open, now });

    const before = [await outcome(), await idle.outcome()];
    await stop();
    const away = await outcome();
    await restart();
    const after: unknown[] = [];
    await vi.waitFor(
      async () => {
        // Past any pause for which the source is left alone.
        await clock.advance(30_000);
        after.push(await outcome());
        expect(after.at(-1)).toBe(value);
      },
      { timeout: patienceMs, interval: 50 },
    );

    const next = await idle.outcome();
    await idle.clock.advance(30_000);

    expect(before).toEqual([value, value]);
    expect(['SOURCE_UNREACHABLE', 'SOURCE_TIMEOUT']).toContain(away);
    // Unknown until it is known, and nothing else.
    expect(after.filter(each => typeof each === 'number')).toEqual([value]);
    // What it had was cut off, which it may find out only now.
    expect([value, 'SOURCE_UNREACHABLE', 'SOURCE_TIMEOUT']).toContain(next);
    expect(await idle.outcome()).toBe(value);
  }, 120_000);
}

/** Reads as the engine does, which is more than the scaler: it opens anew what failed, and takes no infinity. */
export function reader(trigger: BoundRead, { open, now }: { open: Partial<OpenContext>; now: number }) {
  const clock = manualClock(now);
  const sources = new Sources({
    clock,
    log: silentLog,
    random: () => 0.5,
    tokens: open.tokens ?? noTokens,
    http: open.http ?? {},
    cluster: { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'there is no cluster here')) },
    clientName: 'eventide',
    stop: new AbortController().signal,
  });
  sources.retain(trigger);
  const readings = new Readings(sources, clock);
  return {
    clock,
    /** A number, or the code of the fault in place of one. */
    async outcome() {
      const reading = await readings.read(trigger);
      return reading.ok ? reading.value : reading.fault.code;
    },
    [Symbol.asyncDispose]: () => sources[Symbol.asyncDispose](),
  };
}

/** What keeps this process alive, by kind, and how many files and sockets it has open. */
function resources(): Map<string, number> {
  const found = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) found.set(kind, (found.get(kind) ?? 0) + 1);
  if (process.platform === 'linux') found.set('open files', readdirSync('/proc/self/fd').length);
  return found;
}

function more(now: Map<string, number>, before: Map<string, number>): Record<string, number> {
  const grown = [...now].map(([kind, count]) => [kind, count - (before.get(kind) ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, by]) => by > 0));
}
