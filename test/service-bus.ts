import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { authority, serverCertificate, serverKey } from './certificates.ts';
import { ServiceBusAmqp } from './service-bus-amqp.ts';

/** A message in a queue or subscription. */
export interface StoredMessage {
  sequence: number;
  id: string | undefined;
  /** Bytes, or a value of AMQP. */
  body: unknown;
  deliveryCount: number;
  enqueuedAt: number;
  /** 32 hex digits, as they come over the wire as the tag of a delivery. */
  lockToken: string | undefined;
  lockedUntil: number;
}

/** A queue or a subscription. */
export interface StubEntity {
  name: string;
  lockMs: number;
  sessions: boolean;
  maxDeliveryCount: number;
  /** What it says of itself besides; undefined for one without counts, as Azure answers when it is asked too often. */
  counts: { active: number | string } | 'its messages' | undefined;
  messages: StoredMessage[];
  /** What its messages carry besides, over AMQP. */
  annotations?: Record<string, unknown>;
  deadLetters: (StoredMessage & { reason: string | undefined; description: string | undefined })[];
}

export interface StubOptions {
  /** Epoch milliseconds. */
  now?: () => number;
  /** With TLS, as Azure itself; `roots` of the result then vouches for it. */
  tls?: boolean;
}

/**
 * A namespace of Azure Service Bus, written from Microsoft's documentation of its administration over HTTP
 * ("Service Bus REST API": Get Entity, Entities Discovery, Shared Access Signature authentication) and of how its
 * official clients for Go and JavaScript read it: descriptions as ATOM entries, lists page by page, an empty feed with
 * status 200 for an entity that does not exist. What it says over AMQP is in service-bus-amqp.ts. There is no
 * implementation of Microsoft's that runs outside of Docker.
 */
export class ServiceBus implements AsyncDisposable {
  readonly keyName = 'RootManageSharedAccessKey';
  readonly key = randomBytes(32).toString('base64');
  /** The access token that is taken. */
  readonly token = randomUUID();
  readonly roots: readonly string[];
  readonly now: () => number;
  readonly requests: string[] = [];
  readonly amqp = new ServiceBusAmqp(this);
  /** Answers in place of the namespace where it returns true. */
  intercept: (req: IncomingMessage, res: ServerResponse) => boolean = () => false;
  /** Whether those with the key may do more than read one queue. */
  manage = true;
  readonly queues = new Map<string, StubEntity>();
  readonly topics = new Map<string, Map<string, StubEntity>>();
  readonly #server: Server;
  readonly #tls: boolean;
  readonly #sockets = new Set<Socket>();
  #connections = 0;
  #sequence = 0;

