import { flatten } from '../base/flatten.ts';
import { parseQuantity } from '../base/quantity.ts';
import { fingerprint, withoutSecrets } from '../base/secret.ts';
import type { Problem } from '../spec/problem.ts';
import type { Trigger } from '../spec/workload.ts';
import type { ParamContext } from './context.ts';
import type { AnyScaler, MetricSpec, ResourceScaler, Scaler } from './define.ts';
import { indexedMetricName } from './metric-name.ts';
import { type ParamInput, readParams } from './params.ts';

/** A trigger that is read from its source, with everything worked out that reading it needs. */
export interface BoundRead {
  readonly kind: 'read';
  readonly trigger: Trigger;
  readonly scaler: Scaler;
  readonly params: unknown;
  readonly context: ParamContext;
  /** With its index, such as `s0-azure-queue-orders`. */
  readonly metricName: string;
  readonly target: { type: 'AverageValue' | 'Value'; value: number };
  readonly activation: number;
  /** Triggers with the same key share a connection. */
  readonly connectionKey: string;
  /** Triggers with the same key share a reading in flight; undefined where none is shared. */
  readonly readingKey: string | undefined;
  readonly timeoutMs: number | undefined;
}

/** A cpu or memory trigger. A Utilization target is in percent of the request, an AverageValue in cores or bytes. */
export interface BoundResource {
  readonly kind: 'resource';
  readonly trigger: Trigger;
  readonly resource: 'cpu' | 'memory';
  /** The container whose use counts; all of the pod's unless given. */
  readonly container: string | undefined;
  readonly target: { type: 'Utilization' | 'AverageValue'; value: number };
}

export type BoundTrigger = BoundRead | BoundResource;

export type Binding =
  | { ok: true; bound: BoundTrigger; notices: readonly Problem[] }
  | { ok: false; problems: readonly Problem[]; notices: readonly Problem[] };

/**
 * Reads a trigger's parameters with its scaler's declaration. Never throws for what a manifest can say:
 * everything wrong with the trigger comes back as problems, all at once. The places in problems are relative
 * to the trigger, such as `metadata.queueLength`.
 */
export function bindTrigger(
  scaler: AnyScaler,
  trigger: Trigger,
  input: ParamInput,
  context: ParamContext,
): Binding {
  return scaler.kind === 'resource'
    ? bindResource(scaler, trigger, input)
    : bindRead(scaler, trigger, input, context);
}

function bindRead(scaler: Scaler, trigger: Trigger, input: ParamInput, context: ParamContext): Binding {
  const { metricType } = trigger;
  const wrongType =
    metricType === 'Utilization'
      ? [wrongMetricType('Utilization is for cpu and memory only', 'AverageValue or Value')]
      : [];
  const mayLack = context.asMetricSource && scaler.targetParam !== undefined ? [scaler.targetParam] : [];
  const { values, problems, notices } = readParams(scaler.params, input, {
    mayLack,
    anyNames: scaler.anyParams,
  });
  if (problems.length > 0) return { ok: false, problems: [...problems, ...wrongType], notices };
  const params = scaler.resolve(values, context, input);
  if (isProblems(params)) {
    return { ok: false, problems: [...cleaned(params.problems, input), ...wrongType], notices };
  }
  if (metricType === 'Utilization') return { ok: false, problems: wrongType, notices };
  const numbers = values as Record<string, unknown>;
  const identity = fingerprint(JSON.stringify(context.podIdentity));
  const connectionKey = `${scaler.family} ${scaler.endpoint(params)} ${identity}`;
  const query = scaler.query(params);
  const bound: BoundRead = {
    kind: 'read',
    trigger,
    scaler,
    params,
    context,
    metricName: flatten(indexedMetricName(trigger.index, scaler.metricName(params))),
    target: { type: metricType ?? 'AverageValue', value: targetOf(scaler, params, numbers) },
    activation: scaler.activationParam === undefined ? 0 : Number(numbers[scaler.activationParam] ?? 0),
    connectionKey,
    readingKey: query === undefined ? undefined : `${scaler.type} ${connectionKey} ${query}`,
    timeoutMs: scaler.timeoutMs(params),
  };
  return { ok: true, bound, notices };
}

/** A trigger as its source describes it: one for each metric, in the source's order. */
export function bindMetrics(bound: BoundRead, specs: readonly MetricSpec[]): BoundRead[] {
  return specs.map(({ metricName, target, params }) => {
    const query = bound.scaler.query(params);
    return {
      kind: 'read',
      trigger: bound.trigger,
      scaler: bound.scaler,
      params,
      context: bound.context,
      metricName: flatten(indexedMetricName(bound.trigger.index, metricName)),
      target: { type: bound.target.type, value: target },
      activation: bound.activation,
      connectionKey: bound.connectionKey,
      readingKey: query === undefined ? undefined : `${bound.scaler.type} ${bound.connectionKey} ${query}`,
      timeoutMs: bound.timeoutMs,
    };
  });
}

function targetOf(scaler: Scaler, params: unknown, numbers: Readonly<Record<string, unknown>>): number {
  const target = scaler.targetFor(params) ?? scaler.targetParam ?? '';
  return scaler.fixedTarget ?? (typeof target === 'number' ? target : Number(numbers[target] ?? 0));
}

function bindResource(scaler: ResourceScaler, trigger: Trigger, input: ParamInput): Binding {
  const { values, problems, notices } = readParams(scaler.params, input);
  if (problems.length > 0) return { ok: false, problems, notices };
  const type = trigger.metricType;
  if (type !== 'Utilization' && type !== 'AverageValue') {
    const wrong = type === undefined ? 'is missing' : `"${type}" is not for ${scaler.type}`;
    return { ok: false, problems: [wrongMetricType(wrong, 'Utilization or AverageValue')], notices };
  }
  const text = String(values['value']);
  const value = type === 'Utilization' ? parsePercent(text) : parseQuantity(text);
  if (value === undefined) {
    const wanted =
      type === 'Utilization' ? 'a whole number of percent' : 'a Kubernetes quantity such as 500m or 1Gi';
    const problem = { problem: `"${text}" is not ${wanted}`, place: { field: 'metadata.value' } };
    return { ok: false, problems: [problem], notices };
  }
  const container = values['containerName'] as string | undefined;
  const bound: BoundResource = {
    kind: 'resource',
    trigger,
    resource: scaler.type,
    container,
    target: { type, value },
  };
  return { ok: true, bound, notices };
}

/** A whole number of 32 bits. */
function parsePercent(text: string): number | undefined {
  const value = /^[-+]?\d+$/.test(text) ? Number(text) : Number.NaN;
  return value >= -(2 ** 31) && value < 2 ** 31 ? value : undefined;
}

function wrongMetricType(wrong: string, right: string): Problem {
  return { problem: `metricType ${wrong}`, mending: `use ${right}`, place: { field: 'metricType' } };
}

/** A scaler's sentences quote values without knowing where they came from. */
function cleaned(problems: readonly Problem[], { auth, inline = {} }: ParamInput): Problem[] {
  const secrets = [...Object.values(auth), ...Object.values(inline)].map(secret => secret.reveal().trim());
  return problems.map(each => ({
    ...each,
    problem: withoutSecrets(each.problem, secrets),
    ...(each.mending === undefined ? {} : { mending: withoutSecrets(each.mending, secrets) }),
  }));
}

function isProblems(resolved: unknown): resolved is { problems: Problem[] } {
  return typeof resolved === 'object' && resolved !== null && 'problems' in resolved;
}
