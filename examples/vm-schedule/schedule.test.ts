import { describe, expect, it } from 'vitest';
import { instantOf, readSchedule, transitions } from './schedule.mjs';

const machine = (over: Record<string, unknown> = {}) => ({
  vm: 'build',
  resourceGroup: 'offices',
  zone: 'Europe/Berlin',
  days: ['Mon', 'Tue', 'Wed', 'Thu', 'Fri'],
  start: '08:00',
  stop: '19:00',
  ...over,
});
const everyDay = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** What is due within some days, as `start 2026-03-27T07:00Z`. */
function due(over: Record<string, unknown>, from: string, to: string): string[] {
  return transitions(machine(over), Date.parse(from), Date.parse(to)).map(
    ({ action, at }) => `${action} ${new Date(at).toISOString().replace(':00.000', '')}`,
  );
}

describe('the schedule of machines', () => {
  it.each([
    [
      'is by the zone’s own clock',
      {},
      '2026-01-15',
      ['start 2026-01-15T07:00Z', 'deallocate 2026-01-15T18:00Z'],
    ],
    ['follows it into summer', {}, '2026-07-15', ['start 2026-07-15T06:00Z', 'deallocate 2026-07-15T17:00Z']],
    [
      'knows zones that are not whole hours away',
      { zone: 'Asia/Kolkata' },
      '2026-01-15',
      ['start 2026-01-15T02:30Z', 'deallocate 2026-01-15T13:30Z'],
    ],
    ['rests on other days', {}, '2026-01-17', []],
    [
      'goes by the day where the machine is',
      { zone: 'Pacific/Auckland', days: ['Mon'] },
      '2026-01-18',
      ['start 2026-01-18T19:00Z'],
    ],
    [
      'ends on the next day where it stops before it starts',
      { start: '22:00', stop: '06:00', days: ['Thu'] },
      '2026-01-15',
      ['start 2026-01-15T21:00Z'],
    ],
    [
      'ends a night that began on a working day',
      { start: '22:00', stop: '06:00', days: ['Thu'] },
      '2026-01-16',
      ['deallocate 2026-01-16T05:00Z'],
    ],
    [
      'starts as much later as clocks are put forward over it',
      { start: '02:30', days: everyDay },
      '2026-03-29',
      ['start 2026-03-29T01:30Z', 'deallocate 2026-03-29T17:00Z'],
    ],
    [
      'starts the first time where clocks show it twice',
      { start: '02:30', days: everyDay },
      '2026-10-25',
      ['start 2026-10-25T00:30Z', 'deallocate 2026-10-25T18:00Z'],
    ],
    [
      'stops the last time where clocks show it twice',
      { start: '01:00', stop: '02:30', days: ['Sun'] },
      '2026-10-25',
      ['deallocate 2026-10-25T01:30Z'],
    ],
    [
      'knows of half an hour of summer',
      { zone: 'Australia/Lord_Howe', start: '02:15', days: ['Sun'] },
      '2026-10-03',
      ['start 2026-10-03T15:45Z'],
    ],
  ])('%s', (_title, over, day, expected) => {
    const next = new Date(Date.parse(day) + 86_400_000).toISOString();

    expect(due(over, day, next)).toEqual(expected);
  });

  it('names each moment once, whatever the steps in which time passes', () => {
    const from = Date.parse('2026-03-20');
    const days = 20;
    const whole = transitions(machine({ days: everyDay }), from, from + days * 86_400_000);

    const stepped = [];
    const step = 3_600_000 * 7;
    for (let at = from; at < from + days * 86_400_000; at += step) {
      const to = Math.min(at + step, from + days * 86_400_000);
      stepped.push(...transitions(machine({ days: everyDay }), at, to));
    }

    expect(stepped).toEqual(whole);
    expect(whole).toHaveLength(2 * days);
  });

  it('says until when an action counts: until the next one', () => {
    const [stop] = transitions(machine(), Date.parse('2026-01-16T12:00Z'), Date.parse('2026-01-17'));

    expect(stop).toEqual({
      action: 'deallocate',
      at: Date.parse('2026-01-16T18:00Z'),
      until: Date.parse('2026-01-19T07:00Z'),
    });
  });

  it('agrees with the clock of the zone wherever clocks show the time', () => {
    const clock = new Intl.DateTimeFormat('sv-SE', {
      timeZone: 'America/New_York',
      dateStyle: 'short',
      timeStyle: 'medium',
    });
    for (let hour = 0; hour < 24 * 366; hour += 1) {
      const wall = Date.UTC(2026, 0, 1, hour);
      if (new Date(wall).toISOString().startsWith('2026-03-08T02')) continue;

      const shown = clock.format(instantOf('America/New_York', wall, 'first'));

      expect(shown).toBe(new Date(wall).toISOString().slice(0, 19).replace('T', ' '));
    }
  });

  it('refuses a schedule with everything that is wrong', () => {
    const text = JSON.stringify([machine({ zone: 'Mars/Base', days: ['Monday'], start: '8', stop: '8' })]);

    expect(() => readSchedule(text)).toThrow(
      [
        'build: there is no time zone "Mars/Base"',
        'build: "Monday" is not one of Sun, Mon, Tue, Wed, Thu, Fri, Sat',
        'build: "8" is no time',
        'build: "8" is no time',
        'build: it starts when it stops',
      ].join('\n'),
    );
  });
});
