import { Fault, faultOf } from '../../base/errors.ts';
import type { OpenContext } from '../context.ts';
import { type HttpConnection, openHttp, tokenProof } from './http.ts';
import type { ManagementAccess } from './rabbitmq-access.ts';

/** What the management API says of a queue, or of several taken together. */
export interface QueueFacts {
  /** Unacknowledged ones included. */
  messages: number;
  ready: number;
  /** Messages a second. */
  publishRate: number;
  /** Messages a second, acknowledged or not. */
  deliverGetRate: number;
}

export const operations = ['sum', 'max', 'avg'] as const;

/** One queue, or all whose name matches an expression and what to make of them. */
export interface QueueQuestion {
  /** As it stands in a URL. */
  vhost: string;
  queueName: string;
  matching: { pageSize: number; operation: (typeof operations)[number] } | undefined;
}

interface Limits {
  /** Epoch milliseconds. */
  now: number;
  signal: AbortSignal;
}

/** An open management API. */
export interface Management extends AsyncDisposable {
  readonly protocol: 'http';
  /**
   * Asks for many queues with few requests.
   *
   * @returns in order the facts, or a Fault where those alone cannot be had: SOURCE_NOT_FOUND for a missing queue
   * @throws Fault where nothing can be had
   */
  ask(questions: readonly QueueQuestion[], limits: Limits): Promise<(QueueFacts | Fault)[]>;
}

/** RabbitMQ gives no larger page. */
const mostOnPage = 500;
/** Bytes of names in one URL: servers and proxies take 8,000 for the whole line. */
const mostNames = 4000;
/** More would only make the broker's statistics database do the same at the same time. */
const connections = 2;

const columns =
  'columns=name,messages,messages_ready,message_stats.publish_details.rate,message_stats.deliver_get_details.rate';

