import type { Fault } from '../base/errors.ts';
import type { Problem } from '../spec/problem.ts';
import type { OpenContext, ParamContext, ReadContext } from './context.ts';
import type { Delivery } from './delivery.ts';
import type { ParamInput, Shape, ValuesOf } from './params.ts';
import type { Tested } from './tested.ts';

/** Whether a number is of the messages that wait, or also of those that are being processed. */
export type Counts = 'waiting' | 'waiting and in flight';

/**
 * What a source says of a trigger: the number for the autoscaler. A scaler whose number does not tell by itself
 * whether the trigger is active, says that beside it; the activation threshold is then its own to apply.
 */
export type Measure = number | { readonly value: number; readonly active: boolean };

/** A metric of a trigger whose source alone knows how it is called and what to aim at. */
export interface MetricSpec<P = unknown> {
  /** Without the index in front. */
  metricName: string;
  target: number;
  /** What this metric is read with. */
  params: P;
}

/**
 * The code for a trigger type. `P` is what its parameters become, `C` an open connection.
 * Made by `defineScaler`; the engine sees it with both unknown.
 */
export interface Scaler<P = unknown, C = unknown> {
  readonly type: string;
  readonly kind: 'read';
  /** What is counted and the one surprising case, for docs. */
  readonly doc: string;
  readonly testedWith: Tested;
  readonly params: Shape;
  /** Names of the parameters that hold the target value and the activation threshold. */
  readonly targetParam: string | undefined;
  /** The target value of a type that has no parameter for it. */
  readonly fixedTarget: number | undefined;
  readonly activationParam: string | undefined;
  /** Whether the number includes messages that are being processed, unless `countsFor` says otherwise. */
  readonly counts: Counts;
  /** True for types whose metrics KEDA refuses to cache. */
  readonly noCachedMetrics: boolean;
  /** Checks what single parameters cannot say and computes what the other functions use. */
  resolve(
    values: Readonly<Record<string, unknown>>,
    context: ParamContext,
    input: ParamInput,
  ): P | { problems: Problem[] };
  /** What the metadata says beside the parameters is for the source to understand, so that no name is unknown. */
  readonly anyParams: boolean;
  /** The name before the index is put in front, already normalised. */
  metricName(params: P): string;
  /** Types of one family open the same connections, and share them. */
  readonly family: string;
  /** What a connection is shared by: the endpoint with the identity, free of secrets. */
  endpoint(params: P): string;
  /** What a reading is shared by among triggers of one connection; undefined where it never is. */
  query(params: P): string | undefined;
  /** The same in words, where it depends on the parameters. */
  readonly countsWords: string | undefined;
  /** What the number includes with these parameters; the job arithmetic needs it. */
  countsFor(params: P): Counts;
  /** What is the target, in words for the docs, where it depends on the parameters. */
  readonly targetWords: string | undefined;
  /** The parameter with the target value, or the value itself, where it depends on the parameters; `targetParam` otherwise. */
  targetFor(params: P): string | number | undefined;
  /** How long a reading may take, in milliseconds, where the parameters say. */
  timeoutMs(params: P): number | undefined;
  open(params: P, context: OpenContext): Promise<C>;
  close(conn: C): Promise<void>;
  read(params: P, context: ReadContext<C>): Promise<Measure>;
  /** What each trigger reads, in order; a Fault where that one alone cannot be read. Throws where none can. */
  readMany?(params: readonly P[], context: ReadContext<C>): Promise<(Measure | Fault)[]>;
  /**
   * What the source says by itself until the signal is aborted: what is to be read, or only that the trigger is
   * active. Ends where the source ends it, and is then begun anew.
   */
  watch?(params: P, context: ReadContext<C>): AsyncIterable<Measure | 'active'>;
  /** The metrics of a trigger, the first one first; asked before the first reading, and again now and then. */
  describe?(params: P, context: ReadContext<C>): Promise<readonly MetricSpec<P>[]>;
  /** The same each time the source changes them, as `watch` does. */
  watchMetrics?(params: P, context: ReadContext<C>): AsyncIterable<readonly MetricSpec<P>[]>;
  readonly deliver?: Delivery<P, C>;
}

