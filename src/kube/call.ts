import type { Dispatcher } from 'undici';
import { type Clock, sleep } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Urgency } from './client.ts';
import type { Connection, Exchange } from './connection.ts';
import { callDeadline } from './limits.ts';
import { isStatus, type Status, statusFault } from './status-fault.ts';
import { readLanes, writeLanes } from './write-lanes.ts';

export const json = 'application/json';

/** One request to the API server, and what is expected of it. */
export interface Call {
  method: Exchange['method'];
  /** With its query. */
  path: string;
  body?: string | undefined;
  contentType?: string | undefined;
  accept?: string | undefined;
  /** Left out for what only reads. */
  urgency?: Urgency | undefined;
  deadlineMs: number;
  signal: AbortSignal;
  /** For people: `patch Deployment shop/web`. */
  doing: string;
  /** Whether a 404 with this status is an answer, undefined, rather than a fault. */
  missing?: (status: Status | undefined) => boolean;
}

/** A GET whose socket was closed is asked again this often at most. */
const longestResets = 2;

const oneSecondMs = 1000;

interface CallerOptions {
  line: Connection;
  clock: Clock;
  log: Log;
}

/**
 * Sends calls in their lanes, each with its deadline.
 *
 * Sixteen at a time and lane are enough to keep an API server of two cores busy, and fewer than half of what its
 * flow control gives to all service accounts together.
 *
 * @returns a function that gives the parsed JSON of the answer, undefined for an empty one
 */
export function caller({ line, clock, log }: CallerOptions): (call: Call) => Promise<unknown> {
  const reads = readLanes(16, clock);
  const writes = writeLanes(16, clock);
  return async call => {
    const reading = call.method === 'GET' || call.urgency === undefined;
    using _turn = await enter(reading ? reads : writes, call);
    using limit = callDeadline(clock, { ms: call.deadlineMs, signal: call.signal, doing: call.doing });
    const endsAt = clock.elapsed() + call.deadlineMs;
    const exchange = exchangeOf(call, limit.signal);
    for (let resets = 0; ; ) {
      const answer = await roundTrip(line, exchange).catch(thrown => {
        const fault = line.faultOf(thrown, limit.signal);
        resets += 1;
        // Only of a GET do we know that it did nothing.
        if (call.method === 'GET' && wasReset(fault) && resets <= longestResets) return undefined;
        throw naming(fault, call.doing);
      });
      if (answer === undefined) continue;
      const waitMs = askedToWaitMs(answer.response);
      if (waitMs === undefined || clock.elapsed() + waitMs >= endsAt) return outcome(answer, call, line);
      log.debug('the API server asks us to wait', { doing: call.doing, waitMs });
      await sleep(clock, waitMs, limit.signal);
    }
  };
}

async function enter(lanes: ReturnType<typeof readLanes>, { urgency, signal, doing }: Call) {
  try {
    return await lanes.enter(urgency ?? 'object', signal);
  } catch (thrown) {
    if (thrown instanceof Fault) throw thrown;
    throw new Fault('CANCELLED', `stopped before it was time to ${doing}`, { cause: thrown });
  }
}

function exchangeOf(call: Call, signal: AbortSignal): Exchange {
  return {
    method: call.method,
    path: call.path,
    body: call.body,
    contentType: call.contentType,
    accept: call.accept ?? json,
    purpose: call.urgency === 'lease' ? 'lease' : 'request',
    signal,
  };
}

interface Answer {
  response: Dispatcher.ResponseData;
  text: string;
}

async function roundTrip(line: Connection, exchange: Exchange): Promise<Answer> {
  const response = await line.send(exchange);
  return { response, text: await response.body.text() };
}

function outcome({ response, text }: Answer, call: Call, line: Connection): unknown {
  if (response.statusCode >= 200 && response.statusCode < 300) return parsed(text, call.doing);
  const { fault, status } = refusalOf(response, text, { line, doing: call.doing });
  if (response.statusCode === 404 && call.missing?.(status)) return undefined;
  throw fault;
}

function parsed(text: string, doing: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault('KUBE_FAILED', `cannot ${doing}: the API server did not answer with JSON`);
  }
}

/** What an answer that is not 2xx says, with its sentence and its code. */
export function refusalOf(
  response: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>,
  text: string,
  { line, doing }: { line: Connection; doing: string },
): { fault: Fault; status: Status | undefined } {
  const status = statusOf(line.clean(text));
  const retryAfterMs = askedToWaitMs(response);
  return { status, fault: statusFault(response.statusCode, status, { doing, retryAfterMs }) };
}

function statusOf(text: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isStatus(value) ? value : undefined;
  } catch {
    // A proxy, or the API server before it is up. A short line is worth repeating, a page of HTML is not.
    const message = text.trim();
    return message === '' || message.length > 200 || /[<\n]/.test(message)
      ? undefined
      : { kind: 'Status', message };
  }
}

/** How long the server asked to be left alone: too many requests, or shutting down. The request was not handled. */
function askedToWaitMs({ statusCode, headers }: Pick<Answer['response'], 'statusCode' | 'headers'>) {
  const seconds = Number(headers['retry-after']);
  if (statusCode === 429) return Number.isFinite(seconds) ? seconds * oneSecondMs : oneSecondMs;
  return statusCode === 503 && seconds > 0 ? seconds * oneSecondMs : undefined;
}

function wasReset(fault: Fault): boolean {
  const cause = fault.cause instanceof Fault ? fault.cause.cause : fault.cause;
  const code = (cause as { code?: string } | undefined)?.code ?? '';
  return fault.code === 'KUBE_UNREACHABLE' && ['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'].includes(code);
}

function naming(fault: Fault, doing: string): Fault {
  if (fault.code !== 'KUBE_UNREACHABLE' || fault.message.startsWith('cannot ')) return fault;
  return new Fault(fault.code, `cannot ${doing}: ${fault.message}`, { cause: fault.cause });
}
