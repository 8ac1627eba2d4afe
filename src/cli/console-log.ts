import type { Clock } from '../base/clock.ts';
import type { Facts, Log } from '../base/log.ts';
import type { Console } from '../local/console.ts';

/** A log for a person in front of a console: warnings and errors as sentences, with the facts in brackets. */
export function consoleLog(console: Console, clock: Clock, always: Facts = {}): Log {
  const say = (level: string, sentence: string, facts: Facts = {}) => {
    const shown = Object.entries({ ...always, ...facts }).map(([name, fact]) => `${name} ${describe(fact)}`);
    console.say(clock.now(), `${level}: ${sentence}${shown.length === 0 ? '' : ` (${shown.join(', ')})`}`);
  };
  return {
    debug() {},
    info() {},
    warn: (sentence, facts) => say('warning', sentence, facts),
    error: (sentence, facts) => say('error', sentence, facts),
    with: facts => consoleLog(console, clock, { ...always, ...facts }),
  };
}

function describe(fact: unknown): string {
  if (fact instanceof Error) return fact.message;
  return typeof fact === 'string' ? fact : (JSON.stringify(fact) ?? String(fact));
}
