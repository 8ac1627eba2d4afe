import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import rhea, { type Connection, type EventContext, type Message, type Sender } from 'rhea';
import type { ServiceBus, StoredMessage, StubEntity } from './service-bus.ts';

/**
 * What a namespace of Service Bus says over AMQP 1.0, written from Microsoft's "AMQP 1.0 in Azure Service Bus and Event
 * Hubs protocol guide" and "AMQP 1.0 in Azure Service Bus: request-response-based operations", over an AMQP library
 * that is not ours: `$cbs` takes signatures, receivers lock messages (peek-lock) and are drained, `$management` renews
 * locks and settles by them. A message is locked for its receiver until the lock is over, whatever becomes of the link.
 */
export class ServiceBusAmqp {
  /** What was asked for: `put-token …`, `receive …`, `com.microsoft:renew-lock …`. */
  readonly asked: string[] = [];
  readonly containerIds: string[] = [];
  /** Answers requests to `$management` with this instead, where it is set. */
  answer: { status: number; condition?: string } | undefined;
  /** Whether receivers are to be kept waiting. */
  silent = false;
  readonly #bus: ServiceBus;
  readonly #container = rhea.create_container();
  readonly #receivers = new Set<{ sender: Sender; entity: StubEntity }>();

  constructor(bus: ServiceBus) {
    this.#bus = bus;
    this.#container.sasl_server_mechanisms.enable_anonymous();
    for (const event of ['error', 'protocol_error', 'connection_error', 'disconnected', 'connection_close']) {
      this.#container.on(event, () => {});
    }
    this.#container.on('connection_open', ({ connection }: EventContext) => this.#opened(connection));
  }

  /** Talks to who has connected. */
  accept(socket: Socket): void {
    // The library has no other way to a socket that it did not accept itself.
    const server = this.#container.listen({ port: 0, host: '127.0.0.1', max_frame_size: 65_536 });
    server.emit('connection', socket);
    server.close();
  }

  /** Ends the links of all receivers, as Azure does when they were idle, or its own servers move. */
  detachReceivers(): void {
    for (const { sender } of this.#receivers) {
      sender.close({ condition: 'amqp:link:detach-forced', description: 'The link is force detached.' });
    }
    this.#receivers.clear();
  }

  /** As if so much time had passed for every lock. */
  expireLocks(entity: StubEntity): void {
    for (const message of entity.messages) message.lockedUntil = 0;
  }

