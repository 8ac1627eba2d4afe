import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cronSchedule, splitZone } from './cron-schedule.ts';
import { type Zone, zoneNamed } from './zone.ts';

function zoneOf(name: string): Zone {
  const zone = zoneNamed(name);
  if (zone === undefined) throw new Error(`no zone ${name}`);
  return zone;
}

const berlin = zoneOf('Europe/Berlin');

function dueAfter(text: string, zoneName: string, instants: number[]): (number | undefined)[] | 'refused' {
  try {
    const { zone, expression } = splitZone(text);
    const schedule = cronSchedule(expression, zoneOf(zone ?? zoneName));
    return instants.map(instant => schedule.next(instant));
  } catch {
    return 'refused';
  }
}

describe('robfig/cron', () => {
  const vectors = readFileSync(new URL('cron-vectors.tsv', import.meta.url), 'utf8')
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .map(line => line.split('\t'));

  it('is followed in hundreds of expressions, zones and changes of the clock', () => {
    for (const [text = '', zone = '', ...cells] of vectors) {
      const pairs = cells.flatMap((cell, index) =>
        index % 2 === 0 ? [[cell, cells[index + 1]] as const] : [],
      );

      const due = dueAfter(
        text,
        zone,
        pairs.map(([instant]) => Date.parse(instant)),
      );

      const wanted =
        cells[0] === 'refused'
          ? 'refused'
          : pairs.map(([, next]) => (next === '-' ? undefined : Date.parse(next ?? '')));
      expect({ text, zone, due }).toEqual({ text, zone, due: wanted });
    }
    expect(vectors.length).toBeGreaterThan(400);
  });

  it.each([
    ['takes N/step as N to the maximum', '50/3 * * * *', '2026-01-01T00:00:00Z', '2026-01-01T00:50:00Z'],
    ['takes ? for *', '? ? ? ? ?', '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z'],
    ['skips empty items of a list', '5,,10, * * * *', '2026-01-01T00:06:00Z', '2026-01-01T00:10:00Z'],
    ['joins two days with or', '0 0 13 * fri', '2026-01-03T00:00:00Z', '2026-01-09T00:00:00Z'],
    ['joins a day with a star by and', '0 0 13 * *', '2026-01-03T00:00:00Z', '2026-01-13T00:00:00Z'],
    [
      'does not take a star with a step for one',
      '0 0 13 * */6',
      '2026-01-04T12:00:00Z',
      '2026-01-10T00:00:00Z',
    ],
    ['reads names in any case', '0 0 1 FEB *', '2026-01-03T00:00:00Z', '2026-02-01T00:00:00Z'],
    [
      'has its own zone before that of the trigger',
      'TZ=Asia/Kolkata 0 6 * * *',
      '2026-01-01T00:00:00Z',
      '2026-01-01T00:30:00Z',
    ],
  ])('%s', (_title, text, after, due) => {
    expect(dueAfter(text, 'UTC', [Date.parse(after)])).toEqual([Date.parse(due)]);
  });

  it.each([
    ['7 for Sunday', '0 0 * * 7'],
    ['a descriptor', '@hourly'],
    ['four fields', '0 0 * *'],
    ['six fields', '0 0 0 * * *'],
    ['a step of nothing', '*/0 * * * *'],
    ['a range that ends before it begins', '5-3 * * * *'],
    ['a zone and nothing else', 'TZ=UTC'],
  ])('refuses %s', (_title, text) => {
    expect(dueAfter(text, 'UTC', [0])).toBe('refused');
  });

  it('skips the day on which the clock leaps over the time', () => {
    const schedule = cronSchedule('30 2 * * *', berlin);

    expect(schedule.next(Date.parse('2026-03-28T12:00:00Z'))).toBe(Date.parse('2026-03-30T00:30:00Z'));
  });

  it('counts an hour twice that the clock shows twice', () => {
    const schedule = cronSchedule('30 2 * * *', berlin);
    const first = schedule.next(Date.parse('2026-10-24T12:00:00Z')) ?? 0;

    expect([first, schedule.next(first)]).toEqual([
      Date.parse('2026-10-25T00:30:00Z'),
      Date.parse('2026-10-25T01:30:00Z'),
    ]);
  });

  it('gives up on a day that never comes', () => {
    expect(cronSchedule('0 0 31 2 *', berlin).next(0)).toBeUndefined();
    expect(cronSchedule(', * * * *', berlin).next(0)).toBeUndefined();
  });

  it('computes anew when the due time has passed, and when the clock was set back', () => {
    const schedule = cronSchedule('0 12 * * *', zoneOf('UTC'));
    const noon = Date.parse('2026-01-01T12:00:00Z');
    const day = 86_400_000;

    expect([noon - 1, noon, noon - 2 * day, noon - 1].map(now => schedule.next(now))).toEqual([
      noon,
      noon + day,
      noon - day,
      noon,
    ]);
  });

  it('refuses or reads any text, and never goes back', () => {
    const piece = fc.constantFrom('*', '?', '0', '7', '59', '31', '/', '-', ',', ' ', 'mon', 'TZ=', '@', 'x');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 16 }), fc.integer({ min: 0, max: 4e12 }), (pieces, now) => {
        const due = dueAfter(pieces.join(''), 'UTC', [now]);
        if (due !== 'refused' && due[0] !== undefined) expect(due[0]).toBeGreaterThan(now);
      }),
      { numRuns: 500 },
    );
  });
});

describe('zones', () => {
  it('are those of the database, the machine and UTC', () => {
    expect(['Mars/Olympus', '+01:00', '../etc/passwd'].map(zoneNamed)).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(zoneNamed('')?.local(0)).toMatchObject({ year: 1970, hour: 0, weekday: 4 });
    expect(zoneNamed('Local')).toBeDefined();
  });
});
