import type { Fault } from '../base/errors.ts';
import { answerOf, type Health, nextHealth, onFallback } from '../decide/fallback.ts';
import { externalMetric, type HpaMetric } from '../decide/hpa-metrics.ts';
import { type Answer, type Reading, reportedValue } from '../decide/reading.ts';
import type { BoundRead } from '../scaler/bind.ts';
import { isResource as isResourceTrigger } from '../spec/rules-of-scaling.ts';
import type { ScaledObject } from '../spec/workload.ts';
import { type Composite, combine, compositeName } from './composite.ts';
import type { Memory } from './memory.ts';
import type { TargetState } from './ports.ts';
import { placeOf, type TriggerState, type Triggers } from './triggers.ts';

/** What an autoscaler that asks for a metric is told. */
export type MetricAnswer =
  | { kind: 'values'; values: readonly { metricName: string; value: number }[] }
  /** There is no such metric, or no such workload. */
  | { kind: 'missing' }
  | { kind: 'failed'; fault: Fault };

/** Whether it is about cpu or memory, which are not read from a source. */
export const isResource = ({ trigger }: TriggerState) => isResourceTrigger(trigger);

/** The name under which a trigger's value goes; one that cannot be built has what all names of its place begin with. */
export function metricNameOf({ trigger, bound }: TriggerState): string {
  return bound?.kind === 'read' ? bound.metricName : `s${trigger.index}-${trigger.type}`;
}

/** What a trigger aims at; one that cannot be built has any target that makes n replicas of a fallback n again. */
export function targetOf({ bound }: TriggerState): BoundRead['target'] {
  return bound?.kind === 'read' ? bound.target : { type: 'AverageValue', value: 1 };
}

/** The metric of a trigger, one that cannot be built included: it is unknown, and holds what others would lower. */
export function metricsOf(state: TriggerState, answer: Answer | undefined): HpaMetric[] {
  if (isResource(state)) return [];
  const { type, value } = targetOf(state);
  return [externalMetric({ name: metricNameOf(state), targetType: type, target: value }, answer)];
}

/** What is known of the target when fallbacks are computed. */
type Standing = Pick<TargetState, 'replicas' | 'readyReplicas'> | undefined;

/** A reading that has been counted in the health of its metric. */
interface Counted {
  state: TriggerState;
  reading: Reading;
  health: Health;
}

/** Turns readings of a ScaledObject's triggers into what decisions and autoscalers work with. */
export class TriggerAnswers {
  readonly #workload: ScaledObject;
  readonly #composite: Composite | undefined;
  readonly #memory: Memory;

  constructor(
    workload: ScaledObject,
    { composite, memory }: { composite: Composite | undefined; memory: Memory },
  ) {
    this.#workload = workload;
    this.#composite = composite;
    this.#memory = memory;
  }

  /** The answer of one reading, which counts in the health of its metric. */
  take(state: TriggerState, reading: Reading, standing: Standing): Answer {
    return this.#answer(this.#counted(state, reading), standing);
  }

  #counted(state: TriggerState, reading: Reading): Counted {
    const key = placeOf(state);
    const health = nextHealth(this.#memory.healths.get(key), reading);
    this.#memory.healths.set(key, health);
    return { state, reading, health };
  }

  #answer({ state, reading, health }: Counted, standing: Standing): Answer {
    const own = targetOf(state);
    const { targetType, target } = this.#composite ?? { targetType: own.type, target: own.value };
    const aim = {
      targetType,
      target,
      replicas: standing?.replicas,
      readyReplicas: standing?.readyReplicas,
    };
    return answerOf(reading, health, { fallback: this.#workload.fallback, target: aim });
  }

  /**
   * Reads what an autoscaler asks for, now, or takes the last reading where the trigger says so.
   *
   * @param metricName in any case; with a formula every name gives the formula's value, as in KEDA
   * @param readTarget asked only where a fallback needs it
   */
  async metric(
    metricName: string,
    triggers: Triggers,
    { readTarget, now }: { readTarget(): Promise<Standing>; now(): number },
  ): Promise<MetricAnswer> {
    await triggers.prepare();
    const { fallback } = this.#workload;
    const composite = this.#composite;
    const external = triggers.states.filter(state => !isResource(state));
    const wanted = metricName.toLowerCase();
    const asked =
      composite === undefined
        ? external.filter(state => names(state, wanted))
        : wanted === compositeName || external.some(state => names(state, wanted))
          ? external
          : [];
    if (asked.length === 0) return { kind: 'missing' };
    const readings = await Promise.all(
      asked.map(async state => ({ state, reading: await triggers.ask(state) })),
    );
    const counted = readings.map(({ state, reading }) => this.#counted(state, reading));
    const needsTarget =
      fallback !== undefined &&
      counted.some(({ reading, health }) => !reading.ok && onFallback(health, fallback));
    const standing = needsTarget ? await readTarget() : undefined;
    const terms = counted.map(each => ({
      trigger: each.state.trigger,
      answer: this.#answer(each, standing),
    }));
    if (composite !== undefined) {
      return told(compositeName, combine(composite, { terms, fallback }, now()).answer);
    }
    return told(metricName, terms[0]?.answer);
  }
}

/** A trigger that cannot be built is still asked for under the name it had, or that another process gave it. */
function names(state: TriggerState, wanted: string): boolean {
  const name = metricNameOf(state).toLowerCase();
  return state.bound === undefined ? wanted.startsWith(`s${state.trigger.index}-`) : wanted === name;
}

function told(metricName: string, answer: Answer | undefined): MetricAnswer {
  if (answer === undefined) return { kind: 'missing' };
  if (answer.kind === 'unknown' || answer.kind === 'absent') return { kind: 'failed', fault: answer.fault };
  return { kind: 'values', values: [{ metricName, value: reportedValue(answer.value) }] };
}
