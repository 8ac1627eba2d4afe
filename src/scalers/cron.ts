import { defineScaler, refuse } from '../scaler/define.ts';
import { type CronSchedule, cronSchedule, splitZone } from '../scaler/families/cron-schedule.ts';
import { type Zone, zoneNamed } from '../scaler/families/zone.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';
import { didYouMean } from '../spec/suggest.ts';

export default defineScaler({
  type: 'cron',
  doc: 'Wants desiredReplicas from each start to the next end, and nothing between. A time that the clock leaps over in spring is skipped that day.',
  testedWith: { kind: 'none-needed' },
  params: {
    start: p.text({ doc: 'When it begins: minute, hour, day of month, month, day of week.' }),
    end: p.text({ doc: 'When it ends, written like start.' }),
    timezone: p.text({ doc: 'A zone of the time zone database, such as Europe/Berlin.' }),
    desiredReplicas: p.integer({ doc: 'Replicas wanted in between.', unit: 'replicas' }),
  },
  // Each replica is worth one, so that the number is the number of replicas.
  target: 1,
  noCachedMetrics: true,

  resolve({ start, end, timezone, desiredReplicas }) {
    const problems: Problem[] = [];
    const zone = zoneNamed(timezone);
    if (zone === undefined) problems.push(unknownZone('timezone', timezone));
    const inZone = zone ?? zoneNamed('');
    const starts = schedule('start', start, inZone, problems);
    const ends = schedule('end', end, inZone, problems);
    if (start === end) {
      problems.push({ problem: 'start and end are the same', place: { field: 'metadata.end' } });
    }
    if (desiredReplicas === 0) {
      problems.push({ problem: 'desiredReplicas is 0', place: { field: 'metadata.desiredReplicas' } });
    }
    if (problems.length > 0 || starts === undefined || ends === undefined) return refuse(problems);
    const name = normalizeMetricName(`cron-${timezone}-${nameOf(start)}-${nameOf(end)}`);
    return { starts, ends, desiredReplicas, name };
  },

  metricName: ({ name }) => name,
  endpoint: () => 'clock',
  query: ({ name, desiredReplicas }) => `${name} ${desiredReplicas}`,

  open: async () => ({}),

  async read({ starts, ends, desiredReplicas }, { now }) {
    // KEDA asks which of the two comes next. What never comes counts as long past, there as here.
    const start = starts.next(now) ?? Number.NEGATIVE_INFINITY;
    const end = ends.next(now) ?? Number.NEGATIVE_INFINITY;
    const within = start < end ? now > start && now < end : now > start || now < end;
    return within ? desiredReplicas : 0;
  },
});

type Field = 'start' | 'end';

function schedule(
  field: Field,
  text: string,
  zone: Zone | undefined,
  problems: Problem[],
): CronSchedule | undefined {
  try {
    const { zone: ownZone, expression } = splitZone(text);
    const used = ownZone === undefined ? zone : zoneNamed(ownZone);
    if (used !== undefined) return cronSchedule(expression, used);
    problems.push(unknownZone(field, ownZone ?? ''));
  } catch (thrown) {
    const sentence = thrown instanceof Error ? thrown.message : String(thrown);
    problems.push({ problem: `"${text}" ${sentence}`, place: { field: `metadata.${field}` } });
  }
  return undefined;
}

function unknownZone(field: Field | 'timezone', name: string): Problem {
  return {
    problem: `"${name}" is not a time zone${didYouMean(name, Intl.supportedValuesOf('timeZone'))}`,
    mending: 'use a name such as Europe/Berlin or UTC',
    place: { field: `metadata.${field}` },
  };
}

/** KEDA's spelling of an expression in a metric name. */
function nameOf(expression: string): string {
  return expression
    .replaceAll(' ', '')
    .replaceAll('*', 'x')
    .replaceAll('/', 'Sl')
    .replaceAll('?', 'Qm')
    .replaceAll(',', 'Cm');
}