  #opened(connection: Connection): void {
    this.containerIds.push(connection.container_id);
    const authorized = new Set<string>();
    const replies = new Map<string, Sender>();
    connection.on('sender_open', ({ sender }: EventContext) => {
      if (sender === undefined) return;
      const address = String(sender.source.address);
      sender.set_source({ address });
      sender.set_target({ address: sender.target.address });
      if (address !== '$cbs' && !authorized.has(address)) {
        refuse(sender, 'amqp:unauthorized-access', "Unauthorized access. 'Listen' claim(s) are required.");
      } else if (address.startsWith('$') || address.endsWith('/$management')) {
        replies.set(String(sender.target.address), sender);
      } else this.#receive(sender, address);
    });
    connection.on('receiver_open', ({ receiver }: EventContext) => {
      receiver?.set_target({ address: receiver.target.address });
      receiver?.set_source({ address: receiver.source.address });
    });
    connection.on('message', ({ message, receiver }: EventContext) => {
      if (message === undefined || receiver === undefined) return;
      const address = String(receiver.target.address);
      const answer = address === '$cbs' ? this.#cbs(message, authorized) : this.#manage(message, address);
      replies
        .get(String(message.reply_to))
        ?.send({ ...answer, correlation_id: message.message_id as string });
    });
    for (const event of ['error', 'protocol_error', 'connection_error', 'disconnected', 'connection_close']) {
      connection.on(event, () => {});
    }
  }

  #cbs({ application_properties: asked = {}, body }: Message, authorized: Set<string>): Message {
    const audience = String(asked['name']);
    const path = new URL(audience).pathname.slice(1);
    this.asked.push(`put-token ${decodeURIComponent(path)}`);
    const wrong =
      asked['type'] === 'jwt'
        ? body === this.#bus.token
          ? undefined
          : 'InvalidToken'
        : this.#bus.wrongSignature(String(body), `/${decodeURIComponent(path)}`);
    if (wrong !== undefined) return status(401, wrong);
    authorized.add(decodeURIComponent(path));
    return status(202, 'Accepted');
  }

  #receive(sender: Sender, address: string): void {
    this.asked.push(`receive ${address}`);
    const entity = this.#bus.find(address);
    if (entity === undefined) {
      const sentence = `The messaging entity 'sb://namespace/${address}' could not be found.`;
      refuse(sender, 'amqp:not-found', sentence);
      return;
    }
    if (entity.sessions) {
      const sentence =
        'It is not possible for an entity that requires sessions to create a non-sessionful message receiver.';
      refuse(sender, 'amqp:not-allowed', sentence);
      return;
    }
    this.#receivers.add({ sender, entity });
    let draining = false;
    // One at a time: the library takes off credit only once a message is on its way.
    const flush = () => {
      if (this.silent) return;
      const message = sender.sendable() ? this.#lockNext(entity) : undefined;
      if (message !== undefined) {
        sender.send(this.#encode(message, entity), Buffer.from(message.lockToken ?? '', 'hex'));
        setImmediate(flush);
      } else if (draining) {
        draining = false;
        sender.set_drained(true);
      }
    };
    sender.on('sendable', flush);
    sender.on('sender_draining', () => {
      draining = true;
      flush();
    });
    // A receiver that accepts what it is sent completes it, as in the protocol guide.
    sender.on('accepted', ({ delivery }: EventContext) => {
      const tag = Buffer.from(delivery?.tag as unknown as Buffer).toString('hex');
      entity.messages = entity.messages.filter(({ lockToken }) => lockToken !== tag);
    });
    flush();
  }

  #lockNext(entity: StubEntity): StoredMessage | undefined {
    for (const message of [...entity.messages]) {
      if (message.lockedUntil > this.#bus.now()) continue;
      if (message.lockToken !== undefined) this.#failed(entity, message);
      if (!entity.messages.includes(message)) continue;
      message.lockToken = randomBytes(16).toString('hex');
      message.lockedUntil = this.#bus.now() + entity.lockMs;
      return message;
    }
    return undefined;
  }

  /** A delivery that came to nothing. */
  #failed(entity: StubEntity, message: StoredMessage): void {
    message.lockToken = undefined;
    message.lockedUntil = 0;
    message.deliveryCount += 1;
    if (message.deliveryCount < entity.maxDeliveryCount) return;
    entity.messages = entity.messages.filter(each => each !== message);
    entity.deadLetters.push({ ...message, reason: 'MaxDeliveryCountExceeded', description: undefined });
  }

  #encode({ id, body, deliveryCount, sequence, enqueuedAt, lockedUntil }: StoredMessage, entity: StubEntity) {
    const { types, message } = rhea;
    return {
      ...(id === undefined ? {} : { message_id: id }),
      delivery_count: deliveryCount,
      message_annotations: {
        'x-opt-sequence-number': types.wrap_long(sequence),
        'x-opt-enqueued-time': types.wrap_timestamp(enqueuedAt),
        'x-opt-locked-until': types.wrap_timestamp(lockedUntil),
        ...entity.annotations,
      },
      body:
        typeof body === 'string' || Buffer.isBuffer(body) ? message.data_section(Buffer.from(body)) : body,
    } as Message;
  }

  #manage({ application_properties: asked = {}, body }: Message, address: string): Message {
    const path = address.replace(/\/\$management$/, '');
    const entity = this.#bus.find(path);
    this.asked.push(`${asked['operation']} ${path}`);
    if (this.answer !== undefined)
      return status(this.answer.status, 'As the test wishes.', this.answer.condition);
    if (entity === undefined)
      return status(404, 'The messaging entity could not be found.', 'amqp:not-found');
    const given = body as Record<string, unknown>;
    if (asked['operation'] === 'com.microsoft:peek-message') return this.#peek(entity, given);
    const tokens = (given['lock-tokens'] as (Buffer | string)[]).map(tagOf);
    const messages = tokens.map(tag => entity.messages.find(({ lockToken }) => lockToken === tag));
    const held = messages.filter(found => found !== undefined && found.lockedUntil > this.#bus.now());
    if (held.length < tokens.length) {
      const sentence =
        'The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue. Reference:1, TrackingId:2, SystemTracker:3';
      return status(410, sentence, 'com.microsoft:message-lock-lost');
    }
    for (const message of held as StoredMessage[]) {
      if (asked['operation'] === 'com.microsoft:renew-lock') {
        message.lockedUntil = this.#bus.now() + entity.lockMs;
      } else this.#settle(entity, message, given);
    }
    if (asked['operation'] !== 'com.microsoft:renew-lock') return status(200, 'OK');
    const until = (held as StoredMessage[]).map(({ lockedUntil }) => new Date(lockedUntil));
    const expirations = rhea.types.wrap_array(until, 0x83, undefined);
    return { ...status(200, 'OK'), body: rhea.types.wrap_map({ expirations }) };
  }

  /** Shows messages, locked ones too, from a number on. */
  #peek(entity: StubEntity, given: Record<string, unknown>): Message {
    const from = Number(given['from-sequence-number']);
    const shown = entity.messages
      .filter(({ sequence }) => sequence >= from)
      .sort((one, other) => one.sequence - other.sequence)
      .slice(0, Number(given['message-count']));
    if (shown.length === 0) return status(204, 'No messages.');
    const messages = shown.map(each => ({ message: rhea.message.encode(this.#encode(each, entity)) }));
    return { ...status(200, 'OK'), body: rhea.types.wrap_map({ messages }) };
  }

  #settle(entity: StubEntity, message: StoredMessage, given: Record<string, unknown>): void {
    const text = (name: string) => (given[name] === undefined ? undefined : String(given[name]));
    switch (given['disposition-status']) {
      case 'completed':
        entity.messages = entity.messages.filter(each => each !== message);
        break;
      case 'abandoned':
        this.#failed(entity, message);
        break;
      case 'suspended': {
        entity.messages = entity.messages.filter(each => each !== message);
        const [reason, description] = [text('deadletter-reason'), text('deadletter-description')];
        entity.deadLetters.push({ ...message, reason, description });
      }
    }
    // Whoever waits is told at once of what came back.
    for (const { sender, entity: of } of this.#receivers) if (of === entity) sender.emit('sendable');
  }
}

/** The tag of a delivery has the first three groups of a lock's UUID in the order of Windows. */
function tagOf(token: Buffer | string): string {
  const bytes = Buffer.isBuffer(token) ? token : Buffer.from(String(token).replaceAll('-', ''), 'hex');
  const parts = [bytes.subarray(0, 4), bytes.subarray(4, 6), bytes.subarray(6, 8)];
  return Buffer.concat([...parts.map(part => Buffer.from(part).reverse()), bytes.subarray(8)]).toString(
    'hex',
  );
}

const status = (code: number, description: string, condition?: string): Message => ({
  body: null,
  application_properties: {
    statusCode: rhea.types.wrap_int(code),
    statusDescription: description,
    ...(condition === undefined ? {} : { errorCondition: rhea.types.wrap_symbol(condition) }),
  },
});

function refuse(sender: Sender, condition: string, description: string): void {
  sender.close({ condition, description: `${description} TrackingId:0_1, SystemTracker:x:y` });
}
