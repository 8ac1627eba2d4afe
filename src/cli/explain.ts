import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { deadline } from '../base/deadline.ts';
import { formatDuration } from '../base/duration.ts';
import { Fault, faultOf } from '../base/errors.ts';
import { httpClient } from '../base/http.ts';
import type { DecisionRecord } from '../engine/records.ts';
import { didYouMean } from '../spec/suggest.ts';

export interface ExplainOptions {
  state: string;
  last: string;
  json?: boolean;
  namespace?: string;
  kubeconfig?: string;
  context?: string;
}

/** Where a running eventide answers, as it wrote it into its state folder. */
export interface ApiAddress {
  port: number;
  token: string;
  pid: number;
}

/** The file in the state folder that says so. */
export const apiFile = 'api.json';

/** What was decided about one workload. */
export interface Explained {
  key: string;
  records: readonly ExplainedRecord[];
}

/** A record as it comes over the wire. */
export type ExplainedRecord = DecisionRecord & Serialised;

/**
 * `eventide explain WORKLOAD`: of the eventide that runs with the state folder, or of the operator of a cluster
 * where one is named or nothing runs here.
 *
 * @throws Fault USAGE, SOURCE_UNREACHABLE where nothing runs with this state folder and there is no cluster
 */
export async function explain(workload: string, options: ExplainOptions): Promise<0> {
  const last = Number(options.last);
  if (!Number.isInteger(last) || last < 1)
    throw new Fault('USAGE', `--last needs a whole number, not "${options.last}"`);
  const { key, records } = await explained(workload, options, last);
  const now = Date.now();
  const text = options.json
    ? JSON.stringify(records, null, 2)
    : records.map(record => tell(record, now)).join('\n');
  process.stdout.write(`${records.length === 0 ? `${key}: nothing was decided yet` : text}\n`);
  return 0;
}

async function explained(workload: string, options: ExplainOptions, last: number): Promise<Explained> {
  const { namespace, kubeconfig, context } = options;
  const here = existsSync(join(options.state, apiFile));
  const named = namespace !== undefined || kubeconfig !== undefined || context !== undefined;
  if (here && !named) return await explainedHere(workload, options.state, last);
  const { explainedInCluster, hasCluster } = await import('./explain-cluster.ts');
  if (!named && !(await hasCluster(options))) return await explainedHere(workload, options.state, last);
  return await explainedInCluster(parse(workload), { ...options, last });
}

async function explainedHere(workload: string, stateFolder: string, last: number): Promise<Explained> {
  const ask = await connect(stateFolder);
  const workloads = (await ask('/v1/workloads')) as { key: string; kind: string; name: string }[];
  const { key } = choose(workload, workloads);
  const records = await ask(`/v1/records?workload=${encodeURIComponent(key)}&last=${last}`);
  return { key, records: records as ExplainedRecord[] };
}

/** Faults come as JSON. */
interface Serialised {
  failed?: { code: string; message: string };
  triggers: { fault?: { code: string; message: string } }[];
}

async function connect(stateFolder: string): Promise<(path: string) => Promise<unknown>> {
  const nothing = `no eventide runs with the state folder "${stateFolder}"`;
  const file = await readFile(join(stateFolder, apiFile), 'utf8').catch(() => undefined);
  if (file === undefined)
    throw new Fault('SOURCE_UNREACHABLE', `${nothing}: start \`eventide run\` first, or give --state`);
  const { port, token } = JSON.parse(file) as ApiAddress;
  return async path => {
    await using client = httpClient();
    using limit = deadline(undefined, 5000);
    const headers = { authorization: `Bearer ${token}` };
    try {
      const url = `http://127.0.0.1:${port}${path}`;
      const { status, body } = await client.send({
        url,
        headers,
        signal: limit.signal,
        maxBytes: 64 * 1024 * 1024,
      });
      if (status === 200) return JSON.parse(body.toString());
    } catch (thrown) {
      throw new Fault('SOURCE_UNREACHABLE', `${nothing} any more: ${faultOf(thrown).message}`, {
        cause: thrown,
      });
    }
    throw new Fault('SOURCE_REFUSED', `another program answers at the address in "${stateFolder}"`);
  };
}

const kinds: Record<string, string> = {
  so: 'ScaledObject',
  scaledobject: 'ScaledObject',
  sj: 'ScaledJob',
  scaledjob: 'ScaledJob',
};

