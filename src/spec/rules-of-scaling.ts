import type { ManifestDocument } from './documents.ts';
import { descend, shortened } from './field-path.ts';
import { type Breach, type Rule, rule } from './rule.ts';
import { didYouMean } from './suggest.ts';
import type { ScaledObject, Trigger } from './workload.ts';

const resourceTypes = ['cpu', 'memory'];

/** Whether a trigger is answered by the cluster's own resource metrics. */
export const isResource = ({ type }: Trigger) => resourceTypes.includes(type);

/** Whether a formula is asked for: any field of scalingModifiers counts, as in KEDA. */
function usesModifiers({ scalingModifiers }: ScaledObject): boolean {
  return Object.values(scalingModifiers ?? {}).some(value => value !== '');
}

/** The replicas an HPA keeps at least; KEDA takes 0 here where none is given. */
const leastReplicas = ({ minReplicaCount }: ScaledObject) =>
  minReplicaCount === undefined ? 0 : Math.max(1, minReplicaCount);

function* checkModifiers(workload: ScaledObject, checkFormula: CheckFormula): Generator<Breach> {
  if (!usesModifiers(workload)) return;
  const { formula = '', target = '' } = workload.scalingModifiers ?? {};
  const path = ['spec', 'advanced', 'scalingModifiers'];
  if (formula === '') {
    yield { problem: 'scalingModifiers have no formula', mending: 'add one', path };
    return;
  }
  if (target === '') {
    yield { problem: 'scalingModifiers have a formula but no target', mending: 'add a target', path };
  } else if (!/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(target) || !(Number(target) > 0)) {
    yield { problem: `"${target}" is not a number above 0`, path: [...path, 'target'] };
  }
  const names = workload.triggers.flatMap(each => (isResource(each) || !each.name ? [] : [each.name]));
  for (const { problem, mending } of checkFormula(formula, names)) {
    yield { problem, ...(mending === undefined ? {} : { mending }), path: [...path, 'formula'] };
  }
}

type CheckFormula = (formula: string, names: readonly string[]) => readonly Breach[];

function irrelevant(workload: ScaledObject, document: ManifestDocument, field: string): boolean {
  const given = descend(document.value, ['spec', field]) !== undefined;
  return given && (workload.minReplicaCount ?? 0) > 0 && workload.idleReplicaCount === undefined;
}

