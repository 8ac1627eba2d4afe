import type { Clock } from '../base/clock.ts';
import type { Facts, Log } from '../base/log.ts';
import type { Console } from '../local/console.ts';

/** What is said again and again is said once in this time, in milliseconds. */
const quietMs = 60_000;
/** Sentences that are remembered for that. */
const mostRemembered = 200;

/** A log for a person in front of a console: warnings and errors as sentences, with the facts in brackets. */
export function consoleLog(console: Console, clock: Clock): Log {
  const saidAt = new Map<string, number>();

  function say(level: string, sentence: string, facts: Facts): void {
    const shown = Object.entries(facts).map(([name, fact]) => `${name} ${describe(fact)}`);
    const line = `${level}: ${sentence}${shown.length === 0 ? '' : ` (${shown.join(', ')})`}`;
    const before = saidAt.get(line);
    if (before !== undefined && clock.elapsed() - before < quietMs) return;
    if (saidAt.size >= mostRemembered) saidAt.clear();
    saidAt.set(line, clock.elapsed());
    console.say(clock.now(), line);
  }

  const logWith = (always: Facts): Log => ({
    debug() {},
    info() {},
    warn: (sentence, facts) => say('warning', sentence, { ...always, ...facts }),
    error: (sentence, facts) => say('error', sentence, { ...always, ...facts }),
    with: facts => logWith({ ...always, ...facts }),
  });
  return logWith({});
}

function describe(fact: unknown): string {
  if (fact instanceof Error) return fact.message;
  return typeof fact === 'string' ? fact : (JSON.stringify(fact) ?? String(fact));
}
