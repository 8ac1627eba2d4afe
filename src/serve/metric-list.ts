import type { ServerAnswer } from './handler.ts';

/** One value of a metric. */
export interface MetricValue {
  metricName: string;
  value: number;
}

const jsonHeaders = { 'content-type': 'application/json' };

/**
 * Values as an `ExternalMetricValueList`, the way KEDA writes them.
 *
 * @param now epoch milliseconds; the list has whole seconds
 */
export function metricList(values: readonly MetricValue[], now: number): ServerAnswer {
  const timestamp = secondsOf(now);
  return {
    status: 200,
    headers: jsonHeaders,
    body: JSON.stringify({
      kind: 'ExternalMetricValueList',
      apiVersion: 'external.metrics.k8s.io/v1beta1',
      metadata: {},
      items: values.map(({ metricName, value }) => ({
        metricName,
        metricLabels: null,
        timestamp,
        value: quantityOf(value),
      })),
    }),
  };
}

/** The same as a table, for kubectl. */
export function metricTable(values: readonly MetricValue[], now: number): ServerAnswer {
  const timestamp = secondsOf(now);
  return {
    status: 200,
    headers: jsonHeaders,
    body: JSON.stringify({
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      metadata: {},
      columnDefinitions: [
        column('Metric', 'Name of the metric.'),
        column('Value', 'What the source said, as a quantity.'),
        column('Read', 'When the source said it.'),
      ],
      rows: values.map(({ metricName, value }) => ({
        cells: [metricName, quantityOf(value), timestamp],
        object: {
          kind: 'PartialObjectMetadata',
          apiVersion: 'meta.k8s.io/v1',
          metadata: { name: metricName, creationTimestamp: null },
        },
      })),
    }),
  };
}

const column = (name: string, description: string) => ({
  name,
  type: 'string',
  format: '',
  description,
  priority: 0,
});

/** Values in thousandths, cut and not rounded, in the shortest form of a quantity: `1500m`, `7`, `5k`. */
export function quantityOf(value: number): string {
  const milli = Math.trunc(value * 1000);
  if (!Number.isFinite(milli) || Math.abs(milli) > mostMilli) return value > 0 ? most : `-${most}`;
  if (milli === 0) return '0';
  let digits = BigInt(milli);
  let suffix = 0;
  while (digits % 1000n === 0n && suffix < suffixes.length - 1) {
    digits /= 1000n;
    suffix++;
  }
  return `${digits}${suffixes[suffix]}`;
}

const suffixes = ['m', '', 'k', 'M', 'G', 'T', 'P', 'E'];

// What KEDA can hold: thousandths in 63 bits. Above it its numbers turn negative, ours stay the largest.
const mostMilli = 2 ** 63 - 1024;
const most = '9223372036854775807m';

let lastSecond = -1;
let lastText = '';

/** The same text is asked for by every request of a second. */
function secondsOf(now: number): string {
  const second = Math.floor(now / 1000);
  if (second !== lastSecond) {
    lastSecond = second;
    lastText = `${new Date(second * 1000).toISOString().slice(0, 19)}Z`;
  }
  return lastText;
}
