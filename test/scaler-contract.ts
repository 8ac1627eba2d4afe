import { describe, expect, it } from 'vitest';
import { deadline } from '../src/base/deadline.ts';
import { Fault, type FaultCode } from '../src/base/errors.ts';
import { Secret } from '../src/base/secret.ts';
import { type BoundRead, bindTrigger } from '../src/scaler/bind.ts';
import type {
  ClusterReader,
  OpenContext,
  ParamContext,
  ReadContext,
  TokenSource,
} from '../src/scaler/context.ts';
import type { AnyScaler, Measure } from '../src/scaler/define.ts';
import { noIdentity, type PodIdentity } from '../src/spec/pod-identity.ts';
import {
  closedPort,
  httpServer,
  misbehaviours,
  quoting,
  type TestServer,
  tcpMisbehaviours,
  tcpServer,
} from './misbehaving-http.ts';
import { noTokens } from './no-tokens.ts';
import { enduranceCases, reader } from './scaler-endurance.ts';

/** Parameters of a trigger by where they come from. */
export interface Given {
  params?: Record<string, string>;
  auth?: Record<string, string>;
  env?: Record<string, string>;
}

/** A real server that is running, and how to reach it. */
export interface Served extends Given, AsyncDisposable {
  /** Puts as much into the source as `expect` will read. */
  fill?(count: number): Promise<void>;
  /** Ends the server, and with it every connection. */
  stop?(): Promise<void>;
  /** Starts it again where it was, with as much in it as before. */
  restart?(): Promise<void>;
  /** The connections of ours that the server has, where it can tell. */
  clients?(): Promise<readonly unknown[]>;
}

/** Where something listens, or nothing does. */
export interface Where {
  /** `http://host:port` or `https://host:port` */
  url: string;
  host: string;
  port: number;
}

const httpCases = [
  'refused',
  'notFound',
  'busy',
  'failed',
  'garbage',
  'notHttp',
  'empty',
  'tooLarge',
  'hangsUp',
  'tlsFailure',
] as const;
/** Cases that are nothing but HTTP, or that each protocol has its own way to. */
const httpOnly: readonly string[] = ['refused', 'notFound', 'busy', 'failed', 'empty', 'tooLarge'];
const serverCases = ['wrong', 'missing', 'numbers'] as const;
const networkCases = ['silence', 'abort', 'connectionRefused', 'unknownName', 'leaks'] as const;

export type ContractCase =
  | (typeof httpCases)[number]
  | (typeof networkCases)[number]
  | (typeof serverCases)[number];

export interface ScalerContract extends Given {
  /** Starts a real server, or the stand-in that is the nearest to one. */
  serve(): Promise<Served>;
  fill?: number;
  /** What must be read. */
  expect: number;
  /** The parameters that lead to a server; undefined for a type without one. */
  at: ((where: Where) => Given) | undefined;
  /** `tcp` for a protocol of its own: the cases that only HTTP has are left out. `http` unless told. */
  protocol?: 'http' | 'tcp';
  identity?: PodIdentity;
  tokens?: TokenSource;
  /** Required together though the declaration cannot say so: each missing one must be named. */
  alsoRequired?: string[];
  /** Cases that cannot happen to this scaler, each with the reason. */
  cannot?: Partial<Record<ContractCase, string>>;
  /** Outcomes that differ: a code, or the number that is read. */
  outcomes?: Partial<Record<'empty' | 'notFound' | 'hangsUp' | 'missing', FaultCode | number>>;
  /** Credentials that the real server refuses. Its absence is a case that cannot be. */
  wrong?(served: Served): Given;
  /** What leads to a queue, topic, table or group that is not there. Its absence is a case that cannot be. */
  missing?(served: Served): Given;
  /** A server that says this number. Its absence is a case that cannot be. */
  saying?(number: string): Promise<Served>;
  /** Whether any number may be measured, also one below zero; unless told, only a count of things. */
  measures?: boolean;
  /** Of two thousand opens and closes, which read as well; every one unless told. */
  readEvery?: number;
}

const now = Date.UTC(2026, 0, 15, 12);

/** The context a trigger is bound with where a test does not care. */
export const plainContext: ParamContext = {
  podIdentity: noIdentity,
  namespace: 'default',
  workload: 'app',
  triggerIndex: 0,
  asMetricSource: false,
};

/** What a scaler gets to open a connection with in a test. */
export function openContext(signal: AbortSignal, over: Partial<OpenContext> = {}): OpenContext {
  const connectionName = () => 'eventide for default/app';
  return {
    signal,
    clientName: 'eventide',
    connectionName,
    identity: noIdentity,
    tokens: noTokens,
    http: {},
    ...over,
  };
}

