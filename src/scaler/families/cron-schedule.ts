import type { Zone } from './zone.ts';

/** When something is due, in the dialect of robfig/cron v3 with five fields: what KEDA reads. */
export interface CronSchedule {
  /**
   * The first due time after `now`, both in epoch milliseconds, or undefined where none comes within about
   * five years. The result is kept for a while, so that asking again costs nothing.
   */
  next(now: number): number | undefined;
}

interface Field {
  /** Whether a value is in the field. */
  has: ReadonlySet<number>;
  /** Written with `*` or `?` and no step: only such a day field leaves the choice to the other one. */
  star: boolean;
}

interface Fields {
  minute: Field;
  hour: Field;
  dayOfMonth: Field;
  month: Field;
  dayOfWeek: Field;
}

interface Bounds {
  name: string;
  min: number;
  max: number;
  names?: readonly string[];
}

const monthNames = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const dayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

const bounds = [
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'day of the month', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, names: monthNames },
  { name: 'day of the week', min: 0, max: 6, names: dayNames },
] as const satisfies Bounds[];

/**
 * Splits a leading `TZ=zone ` or `CRON_TZ=zone ` off an expression.
 *
 * @throws Error with a sentence about the expression
 */
export function splitZone(text: string): { zone: string | undefined; expression: string } {
  const match = /^(?:CRON_)?TZ=/.exec(text);
  if (match === null) return { zone: undefined, expression: text };
  const space = text.indexOf(' ');
  if (space < 0) throw new Error('has a time zone and nothing after it');
  return { zone: text.slice(match[0].length, space), expression: text.slice(space).trim() };
}

/**
 * Reads an expression of exactly five fields. What differs from other crons: `N/step` means from N to the
 * maximum, 7 is no day of the week, empty items of a list are skipped, and there is no `@daily`.
 *
 * @throws Error with a sentence about the expression
 */
export function cronSchedule(expression: string, zone: Zone): CronSchedule {
  const texts = expression.split(/\s+/).filter(text => text !== '');
  if (texts.length !== 5) {
    throw new Error(`needs 5 fields (minute, hour, day of month, month, day of week), has ${texts.length}`);
  }
  const [minute, hour, dayOfMonth, month, dayOfWeek] = texts.map((text, index) => {
    const bound = bounds[index];
    return bound === undefined ? undefined : parseField(text, bound);
  });
  if (!minute || !hour || !dayOfMonth || !month || !dayOfWeek) throw new Error('needs 5 fields');
  const fields = { minute, hour, dayOfMonth, month, dayOfWeek };
  let known: { from: number; until: number; due: number | undefined } | undefined;
  return {
    next(now) {
      if (known !== undefined && now >= known.from && now < known.until) return known.due;
      const due = nextDue(fields, zone, now);
      const until =
        due === undefined ? now + neverMs : Math.min(due, (Math.floor(now / keptMs) + 1) * keptMs);
      known = { from: now, until, due };
      return due;
    },
  };
}

/**
 * A result is kept until the next quarter of an hour: where a change of the clock takes midnight away, the
 * answer to the same question can be another one after the change.
 */
const keptMs = 900_000;
/** How long "never" is believed: the five years move on, slowly. */
const neverMs = 24 * 3_600_000;

function parseField(text: string, bound: Bounds): Field {
  const has = new Set<number>();
  let star = false;
  for (const item of text.split(',').filter(item => item !== '')) {
    const range = parseItem(item, bound);
    star ||= range.star;
    for (let value = range.from; value <= range.to; value += range.step) has.add(value);
  }
  return { has, star };
}

