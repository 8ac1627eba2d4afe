import { existsSync, readdirSync, readFileSync } from 'node:fs';
import process from 'node:process';
import { describe, expect, it } from 'vitest';
import { parseDuration } from '../base/duration.ts';
import { Secret } from '../base/secret.ts';
import { noIdentity, type PodIdentity } from '../spec/pod-identity.ts';
import type { MetricTargetType } from '../spec/workload.ts';
import { type BoundTrigger, bindTrigger } from './bind.ts';
import type { AnyScaler } from './define.ts';
import { type ParamInput, readParams } from './params.ts';

/** What KEDA made of a trigger's parameters; its README beside the file explains the fields. */
interface Row {
  types: string[];
  metadata: Record<string, string>;
  auth?: Record<string, string>;
  env?: Record<string, string>;
  podIdentity?: PodIdentity;
  namespace?: string;
  index?: number;
  metricType?: MetricTargetType;
  asMetricSource?: boolean;
  error: boolean;
  parsed?: Record<string, unknown>;
  metrics?: { name?: string; resource?: string; target?: string; type?: string }[];
}

/** Rows that KEDA refuses and we accept, each with the reason (also a line of docs/differences.md). */
const acceptedHere: { type: string; row: (row: Row) => boolean; why: string }[] = [
  {
    type: 'apache-kafka',
    row: ({ metadata, auth = {} }) =>
      'sasl' in metadata && 'sasl' in auth && 'cert' in auth === 'key' in auth,
    why: 'the same parameter given twice is read where it comes first, as in every other type',
  },
];

/** What KEDA empties once it is worked into other values, so that a row says nothing of it. */
const emptied = ({ type }: AnyScaler) => (type.startsWith('redis') ? ['enableTLS', 'tls'] : []);

const file =
  process.env['EVENTIDE_CONFORMANCE'] ??
  new URL('../../../shared/conformance/scaler-params.json', import.meta.url).pathname;
const present = existsSync(file);
const rows = present ? (JSON.parse(readFileSync(file, 'utf8')) as Row[]) : [];

/**
 * KEDA reads the parameters of some types in two steps, and each step left a row: where the second refuses what the
 * first took, the first says nothing.
 */
const inputKey = ({ types: tried, metadata, auth, env, podIdentity }: Row) =>
  JSON.stringify([tried, metadata, auth, env, podIdentity]);
const refusedInputs = new Set(rows.filter(({ error }) => error).map(inputKey));

const folder = new URL('../scalers/', import.meta.url);
const types = readdirSync(folder)
  .filter(name => /^[a-z0-9-]+\.ts$/.test(name))
  .map(name => name.replace(/\.ts$/, ''));

it.skipIf(!present)('has rows for every scaler there is', () => {
  const without = types.filter(type => !rows.some(row => row.types.includes(type)));

  expect(without).toEqual([]);
});

for (const type of types) {
  const ofType = rows.filter(
    row => row.types.includes(type) && (row.error || !refusedInputs.has(inputKey(row))),
  );
  if (ofType.length > 0) describe(`${type} takes what KEDA takes`, () => conformance(type, ofType));
}

function conformance(type: string, ofType: Row[]): void {
  it.each(ofType.map(row => [titleOf(row), row] as const))('%s', async (_title, row) => {
    const { default: scaler } = (await import(new URL(`${type}.ts`, folder).href)) as { default: AnyScaler };
    const input = inputOf(row);

    const binding = bindRow(scaler, row, input);

    const lenient = acceptedHere.some(entry => entry.type === type && entry.row(row));
    if (row.error) {
      expect(binding.ok).toBe(lenient);
      return;
    }
    expect(binding).toMatchObject({ ok: true });
    if (!binding.ok) return;
    expect(heldValues(scaler, row, binding.bound)).toEqual(wantedValues(scaler, row));
    for (const metric of row.metrics ?? []) expectMetric(binding.bound, metric);
  });
}

function titleOf({ error, metadata, auth, podIdentity, metricType }: Row): string {
  const given = JSON.stringify({ ...metadata, ...auth, podIdentity: podIdentity?.provider, metricType });
  return `${error ? 'refuses' : 'accepts'} ${given.slice(0, 300).replaceAll('%', '%%')}`;
}

function inputOf({ metadata, auth = {}, env = {} }: Row): ParamInput {
  const secrets = Object.entries(auth).map(([name, value]) => [name, new Secret(value)] as const);
  return { metadata, auth: Object.fromEntries(secrets), env };
}

function bindRow(scaler: AnyScaler, row: Row, input: ParamInput) {
  const { index = 0, metricType, podIdentity = noIdentity, namespace = 'test', asMetricSource = false } = row;
  const trigger = {
    index,
    type: scaler.type,
    metadata: row.metadata,
    secrets: {},
    useCachedMetrics: false,
    ...(metricType === undefined ? {} : { metricType }),
  };
  return bindTrigger(scaler, trigger, input, {
    podIdentity,
    namespace,
    workload: 'app',
    triggerIndex: index,
    asMetricSource,
  });
}

/** Ours, for each value that KEDA's row shows. */
function heldValues(scaler: AnyScaler, row: Row, bound: BoundTrigger): Record<string, unknown> {
  const values: Record<string, unknown> = readParams(scaler.params, inputOf(row)).values;
  const computed = bound.kind === 'read' ? (bound.params as Record<string, unknown>) : {};
  const names = Object.keys(wantedValues(scaler, row));
  // One that nobody gave is the name that KEDA made.
  if (bound.kind === 'read') values['metricName'] ??= bound.metricName;
  return Object.fromEntries(
    names.map(name => [name, plain(isData(computed[name]) ? computed[name] : values[name])]),
  );
}

/** KEDA's, with what it writes for "nothing" left out and durations in milliseconds. */
function wantedValues(scaler: AnyScaler, row: Row): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row.parsed ?? {})
      .filter(([name]) => !emptied(scaler).includes(name))
      .map(([name, value]) => {
        const wait = scaler.params[name]?.kind === 'duration';
        return [name, plain(wait ? parseDuration(String(value)) : value)];
      }),
  );
}

function isData(value: unknown): boolean {
  return value instanceof Secret || Array.isArray(value) || /string|number|boolean/.test(typeof value);
}

/** Go has no undefined: an absent value is the zero of its type. Rows with port 0 were tried with a free one. */
function plain(value: unknown): unknown {
  const shown = value instanceof Secret ? value.reveal() : value;
  if (shown === '' || shown === 0 || shown === false || shown === null) return undefined;
  if (typeof shown === 'string') return shown.replace(/(127\.0\.0\.1):\d+/, '$1:port');
  return shown;
}

function expectMetric(bound: BoundTrigger, metric: NonNullable<Row['metrics']>[number]): void {
  const { type, value } = bound.target;
  if (bound.kind === 'resource') {
    // A row for cpu and memory shows the metric of cpu.
    const container = metric.resource?.split('@')[1];
    expect(bound).toMatchObject({ resource: bound.trigger.type, container });
  } else {
    expect(bound.metricName).toBe(metric.name);
  }
  if (metric.target !== undefined) expect(String(value)).toBe(metric.target);
  if (metric.type !== undefined) expect(type).toBe(metric.type);
}