/** The rules that need nothing but the object itself. */
export const rulesOfScaling: readonly Rule[] = [
  rule({
    name: 'replica-bounds',
    reason: 'incorrect-replicas',
    kinds: ['ScaledObject'],
    *check(workload) {
      const { maxReplicaCount: most, idleReplicaCount: idle, minReplicaCount } = workload;
      const least = leastReplicas(workload);
      if (least > most) {
        const problem = `minReplicaCount ${least} is more than maxReplicaCount ${most}`;
        yield { problem, mending: 'swap or change them', path: ['spec', 'minReplicaCount'] };
      }
      if (idle !== undefined && idle >= least) {
        const shown =
          minReplicaCount === undefined ? 'minReplicaCount, which is not set' : `minReplicaCount ${least}`;
        const problem = `idleReplicaCount ${idle} is not less than ${shown}`;
        const mending = idle === 0 ? 'set minReplicaCount to 1 or more' : 'use 0';
        yield { problem, mending, path: ['spec', 'idleReplicaCount'] };
      }
    },
  }),
  rule({
    name: 'name-length',
    reason: 'name-too-long',
    kinds: ['ScaledObject'],
    level: 'notice',
    *check({ name }) {
      if (name.length <= 63) return;
      const problem = `the name has ${name.length} letters, KEDA refuses more than 63`;
      yield {
        problem,
        mending: 'a shortened name with a hash is used in labels',
        path: ['metadata', 'name'],
      };
    },
  }),
  rule({
    name: 'hpa-name-length',
    reason: 'hpa-name-too-long',
    kinds: ['ScaledObject'],
    level: 'notice',
    *check({ name, horizontalPodAutoscalerConfig: { name: hpa } }) {
      if (hpa.length <= 63 || name.length > 63) return;
      const problem = `the HPA name ${hpa} has ${hpa.length} letters, KEDA refuses more than 63`;
      const mending = 'set a shorter one in spec.advanced.horizontalPodAutoscalerConfig.name';
      yield { problem, mending, path: ['spec', 'advanced', 'horizontalPodAutoscalerConfig', 'name'] };
    },
  }),
  rule({
    name: 'fallback-possible',
    reason: 'incorrect-fallback',
    kinds: ['ScaledObject'],
    *check(workload) {
      if (workload.fallback === undefined || usesModifiers(workload)) return;
      if (!workload.triggers.every(isResource)) return;
      const problem = 'there is nothing to fall back for: every trigger is cpu or memory';
      yield { problem, mending: 'leave fallback out', path: ['spec', 'fallback'] };
    },
  }),
  rule({
    name: 'triggers-cacheable',
    reason: 'incorrect-triggers',
    kinds: ['ScaledObject', 'ScaledJob'],
    *check({ triggers }) {
      for (const { type, useCachedMetrics, index } of triggers) {
        if (!useCachedMetrics || ![...resourceTypes, 'cron'].includes(type)) continue;
        const problem = `property "useCachedMetrics" is not supported for "${type}"`;
        yield { problem, mending: 'leave it out', path: ['spec', 'triggers', index, 'useCachedMetrics'] };
      }
    },
  }),
  rule({
    name: 'trigger-names-unique',
    reason: 'incorrect-triggers',
    kinds: ['ScaledObject', 'ScaledJob'],
    *check({ triggers }) {
      const seen = new Set<string>();
      for (const { name, index } of triggers) {
        if (name === undefined) continue;
        const path = ['spec', 'triggers', index, 'name'];
        if (seen.has(name))
          yield { problem: `the trigger name "${name}" is there twice`, mending: 'rename one', path };
        seen.add(name);
      }
    },
  }),
  rule({
    name: 'trigger-type-known',
    kinds: ['ScaledObject', 'ScaledJob'],
    *check({ triggers }, { triggerTypes }) {
      for (const { type, index } of triggers) {
        if (triggerTypes === undefined || triggerTypes.includes(type)) continue;
        const problem = `there is no trigger type "${shortened(type)}"${didYouMean(type, triggerTypes)}`;
        yield { problem, path: ['spec', 'triggers', index, 'type'] };
      }
    },
  }),
  rule({
    name: 'scaling-modifiers',
    reason: 'scaling-modifiers',
    kinds: ['ScaledObject'],
    check: (workload, around) => checkModifiers(workload, around.checkFormula),
  }),
  rule({
    name: 'fallback-formula',
    reason: 'scaling-modifiers-fallback',
    kinds: ['ScaledObject'],
    *check({ fallback, scalingModifiers }) {
      if (fallback?.behavior !== 'scalingModifiers' || scalingModifiers?.formula) return;
      const problem = 'the fallback behavior scalingModifiers needs a formula';
      const mending = 'set spec.advanced.scalingModifiers.formula or choose another behavior';
      yield { problem, mending, path: ['spec', 'fallback', 'behavior'] };
    },
  }),
  rule({
    name: 'polling-interval-relevant',
    kinds: ['ScaledObject'],
    level: 'notice',
    *check(workload, _around, document) {
      if (!irrelevant(workload, document, 'pollingInterval')) return;
      if (workload.triggers.some(({ useCachedMetrics }) => useCachedMetrics)) return;
      const problem = 'pollingInterval has no effect while minReplicaCount is above 0';
      const mending = 'it matters with minReplicaCount 0, idleReplicaCount or useCachedMetrics';
      yield { problem, mending, path: ['spec', 'pollingInterval'] };
    },
  }),
  rule({
    name: 'cooldown-period-relevant',
    kinds: ['ScaledObject'],
    level: 'notice',
    *check(workload, _around, document) {
      if (!irrelevant(workload, document, 'cooldownPeriod')) return;
      const problem = 'cooldownPeriod has no effect while minReplicaCount is above 0';
      const mending = 'it matters with minReplicaCount 0 or idleReplicaCount';
      yield { problem, mending, path: ['spec', 'cooldownPeriod'] };
    },
  }),
];