function parseItem(item: string, bound: Bounds) {
  const wrong = (what: string) => new Error(`has "${item}" as ${bound.name}, ${what}`);
  const [span = '', stepText, ...moreSteps] = item.split('/');
  const [low = '', high, ...moreEnds] = span.split('-');
  if (moreSteps.length > 0) throw wrong('with more than one /');
  const number = (text: string) => {
    const named = bound.names?.indexOf(text.toLowerCase()) ?? -1;
    if (named >= 0) return named + bound.min;
    if (!/^\+?\d+$/.test(text)) throw wrong('which is not a number');
    return Number(text);
  };
  const any = low === '*' || low === '?';
  // Whatever is written behind `*-` is not looked at.
  if (!any && moreEnds.length > 0) throw wrong('with more than one -');
  const step = stepText === undefined ? 1 : numberOf(stepText);
  const from = any ? bound.min : number(low);
  let to = any ? bound.max : high === undefined ? from : number(high);
  if (stepText !== undefined && high === undefined) to = bound.max;
  if (from < bound.min || to > bound.max) throw wrong(`outside ${bound.min} to ${bound.max}`);
  if (from > to) throw wrong('which ends before it begins');
  if (step < 1) throw wrong('with a step of 0');
  return { from, to, step, star: any && step === 1 };

  function numberOf(text: string): number {
    const value = /^\+?\d+$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
    if (value > Number.MAX_SAFE_INTEGER) throw wrong('with a step that is not a number');
    return value;
  }
}

const secondMs = 1000;
const minuteMs = 60_000;
const hourMs = 3_600_000;

/**
 * Walks from the coming second to the first minute that matches: months, days and hours first. It goes by
 * real time within a day, so an hour that the clock shows twice counts twice and an hour that is skipped
 * never comes, as in robfig/cron.
 */
function nextDue(fields: Fields, zone: Zone, now: number): number | undefined {
  // A field such as `,` has no value; there is no need to walk five years to find that out.
  if ([fields.minute, fields.hour, fields.month].some(({ has }) => has.size === 0)) return undefined;
  let t = Math.floor(now / secondMs) * secondMs + secondMs;
  const lastYear = zone.local(t).year + 5;
  // Becomes true at the first step: before it the time of day still counts, after it everything smaller is 0.
  let moved = false;
  const begin = (start: () => number) => {
    if (!moved) t = start();
    moved = true;
  };

  round: while (zone.local(t).year <= lastYear) {
    while (!fields.month.has.has(zone.local(t).month)) {
      const { year, month } = zone.local(t);
      begin(() => zone.instant({ year, month, day: 1, hour: 0, minute: 0, second: 0 }));
      const first = zone.local(t);
      t = zone.instant({ ...first, month: first.month + 1 });
      if (zone.local(t).month === 1) continue round;
    }
    while (!dayMatches(fields, zone.local(t))) {
      const { year, month, day } = zone.local(t);
      begin(() => zone.instant({ year, month, day, hour: 0, minute: 0, second: 0 }));
      const today = zone.local(t);
      t = zone.instant({ ...today, day: today.day + 1 });
      // Where midnight does not exist the day begins at another hour.
      const { hour } = zone.local(t);
      if (hour !== 0) t += (hour > 12 ? 24 - hour : -hour) * hourMs;
      if (zone.local(t).day === 1) continue round;
    }
    while (!fields.hour.has.has(zone.local(t).hour)) {
      const { year, month, day, hour } = zone.local(t);
      begin(() => zone.instant({ year, month, day, hour, minute: 0, second: 0 }));
      t += hourMs;
      if (zone.local(t).hour === 0) continue round;
    }
    while (!fields.minute.has.has(zone.local(t).minute)) {
      begin(() => Math.floor(t / minuteMs) * minuteMs);
      t += minuteMs;
      if (zone.local(t).minute === 0) continue round;
    }
    if (zone.local(t).second === 0) return t;
    begin(() => t);
    t = Math.ceil(t / minuteMs) * minuteMs;
  }
  return undefined;
}

function dayMatches(
  { dayOfMonth, dayOfWeek }: Fields,
  { day, weekday }: { day: number; weekday: number },
): boolean {
  const byMonth = dayOfMonth.has.has(day);
  const byWeek = dayOfWeek.has.has(weekday);
  return dayOfMonth.star || dayOfWeek.star ? byMonth && byWeek : byMonth || byWeek;
}