/** Opens nothing yet. @throws Fault PARAM_INVALID where certificates or keys cannot be used */
export function openManagement(access: ManagementAccess, context: OpenContext): Management {
  const { resource } = access;
  const { identity, tokens } = context;
  const proof =
    resource === undefined
      ? undefined
      : tokenProof(tokens, signal => tokens.accessToken(identity, scopeOf(resource), signal));
  const http = openHttp(access.http, { ...context, http: { ...context.http, connections } }, proof);
  const api = new Api(access, http);
  return {
    protocol: 'http',
    ask: (questions, limits) => api.ask(questions, limits),
    [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
  };
}

class Api {
  readonly #access: ManagementAccess;
  readonly #http: HttpConnection;

  constructor(access: ManagementAccess, http: HttpConnection) {
    this.#access = access;
    this.#http = http;
  }

  async ask(questions: readonly QueueQuestion[], limits: Limits): Promise<(QueueFacts | Fault)[]> {
    const names = new Map<string, Set<string>>();
    for (const { vhost, queueName, matching } of questions) {
      if (matching !== undefined) continue;
      names.set(vhost, (names.get(vhost) ?? new Set()).add(queueName));
    }
    const answers = new Map<string, QueueFacts | Fault>();
    const requests = [...names].flatMap(([vhost, wanted]) =>
      chunks([...wanted]).map(chunk => async () => {
        const found = await settled(this.#named(vhost, chunk, limits));
        for (const name of chunk)
          answers.set(key(vhost, name), factsOf(found, name, this.#nameOf(vhost, name)));
      }),
    );
    const matched = new Map<QueueQuestion, QueueFacts | Fault>();
    for (const question of questions) {
      if (question.matching === undefined) continue;
      requests.push(async () => void matched.set(question, await settled(this.#matching(question, limits))));
    }
    await Promise.all(requests.map(request => request()));
    const outcomes = questions.map(
      question =>
        matched.get(question) ??
        answers.get(key(question.vhost, question.queueName)) ??
        new Fault('INTERNAL', 'a queue was not asked for'),
    );
    const [first] = outcomes;
    const isWay = (outcome: unknown) => outcome instanceof Fault && outcome.code !== 'SOURCE_NOT_FOUND';
    if (first instanceof Fault && outcomes.every(isWay)) throw first;
    return outcomes;
  }

  /** One queue by its own address, several by a list that has only them. */
  async #named(vhost: string, names: readonly string[], limits: Limits): Promise<Map<string, unknown>> {
    const [first = ''] = names;
    if (names.length === 1) {
      const what = this.#nameOf(vhost, first);
      const path = `${vhost}/${encodeURIComponent(first)}?${columns}`;
      return new Map([[first, await this.#get(path, what, limits)]]);
    }
    const expression = `^(${names.map(quoted).join('|')})$`;
    const items = await this.#list(vhost, { expression, pageSize: mostOnPage }, limits);
    return new Map(items.map(item => [String(item['name']), item]));
  }

  async #matching({ vhost, queueName, matching }: QueueQuestion, limits: Limits): Promise<QueueFacts> {
    const { pageSize = mostOnPage, operation = 'sum' } = matching ?? {};
    const items = await this.#list(vhost, { expression: queueName, pageSize }, limits);
    const all = items.map(item => readFacts(item, this.#nameOf(vhost, String(item['name']))));
    return composed(all, operation);
  }

  /** All queues that match, page by page. RabbitMQ looks for the expression anywhere in a name, whatever its case. */
  async #list(
    vhost: string,
    { expression, pageSize }: { expression: string; pageSize: number },
    limits: Limits,
  ): Promise<Record<string, unknown>[]> {
    const what = this.#nameOf(vhost);
    const size = Math.min(pageSize, mostOnPage);
    const items: Record<string, unknown>[] = [];
    for (let page = 1, pages = 1; page <= pages; page += 1) {
      const query = `use_regex=true&name=${encodeURIComponent(expression)}&page=${page}&page_size=${size}`;
      const answer = await this.#get(`${vhost}?${query}&${columns}`, what, limits);
      const list = isObject(answer) ? answer['items'] : answer;
      if (!Array.isArray(list) || !list.every(isObject)) {
        throw new Fault('SOURCE_ANSWER_INVALID', `${what} answered without a list of queues`);
      }
      items.push(...list);
      pages = isObject(answer) ? Number(answer['page_count'] ?? 1) : 1;
    }
    return items;
  }

  async #get(path: string, what: string, { now, signal }: Limits): Promise<unknown> {
    const { base } = this.#access;
    const headers = { accept: 'application/json' };
    const body = await this.#http.fetch({ url: `${base}/api/queues/${path}`, headers, what, now, signal });
    try {
      return JSON.parse(body.toString('utf8'));
    } catch (cause) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${what} answered with something else than JSON`, { cause });
    }
  }

  #nameOf(vhost: string, queueName?: string): string {
    const { host } = new URL(this.#access.base);
    const shown = vhost.replace(/^%2[Ff]$/, '/');
    const where = shown === '/' ? host : `${host}, virtual host "${shown}"`;
    return queueName === undefined ? where : `${where}, queue "${queueName}"`;
  }
}

const key = (vhost: string, queueName: string) => `${vhost}/${queueName}`;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** As Azure's own libraries ask for the resource of an application. */
const scopeOf = (resource: string) => {
  const plain = resource.replace(/\/$/, '');
  return plain.endsWith('.default') ? plain : `${plain}/.default`;
};

const settled = <T>(work: Promise<T>): Promise<T | Fault> =>
  work.catch((thrown: unknown) => faultOf(thrown, 'SOURCE_FAILED'));

/** As much of a list of names as one URL takes, again and again. */
function chunks(names: readonly string[]): string[][] {
  const all: string[][] = [];
  let room = 0;
  for (const name of names) {
    const size = encodeURIComponent(quoted(name)).length + 3;
    const last = all.at(-1);
    if (last === undefined || room < size || last.length === mostOnPage) {
      all.push([name]);
      room = mostNames - size;
    } else {
      last.push(name);
      room -= size;
    }
  }
  return all;
}

/** A text as an expression that matches nothing else. */
const quoted = (text: string) => text.replace(/[^\w\u0080-\uffff]/g, '\\$&');

function factsOf(found: Map<string, unknown> | Fault, name: string, what: string): QueueFacts | Fault {
  if (found instanceof Fault) return found;
  if (!found.has(name)) return new Fault('SOURCE_NOT_FOUND', `${what} does not exist`);
  try {
    return readFacts(found.get(name), what);
  } catch (thrown) {
    return faultOf(thrown);
  }
}

/**
 * Counts must be there: those of a queue that was made a moment ago are not, or of one whose node is down, and
 * they are not zero. Rates are left out where nothing was ever published or delivered.
 */
function readFacts(queue: unknown, what: string): QueueFacts {
  const stats = isObject(queue) ? queue['message_stats'] : undefined;
  return {
    messages: countIn(queue, 'messages', what),
    ready: countIn(queue, 'messages_ready', what),
    publishRate: rateIn(stats, 'publish_details', what),
    deliverGetRate: rateIn(stats, 'deliver_get_details', what),
  };
}

function countIn(queue: unknown, name: string, what: string): number {
  const value = isObject(queue) ? queue[name] : undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new Fault('SOURCE_ANSWER_INVALID', `${what}: there is no count "${name}" (yet)`);
}

function rateIn(stats: unknown, name: string, what: string): number {
  const details = isObject(stats) ? stats[name] : undefined;
  const rate = isObject(details) ? details['rate'] : undefined;
  if (rate === undefined) return 0;
  if (typeof rate === 'number' && Number.isFinite(rate) && rate >= 0) return rate;
  throw new Fault('SOURCE_ANSWER_INVALID', `${what}: the rate in "${name}" is no rate`);
}

/** No queue at all counts as an empty one, as in KEDA; whole messages on average, as there. */
function composed(all: readonly QueueFacts[], operation: (typeof operations)[number]): QueueFacts {
  const of = (name: keyof QueueFacts) => all.map(facts => facts[name]);
  const fold = (name: keyof QueueFacts) => {
    const values = of(name);
    if (operation === 'max') return Math.max(0, ...values);
    const sum = values.reduce((total, value) => total + value, 0);
    return operation === 'sum' || values.length === 0 ? sum : sum / values.length;
  };
  return {
    messages: Math.trunc(fold('messages')),
    ready: Math.trunc(fold('ready')),
    publishRate: fold('publishRate'),
    deliverGetRate: fold('deliverGetRate'),
  };
}
