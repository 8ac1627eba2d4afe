import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { requestOf } from '../../test/server-request.ts';
import { Fault } from '../base/errors.ts';
import type { TriggerStatus, WorkloadStatus } from '../engine/engine.ts';
import type { Report } from '../engine/ports.ts';
import { AdmissionCounts } from './admission-counts.ts';
import { type MetricsView, prometheus } from './prometheus.ts';

type Labels = Record<string, string>;

interface Sample {
  name: string;
  labels: Labels;
  value: number;
}

const values: Readonly<Record<string, number>> = { '+Inf': Infinity, '-Inf': -Infinity, NaN };
const unescaped: Readonly<Record<string, string>> = { '\\\\': '\\', '\\"': '"', '\\n': '\n' };

/** Reads the text format 0.0.4, and throws for everything that Prometheus would not take or not mean. */
function parseExposition(text: string): Sample[] {
  const samples: Sample[] = [];
  const seen = new Set<string>();
  const families = new Set<string>();
  let family = '';
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  for (const line of text.slice(0, -1).split('\n')) {
    const told = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (told !== null) {
      const [, what, name = '', rest = ''] = told;
      if (what === 'HELP' && families.has(name)) throw new Error(`${name} is there twice`);
      if (what === 'TYPE' && (name !== family || !/^(gauge|counter)$/.test(rest))) throw new Error(line);
      family = name;
      families.add(name);
      continue;
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null || sample[1] !== family) throw new Error(`this is no sample of ${family}: ${line}`);
    const [, name, inside = '', number = ''] = sample;
    const value = values[number] ?? Number(number);
    if (number !== 'NaN' && Number.isNaN(value)) throw new Error(line);
    const key = line.slice(0, line.lastIndexOf(' '));
    if (seen.has(key)) throw new Error(`${key} is there twice`);
    seen.add(key);
    samples.push({ name, labels: parseLabels(inside), value });
  }
  return samples;
}

