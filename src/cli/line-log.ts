import type { Clock } from '../base/clock.ts';
import type { Facts, Log } from '../base/log.ts';
import { Secret } from '../base/secret.ts';

const levels = ['debug', 'info', 'warn', 'error'] as const;
type Level = (typeof levels)[number];

export interface LineLogOptions {
  clock: Clock;
  /** The least important level that is written. */
  level: Level;
  format: 'console' | 'json';
  write(line: string): void;
}

/** A log of lines, one an event: columns for people, or JSON for machines. */
export function lineLog({ clock, level: least, format, write }: LineLogOptions): Log {
  const say = (level: Level, always: Facts) => {
    if (levels.indexOf(level) < levels.indexOf(least)) return () => undefined;
    return (sentence: string, facts: Facts = {}) => {
      const at = new Date(clock.now()).toISOString();
      const all = { ...always, ...facts };
      write(format === 'json' ? json(at, level, sentence, all) : columns(at, level, sentence, all));
    };
  };
  const logWith = (always: Facts): Log => ({
    debug: say('debug', always),
    info: say('info', always),
    warn: say('warn', always),
    error: say('error', always),
    with: facts => logWith({ ...always, ...facts }),
  });
  return logWith({});
}

function json(at: string, level: Level, sentence: string, facts: Facts): string {
  return `${JSON.stringify({ time: at, level, message: sentence, ...facts })}\n`;
}

function columns(at: string, level: Level, sentence: string, facts: Facts): string {
  const shown = Object.entries(facts).flatMap(([name, fact]) =>
    fact === undefined ? [] : [` ${name}=${describe(fact)}`],
  );
  return `${at} ${level.toUpperCase().padEnd(5)} ${sentence}${shown.join('')}\n`;
}

function describe(fact: unknown): string {
  const text = textOf(fact);
  return /[\s"=]/.test(text) ? JSON.stringify(text) : text;
}

function textOf(fact: unknown): string {
  if (fact instanceof Error) return fact.message;
  if (typeof fact === 'string' || fact instanceof Secret) return String(fact);
  return JSON.stringify(fact) ?? String(fact);
}