  constructor({ now = Date.now, tls = false }: StubOptions = {}) {
    this.now = now;
    this.#tls = tls;
    this.roots = tls ? [authority] : [];
    const answer = (req: IncomingMessage, res: ServerResponse) => this.#answer(req, res);
    const http = tls
      ? createHttpsServer({ cert: serverCertificate, key: serverKey }, answer)
      : createHttpServer(answer);
    this.#server = createServer(socket => {
      this.#connections += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket)).on('error', () => {});
      if (tls) {
        http.emit('connection', socket);
        return;
      }
      // Both protocols are served at one port: the first bytes tell which is spoken.
      socket.once('data', chunk => {
        socket.pause();
        socket.unshift(chunk);
        if (chunk.toString('latin1', 0, 4) === 'AMQP') this.amqp.accept(socket);
        else http.emit('connection', socket);
        socket.resume();
      });
    });
  }

  async listen(port = 0): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(port, '127.0.0.1', resolve));
  }

  /** Closes every connection and listens no more, as while it restarts. */
  async shut(): Promise<number> {
    const { port } = this;
    for (const socket of this.#sockets) socket.destroy();
    await new Promise(resolve => this.#server.close(resolve));
    return port;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#connections;
  }

  /** As its owner would copy it; without TLS it is the one of Microsoft's emulator. */
  connectionString(keyName = this.keyName, key = this.key): string {
    const emulator = this.#tls ? '' : ';UseDevelopmentEmulator=true';
    return `Endpoint=sb://127.0.0.1:${this.port}/;SharedAccessKeyName=${keyName};SharedAccessKey=${key}${emulator}`;
  }

  addQueue(name: string, over: Partial<StubEntity> = {}): StubEntity {
    const queue = entity(name, over);
    this.queues.set(name.toLowerCase(), queue);
    return queue;
  }

  addSubscription(topic: string, name: string, over: Partial<StubEntity> = {}): StubEntity {
    const subscription = entity(name, over);
    const topics = this.topics.get(topic.toLowerCase()) ?? new Map<string, StubEntity>();
    this.topics.set(topic.toLowerCase(), topics.set(name.toLowerCase(), subscription));
    return subscription;
  }

  send(to: StubEntity, body: unknown, id: string | undefined = randomUUID()): StoredMessage {
    this.#sequence += 1;
    const message: StoredMessage = {
      sequence: this.#sequence,
      id,
      body,
      deliveryCount: 0,
      enqueuedAt: this.now(),
      lockToken: undefined,
      lockedUntil: 0,
    };
    to.messages.push(message);
    return message;
  }

  /** What is at a path such as `orders` or `news/Subscriptions/mine`. */
  find(path: string): StubEntity | undefined {
    const [, topic, name] = /^(.+)\/subscriptions\/([^/]+)$/.exec(path.toLowerCase()) ?? [];
    if (topic === undefined) return this.queues.get(path.toLowerCase());
    return this.topics.get(topic)?.get(name ?? '');
  }

  #answer(req: IncomingMessage, res: ServerResponse): void {
    const url = new URL(req.url ?? '/', 'http://namespace');
    const path = decodeURIComponent(url.pathname.slice(1));
    this.requests.push(path);
    if (this.intercept(req, res)) return;
    const refusal = this.#refusal(req, url);
    if (refusal !== undefined) error(res, 401, refusal);
    else if (req.method !== 'GET' || !url.searchParams.has('api-version'))
      error(res, 400, 'No such request.');
    else this.#describe(res, url, path);
  }

  #describe(res: ServerResponse, url: URL, path: string): void {
    const [, topic] = /^(.+)\/subscriptions\/?$/i.exec(path) ?? [];
    const list = /^\$resources\/queues$/i.test(path)
      ? this.queues
      : this.topics.get(topic?.toLowerCase() ?? '');
    if (list === undefined) {
      const found = this.find(path);
      xml(res, found === undefined ? nothing(url) : entry(found, path));
    } else if (this.manage) this.#list(res, url, [...list.values()]);
    else error(res, 401, 'Manage,EntityRead claims required for this operation.');
  }

  #list(res: ServerResponse, url: URL, all: readonly StubEntity[]): void {
    const skip = Number(url.searchParams.get('$skip') ?? 0);
    const top = Math.min(100, Number(url.searchParams.get('$top') ?? 100));
    const shown = all.slice(skip, skip + top);
    const next =
      skip + top < all.length
        ? `<link rel="next" href="${url.pathname}?$skip=${skip + top}&amp;$top=${top}"/>`
        : '';
    const below = url.pathname.startsWith('/$') ? '' : `${decodeURIComponent(url.pathname.slice(1))}/`;
    const list = shown.map(each => entry(each, `${below}${each.name}`)).join('');
    xml(
      res,
      `<feed ${atom}><title type="text">Queues</title><link rel="self" href="x"/>${next}${list}</feed>`,
    );
  }

  #refusal({ headers: { authorization = '' } }: IncomingMessage, url: URL): string | undefined {
    if (authorization === `Bearer ${this.token}`) return undefined;
    if (!authorization.startsWith('SharedAccessSignature ')) return 'MissingToken: no token was found.';
    return this.wrongSignature(authorization, decodeURIComponent(url.pathname));
  }

  /** What is wrong with a shared access signature for a path; undefined where nothing is. */
  wrongSignature(signature: string, path: string): string | undefined {
    const parts = new Map<string, string>();
    for (const part of signature.replace(/^SharedAccessSignature /, '').split('&')) {
      parts.set(part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1));
    }
    const resource = decodeURIComponent(parts.get('sr') ?? '');
    const until = Number(parts.get('se'));
    const signed = createHmac('sha256', this.key)
      .update(`${parts.get('sr')}\n${parts.get('se')}`)
      .digest('base64');
    if (decodeURIComponent(parts.get('skn') ?? '') !== this.keyName)
      return 'InvalidSignature: no such policy.';
    if (decodeURIComponent(parts.get('sig') ?? '') !== signed)
      return 'InvalidSignature: it is of another key.';
    if (!(until * 1000 > this.now())) return 'ExpiredToken: its time is over.';
    const below = decodeURIComponent(URL.canParse(resource) ? new URL(resource).pathname : '');
    if (!path.toLowerCase().startsWith(below.toLowerCase()))
      return 'InvalidAudience: it is for something else.';
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.shut();
  }
}