function parseLabels(inside: string): Labels {
  const labels: Labels = {};
  const pattern = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;
  for (let at = 0; at < inside.length; at = pattern.lastIndex) {
    pattern.lastIndex = at;
    const found = pattern.exec(inside);
    if (found === null) throw new Error(`these are no labels: ${inside.slice(at)}`);
    const [, name = '', value = ''] = found;
    if (name in labels) throw new Error(`${name} is there twice`);
    labels[name] = value.replaceAll(/\\["\\n]/g, each => unescaped[each] ?? '');
  }
  return labels;
}

const trigger = (over: Partial<TriggerStatus> = {}): TriggerStatus => ({
  name: 'azure-queue',
  type: 'azure-queue',
  metricName: 's0-azure-queue-orders',
  value: 12,
  active: true,
  index: 0,
  named: false,
  latencyMs: 250,
  errors: 0,
  ...over,
});

const condition = (status: 'True' | 'False' | 'Unknown') => ({ status, reason: 'R', message: 'm' });

const report = (over: Partial<Report> = {}): Report => ({
  at: 0,
  why: 'because',
  ready: condition('True'),
  active: condition('True'),
  triggers: [],
  ...over,
});

const workload = (over: Partial<WorkloadStatus> = {}): WorkloadStatus => ({
  key: 'ScaledObject/shop/web',
  kind: 'ScaledObject',
  namespace: 'shop',
  name: 'web',
  report: report(),
  paused: false,
  errors: 0,
  lateMs: 5,
  triggers: [trigger()],
  ...over,
});

const job = (over: Partial<WorkloadStatus> = {}) =>
  workload({ key: 'ScaledJob/shop/mail', kind: 'ScaledJob', name: 'mail', ...over });

async function scrape(workloads: WorkloadStatus[], over: Partial<MetricsView> = {}): Promise<Sample[]> {
  const handler = prometheus({
    build: { version: '1.2.3', commit: 'abc' },
    leads: () => true,
    workloads: () => workloads,
    connections: () => 7,
    ...over,
  });
  const answer = await handler(requestOf('/metrics'));
  expect([answer.status, answer.headers?.['content-type']]).toEqual([
    200,
    'text/plain; version=0.0.4; charset=utf-8',
  ]);
  return parseExposition(String(answer.body));
}

/** The samples of a family: its labels, in the order they stand in, and the value. */
const of = (samples: Sample[], name: string) =>
  samples.filter(each => each.name === name).map(({ labels, value }) => [labels, value]);

const scaler = {
  namespace: 'shop',
  metric: 's0-azure-queue-orders',
  scaledObject: 'web',
  scaler: 'azureQueueScaler',
  triggerIndex: '0',
  type: 'scaledobject',
};

describe('the series of triggers', () => {
  it('have the names and labels of KEDA', async () => {
    const samples = await scrape([workload({ triggers: [trigger({ errors: 3 })] })]);

    expect(of(samples, 'keda_scaler_metrics_value')).toEqual([[scaler, 12]]);
    expect(of(samples, 'keda_scaler_metrics_latency_seconds')).toEqual([[scaler, 0.25]]);
    expect(of(samples, 'keda_scaler_active')).toEqual([[scaler, 1]]);
    expect(of(samples, 'keda_scaler_detail_errors_total')).toEqual([[scaler, 3]]);
    expect(Object.keys(samples.find(({ name }) => name === 'keda_scaler_active')?.labels ?? {})).toEqual([
      'namespace',
      'metric',
      'scaledObject',
      'scaler',
      'triggerIndex',
      'type',
    ]);
  });

  it.each<[string, Partial<TriggerStatus>, string]>([
    ['its own name where it has one', { name: 'orders', named: true }, 'orders'],
    ["KEDA's Go type", { type: 'aws-sqs-queue' }, 'awsSqsQueueScaler'],
    ['that of Redis streams', { type: 'redis-sentinel-streams' }, 'redisStreamsScaler'],
    ['its type where KEDA has none', { type: 'tomorrow' }, 'tomorrow'],
    ['its type where that is the name of a method', { type: 'constructor' }, 'constructor'],
  ])('call a scaler by %s', async (_title, over, label) => {
    const samples = await scrape([workload({ triggers: [trigger(over)] })]);

    expect(of(samples, 'keda_scaler_metrics_value')).toEqual([[{ ...scaler, scaler: label }, 12]]);
  });

  it('carry the name of a ScaledJob in the label scaledObject', async () => {
    const samples = await scrape([job()]);

    expect(of(samples, 'keda_scaler_metrics_value')).toEqual([
      [{ ...scaler, scaledObject: 'mail', type: 'scaledjob' }, 12],
    ]);
  });

  it('say nothing of a value that is unknown, and count the error', async () => {
    const fault = new Fault('SOURCE_TIMEOUT', 'no answer');
    const failing = trigger({ value: undefined, active: false, fault, errors: 2 });

    const samples = await scrape([workload({ triggers: [failing] })]);

    expect(of(samples, 'keda_scaler_metrics_value')).toEqual([]);
    expect(of(samples, 'keda_scaler_active')).toEqual([]);
    expect(of(samples, 'keda_scaler_detail_errors_total')).toEqual([[scaler, 2]]);
  });

  it('say that cpu is active, and nothing of its value', async () => {
    const cpu = trigger({ type: 'cpu', metricName: 'cpu', value: undefined, active: false });

    const samples = await scrape([workload({ triggers: [cpu] })]);

    expect(of(samples, 'keda_scaler_active')).toEqual([
      [{ ...scaler, metric: 'cpu', scaler: 'cpuMemoryScaler' }, 1],
    ]);
    expect(of(samples, 'keda_scaler_metrics_value')).toEqual([]);
  });

  it('tell of a formula as one metric, and not whether its triggers are active', async () => {
    const samples = await scrape([workload({ composite: { value: 3, active: false } })]);

    const composite = { ...scaler, metric: 'composite-metric', scaler: 'composite-metric' };
    expect(of(samples, 'keda_scaler_metrics_value')).toEqual([
      [scaler, 12],
      [composite, 3],
    ]);
    expect(of(samples, 'keda_scaler_active')).toEqual([[composite, 0]]);
  });

  it('can be read back whatever is in a label', async () => {
    const name = 'a "b" \\n \\ \n {c="d"} é 🙂';

    const samples = await scrape([workload({ triggers: [trigger({ name, named: true, value: Infinity })] })]);

    expect(of(samples, 'keda_scaler_metrics_value')).toEqual([[{ ...scaler, scaler: name }, Infinity]]);
  });
});

describe('the series of workloads', () => {
  const so = { namespace: 'shop', scaledObject: 'web' };
  const sj = { namespace: 'shop', scaledJob: 'mail' };
  const both = { namespace: 'shop', type: 'scaledobject', resource: 'web' };

  it.each<[string, WorkloadStatus, string, [Labels, number][]]>([
    ['a pause', workload({ paused: true }), 'keda_scaled_object_paused', [[so, 1]]],
    ['no pause', workload(), 'keda_scaled_object_paused', [[so, 0]]],
    ['no pause of a ScaledJob', job({ paused: true }), 'keda_scaled_object_paused', []],
    ['errors', workload({ errors: 4 }), 'keda_scaled_object_errors_total', [[so, 4]]],
    ['errors of a ScaledJob', job({ errors: 4 }), 'keda_scaled_job_errors_total', [[sj, 4]]],
    ['lateness', workload({ lateMs: 1500 }), 'keda_internal_scale_loop_latency_seconds', [[both, 1.5]]],
    ['readiness', workload(), 'eventide_workload_ready', [[both, 1]]],
    [
      'half a readiness',
      workload({ report: report({ ready: condition('Unknown') }) }),
      'eventide_workload_ready',
      [[both, 0]],
    ],
    ['nothing before it was decided on', workload({ report: undefined }), 'eventide_workload_ready', []],
    [
      'a fallback',
      workload({ report: report({ fallback: condition('True') }) }),
      'eventide_workload_fallback',
      [[both, 1]],
    ],
    ['replicas', workload({ report: report({ replicas: 3 }) }), 'eventide_scaled_object_replicas', [[so, 3]]],
    [
      'wishes',
      workload({ report: report({ desired: 0 }) }),
      'eventide_scaled_object_desired_replicas',
      [[so, 0]],
    ],
    [
      'changes',
      workload({ changes: { out: 2, in: 1, failed: 0 } }),
      'eventide_scale_changes_total',
      [
        [{ ...so, direction: 'out' }, 2],
        [{ ...so, direction: 'in' }, 1],
        [{ ...so, direction: 'failed' }, 0],
      ],
    ],
    [
      'Jobs',
      job({ report: report({ jobs: { pending: 1, running: 2, succeeded: 3, failed: 4 } }) }),
      'eventide_jobs',
      [
        [{ ...sj, state: 'pending' }, 1],
        [{ ...sj, state: 'running' }, 2],
        [{ ...sj, state: 'succeeded' }, 3],
        [{ ...sj, state: 'failed' }, 4],
      ],
    ],
    [
      'messages',
      job({ messages: { claimed: 9, acknowledged: 7, released: 1, deadLettered: 1 } }),
      'eventide_messages_total',
      [
        [{ ...sj, outcome: 'claimed' }, 9],
        [{ ...sj, outcome: 'acknowledged' }, 7],
        [{ ...sj, outcome: 'released' }, 1],
        [{ ...sj, outcome: 'deadLettered' }, 1],
      ],
    ],
  ])('tell of %s', async (_title, one, name, expected) => {
    expect(of(await scrape([one]), name)).toEqual(expected);
  });

  it('count triggers by type and objects by kind', async () => {
    const cron = trigger({ type: 'cron', index: 1, metricName: 's1-cron' });

    const samples = await scrape(
      [workload({ triggers: [trigger(), cron] }), workload({ name: 'b' }), job()],
      {
        registered: () => [{ type: 'trigger_authentication', namespace: 'shop', count: 5 }],
      },
    );

    expect(of(samples, 'keda_trigger_registered_total')).toEqual([
      [{ type: 'azure-queue' }, 3],
      [{ type: 'cron' }, 1],
    ]);
    expect(of(samples, 'keda_resource_registered_total')).toEqual([
      [{ type: 'scaled_object', namespace: 'shop' }, 2],
      [{ type: 'scaled_job', namespace: 'shop' }, 1],
      [{ type: 'trigger_authentication', namespace: 'shop' }, 5],
    ]);
  });

  it('are those of every workload, in portions', async () => {
    const many = Array.from({ length: 1201 }, (_, index) => workload({ name: `web-${index}` }));

    const samples = await scrape(many);

    const told = of(samples, 'keda_scaler_metrics_value').map(
      ([labels]) => (labels as Labels)['scaledObject'],
    );
    expect(told).toEqual(many.map(({ name }) => name));
  });

  it('are the leader’s to tell', async () => {
    const samples = await scrape([workload()], { leads: () => false });

    expect(of(samples, 'eventide_leader')).toEqual([[{}, 0]]);
    expect(of(samples, 'keda_scaled_object_paused')).toEqual([]);
  });
});

describe('the series of the process', () => {
  it('say what runs, for whom, and what it costs', async () => {
    const samples = await scrape([]);
    const names = samples.map(({ name }) => name);

    expect(of(samples, 'keda_build_info')).toMatchObject([[{ version: '1.2.3', git_commit: 'abc' }, 1]]);
    expect(of(samples, 'eventide_connections')).toEqual([[{}, 7]]);
    expect(of(samples, 'eventide_leader')).toEqual([[{}, 1]]);
    expect(names).toEqual(
      expect.arrayContaining(['process_cpu_seconds_total', 'nodejs_eventloop_lag_seconds']),
    );
    expect(samples.find(({ name }) => name === 'process_resident_memory_bytes')?.value).toBeGreaterThan(1e6);
  });

  it('count what was judged at admission', async () => {
    const admission = new AdmissionCounts();
    admission.validated('shop', 'create');
    admission.validated('shop', 'create');
    admission.refused('shop', 'create', 'other-hpa');

    const samples = await scrape([], { admission });

    const labels = { namespace: 'shop', action: 'create' };
    expect(of(samples, 'keda_webhook_scaled_object_validations_total')).toEqual([[labels, 2]]);
    expect(of(samples, 'keda_webhook_scaled_object_validation_errors_total')).toEqual([
      [{ ...labels, reason: 'other-hpa' }, 1],
    ]);
  });

  it.each([
    ['another path', 404, '/', 'GET'],
    ['a POST', 405, '/metrics', 'POST'],
  ])('are not told at %s', async (_title, status, url, method) => {
    const handler = prometheus({
      build: { version: '1', commit: '' },
      leads: () => true,
      workloads: () => [],
      connections: () => 0,
    });

    expect(await handler(requestOf(url, { method }))).toMatchObject({ status });
  });
});

describe('what is written about the series', () => {
  const series = /\b(?:keda|eventide|process|nodejs)_[a-z_]*[a-z](?=[^a-z_.-]|$)/g;
  const told = async () => {
    const handler = prometheus({
      build: { version: '1', commit: '' },
      leads: () => true,
      workloads: () => [],
      connections: () => 0,
      admission: new AdmissionCounts(),
    });
    const { body } = await handler(requestOf('/metrics'));
    return [...String(body).matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name).sort();
  };

  it('names every series, and none that there is not', async () => {
    const page = readFileSync('docs/monitoring.md', 'utf8');

    const named = new Set(
      [...page.matchAll(/`([^`]*)`/g)].flatMap(([, code = '']) => code.match(series) ?? []),
    );

    expect([...named].sort()).toEqual(await told());
  });

  it('alerts by series that there are, and explains each alert', async () => {
    interface Rule {
      alert: string;
      expr: string;
      labels: { severity: string };
      annotations: { summary: string; description: string };
    }
    const text = readFileSync('deploy/prometheus-rules.yaml', 'utf8');
    const groups = (parse(text) as { spec: { groups: { rules: Rule[] }[] } }).spec.groups;
    const rules = groups.flatMap(group => group.rules);
    const page = readFileSync('docs/monitoring.md', 'utf8');
    const names = await told();

    for (const {
      alert,
      expr,
      labels: { severity },
      annotations: { summary, description },
    } of rules) {
      const used = expr.match(series) ?? [];
      expect([alert, used.filter(name => !names.includes(name)), used.length > 0]).toEqual([alert, [], true]);
      expect(page).toContain(alert);
      expect(['critical', 'warning', 'info']).toContain(severity);
      expect([summary, description].every(each => each.length > 0)).toBe(true);
    }
    expect(rules.length).toBeGreaterThan(5);
  });
});
