import { Fault, faultOf } from '../../base/errors.ts';
import { type HttpAnswer, httpClient, requireOk } from '../../base/http.ts';
import type { OpenContext } from '../context.ts';
import { sendWithToken } from './access-token.ts';
import type { BusAccess } from './azure-bus-connection.ts';
import { type BusEntity, readDetail, readEntity, readPage } from './azure-bus-entities.ts';
import { sharedAccessToken } from './azure-event-hub-access.ts';

/** A queue, or the subscription of a topic. */
export interface EntityPath {
  topic: string | undefined;
  name: string;
}

/** One queue or subscription by its name, or all of them (of the topic) whose names match. */
export type EntityQuestion =
  | ({ kind: 'one' } & EntityPath)
  | { kind: 'all'; topic: string | undefined; matches(name: string): boolean };

export interface AskLimits {
  /** Epoch milliseconds. */
  now: number;
  signal: AbortSignal;
}

/** The administration of one namespace by one identity. */
export interface BusAdmin extends AsyncDisposable {
  /**
   * Asks with as few requests as will do: of many queues it asks by lists.
   *
   * @returns in order the entities that were asked for; a Fault where those alone cannot be had, SOURCE_NOT_FOUND for
   *   one that does not exist
   */
  ask(questions: readonly EntityQuestion[], limits: AskLimits): Promise<(readonly BusEntity[] | Fault)[]>;
}

/** What Azure's own libraries ask for; since then subscriptions have their counts, too. */
const apiVersion = '2021-05';
/** Azure gives no longer page. */
const pageSize = 100;
/** A page of descriptions of some KiB each. */
const mostBytes = 8 * 1024 * 1024;
/** Of fewer, each is asked for by its own name. */
const listFrom = 5;
/** Azure throttles who asks more at once. */
const connections = 4;
const tokenSeconds = 3600;