/** What a scaler gets to read with in a test. */
export function readContext<C>(conn: C, signal: AbortSignal): ReadContext<C> {
  const cluster = { get: () => Promise.reject(new Fault('NOT_SUPPORTED', 'there is no cluster here')) };
  return { conn, signal, now, namespace: plainContext.namespace, cluster };
}

/** The problems of a trigger, or the trigger bound to its scaler. */
export function bind(scaler: AnyScaler, given: Given, context: Partial<ParamContext> = {}) {
  const metadata = given.params ?? {};
  const auth = Object.fromEntries(
    Object.entries(given.auth ?? {}).map(([name, value]) => [name, new Secret(value)]),
  );
  const trigger = { index: 0, type: scaler.type, metadata, secrets: {}, useCachedMetrics: false };
  const full = { ...plainContext, ...context };
  return bindTrigger(scaler, trigger, { metadata, auth, env: given.env ?? {} }, full);
}

/** As `bind`, for parameters that must be right. */
export function mustBind(scaler: AnyScaler, given: Given, context: Partial<ParamContext> = {}): BoundRead {
  const binding = bind(scaler, given, context);
  if (!binding.ok) throw new Error(binding.problems.map(({ problem }) => problem).join('; '));
  if (binding.bound.kind !== 'read') throw new Error(`${scaler.type} is not read`);
  return binding.bound;
}

export interface ReadOnce {
  timeoutMs?: number;
  signal?: AbortSignal;
  now?: number;
  open?: Partial<OpenContext>;
  /** None unless given. */
  cluster?: ClusterReader;
}

/** Opens, reads and closes: the number alone. */
export async function readOnce(bound: BoundRead, options: ReadOnce = {}): Promise<number> {
  const measure = await measureOnce(bound, options);
  return typeof measure === 'number' ? measure : measure.value;
}

/** Opens, reads and closes. */
export async function measureOnce(bound: BoundRead, options: ReadOnce = {}): Promise<Measure> {
  using limit = deadline(options.signal, options.timeoutMs ?? 5000);
  const { signal } = limit;
  const { scaler, params, context } = bound;
  const conn = await scaler.open(
    params,
    openContext(signal, { identity: context.podIdentity, ...options.open }),
  );
  try {
    return await scaler.read(params, {
      ...readContext(conn, signal),
      now: options.now ?? now,
      namespace: context.namespace,
      ...(options.cluster === undefined ? {} : { cluster: options.cluster }),
    });
  } finally {
    await scaler.close(conn);
  }
}

