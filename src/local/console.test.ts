import { describe, expect, it } from 'vitest';
import { Fault } from '../base/errors.ts';
import type { Report } from '../engine/ports.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { jsonConsole, liveConsole, plainConsole, sparkline } from './console.ts';

const at = Date.UTC(2026, 0, 1, 12, 30, 15);
const condition = { status: 'True', reason: 'x', message: '' } as const;
const workload = {
  kind: 'ScaledObject',
  key: 'ScaledObject/default/web',
  name: 'web',
  maxReplicaCount: 3,
} as ScaledObject;
const report = (over: Partial<Report> = {}): Report => ({
  at,
  why: '12 wait, 5 each',
  ready: condition,
  active: condition,
  replicas: 1,
  desired: 3,
  triggers: [{ name: 'queue', type: 'azure-queue', metricName: 's0-azure-queue-q', value: 12, active: true }],
  ...over,
});

describe('sparkline', () => {
  it.each([
    ['grows with the numbers', [0, 1, 2, 4, 8], '▁▂▃▅█'],
    ['is flat at zero', [0, 0, 0], '▁▁▁'],
    ['shows what is unknown as a dot', [1, undefined, 1], '█·█'],
    ['is empty without numbers', [], ''],
  ])('%s', (_title, values, drawn) => {
    expect(sparkline(values)).toBe(drawn);
  });
});

describe('plainConsole', () => {
  it('prints a decision once, however often it is reported', () => {
    let printed = '';
    const console = plainConsole(text => {
      printed += text;
    });

    console.report(workload, report());
    console.report(workload, report({ at: at + 1000 }));
    console.report(workload, report({ why: 'nothing waits', replicas: 3, desired: 0 }));

    expect(printed).toBe(
      '12:30:15 web: 12 wait, 5 each · 1 → 3 replicas · backlog 12\n12:30:15 web: nothing waits · 3 → 0 replicas · backlog 12\n',
    );
  });

  it('names the trigger that failed, with the code', () => {
    let printed = '';
    const console = plainConsole(text => {
      printed += text;
    });
    const fault = new Fault('SOURCE_REFUSED', 'queue.example answered 403');
    const failed = {
      name: 'queue',
      type: 'azure-queue',
      metricName: 'm',
      value: undefined,
      active: false,
      fault,
    };

    console.report(workload, report({ triggers: [failed] }));

    expect(printed).toContain('queue: queue.example answered 403 (SOURCE_REFUSED) · backlog unknown');
  });

  it('puts the name of the process before what it printed', () => {
    let printed = '';
    const console = plainConsole(text => {
      printed += text;
    });

    console.output({ process: 'web-0/app', stream: 'stdout', text: 'ready', at });

    expect(printed).toBe('12:30:15 web-0/app | ready\n');
  });
});

describe('jsonConsole', () => {
  it('prints one object a line, with the time in ISO form', () => {
    const lines: string[] = [];
    const console = jsonConsole(text => lines.push(text));

    console.report(workload, report());
    console.output({ process: 'web-0/app', stream: 'stderr', text: 'no\nbreak', at });

    expect(lines.map(line => JSON.parse(line))).toMatchObject([
      { at: '2026-01-01T12:30:15.000Z', kind: 'decision', workload: 'ScaledObject/default/web', desired: 3 },
      { at: '2026-01-01T12:30:15.000Z', kind: 'output', process: 'web-0/app', text: 'no\nbreak' },
    ]);
    expect(lines.every(line => line.indexOf('\n') === line.length - 1)).toBe(true);
  });
});

describe('liveConsole', () => {
  function draw(show: (console: ReturnType<typeof liveConsole>) => void, columns = 100): string {
    let written = '';
    const terminal = { write: (text: string) => (written += text), columns, rows: 24 };
    const console = liveConsole({ terminal, now: () => at });
    show(console);
    console[Symbol.dispose]();
    return written;
  }

  it('shows size and last decision of each workload, and gives the cursor back', () => {
    const written = draw(console => console.report(workload, report()));

    expect(written).toMatch(/web .*12 waiting.*1.*\/3 replicas/);
    expect(written).toContain('12 wait, 5 each');
    expect(written.endsWith('\u001b[?25h')).toBe(true);
  });

  it('shows jobs running, done and failed of a ScaledJob', () => {
    const jobs = { pending: 1, running: 2, succeeded: 5, failed: 1 };

    const written = draw(console => console.report(workload, report({ jobs })));

    expect(written).toMatch(/3.*\/3 running.*5 done.*1 failed/);
  });

  it('lets no process move the cursor or clear the screen', () => {
    const written = draw(console =>
      console.output({ process: 'p', stream: 'stdout', text: 'a\u001b[2Jb\u0007c', at }),
    );

    expect(written).not.toContain('\u001b[2J');
    expect(written).not.toContain('\u0007');
  });

  it('never draws a line wider than the terminal', () => {
    const written = draw(console => console.report(workload, report({ why: 'x'.repeat(500) })), 40);

    const widths = written.split('\n').map(line => line.replace(/\u001b\[[?\d;]*[a-zA-Z]/g, '').length);
    expect(Math.max(...widths)).toBeLessThanOrEqual(40);
  });
});
