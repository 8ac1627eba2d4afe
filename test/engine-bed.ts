import { type ManualClock, manualClock } from '../src/base/clock.ts';
import type { Fault } from '../src/base/errors.ts';
import { silentLog } from '../src/base/log.ts';
import type { Secret } from '../src/base/secret.ts';
import { createEngine, type Engine, type EngineOptions } from '../src/engine/engine.ts';
import type { ReadContext } from '../src/scaler/context.ts';
import { type AnyScaler, defineScaler, type Scaler } from '../src/scaler/define.ts';
import { p } from '../src/scaler/params.ts';
import type { ScaledObject, Trigger } from '../src/spec/workload.ts';
import { scaledJob as deliveringJob, modelQueue, straight } from './delivery-model.ts';
import { type MemoryWorld, memoryWorld } from './memory-world.ts';
import { noTokens } from './no-tokens.ts';
import { type Objects, references } from './references.ts';
import { storesOf } from './stores.ts';

interface TestParams {
  endpoint: string;
  query: string | undefined;
  target: number;
  activation: number;
  key: Secret | undefined;
  timeout: number | undefined;
}

type TestContext = ReadContext<{ key: string | undefined }>;

/** A source in memory: what it says and does is a test's to set, what it was asked is remembered. */
export interface TestSource {
  /** What each query gives; one that is not here gives `value`. */
  readonly values: Map<string, number>;
  /** Questions that fail where many are asked at once. */
  readonly faults: Map<string, Fault>;
  value: number;
  /** What happens to a question instead of an answer from `values`. */
  answer: ((query: string, context: TestContext) => Promise<number>) | undefined;
  /** What happens to an attempt to open. */
  opening: ((signal: AbortSignal) => Promise<void>) | undefined;
  readonly opened: string[];
  /** Whether its connections have names, and those that they were given. */
  hasNames: boolean;
  readonly names: string[];
  closed: number;
  /** Each question, with the key that was used for it and when. */
  readonly asked: { query: string; key: string | undefined; at: number }[];
  /** Has every listener told a value, where the source tells by itself. */
  tell(value: number): void;
  /** Ends what the listeners listen to. */
  endTelling(fault?: Fault): void;
  listeners: number;
  /** How often somebody began to listen. */
  listens: number;
  /** The scaler of a type; with `watch` it tells by itself, with `readMany` it answers many at once. */
  scaler(type: string, kind?: 'plain' | 'watch' | 'readMany'): Scaler;
}

/** Says nothing until the signal is aborted, as a source that hangs. */
export const silence = (_query: string, { signal }: { signal: AbortSignal }): Promise<never> =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

export function testSource(clock: ManualClock): TestSource {
  const tellers = new Set<{ tell(value: number): void; end(fault?: Fault): void }>();
  const source: TestSource = {
    values: new Map(),
    faults: new Map(),
    value: 0,
    answer: undefined,
    opening: undefined,
    opened: [],
    hasNames: false,
    names: [],
    closed: 0,
    asked: [],
    listeners: 0,
    listens: 0,
    tell(value) {
      for (const each of tellers) each.tell(value);
    },
    endTelling(fault) {
      for (const each of [...tellers]) each.end(fault);
    },
    scaler(type, kind = 'plain') {
      const declared = defineScaler({
        type,
        doc: 'A number that a test sets.',
        testedWith: { kind: 'none-needed' },
        params: {
          endpoint: p.text({ doc: 'Where.', default: 'here' }),
          query: p.text({ doc: 'What.', optional: true }),
          target: p.number({ doc: 'Target value.', default: '5' }),
          activation: p.number({ doc: 'Active above.', default: '0' }),
          key: p.secret({ doc: 'A credential.', from: ['auth', 'metadata'], optional: true }),
          timeout: p.number({ doc: 'Milliseconds.', optional: true }),
        },
        target: 'target',
        activation: 'activation',
        metricName: ({ query = 'number' }: TestParams) => query,
        endpoint: ({ endpoint, key }: TestParams) => `${endpoint} ${key?.fingerprint() ?? ''}`,
        query: ({ query = '' }: TestParams) => query,
        timeoutMs: ({ timeout }: TestParams) => timeout,
        async open({ endpoint, key }: TestParams, { signal, connectionName }) {
          source.opened.push(endpoint);
          if (source.hasNames) source.names.push(connectionName());
          await source.opening?.(signal);
          return {
            key: key?.reveal(),
            async [Symbol.asyncDispose]() {
              source.closed += 1;
            },
          };
        },
        read: async ({ query = '' }: TestParams, context) => await ask(query, context),
      });
      const scaler = declared as unknown as Scaler;
      if (kind === 'readMany') {
        return {
          ...scaler,
          async readMany(params, context) {
            const queries = (params as TestParams[]).map(({ query = '' }) => query);
            await ask(queries.join('+'), context as TestContext);
            return queries.map(query => source.faults.get(query) ?? source.values.get(query) ?? source.value);
          },
        };
      }
      return kind === 'watch' ? { ...scaler, watch: (_params, { signal }) => listen(signal) } : scaler;
    },
  };

  async function ask(query: string, context: TestContext): Promise<number> {
    source.asked.push({ query, key: context.conn.key, at: clock.elapsed() });
    if (source.answer !== undefined) return await source.answer(query, context);
    return source.values.get(query) ?? source.value;
  }

  async function* listen(signal: AbortSignal): AsyncGenerator<number> {
    const told: number[] = [];
    let ended: { fault: Fault | undefined } | undefined;
    let wake = () => {};
    const teller = {
      tell(value: number) {
        told.push(value);
        wake();
      },
      end(fault?: Fault) {
        ended = { fault };
        wake();
      },
    };
    const stop = () => teller.end();
    signal.addEventListener('abort', stop);
    tellers.add(teller);
    source.listeners += 1;
    source.listens += 1;
    try {
      for (;;) {
        const next = told.shift();
        if (next !== undefined) yield next;
        else if (ended !== undefined) break;
        else
          await new Promise<void>(resolve => {
            wake = resolve;
          });
      }
      if (ended?.fault !== undefined) throw ended.fault;
    } finally {
      tellers.delete(teller);
      source.listeners -= 1;
      signal.removeEventListener('abort', stop);
    }
  }

  return source;
}