/** What depends on the parameters, and how: in code, and in words for the docs page. */
interface Depending<P, T> {
  readonly words: string;
  of(params: P): T;
}

/** A scaler as its file writes it: what is left out has the meaning given here. */
export interface ScalerDeclaration<S extends Shape, P, C extends object> {
  type: string;
  doc: string;
  testedWith: Tested;
  params: S;
  /** The parameter with the target value, or the value itself where KEDA fixes it; none where `describe` tells it. */
  target?: (keyof S & string) | number;
  /** Which parameter holds the target value, or the value itself, where that depends on the others. */
  targetFor?: Depending<P, (keyof S & string) | number>;
  activation?: keyof S & string;
  counts?: Counts;
  /** Where it depends on the parameters. */
  countsFor?: Depending<P, Counts>;
  /** True for types whose metrics KEDA refuses to cache. */
  noCachedMetrics?: boolean;
  /** Returns the problems found, or the params; the plain values unless given. */
  resolve?(values: ValuesOf<S>, context: ParamContext, input: ParamInput): P | { problems: Problem[] };
  anyParams?: boolean;
  /** The trigger type unless given, until `describe` tells it. */
  metricName?(params: P): string;
  /** The trigger type unless given: types that share it open alike, and their endpoints say all that differs. */
  family?: string;
  endpoint(params: P): string;
  /** Triggers with the same query on one connection share a reading; none do unless given. */
  query?(params: P): string;
  timeoutMs?(params: P): number | undefined;
  /** The connection is closed by its own `Symbol.asyncDispose`, where it has one. */
  open(params: P, context: OpenContext): Promise<C>;
  read(params: P, context: ReadContext<C>): Promise<Measure>;
  readMany?(params: readonly P[], context: ReadContext<C>): Promise<(Measure | Fault)[]>;
  watch?(params: P, context: ReadContext<C>): AsyncIterable<Measure | 'active'>;
  describe?(params: P, context: ReadContext<C>): Promise<readonly MetricSpec<P>[]>;
  watchMetrics?(params: P, context: ReadContext<C>): AsyncIterable<readonly MetricSpec<P>[]>;
  deliver?: Delivery<P, C>;
}

/** Makes a scaler from its declaration; nothing is opened and no client library is loaded. */
export function defineScaler<S extends Shape, C extends object, P = ValuesOf<S>>(
  declaration: ScalerDeclaration<S, P, C>,
): Scaler<P, C> {
  const {
    target,
    activation,
    counts = 'waiting',
    noCachedMetrics = false,
    anyParams = false,
    family = declaration.type,
    ...rest
  } = declaration;
  return {
    ...rest,
    kind: 'read',
    anyParams,
    family,
    targetParam: typeof target === 'number' ? undefined : target,
    fixedTarget: typeof target === 'number' ? target : undefined,
    activationParam: activation,
    counts,
    countsWords: declaration.countsFor?.words,
    targetWords: declaration.targetFor?.words,
    noCachedMetrics,
    resolve: (values, context, input) =>
      declaration.resolve === undefined
        ? (values as P)
        : declaration.resolve(values as ValuesOf<S>, context, input),
    metricName: params => declaration.metricName?.(params) ?? declaration.type,
    query: params => declaration.query?.(params),
    countsFor: params => declaration.countsFor?.of(params) ?? counts,
    targetFor: params => declaration.targetFor?.of(params),
    timeoutMs: params => declaration.timeoutMs?.(params),
    async close(conn) {
      if (Symbol.asyncDispose in conn) await (conn as AsyncDisposable)[Symbol.asyncDispose]();
    },
  };
}

/** What `resolve` returns where the parameters do not fit together. */
export function refuse(problems: Problem[]): { problems: Problem[] } {
  return { problems };
}

/** A trigger type whose numbers the world itself knows: cpu and memory. */
export interface ResourceScaler {
  readonly type: 'cpu' | 'memory';
  readonly kind: 'resource';
  readonly doc: string;
  readonly testedWith: Tested;
  readonly params: Shape;
}

/** What stands behind a trigger type. */
export type AnyScaler = Scaler | ResourceScaler;
