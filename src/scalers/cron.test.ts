import { describe, expect, it } from 'vitest';
import { bind, mustBind, readOnce, scalerContract } from '../../test/scaler-contract.ts';
import cron from './cron.ts';

const workday = {
  start: '0 8 * * 1-5',
  end: '0 18 * * 1-5',
  timezone: 'Europe/Berlin',
  desiredReplicas: '7',
};

scalerContract(cron, {
  serve: async () => ({ async [Symbol.asyncDispose]() {} }),
  // The contract reads at noon UTC on a Thursday.
  params: workday,
  at: undefined,
  expect: 7,
});

const at = (params: Record<string, string>, time: string) =>
  readOnce(mustBind(cron, { params: { ...workday, ...params } }), { now: Date.parse(time) });

describe('cron', () => {
  it.each([
    ['wants nothing before the start', {}, '2026-01-15T06:59:59.999Z', 0],
    ['wants the replicas from the start on', {}, '2026-01-15T07:00:00Z', 7],
    ['wants them until the end', {}, '2026-01-15T16:59:59.999Z', 7],
    ['wants nothing from the end on', {}, '2026-01-15T17:00:00Z', 0],
    ['wants nothing at the weekend', {}, '2026-01-17T12:00:00Z', 0],
    ['follows the clock in summer', {}, '2026-07-15T06:00:00Z', 7],
    ['goes over midnight', { start: '0 22 * * *', end: '0 6 * * *' }, '2026-01-15T02:00:00Z', 7],
    ['is outside by day then', { start: '0 22 * * *', end: '0 6 * * *' }, '2026-01-15T12:00:00Z', 0],
    ['never ends without an end, and never begins either', { end: '0 0 31 2 *' }, '2026-01-15T12:00:00Z', 0],
    ['is always within without a start, as in KEDA', { start: '0 0 31 2 *' }, '2026-01-15T23:00:00Z', 7],
    ['reads a zone in the expression', { start: 'TZ=UTC 0 8 * * *' }, '2026-01-15T07:30:00Z', 0],
  ])('%s', async (_title, params, time, wanted) => {
    expect(await at(params, time)).toBe(wanted);
  });

  it.each([
    ['the same start and end', { end: workday.start }, 'start and end are the same'],
    ['no replicas', { desiredReplicas: '0' }, 'desiredReplicas is 0'],
    ['a wrong expression', { start: '0 25 * * *' }, '"0 25 * * *" has "25" as hour, outside 0 to 23'],
    [
      'a zone that is none',
      { timezone: 'Europe/Berlon' },
      '"Europe/Berlon" is not a time zone, did you mean "Europe/Berlin"?',
    ],
    [
      'a zone in the expression that is none',
      { end: 'TZ=Nowhere 0 1 * * *' },
      '"Nowhere" is not a time zone',
    ],
  ])('refuses %s', (_title, params, problem) => {
    expect(bind(cron, { params: { ...workday, ...params } })).toMatchObject({
      ok: false,
      problems: [{ problem }],
    });
  });

  it('has the target 1 and may not be cached', () => {
    expect(mustBind(cron, { params: workday })).toMatchObject({
      target: { type: 'AverageValue', value: 1 },
      metricName: 's0-cron-Europe-Berlin-08xx1-5-018xx1-5',
      scaler: { noCachedMetrics: true },
    });
  });
});