/** Opens nothing yet. */
export function openBusAdmin(access: BusAccess, context: OpenContext): BusAdmin {
  const http = httpClient({ ...context.http, connections });
  /** How many pages a list had when it was last asked for; more than any where it is not worth it. */
  const pagesOf = new Map<string, number>();

  async function authorized(
    url: URL,
    { now, signal }: AskLimits,
    send: (authorization: string) => Promise<HttpAnswer>,
  ): Promise<HttpAnswer> {
    const { credential } = access;
    switch (credential.kind) {
      case 'signature':
        return await send(credential.token.reveal());
      case 'key': {
        const until = Math.floor(now / 1000) + tokenSeconds;
        return await send(sharedAccessToken(`${url.origin}${url.pathname}`, credential, until).reveal());
      }
      case 'identity':
        return await sendWithToken(context, { scope: credential.scope, signal, send });
    }
  }

  async function get(path: string, query: string, limits: AskLimits): Promise<Buffer> {
    const url = new URL(`${access.adminUrl}/${path}?api-version=${apiVersion}${query}`);
    const answer = await authorized(url, limits, authorization => {
      const headers = { 'user-agent': context.clientName, authorization };
      return http.send({ url: url.href, headers, signal: limits.signal, maxBytes: mostBytes });
    });
    if (answer.status < 200 || answer.status > 299) {
      // Never the body itself: it may quote what it was sent.
      requireOk({ ...answer, body: Buffer.from(readDetail(answer.body)) }, nameOf(path), limits.now);
    }
    return answer.body;
  }

  const nameOf = (path: string) => `${new URL(access.adminUrl).host}/${decodeURIComponent(path)}`;

  const missing = (path: string) => new Fault('SOURCE_NOT_FOUND', `${nameOf(path)} does not exist`);

  async function one(entity: EntityPath, limits: AskLimits): Promise<BusEntity> {
    const path = pathOf(entity);
    const found = readEntity(await get(path, '', limits), nameOf(path));
    if (found !== undefined) return { ...found, name: entity.name };
    throw missing(path);
  }

  /** All of a list; undefined where it has more pages than are worth it. */
  async function list(
    topic: string | undefined,
    most: number,
    limits: AskLimits,
  ): Promise<BusEntity[] | undefined> {
    const path = listPath(topic);
    const entities: BusEntity[] = [];
    for (let page = 0; page < most; page += 1) {
      const query = `&$skip=${page * pageSize}&$top=${pageSize}`;
      const found = readPage(await get(path, query, limits), nameOf(path));
      if (found === undefined) throw missing(path);
      entities.push(...found.entities);
      pagesOf.set(path, page + 1);
      if (found.entities.length === 0 || (!found.more && found.entities.length < pageSize)) return entities;
    }
    pagesOf.set(path, Number.POSITIVE_INFINITY);
    return undefined;
  }

  /** What a list says of those that are asked for by name; nothing where asking for each is better. */
  async function listedNames(topic: string | undefined, names: number, limits: AskLimits) {
    if (names < listFrom || (pagesOf.get(listPath(topic)) ?? 1) >= names) return undefined;
    try {
      return await list(topic, names - 1, limits);
    } catch (thrown) {
      if (!isForbidden(faultOf(thrown))) throw thrown;
      // Who may read a queue may not therefore read the list of all.
      pagesOf.set(listPath(topic), Number.POSITIVE_INFINITY);
      return undefined;
    }
  }

  async function askOf(questions: readonly EntityQuestion[], limits: AskLimits) {
    const { topic } = questions[0] ?? { topic: undefined };
    const named = new Map<string, EntityPath>();
    for (const question of questions) if (question.kind === 'one') named.set(keyOf(question.name), question);
    const whole = questions.some(({ kind }) => kind === 'all');
    const listed = whole
      ? await settled(list(topic, Number.POSITIVE_INFINITY, limits))
      : await settled(listedNames(topic, named.size, limits));
    // A server that is busy or away is not asked the same in many ways; one that refuses its list may know the names.
    if (listed instanceof Fault && !isForbidden(listed)) return questions.map(() => listed);
    const byName = new Map<string, BusEntity | Fault>();
    const known = listed instanceof Fault ? undefined : listed;
    for (const entity of known ?? []) byName.set(keyOf(entity.name), entity);
    const unknown = [...named].filter(([key]) => known === undefined || !byName.has(key));
    // One that a list lacks is asked for by name, too: it may have come since, or hide from lists.
    await Promise.all(
      unknown.map(async ([key, entity]) => void byName.set(key, await settled(one(entity, limits)))),
    );
    return questions.map((question): readonly BusEntity[] | Fault => {
      if (question.kind === 'all') {
        return listed instanceof Fault ? listed : (listed ?? []).filter(({ name }) => question.matches(name));
      }
      const found = byName.get(keyOf(question.name));
      if (found === undefined) return new Fault('INTERNAL', `"${question.name}" was not asked for`);
      return found instanceof Fault ? found : [found];
    });
  }

  return {
    async ask(questions, limits) {
      const byList = new Map<string, number[]>();
      questions.forEach(({ topic }, index) => {
        const key = listPath(topic).toLowerCase();
        byList.set(key, [...(byList.get(key) ?? []), index]);
      });
      const answers: (readonly BusEntity[] | Fault)[] = [];
      await Promise.all(
        [...byList.values()].map(async indexes => {
          const found = await askOf(
            indexes.map(index => questions[index]).filter(question => question !== undefined),
            limits,
          );
          indexes.forEach((index, place) => {
            answers[index] = found[place] ?? new Fault('INTERNAL', 'a question was not asked');
          });
        }),
      );
      return answers;
    },
    [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
  };
}

const settled = <T>(work: Promise<T>): Promise<T | Fault> =>
  work.catch((thrown: unknown) => faultOf(thrown, 'SOURCE_FAILED'));

const isForbidden = ({ code }: Fault) => code === 'SOURCE_REFUSED' || code === 'SOURCE_NOT_FOUND';

/** Service Bus does not tell names apart by the case of their letters. */
const keyOf = (name: string) => name.toLowerCase();

/** Names may have slashes in them, which stay as they are. */
const encodePath = (path: string) => path.split('/').map(encodeURIComponent).join('/');

const listPath = (topic: string | undefined) =>
  topic === undefined ? '$Resources/queues' : `${encodePath(topic)}/Subscriptions`;

/** Where the entity is, over AMQP. */
export const addressOf = ({ topic, name }: EntityPath) =>
  topic === undefined ? name : `${topic}/Subscriptions/${name}`;

const pathOf = (entity: EntityPath) => encodePath(addressOf(entity));
