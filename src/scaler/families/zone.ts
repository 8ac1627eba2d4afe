/** What a clock on the wall shows; `month` and `day` count from 1, `weekday` from 0 for Sunday. */
export interface LocalTime {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  weekday: number;
}

/** A time zone. Instants are epoch milliseconds. */
export interface Zone {
  readonly name: string;
  local(instant: number): LocalTime;
  /**
   * The instant at which the clock shows this; parts beyond their range carry over. Around a change of the
   * clock the choice is Go's.
   */
  instant(local: Omit<LocalTime, 'weekday'>): number;
}

const zones = new Map<string, Zone>();
const quarterMs = 900_000;
const mostKept = 4096;

/**
 * The zone of that name in the time zone database, or undefined where there is none. `Local` is the zone of
 * this machine and an empty name is UTC, as for Go.
 */
export function zoneNamed(name: string): Zone | undefined {
  const known = zones.get(name);
  if (known !== undefined) return known;
  const zone = makeZone(name);
  // Names are as many as the database has, so this map does not grow for ever.
  if (zone !== undefined) zones.set(name, zone);
  return zone;
}

function makeZone(name: string): Zone | undefined {
  // Offsets such as +01:00 are names to newer versions of Node, but not of the database.
  if (/^[+-]|^\d/.test(name)) return undefined;
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      ...(name === 'Local' ? {} : { timeZone: name === '' ? 'UTC' : name.replace(/^posix\//, '') }),
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  } catch {
    return undefined;
  }

  // Clocks change on quarters of an hour, so one look at the database serves a quarter.
  const offsets = new Map<number, number>();
  const offsetAt = (instant: number): number => {
    const quarter = Math.floor(instant / quarterMs);
    const known = offsets.get(quarter);
    if (known !== undefined) return known;
    if (offsets.size >= mostKept) offsets.clear();
    const offset = lookUpOffset(format, quarter * quarterMs);
    offsets.set(quarter, offset);
    return offset;
  };

  return {
    name,
    local(instant) {
      const shown = new Date(instant + offsetAt(instant));
      return {
        year: shown.getUTCFullYear(),
        month: shown.getUTCMonth() + 1,
        day: shown.getUTCDate(),
        hour: shown.getUTCHours(),
        minute: shown.getUTCMinutes(),
        second: shown.getUTCSeconds(),
        weekday: shown.getUTCDay(),
      };
    },
    instant({ year, month, day, hour, minute, second }) {
      const shown = Date.UTC(year, month - 1, day, hour, minute, second);
      const first = offsetAt(shown);
      return shown - offsetAt(shown - first);
    },
  };
}

/** The offset from UTC in milliseconds. */
function lookUpOffset(format: Intl.DateTimeFormat, instant: number): number {
  const [month = 0, day = 0, year = 0, hour = 0, minute = 0, second = 0] = (
    format.format(instant).match(/\d+/g) ?? []
  ).map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second) - instant;
}