export interface EngineBed extends AsyncDisposable {
  clock: ManualClock;
  world: MemoryWorld;
  source: TestSource;
  objects: { -readonly [K in keyof Objects]: Objects[K] };
  engine: Engine;
  /** Sentences that were logged as warnings or errors. */
  complaints: string[];
  queue: ReturnType<typeof modelQueue>;
  /** Ends the engine and starts another over the same world and source. */
  restart(): Promise<void>;
}

/**
 * An engine over a world and a source in memory. Trigger types: `test`, `telling` (the source tells by itself),
 * `together` (many are read at once), `queue` (its messages are delivered), `cpu` and `memory`.
 */
export function engineBed({
  random = () => 0.5,
  more: others = {},
  ...more
}: Pick<EngineOptions, 'random' | 'autoscaler' | 'standby'> & {
  /** Scalers beside these, by type. */
  more?: Record<string, AnyScaler>;
} = {}): EngineBed {
  const clock = manualClock();
  const world = memoryWorld(clock);
  const source = testSource(clock);
  const objects: EngineBed['objects'] = {};
  const complaints: string[] = [];
  const queue = modelQueue(clock);
  const resource = (type: 'cpu' | 'memory'): AnyScaler => ({
    kind: 'resource',
    type,
    doc: 'Its use.',
    testedWith: { kind: 'none-needed' },
    params: { value: p.text({ doc: 'Target.' }), containerName: p.text({ doc: 'Of it.', optional: true }) },
  });
  const scalers: Record<string, AnyScaler> = {
    test: source.scaler('test'),
    telling: source.scaler('telling', 'watch'),
    together: source.scaler('together', 'readMany'),
    queue: defineScaler({
      type: 'queue',
      doc: 'A queue in memory.',
      testedWith: { kind: 'none-needed' },
      params: { length: p.number({ doc: 'Messages per Job.', default: '1' }) },
      target: 'length',
      metricName: () => 'queue',
      endpoint: () => 'queue',
      open: async () => ({ around: straight }),
      read: async () => queue.waiting,
      deliver: queue.delivery,
    }) as unknown as Scaler,
    cpu: resource('cpu'),
    memory: resource('memory'),
    ...others,
  };
  const complain = (sentence: string, facts: object = {}) => {
    complaints.push(`${sentence} ${JSON.stringify(facts)}`);
  };
  const log = { ...silentLog, warn: complain, error: complain };
  const start = () =>
    createEngine({
      world,
      references: references(objects),
      loadScaler: async type => scalers[type],
      tokens: noTokens,
      stores: storesOf(clock),
      clock,
      log,
      random,
      ...more,
    });
  const bed: EngineBed = {
    clock,
    world,
    source,
    objects,
    engine: start(),
    complaints,
    queue,
    async restart() {
      await bed.engine[Symbol.asyncDispose]();
      bed.engine = start();
    },
    [Symbol.asyncDispose]: () => bed.engine[Symbol.asyncDispose](),
  };
  return bed;
}

/** A trigger of type `test` unless told; its place is given by `scaledObject`. */
export const trigger = (
  metadata: Readonly<Record<string, string>> = {},
  over: Partial<Trigger> = {},
): Trigger => ({ index: 0, type: 'test', metadata, secrets: {}, useCachedMetrics: false, ...over });

const placed = (triggers: readonly Trigger[]) => triggers.map((each, index) => ({ ...each, index }));

/** Polls every 10 s, between 0 and 10 replicas, with one trigger. */
export const scaledObject = (over: Partial<ScaledObject> = {}): ScaledObject => {
  const { name = 'web', triggers = [trigger()] } = over;
  return {
    kind: 'ScaledObject',
    key: `ScaledObject/shop/${name}`,
    namespace: 'shop',
    name,
    uid: `uid of ${name}`,
    generation: 1,
    createdAt: 0,
    labels: {},
    annotations: {},
    pollingIntervalMs: 10_000,
    maxReplicaCount: 10,
    maxReplicaCountGiven: true,
    target: { apiVersion: 'apps/v1', kind: 'Deployment', name },
    cooldownPeriodMs: 300_000,
    initialCooldownPeriodMs: 0,
    restoreToOriginalReplicaCount: false,
    horizontalPodAutoscalerConfig: { name: `keda-hpa-${name}` },
    ...over,
    triggers: placed(triggers),
  };
};

/** Counts, unless it is given `delivery`; polls every 10 s. */
export const scaledJob = ({ delivery, ...over }: Parameters<typeof deliveringJob>[0] = {}) => {
  const { delivery: _, ...job } = deliveringJob({ pollingIntervalMs: 10_000, ...over });
  const triggers = placed(over.triggers ?? [trigger({ target: '1' })]);
  return { ...job, triggers, ...(delivery === undefined ? {} : { delivery }) };
};
