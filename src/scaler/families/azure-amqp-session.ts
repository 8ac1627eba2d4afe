import { Fault } from '../../base/errors.ts';
import type { OpenContext } from '../context.ts';
import { type AmqpConnection, connectAzureAmqp } from './azure-amqp.ts';
import type { AmqpMessage } from './azure-amqp-frames.ts';
import { type AmqpQuestion, AmqpRequests } from './azure-amqp-requests.ts';
import { amqp } from './azure-amqp-types.ts';
import { type EventHubAccess, sharedAccessToken } from './azure-event-hub-access.ts';

/** When and until when something is asked. */
export interface Asking {
  signal: AbortSignal;
  /** Epoch milliseconds. */
  now: number;
}

/** What the server knows of us, and until when (epoch milliseconds) that holds. */
interface Token {
  text: string;
  renewAt: number;
}

interface Session {
  connection: AmqpConnection;
  cbs: AmqpRequests;
  /** Other nodes that answer requests, by address. */
  nodes: Map<string, AmqpRequests>;
  /** By what they are for. */
  tokens: Map<string, Token>;
}

/** How long a signature of ours holds, and how early the next one is made, in milliseconds. */
const tokenMs = 3_600_000;
const earlyMs = 900_000;

/** One AMQP connection to a namespace for one identity, made when it is first needed and again after it was lost. */
export class AmqpNamespace implements AsyncDisposable {
  readonly #access: EventHubAccess;
  readonly #context: OpenContext;
  #session: Session | undefined;
  #opening: Promise<Session> | undefined;
  #closed = false;

  constructor(access: EventHubAccess, context: OpenContext) {
    this.#access = access;
    this.#context = context;
  }

  /** A connection that may use an entity. @throws Fault of the source */
  async authorized(entity: string, asking: Asking): Promise<AmqpConnection> {
    return (await this.#authorized(entity, asking)).connection;
  }

  /**
   * Asks a node that answers requests, by the right to an entity.
   *
   * @param question is told the token that was shown for the entity
   * @throws Fault as `AmqpRequests.ask` does
   */
  async ask(
    { node, entity }: { node: string; entity: string },
    question: (token: string) => AmqpQuestion,
    asking: Asking,
  ): Promise<AmqpMessage> {
    const { connection, nodes, tokens } = await this.#authorized(entity, asking);
    const requests = nodes.get(node) ?? new AmqpRequests(connection, node);
    nodes.set(node, requests);
    try {
      return await requests.ask(question(tokens.get(entity)?.text ?? ''), asking.signal);
    } catch (thrown) {
      // A token that does not hold is not shown a second time.
      if (thrown instanceof Fault && thrown.code === 'SOURCE_REFUSED') tokens.delete(entity);
      throw thrown;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#session?.connection[Symbol.asyncDispose]();
  }

  async #authorized(entity: string, asking: Asking): Promise<Session> {
    const session = await this.#opened(asking.signal);
    const held = session.tokens.get(entity);
    const { credential } = this.#access;
    // The token source keeps one until it is to be renewed; what the server has not seen is shown to it.
    if (credential.kind !== 'identity' && held !== undefined && asking.now < held.renewAt) return session;
    const audience = `sb://${this.#access.host}/${entity}`;
    const { text, expiresAt, refused } = await this.#token(audience, asking);
    if (held?.text === text && credential.kind === 'identity') return session;
    const properties: Record<string, string | number> = {
      operation: 'put-token',
      type: credential.kind === 'identity' ? 'jwt' : 'servicebus.windows.net:sastoken',
      name: audience,
    };
    if (expiresAt !== undefined) properties['expiration'] = expiresAt;
    const what = `${this.#access.host}/${entity}`;
    try {
      await session.cbs.ask({ properties, body: amqp.string(text), what }, asking.signal);
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code === 'SOURCE_REFUSED') refused?.();
      throw thrown;
    }
    for (const [each, { renewAt }] of session.tokens) {
      if (renewAt + earlyMs < asking.now) session.tokens.delete(each);
    }
    session.tokens.set(entity, { text, renewAt: (expiresAt ?? asking.now + tokenMs) - earlyMs });
    return session;
  }

  async #token(
    audience: string,
    { now, signal }: Asking,
  ): Promise<{ text: string; expiresAt: number | undefined; refused?: () => void }> {
    const { credential } = this.#access;
    switch (credential.kind) {
      case 'key': {
        const until = Math.floor((now + tokenMs) / 1000);
        return { text: sharedAccessToken(audience, credential, until).reveal(), expiresAt: until * 1000 };
      }
      case 'signature':
        return { text: credential.token.reveal(), expiresAt: undefined };
      case 'identity': {
        const { tokens, identity } = this.#context;
        const token = await tokens.accessToken(identity, credential.scope, signal);
        return { text: token.reveal(), expiresAt: undefined, refused: () => tokens.refused(token) };
      }
    }
  }

  #opened(signal: AbortSignal): Promise<Session> {
    if (this.#closed) return Promise.reject(this.#closedFault());
    if (this.#session?.connection.open) return Promise.resolve(this.#session);
    this.#opening ??= this.#open(signal).finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  #closedFault(): Fault {
    return new Fault('CANCELLED', `the connection to ${this.#access.host} was closed`);
  }

  async #open(signal: AbortSignal): Promise<Session> {
    const { host, port, plain } = this.#access;
    const { clientName, http } = this.#context;
    const connectionName = this.#context.connectionName();
    const tls = plain ? {} : { tls: http.tls ?? {} };
    const way = { ...tls, roots: http.roots, minTlsVersion: http.minTlsVersion };
    const connection = await connectAzureAmqp(
      { host, port },
      { ...way, host, clientName, connectionName },
      signal,
    );
    if (this.#closed) {
      await connection[Symbol.asyncDispose]();
      throw this.#closedFault();
    }
    const cbs = new AmqpRequests(connection, '$cbs');
    this.#session = { connection, cbs, nodes: new Map(), tokens: new Map() };
    return this.#session;
  }
}
