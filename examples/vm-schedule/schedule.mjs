/** When machines are to be started and stopped, by the working hours of their time zones. */

const dayNames = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const dayMs = 86_400_000;
/** A transition that is further away than this is not looked for: a week, and the days around it. */
const aheadDays = 9;

/**
 * Reads a schedule, a JSON list of `{ vm, resourceGroup, zone, days, start, stop }` with times such as `08:00` or
 * `08:00:30`. A `stop` that is not after `start` is on the next day.
 *
 * @throws Error with everything that is wrong
 */
export function readSchedule(text) {
  const machines = JSON.parse(text);
  const problems = machines.flatMap(machine => problemsOf(machine).map(each => `${machine.vm}: ${each}`));
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return machines;
}

function problemsOf({ zone, days, start, stop }) {
  const problems = [];
  try {
    wallClock(zone);
  } catch {
    problems.push(`there is no time zone "${zone}"`);
  }
  for (const day of days)
    if (!dayNames.includes(day)) problems.push(`"${day}" is not one of ${dayNames.join(', ')}`);
  for (const time of [start, stop])
    if (!/^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$/.test(time)) problems.push(`"${time}" is no time`);
  if (start === stop) problems.push('it starts when it stops');
  return problems;
}

/**
 * What is due after `from` and until `to`, in epoch milliseconds, oldest first: `{ action, at, until }`, where `until`
 * is when the next action of the machine takes its place.
 */
export function transitions(machine, from, to) {
  const all = [];
  const first = dateOf(machine.zone, from - 2 * dayMs);
  const days = Math.ceil((to - from) / dayMs) + 2 + aheadDays;
  for (let day = 0; day <= days; day += 1) {
    const date = first + day * dayMs;
    if (!machine.days.includes(dayNames[new Date(date).getUTCDay()])) continue;
    const overnight = machine.stop <= machine.start;
    all.push({ action: 'start', at: instantOf(machine.zone, date + timeOf(machine.start), 'first') });
    all.push({
      action: 'deallocate',
      at: instantOf(machine.zone, date + timeOf(machine.stop) + (overnight ? dayMs : 0), 'last'),
    });
  }
  // Where one day's hours end as the next day's begin, it is to run.
  all.sort((one, other) => one.at - other.at || (one.action === 'start' ? 1 : -1));
  return all
    .map((each, index) => ({ ...each, until: all[index + 1]?.at ?? each.at + dayMs }))
    .filter(({ at }) => at > from && at <= to);
}

/**
 * When a zone's clocks show a wall time, which is given as if it were UTC. A time that clocks skip is as much later as
 * they skip; of a time that they show twice it is the first or the last.
 */
export function instantOf(zone, wall, which) {
  const before = offsetAt(zone, wall - dayMs);
  const after = offsetAt(zone, wall + dayMs);
  const shown = [wall - before, wall - after].filter(instant => instant + offsetAt(zone, instant) === wall);
  if (shown.length === 0) return wall - before;
  return which === 'first' ? Math.min(...shown) : Math.max(...shown);
}

function timeOf(text) {
  const [hours, minutes, seconds = 0] = text.split(':').map(Number);
  return ((hours * 60 + minutes) * 60 + seconds) * 1000;
}

const clocks = new Map();

function wallClock(zone) {
  const fields = { year: 'numeric', month: '2-digit', day: '2-digit' };
  const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
  const clock =
    clocks.get(zone) ??
    new Intl.DateTimeFormat('en-US', { timeZone: zone, calendar: 'iso8601', ...fields, ...time });
  clocks.set(zone, clock);
  return clock;
}

/** What the zone's clocks show, as if it were UTC, to the second. */
export function wallAt(zone, instant) {
  const parts = wallClock(zone).formatToParts(instant);
  const of = type => Number(parts.find(part => part.type === type)?.value);
  return Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second'));
}

function offsetAt(zone, instant) {
  return wallAt(zone, instant) - Math.floor(instant / 1000) * 1000;
}

/** The midnight of the zone's date, as if it were UTC. */
function dateOf(zone, instant) {
  return Math.floor(wallAt(zone, instant) / dayMs) * dayMs;
}