function entity(name: string, over: Partial<StubEntity>): StubEntity {
  return {
    name,
    lockMs: 60_000,
    sessions: false,
    maxDeliveryCount: 10,
    counts: 'its messages',
    messages: [],
    deadLetters: [],
    ...over,
  };
}

const atom = 'xmlns="http://www.w3.org/2005/Atom"';
const schema = 'http://schemas.microsoft.com/netservices/2010/10/servicebus/connect';

/** What Azure says of an entity that does not exist, with status 200. */
const nothing = (url: URL) =>
  `<feed ${atom}><title type="text">Publicly Listed Services</title><subtitle type="text">This is the list of publicly-listed services currently available.</subtitle><id>uuid:${randomUUID()};id=1</id><updated>2026-01-15T12:00:00Z</updated><generator>Service Bus 1.1</generator><link rel="self" href="https://namespace${url.pathname}"/></feed>`;

function entry({ name, sessions, counts, messages, deadLetters, lockMs }: StubEntity, path: string): string {
  const kind = /\/subscriptions\//i.test(path) ? 'SubscriptionDescription' : 'QueueDescription';
  const active = counts === 'its messages' ? messages.length : counts?.active;
  const details =
    active === undefined
      ? ''
      : `<CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus"><d2p1:ActiveMessageCount>${active}</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>${deadLetters.length}</d2p1:DeadLetterMessageCount><d2p1:ScheduledMessageCount>7</d2p1:ScheduledMessageCount><d2p1:TransferMessageCount>0</d2p1:TransferMessageCount><d2p1:TransferDeadLetterMessageCount>0</d2p1:TransferDeadLetterMessageCount></CountDetails>`;
  return `<entry ${atom}><id>https://namespace/${path}?api-version=2021-05</id><title type="text">${name}</title><published>2026-01-15T11:00:00Z</published><updated>2026-01-15T11:00:00Z</updated><author><name>namespace</name></author><link rel="self" href="https://namespace/${path}"/><content type="application/xml"><${kind} xmlns="${schema}" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><LockDuration>PT${lockMs / 1000}S</LockDuration><RequiresSession>${sessions}</RequiresSession><MessageCount>${messages.length + deadLetters.length + 7}</MessageCount>${details}<Status>Active</Status></${kind}></content></entry>`;
}

function xml(res: ServerResponse, body: string): void {
  res.writeHead(200, { 'content-type': 'application/atom+xml;type=entry;charset=utf-8' });
  res.end(`<?xml version="1.0" encoding="utf-8"?>${body}`);
}

function error(res: ServerResponse, status: number, detail: string): void {
  res.writeHead(status, { 'content-type': 'application/xml; charset=utf-8' });
  const told = `${detail} To know more visit https://aka.ms/sbResourceMgrExceptions. TrackingId:${randomUUID()}_G1, Timestamp:2026-01-15T12:00:00`;
  res.end(`<Error><Code>${status}</Code><Detail>${told}</Detail></Error>`);
}

/** A namespace that listens. */
export async function startServiceBus(options: StubOptions = {}): Promise<ServiceBus> {
  const bus = new ServiceBus(options);
  await bus.listen();
  return bus;
}
