import { formatDuration } from '../base/duration.ts';
import type { JobCounts, Report } from '../engine/ports.ts';
import { formatProblem, type Problem } from '../spec/problem.ts';
import type { Workload } from '../spec/workload.ts';

/** A line that a process of a workload printed. */
export interface OutputLine {
  /** The process's name, such as `image-worker-0/resize`. */
  process: string;
  stream: 'stdout' | 'stderr';
  text: string;
  /** Epoch milliseconds. */
  at: number;
}

/** Where people, or machines, see what happens. Disposing it leaves the terminal as it was found. */
export interface Console extends Disposable {
  report(workload: Workload, report: Report): void;
  output(line: OutputLine): void;
  notice(notice: Problem): void;
  say(at: number, sentence: string): void;
}

/** The part of a terminal that the live view needs; `process.stdout` is one. */
export interface Terminal {
  write(text: string): unknown;
  readonly columns?: number;
  readonly rows?: number;
}

const clockTime = (at: number) => new Date(at).toISOString().slice(11, 19);

/** One JSON object a line: `{"at":…,"kind":"decision"|"output"|"notice"|"message",…}`. */
export function jsonConsole(write: (text: string) => unknown): Console {
  const emit = (kind: string, at: number | undefined, facts: object) =>
    write(
      `${JSON.stringify({ ...(at === undefined ? {} : { at: new Date(at).toISOString() }), kind, ...facts })}\n`,
    );
  return {
    report: ({ key }, { at, ...report }) => emit('decision', at, { workload: key, ...report }),
    output: ({ at, ...line }) => emit('output', at, line),
    notice: notice => emit('notice', undefined, notice),
    say: (at, sentence) => emit('message', at, { sentence }),
    [Symbol.dispose]() {},
  };
}

/** Plain lines for a log or a pipe: decisions when they change, and every line of every process. */
export function plainConsole(write: (text: string) => unknown): Console {
  const last = new Map<string, string>();
  return {
    report(workload, report) {
      const sentence = describeReport(workload, report);
      // Jobs come and go by the second; what ended is news, what began shows in its output.
      const news =
        report.jobs === undefined
          ? sentence
          : [report.why, report.jobs.succeeded, report.jobs.failed, ...faultsOf(report)].join(' ');
      if (last.get(workload.key) === news) return;
      last.set(workload.key, news);
      write(`${clockTime(report.at)} ${workload.name}: ${sentence}\n`);
    },
    output: ({ process, text, at }) => write(`${clockTime(at)} ${process} | ${text}\n`),
    notice: notice => write(`notice: ${formatProblem(notice)}\n`),
    say: (at, sentence) => write(`${clockTime(at)} ${sentence}\n`),
    [Symbol.dispose]() {},
  };
}

const faultsOf = ({ triggers }: Pick<Report, 'triggers'>) =>
  triggers.flatMap(({ name, fault }) =>
    fault === undefined ? [] : [`${name}: ${fault.message} (${fault.code})`],
  );

function describeReport(workload: Workload, { why, replicas, desired, jobs, triggers }: Report): string {
  const parts = [why];
  if (jobs !== undefined) parts.push(describeJobs(jobs));
  else if (replicas !== undefined) parts.push(describeReplicas(replicas, desired));
  parts.push(...faultsOf({ triggers }));
  if (workload.kind === 'ScaledObject' && triggers.length > 0)
    parts.push(`backlog ${backlogOf(triggers) ?? 'unknown'}`);
  return parts.filter(part => part !== '').join(' · ');
}

const describeReplicas = (replicas: number, desired: number | undefined) =>
  desired === undefined || desired === replicas
    ? `${replicas} replicas`
    : `${replicas} → ${desired} replicas`;

const describeJobs = ({ pending, running, succeeded, failed }: JobCounts) =>
  `jobs: ${running + pending} running, ${succeeded} done, ${failed} failed`;

function backlogOf(triggers: Report['triggers']): number | undefined {
  const known = triggers.flatMap(({ value }) => (value === undefined ? [] : [value]));
  return known.length === 0 ? undefined : known.reduce((sum, value) => sum + value, 0);
}

const bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/** Draws numbers as bars of one row, scaled to the largest; an unknown one is a dot, a zero the lowest bar. */
export function sparkline(values: readonly (number | undefined)[]): string {
  const largest = Math.max(1, ...values.flatMap(value => (value === undefined ? [] : [value])));
  return values
    .map(value =>
      value === undefined ? '·' : bars[Math.min(7, Math.ceil((Math.max(0, value) / largest) * 7))],
    )
    .join('');
}

