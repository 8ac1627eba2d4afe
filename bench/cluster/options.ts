import { parseArgs } from 'node:util';

export type OperatorName = 'eventide' | 'keda' | 'none';

/** What the command line asks for. */
export interface ClusterBenchOptions {
  /** A cluster that is there; one of our own is started for each measurement unless given. */
  kubeconfig: string | undefined;
  /** What to start; `none` measures the one that runs in the cluster. */
  operator: OperatorName;
  /** Processes of an operator that we did not start, to read their CPU and memory. */
  pids: readonly number[];
  /** Where such an operator serves external.metrics.k8s.io without the API server before it. */
  metricsUrl: string | undefined;
  /** Where the operator finds this machine. */
  sourceHost: string;
  /** How long to wait for 1,000 ScaledObjects to become Ready, in seconds. */
  patience: number;
  rows: readonly string[];
}

export const usage = `npm run bench -- --cluster [options] [row…]
  --kubeconfig FILE      measure in this cluster; a control plane is started unless given
  --operator NAME        eventide, keda or none: what to start (eventide; none with --kubeconfig)
  --pid N                a process of the operator that runs there, to read its CPU and memory; may be repeated
  --metrics-url URL      where that one serves external.metrics.k8s.io itself
  --source-host HOST     where the operator finds this machine (127.0.0.1)
  --patience SECONDS     how long 1,000 new ScaledObjects may take to become Ready (180)`;

/** @throws Error with the usage where an argument is not one of it */
export function readOptions(args: readonly string[], rows: readonly string[]): ClusterBenchOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      kubeconfig: { type: 'string' },
      operator: { type: 'string' },
      pid: { type: 'string', multiple: true },
      'metrics-url': { type: 'string' },
      'source-host': { type: 'string' },
      patience: { type: 'string' },
    },
  });
  const operator = values.operator ?? (values.kubeconfig === undefined ? 'eventide' : 'none');
  const unknown = positionals.filter(name => !rows.includes(name));
  if (!isOperator(operator) || unknown.length > 0) throw new Error(`${usage}\nrows: ${rows.join(', ')}`);
  return {
    kubeconfig: values.kubeconfig,
    operator,
    pids: (values.pid ?? []).map(Number),
    metricsUrl: values['metrics-url'],
    sourceHost: values['source-host'] ?? '127.0.0.1',
    patience: Number(values.patience ?? 180),
    rows: positionals,
  };
}

const isOperator = (name: string): name is OperatorName => ['eventide', 'keda', 'none'].includes(name);