/** The fault something must end in. */
export async function faultFrom(work: Promise<unknown>): Promise<Fault> {
  const outcome = await work.then(
    value => new Error(`expected a fault, got ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (!(outcome instanceof Fault)) throw outcome;
  return outcome;
}

/** The cases that every scaler of the same contract passes, against real sockets. */
export function scalerContract(scaler: AnyScaler, contract: ScalerContract): void {
  const merged = (...parts: Given[]): Given => ({
    params: Object.assign({}, contract.params, ...parts.map(part => part.params)),
    auth: Object.assign({}, contract.auth, ...parts.map(part => part.auth)),
    env: Object.assign({}, contract.env, ...parts.map(part => part.env)),
  });
  const context = { podIdentity: contract.identity ?? noIdentity };
  const open = contract.tokens === undefined ? {} : { tokens: contract.tokens };
  const bound = (...parts: Given[]) => mustBind(scaler, merged(...parts), context);

  describe(`the contract of ${scaler.type}`, () => {
    it('reads what is there, and may be closed twice', async () => {
      await using served = await contract.serve();
      await served.fill?.(contract.fill ?? contract.expect);
      const trigger = bound(served);

      const value = await readOnce(trigger, { open });
      const conn = await trigger.scaler.open(trigger.params, openContext(AbortSignal.timeout(5000), open));
      await trigger.scaler.close(conn);
      await trigger.scaler.close(conn);

      expect(value).toBe(contract.expect);
    });

    enduranceCases({
      contract,
      bound: served => bound(served),
      readOnce: trigger => readOnce(trigger, { open, timeoutMs: 20_000 }),
      async openOnce(trigger) {
        using limit = deadline(undefined, 20_000);
        await trigger.scaler.close(
          await trigger.scaler.open(
            trigger.params,
            openContext(limit.signal, { identity: trigger.context.podIdentity, ...open }),
          ),
        );
      },
      open,
      now,
    });
    parameterCases(scaler, contract, merged, context);
    const { at } = contract;
    if (at !== undefined) {
      answerCases({ contract, bound, open });
      networkContract({ contract, bound: where => bound(at(where)), open });
    }
  });
}

interface ServerContract {
  contract: ScalerContract;
  bound(...parts: Given[]): BoundRead;
  open: Partial<OpenContext>;
}

/** What a server says on purpose. */
function answerCases({ contract, bound, open }: ServerContract): void {
  const { cannot = {}, outcomes = {}, wrong, missing, saying, measures = false } = contract;

  async function outcomeOf(how: (served: Served) => Given) {
    await using served = await contract.serve();
    await served.fill?.(contract.fill ?? contract.expect);
    const what = how(served);
    const secrets = Object.values({ ...contract.auth, ...what.auth }).filter(text => text.length > 5);
    try {
      return { outcome: await readOnce(bound(served, what), { open }), message: '', secrets };
    } catch (thrown) {
      if (thrown instanceof Fault) return { outcome: thrown.code, message: thrown.message, secrets };
      throw thrown;
    }
  }

  if (cannot.wrong === undefined) {
    it('is refused with wrong credentials, and shows none', async () => {
      const { outcome, message, secrets } = await outcomeOf(given(wrong));

      expect(outcome).toBe('SOURCE_REFUSED');
      for (const secret of secrets) expect(message).not.toContain(secret);
    });
  }

  if (cannot.missing === undefined) {
    it('does not take what is missing for what is empty', async () => {
      const { outcome } = await outcomeOf(given(missing));

      expect(outcome).toBe(outcomes.missing ?? 'SOURCE_NOT_FOUND');
    });
  }

  if (cannot.numbers === undefined) {
    it.each([
      ['-5', measures ? -5 : 'SOURCE_ANSWER_INVALID'],
      ['9223372036854775808', measures ? 2 ** 63 : 'SOURCE_ANSWER_INVALID'],
      ['1e400', 'SOURCE_ANSWER_INVALID'],
      ['NaN', 'SOURCE_ANSWER_INVALID'],
    ])('is told %s, which is %s', async (number, outcome) => {
      await using served = await given(saying)(number);
      await using engine = reader(bound(served), { open, now });

      expect(await engine.outcome()).toBe(outcome);
    });
  }
}

/** @throws where a case has nothing to try, and no reason for that */
function given<T>(what: T | undefined): T {
  if (what === undefined) throw new Error('the contract says neither how to try this nor why it cannot be');
  return what;
}

function parameterCases(
  scaler: AnyScaler,
  contract: ScalerContract,
  merged: (...parts: Given[]) => Given,
  context: Partial<ParamContext>,
): void {
  const where = { url: 'http://127.0.0.1:1', host: '127.0.0.1', port: 1 };
  const whole = () => merged(contract.at?.(where) ?? {});
  const required = Object.entries(scaler.params)
    .filter(([, param]) => !param.optional && param.default === undefined && param.removed === undefined)
    .map(([name]) => name);
  for (const name of [...required, ...(contract.alsoRequired ?? [])]) {
    it(`names ${name} when it is missing`, () => {
      const names = [name, ...(scaler.params[name]?.also ?? [])];
      const unwanted = new Set(names.flatMap(each => [each, `${each}FromEnv`]));
      const without = (given: Record<string, string> = {}) =>
        Object.fromEntries(Object.entries(given).filter(([key]) => !unwanted.has(key)));
      const { params, auth, env } = whole();

      const binding = bind(scaler, { params: without(params), auth: without(auth), env: env ?? {} }, context);

      expect(binding.ok ? 'accepted' : binding.problems.map(({ problem }) => problem).join('\n')).toContain(
        `"${name}"`,
      );
    });
  }
  const typed = Object.entries(scaler.params).filter(
    ([name, { kind, from }]) =>
      /^(integer|number|flag|duration)$/.test(kind) && (from?.includes('metadata') ?? true) && name !== '',
  );
  for (const [name, { kind }] of typed) {
    it(`refuses a ${name} that is no ${kind}, and shows where`, () => {
      const given = whole();

      const binding = bind(scaler, { ...given, params: { ...given.params, [name]: 'lots' } }, context);

      expect(binding).toMatchObject({
        ok: false,
        problems: [{ problem: expect.stringContaining('"lots"'), place: { field: `metadata.${name}` } }],
      });
    });
  }
}

interface NetworkContract {
  contract: ScalerContract;
  bound(where: Where): BoundRead;
  open: Partial<OpenContext>;
}

function networkContract({ contract, bound, open }: NetworkContract): void {
  const { cannot = {}, outcomes = {} } = contract;
  const tcp = contract.protocol === 'tcp';
  const can = (name: ContractCase) => cannot[name] === undefined && !(tcp && httpOnly.includes(name));
  const silent = () => (tcp ? tcpServer(tcpMisbehaviours.silent) : httpServer(misbehaviours.silent));
  const misbehaving = (name: ContractCase, answer: Parameters<typeof httpServer>[0]): Promise<TestServer> => {
    const { garbage, hangsUp } = tcpMisbehaviours;
    return tcp ? tcpServer(name === 'garbage' ? garbage : hangsUp) : httpServer(answer);
  };
  const secrets = Object.values(contract.auth ?? {}).filter(text => text.length > 5);

  async function outcomeAt(where: Where, options: ReadOnce = {}): Promise<FaultCode | number> {
    try {
      return await readOnce(bound(where), { open, ...options });
    } catch (thrown) {
      const fault = thrown instanceof Fault ? thrown : undefined;
      if (fault === undefined) throw thrown;
      for (const secret of secrets) expect(fault.message).not.toContain(secret);
      expect(fault.message).not.toMatch(/\n\s+at /);
      return fault.code;
    }
  }

  const answers: [ContractCase, string, Parameters<typeof httpServer>[0], FaultCode][] = [
    ['refused', 'says so when the credentials are refused (401)', quoting(401), 'SOURCE_REFUSED'],
    ['refused', 'says so when the credentials are refused (403)', quoting(403), 'SOURCE_REFUSED'],
    ['notFound', 'says so when there is no such thing (404)', quoting(404), 'SOURCE_NOT_FOUND'],
    [
      'busy',
      'leaves a source alone that asks for it (429)',
      quoting(429, { 'retry-after': '7' }),
      'SOURCE_BUSY',
    ],
    ['failed', 'says so when the source failed (500)', quoting(500), 'SOURCE_FAILED'],
    ['garbage', 'does not take garbage for a number', misbehaviours.garbage, 'SOURCE_ANSWER_INVALID'],
    ['empty', 'does not take an empty answer for a number', misbehaviours.empty, 'SOURCE_ANSWER_INVALID'],
    ['tooLarge', 'stops reading an answer of 10 MB', misbehaviours.tooLarge, 'SOURCE_ANSWER_TOO_LARGE'],
    ['hangsUp', 'notices an answer that ends in the middle', misbehaviours.hangsUp, 'SOURCE_UNREACHABLE'],
  ];
  for (const [name, title, answer, code] of answers.filter(([name]) => can(name))) {
    it(title, async () => {
      await using server = await misbehaving(name, answer);

      const outcome = await outcomeAt(server);

      expect(outcome).toBe((outcomes as Partial<Record<ContractCase, FaultCode | number>>)[name] ?? code);
    });
  }

  if (can('notHttp')) {
    it('does not take a server of another kind for its source', async () => {
      await using server = await tcpServer(socket => socket.end('220 mail.example.com ESMTP\r\n'));

      expect(await outcomeAt(server)).toBe('SOURCE_ANSWER_INVALID');
    });
  }

  if (can('silence')) {
    it('gives up on a silent source at the deadline', async () => {
      await using server = await silent();

      expect(await outcomeAt(server, { timeoutMs: 150 })).toBe('SOURCE_TIMEOUT');
    });
  }

  if (can('abort')) {
    it('stops when it is told to', async () => {
      await using server = await silent();
      const stop = new AbortController();

      const outcome = outcomeAt(server, { signal: stop.signal });
      await until(() => server.seen().connections > 0);
      stop.abort(new Fault('CANCELLED', 'no longer wanted'));

      expect(await outcome).toBe('CANCELLED');
    });
  }

  if (can('connectionRefused')) {
    it('says so when nothing listens', async () => {
      const port = await closedPort();

      const outcome = await outcomeAt({ url: `http://127.0.0.1:${port}`, host: '127.0.0.1', port });

      expect(outcome).toBe('SOURCE_UNREACHABLE');
    });
  }

  if (can('unknownName')) {
    it('says so when the name is not known', async () => {
      const host = 'no-such-host.invalid';

      expect(await outcomeAt({ url: `http://${host}:80`, host, port: 80 })).toBe('SOURCE_UNREACHABLE');
    });
  }

  if (can('tlsFailure')) {
    it('says so when the TLS handshake fails', async () => {
      await using server = await tcpServer(socket => socket.once('data', () => socket.end('no TLS here')));
      const { host, port } = server;

      expect(await outcomeAt({ url: `https://${host}:${port}`, host, port })).toBe('SOURCE_UNREACHABLE');
    });
  }

  if (can('leaks')) {
    it('leaves no connection behind', async () => {
      await using server = await misbehaving('leaks', quoting(500));

      for (let round = 0; round < 10; round += 1) await outcomeAt(server);
      await until(() => server.openSockets() === 0);

      expect(server.openSockets()).toBe(0);
    });
  }
}

/** Waits until something has come true; the test's own time limit ends a wait in vain. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise(resolve => setTimeout(resolve, 5));
}
