import { homedir } from 'node:os';
import process from 'node:process';
import { systemClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { type KubeClient, kubeClient } from '../kube/client.ts';
import { type KubeConfig, loadKubeConfig } from '../kube/kubeconfig.ts';
import { decisionsPath } from '../serve/decisions-api.ts';
import type { Asked, Explained, ExplainedRecord, ExplainOptions } from './explain.ts';

const configOf = ({ kubeconfig, context }: Pick<ExplainOptions, 'kubeconfig' | 'context'>) =>
  loadKubeConfig({ file: kubeconfig, context, environment: process.env, home: homedir() });

/** Whether a kubeconfig, or the pod we are in, names a cluster. */
export async function hasCluster(options: Pick<ExplainOptions, 'kubeconfig' | 'context'>): Promise<boolean> {
  return await configOf(options).then(
    () => true,
    () => false,
  );
}

/** How long an answer may take, in milliseconds. */
const answerMs = 15_000;
/** With several processes one leads, and each question may reach another one. */
const tries = 8;
const plurals: Readonly<Record<string, string>> = { ScaledObject: 'scaledobjects', ScaledJob: 'scaledjobs' };

/**
 * What the operator of a cluster decided about a workload. The question goes through the API server, which knows who
 * may ask it.
 *
 * @throws Fault USAGE where there is no such workload, KUBE_REFUSED, KUBE_UNREACHABLE, KUBE_FAILED
 */
export async function explainedInCluster(
  asked: Asked,
  options: Omit<ExplainOptions, 'last'> & { last: number },
): Promise<Explained> {
  const config = await configOf(options);
  await using client = kubeClient(config, { clock: systemClock, log: silentLog });
  const namespace = asked.namespace ?? options.namespace ?? config.namespace;
  const kinds = asked.kind === undefined ? Object.keys(plurals) : [asked.kind];
  const answers = await Promise.allSettled(
    kinds.map(kind => ask(client, { kind, namespace, name: asked.name, last: options.last })),
  );
  const found = answers.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []));
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  if (only !== undefined) {
    const choices = found.map(({ key }) => key).join(' or ');
    throw new Fault('USAGE', `"${asked.name}" may be ${choices}: say which`);
  }
  throw refused(
    answers.map(each => (each.status === 'rejected' ? each.reason : undefined)),
    config,
  );
}

async function ask(
  client: KubeClient,
  { kind, namespace, name, last }: { kind: string; namespace: string; name: string; last: number },
): Promise<Explained> {
  const path = `${decisionsPath(namespace, plurals[kind] ?? '', name)}?last=${last}`;
  for (let left = tries; ; left -= 1) {
    try {
      const answer = await client.raw({ method: 'GET', path, signal: AbortSignal.timeout(answerMs) });
      const { workload, items } = answer as { workload: string; items: ExplainedRecord[] };
      return { key: workload, records: items };
    } catch (thrown) {
      const standsBy = thrown instanceof Fault && thrown.message.includes('stands by');
      if (!standsBy || left === 1) throw thrown;
    }
  }
}

function refused(reasons: readonly unknown[], { origin }: KubeConfig): unknown {
  const faults = reasons.filter(each => each instanceof Fault);
  const other = faults.find(({ code }) => code !== 'KUBE_NOT_FOUND');
  if (other !== undefined) return other;
  const [first] = faults;
  return new Fault('USAGE', `${first?.message ?? 'there is no such workload'} (asked: ${origin})`, {
    cause: first,
  });
}