const bold = (text: string) => `\u001b[1m${text}\u001b[22m`;
const dim = (text: string) => `\u001b[2m${text}\u001b[22m`;
const red = (text: string) => `\u001b[31m${text}\u001b[39m`;
const green = (text: string) => `\u001b[32m${text}\u001b[39m`;

interface Row {
  workload: Workload;
  report: Report;
  history: (number | undefined)[];
}

/** How the live view is set up; times in milliseconds. */
export interface LiveOptions {
  terminal: Terminal;
  now(): number;
  /** Samples in a sparkline; one is taken every `sampleMs`. */
  samples?: number;
  sampleMs?: number;
}

/**
 * A live view: output lines scroll above a block with two lines per workload that is redrawn in place, at most
 * ten times a second.
 */
export function liveConsole({ terminal, now, samples = 32, sampleMs = 1000 }: LiveOptions): Console {
  const rows = new Map<string, Row>();
  const startedAt = now();
  let waiting = '';
  let drawnHeight = 0;
  let dirty = false;

  const sample = setInterval(() => {
    for (const row of rows.values()) {
      row.history.push(backlogOf(row.report.triggers));
      if (row.history.length > samples) row.history.shift();
    }
    dirty = true;
  }, sampleMs);
  const frame = setInterval(() => {
    if (dirty || waiting !== '') draw();
  }, 100);
  terminal.write('\u001b[?25l');

  function block(): string[] {
    const width = terminal.columns || 80;
    const all = [...rows.values()].flatMap(row => rowLines(row, width, samples));
    const room = Math.max(2, (terminal.rows || 24) - 2);
    const shown =
      all.length > room ? [...all.slice(0, room - 1), dim(`… ${rows.size} workloads in all`)] : all;
    return [
      dim(`── ${formatDuration(now() - startedAt)} ${'─'.repeat(Math.max(0, Math.min(width, 72) - 10))}`),
      ...shown,
    ];
  }

  function erase(): string {
    return drawnHeight === 0 ? '' : `\u001b[${drawnHeight}A\r\u001b[J`;
  }

  function draw(): void {
    const lines = block();
    terminal.write(`${erase()}${waiting}${lines.join('\n')}\n`);
    drawnHeight = lines.length;
    waiting = '';
    dirty = false;
  }

  const scroll = (line: string) => {
    waiting += `${clip(line, terminal.columns || 80)}\n`;
  };
  return {
    report(workload, report) {
      const row = rows.get(workload.key);
      if (row === undefined) rows.set(workload.key, { workload, report, history: [] });
      else Object.assign(row, { workload, report });
      dirty = true;
    },
    output: ({ process, stream, text }) =>
      scroll(`${dim(process)} ${stream === 'stderr' ? red(text) : text}`),
    notice: notice => scroll(dim(`notice: ${formatProblem(notice)}`)),
    say: (_at, sentence) => scroll(sentence),
    [Symbol.dispose]() {
      clearInterval(sample);
      clearInterval(frame);
      draw();
      terminal.write('\u001b[?25h');
    },
  };
}

function rowLines({ workload, report, history }: Row, width: number, samples: number): string[] {
  const backlog = backlogOf(report.triggers);
  const spark = sparkline(history).padStart(samples, ' ');
  const size =
    report.jobs === undefined
      ? `${bold(String(report.replicas ?? '?'))}/${workload.maxReplicaCount} replicas`
      : `${bold(String(report.jobs.running + report.jobs.pending))}/${workload.maxReplicaCount} running  ${green(`${report.jobs.succeeded} done`)}  ${report.jobs.failed > 0 ? red(`${report.jobs.failed} failed`) : '0 failed'}`;
  const fault = report.triggers.find(trigger => trigger.fault !== undefined)?.fault;
  const why = fault === undefined ? report.why : `${red(fault.code)} ${fault.message} · ${report.why}`;
  return [
    clip(
      `${bold(workload.name.padEnd(20))} ${spark} ${String(backlog ?? '?').padStart(6)} waiting   ${size}`,
      width,
    ),
    clip(`  ${dim(why)}`, width),
  ];
}

/** Cuts a line to the width of the terminal without counting or breaking its colour codes. */
function clip(line: string, width: number): string {
  let room = width;
  let clipped = '';
  for (const [part, code] of line.matchAll(/(\u001b\[[\d;]*m)|./gsu)) {
    if (code === undefined && room === 0) continue;
    if (code === undefined) room -= 1;
    clipped += code ?? (part < ' ' ? ' ' : part);
  }
  return clipped;
}