/** `so/NAME`, `sj/NAME`, `ScaledObject/NAMESPACE/NAME` or just a name. */
export interface Asked {
  kind: string | undefined;
  namespace: string | undefined;
  name: string;
}

function parse(asked: string): Asked {
  const parts = asked.split('/');
  const kind = parts.length > 1 ? kinds[(parts[0] ?? '').toLowerCase()] : undefined;
  const namespace = parts.length > 2 ? parts[1] : undefined;
  return { kind, namespace, name: parts.at(-1) ?? asked };
}

function choose(
  asked: string,
  workloads: readonly { key: string; kind: string; name: string }[],
): { key: string } {
  const { kind, name } = parse(asked);
  const found = workloads.filter(
    each => each.key === asked || (each.name === name && (kind ?? each.kind) === each.kind),
  );
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  if (only !== undefined) {
    throw new Fault('USAGE', `"${asked}" may be ${found.map(({ key }) => key).join(' or ')}: say which`);
  }
  const names = workloads.map(each => each.name);
  const there = names.length === 0 ? 'there is none' : `there are ${names.join(', ')}`;
  throw new Fault('USAGE', `there is no workload "${asked}"${didYouMean(name, names)}: ${there}`);
}

function tell(record: DecisionRecord & Serialised, now: number): string {
  const { at, lastAt, times } = record;
  const when = `${new Date(at).toISOString()} (${formatDuration(Math.max(0, now - lastAt))} ago)`;
  const again = times > 1 ? `, and the same ${times - 1} times since` : '';
  const lines = [`${when}${again}`, `  ${record.decision.why}`];
  if (record.failed !== undefined) lines.push(`  not done: ${record.failed.message} (${record.failed.code})`);
  for (const { name, type, value, target, active, fault, at: readAt } of record.triggers) {
    // What the pods use is in the arithmetic below.
    if (type === 'cpu' || type === 'memory') continue;
    const age = readAt === undefined ? '' : `, read ${formatDuration(Math.max(0, at - readAt))} before`;
    const said = fault === undefined ? `${value ?? 'not read'}` : `unknown: ${fault.message} (${fault.code})`;
    lines.push(
      `  ${name === type ? type : `${name} (${type})`}: ${said}, target ${target}, ${active ? 'active' : 'not active'}${age}`,
    );
  }
  return [...lines, ...arithmetic(record)].join('\n');
}

function arithmetic(record: DecisionRecord): string[] {
  switch (record.kind) {
    case 'replicas': {
      const { decision, seen, limits } = record;
      const { hpa } = decision;
      const bounds = `between ${limits.minReplicaCount ?? 0} and ${limits.maxReplicaCount}`;
      const size = `  replicas ${seen.replicas ?? 'unknown'} → ${'to' in decision ? decision.to : (seen.replicas ?? 'unknown')}, ${bounds}`;
      if (hpa === undefined) return [size];
      const metrics = hpa.metrics.map(({ name, value, target, replicas, problem }) =>
        replicas === undefined
          ? `  ${name}: no proposal, ${problem}`
          : `  ${name}: ${value} against ${target} proposes ${replicas}${problem === undefined ? '' : ` (fallback: ${problem})`}`,
      );
      const steps = `  proposed ${hpa.proposed ?? 'nothing'}, after stabilisation ${hpa.stabilized ?? 'the same'}, limited by ${hpa.limit}`;
      return [...metrics, steps, size];
    }
    case 'activation': {
      const { decision, seen, limits } = record;
      const to = 'to' in decision ? decision.to : (seen.replicas ?? 'unknown');
      return [
        `  replicas ${seen.replicas ?? 'unknown'} → ${to}, at least ${limits.minReplicaCount ?? 0}; above that the HorizontalPodAutoscaler decides`,
      ];
    }
    case 'jobs': {
      const { scaleTo, maxScale, running, pending, limit, wanted, rule } = record.decision;
      return [
        `  ${scaleTo} wait, at most ${maxScale} Jobs for them; ${running} unfinished, ${pending} of them pending`,
        `  strategy ${rule}: ${wanted} wanted, ${limit} allowed`,
      ];
    }
    case 'delivery': {
      const { unfinished, maxReplicaCount } = record.seen;
      return [`  ${record.decision.created} created; ${unfinished} unfinished of at most ${maxReplicaCount}`];
    }
  }
}
