import { defineScaler, refuse } from '../scaler/define.ts';
import { selectorProblem } from '../scaler/families/label-selector.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';
import type { Problem } from '../spec/problem.ts';

/** A page of pods; of metadata alone where no node is asked for. */
interface Pods {
  metadata?: { continue?: string };
  items?: { spec?: { nodeName?: string } }[] | null;
}

// What has ended does no work any more.
const alive = 'status.phase!=Succeeded,status.phase!=Failed';
const metadataOnly = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json';
const pageSize = 500;

export default defineScaler({
  type: 'kubernetes-workload',
  doc: "Counts the pods of the namespace that a selector matches, or the nodes they are on. Pods that have ended do not count. Only in a cluster; the workload's own pods must not be among them.",
  testedWith: { kind: 'real', with: 'Kubernetes 1.36.3' },
  params: {
    podSelector: p.text({ doc: 'A label selector, such as app=backend,tier in (a,b).' }),
    value: p.number({ doc: 'Pods per replica; more than 0.', default: '0', unit: 'pods' }),
    activationValue: p.number({ doc: 'Active above this many.', default: '0' }),
    groupByNode: p.flag({ doc: 'Counts the nodes that have such pods instead.', default: 'false' }),
  },
  target: 'value',
  activation: 'activationValue',

  resolve({ podSelector, value, groupByNode }, { asMetricSource, namespace }) {
    const problems: Problem[] = [];
    const wrong = selectorProblem(podSelector);
    if (wrong !== undefined) {
      problems.push({ problem: `"${podSelector}" ${wrong}`, place: { field: 'metadata.podSelector' } });
    }
    if (value <= 0 && !asMetricSource) {
      problems.push({ problem: 'value must be more than 0', place: { field: 'metadata.value' } });
    }
    if (problems.length > 0) return refuse(problems);
    const query = new URLSearchParams({
      labelSelector: podSelector,
      fieldSelector: alive,
      limit: String(pageSize),
    });
    return {
      namespace,
      groupByNode,
      path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods?${query}`,
    };
  },

  metricName: ({ namespace }) => normalizeMetricName(`workload-${namespace}`),
  endpoint: () => 'cluster',
  query: ({ path, groupByNode }) => `${groupByNode} ${path}`,

  open: async () => ({}),

  async read({ path, groupByNode }, { cluster, signal }) {
    const nodes = new Set<string>();
    let pods = 0;
    let more = '';
    do {
      const page = more === '' ? path : `${path}&continue=${encodeURIComponent(more)}`;
      const answer = await cluster.get(page, signal, groupByNode ? undefined : metadataOnly);
      const { items, metadata } = answer as Pods;
      pods += items?.length ?? 0;
      for (const { spec } of groupByNode ? (items ?? []) : []) {
        if (spec?.nodeName !== undefined && spec.nodeName !== '') nodes.add(spec.nodeName);
      }
      more = metadata?.continue ?? '';
    } while (more !== '');
    return groupByNode ? nodes.size : pods;
  },
});
