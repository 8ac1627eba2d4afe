import process from 'node:process';
import { setImmediate } from 'node:timers/promises';
import type { WorkloadStatus } from '../engine/engine.ts';
import type { AdmissionCount } from './admission-counts.ts';
import { Exposition, expositionType, labels } from './exposition.ts';
import { type Handler, splitUrl } from './handler.ts';
import { type RegisteredCount, writeWorkloads } from './workload-series.ts';

/** What is told at each scrape; nothing is computed between them. */
export interface MetricsView {
  build: { version: string; commit: string };
  /** Whether this process decides. One that stands by says nothing of workloads, as the leader does. */
  leads(): boolean;
  workloads(): readonly WorkloadStatus[];
  /** Open connections to sources. */
  connections(): number;
  /** How many objects of kinds other than workloads there are. */
  registered?(): Iterable<RegisteredCount>;
  admission?: { validations(): Iterable<AdmissionCount>; errors(): Iterable<AdmissionCount> };
}

/**
 * `GET /metrics`: KEDA's series under KEDA's names and labels, and ours. Ten thousand workloads are written in
 * portions, so that a scrape holds nothing up.
 */
export function prometheus(view: MetricsView): Handler {
  return async ({ method, url }) => {
    if (splitUrl(url).path !== '/metrics') return plain(404, 'the metrics are at /metrics');
    if (method !== 'GET' && method !== 'HEAD') return plain(405, 'only GET is answered here');
    const out = new Exposition();
    const lag = await eventLoopLag();
    writeProcess(out, view, lag);
    if (view.admission !== undefined) writeAdmission(out, view.admission);
    if (view.leads()) await writeWorkloads(out, view.workloads(), view.registered?.() ?? []);
    return { status: 200, headers: { 'content-type': expositionType }, body: out.toString() };
  };
}

const plain = (status: number, body: string) => ({
  status,
  headers: { 'content-type': 'text/plain; charset=utf-8' },
  body,
});

/** In seconds: how long something that is due now waits for its turn. One look for each scrape costs nothing. */
async function eventLoopLag(): Promise<number> {
  const start = performance.now();
  await setImmediate();
  return (performance.now() - start) / 1000;
}

function writeProcess(out: Exposition, view: MetricsView, lag: number): void {
  const { version, commit } = view.build;
  const { platform, arch } = process;
  out.family(
    'keda_build_info',
    'gauge',
    'The build that runs, as KEDA labels it; goversion is that of Node.',
  );
  out.sample(
    labels({ version, git_commit: commit, goversion: process.version, goos: platform, goarch: arch }),
    1,
  );
  out.family('eventide_build_info', 'gauge', 'The build that runs.');
  out.sample(labels({ version, commit, node: process.version }), 1);
  out.family('eventide_leader', 'gauge', 'Whether this process decides.');
  out.sample('', view.leads() ? 1 : 0);
  out.family('eventide_connections', 'gauge', 'Open connections to sources.');
  out.sample('', view.connections());
  const { user, system } = process.cpuUsage();
  out.family('process_cpu_seconds_total', 'counter', 'Processor time used.');
  out.sample('', (user + system) / 1e6);
  out.family('process_resident_memory_bytes', 'gauge', 'Resident memory.');
  out.sample('', process.memoryUsage.rss());
  out.family('process_start_time_seconds', 'gauge', 'When the process was started, in Unix time.');
  out.sample('', performance.timeOrigin / 1000);
  out.family(
    'nodejs_eventloop_lag_seconds',
    'gauge',
    'How long something due waited for its turn at this scrape.',
  );
  out.sample('', lag);
}

function writeAdmission(out: Exposition, admission: NonNullable<MetricsView['admission']>): void {
  out.family(
    'keda_webhook_scaled_object_validations_total',
    'counter',
    'ScaledObjects that were judged at admission.',
  );
  for (const { count, namespace, action } of admission.validations()) {
    out.sample(labels({ namespace, action }), count);
  }
  out.family(
    'keda_webhook_scaled_object_validation_errors_total',
    'counter',
    'ScaledObjects that were refused at admission, by the rule they break.',
  );
  for (const { count, namespace, action, reason = '' } of admission.errors()) {
    out.sample(labels({ namespace, action, reason }), count);
  }
}
