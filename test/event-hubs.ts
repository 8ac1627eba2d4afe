import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import rhea, { type Connection, type EventContext, type Message, type Sender } from 'rhea';

/** An event as the test sends it. */
export interface HubEvent {
  body?: unknown;
  properties?: Record<string, unknown>;
  annotations?: Record<string, unknown>;
  messageId?: string;
}

interface Stored extends HubEvent {
  sequence: bigint;
}

interface Partition {
  first: bigint;
  last: bigint;
  events: Stored[];
  /** Had events, and all of them have expired. */
  emptied: boolean;
  receivers: Set<Receiver>;
}

/** Who gets the events of a partition, those that come later too. */
interface Receiver {
  group: string;
  /** Undefined for one that shares the partition with others of its group. */
  epoch: bigint | undefined;
  sender: Sender;
  flush: () => void;
}

/** The key that lets one in. */
export const eventHubsKey = {
  name: 'RootManageSharedAccessKey',
  key: 'c2VjcmV0IG9mIHRoZSBuYW1lc3BhY2U=',
} as const;

/**
 * A stand-in for Azure Event Hubs, written from Microsoft's "AMQP 1.0 protocol guide" over an AMQP 1.0 library that
 * is not ours: `$cbs` checks signatures as Azure does, `$management` answers READ of hubs and partitions, receivers
 * get the events of a partition from where their filter says.
 */
export class EventHubs implements AsyncDisposable {
  readonly hubs = new Map<string, Partition[]>();
  /** Consumer groups whose partitions a consumer with an epoch holds: `hub/group`. */
  readonly held = new Set<string>();
  /** Tokens of Entra ID that are accepted, beside signatures. */
  readonly bearers = new Set<string>();
  /** What was asked for: `put-token`, `READ hub`, `READ hub/0`, `receive hub/group/0 > 5`. */
  readonly asked: string[] = [];
  readonly containerIds: string[] = [];
  /** What its clients say that they are. */
  readonly userAgents: unknown[] = [];
  /** Answers READs with this status instead, where it is set. */
  status: number | undefined;
  /** Leaves READs without an answer, while it is set. */
  silent = false;
  port = 0;
  connections = 0;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #tls: { key: string; cert: string } | undefined;

  constructor(tls?: { key: string; cert: string }) {
    this.#tls = tls;
  }

  get connectionString(): string {
    return this.connectionStringOf(eventHubsKey.key);
  }

  connectionStringOf(key: string): string {
    return `Endpoint=sb://127.0.0.1:${this.port}/;SharedAccessKeyName=${eventHubsKey.name};SharedAccessKey=${key}${this.#tls === undefined ? ';UseDevelopmentEmulator=true' : ''}`;
  }

  /** A hub with so many empty partitions. */
  create(hub: string, partitions = 1): void {
    this.hubs.set(
      hub,
      Array.from({ length: partitions }, () => ({
        first: 0n,
        last: -1n,
        events: [],
        emptied: false,
        receivers: new Set(),
      })),
    );
  }

  /** Says which events a partition has, without having them. */
  span(hub: string, partition: number, first: bigint, last: bigint): void {
    Object.assign(this.#partition(hub, partition), { first, last });
  }

  send(hub: string, partition: number, ...events: HubEvent[]): void {
    const to = this.#partition(hub, partition);
    for (const event of events) {
      to.last += 1n;
      to.events.push({ ...event, sequence: to.last });
    }
    to.emptied = false;
    for (const { flush } of to.receivers) flush();
  }

  /** Has the oldest events of a partition expire; without any, its numbers are both those of the last one. */
  expire(hub: string, partition: number, count: number): void {
    const from = this.#partition(hub, partition);
    from.events.splice(0, count);
    from.first = from.events[0]?.sequence ?? from.last;
    from.emptied = from.events.length === 0;
  }

  async start(): Promise<void> {
    const container = rhea.create_container();
    container.sasl_server_mechanisms.enable_anonymous();
    container.on('connection_open', ({ connection }: EventContext) => this.#opened(connection));
    container.on('error', () => {});
    container.on('connection_error', () => {});
    container.on('disconnected', () => {});
    this.#server = container.listen({
      port: this.port,
      host: '127.0.0.1',
      max_frame_size: 65_536,
      receiver_options: { max_message_size: 1_048_576 },
      ...(this.#tls && { transport: 'tls' as const, ...this.#tls }),
    });
    this.#server.on('connection', (socket: Socket) => {
      socket.setNoDelay(true);
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket)).on('error', () => {});
    });
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #partition(hub: string, partition: number): Partition {
    const found = this.hubs.get(hub)?.[partition];
    if (found === undefined) throw new Error(`no partition ${partition} of ${hub}`);
    return found;
  }

  #opened(connection: Connection): void {
    this.containerIds.push(connection.container_id);
    this.userAgents.push(connection.remote.open?.properties?.['user-agent']);
    const authorized = new Set<string>();
    const replies = new Map<string, Sender>();
    connection.on('sender_open', ({ sender }: EventContext) => {
      if (sender === undefined) return;
      const address = String(sender.source.address).replace(/^amqps?:\/\/[^/]+\//, '');
      if (address.startsWith('$')) {
        sender.set_source({ address });
        sender.set_target({ address: sender.target.address });
        replies.set(`${sender.target.address}`, sender).set(address, sender);
      } else this.#receive(sender, address, authorized);
    });
    connection.on('receiver_open', ({ receiver }: EventContext) => {
      receiver?.set_target({ address: receiver.target.address });
      receiver?.set_source({ address: receiver.source.address });
    });
    connection.on('message', ({ message, receiver }: EventContext) => {
      if (message === undefined || receiver === undefined) return;
      if (this.silent) return;
      const answer =
        receiver.target.address === '$cbs'
          ? this.#cbs(message, authorized)
          : this.#manage(message, authorized);
      // Azure's client for Python names no address to reply to.
      replies
        .get(String(message.reply_to ?? receiver.target.address))
        ?.send({ ...answer, correlation_id: message.message_id as string });
    });
    connection.on('disconnected', () => this.#forget(connection));
    for (const event of [
      'error',
      'protocol_error',
      'connection_error',
      'disconnected',
      'connection_close',
    ] as const) {
      connection.on(event, () => {});
    }
  }

  #forget(connection: Connection): void {
    for (const { receivers } of [...this.hubs.values()].flat()) {
      for (const each of receivers) if (each.sender.connection === connection) receivers.delete(each);
    }
  }

  #cbs({ application_properties: asked = {}, body }: Message, authorized: Set<string>): Message {
    this.asked.push('put-token');
    const audience = String(asked['name']);
    const bearer = asked['type'] === 'jwt' && this.bearers.has(String(body));
    const good =
      bearer || (asked['type'] === 'servicebus.windows.net:sastoken' && signed(String(body), audience));
    if (asked['operation'] !== 'put-token' || !good)
      return status(401, 'InvalidSignature: The token has an invalid signature.');
    authorized.add(audience.split('/').slice(3).join('/'));
    return status(202, 'Accepted');
  }

  #manage({ application_properties: asked = {} }: Message, authorized: ReadonlySet<string>): Message {
    const { operation, type, name, partition, security_token } = asked as Record<string, string>;
    this.asked.push(`${operation} ${name}${partition === undefined ? '' : `/${partition}`}`);
    if (this.status !== undefined)
      return status(this.status, 'As the test wishes. TrackingId:1, SystemTracker:2');
    if (!authorized.has(String(name)) || !security_token) return status(401, 'Unauthorized access.');
    const hub = this.hubs.get(String(name));
    if (operation !== 'READ' || hub === undefined) {
      return status(404, `The messaging entity '${name}' could not be found.`);
    }
    const { types } = rhea;
    if (type === 'com.microsoft:eventhub') {
      const ids = types.wrap_array(
        hub.map((_, id) => String(id)),
        0xa1,
        undefined,
      );
      const body = {
        name,
        type,
        created_at: types.wrap_timestamp(1),
        partition_count: hub.length,
        partition_ids: ids,
      };
      return { ...status(200, 'OK'), body: types.wrap_map(body) };
    }
    const state = hub[Number(partition)];
    if (state === undefined)
      return status(404, `The specified partition is invalid for an EventHub partition sender or receiver.`);
    const body = {
      name,
      type,
      partition,
      begin_sequence_number: types.wrap_long(int64(state.first)),
      last_enqueued_sequence_number: types.wrap_long(int64(state.last)),
      last_enqueued_offset: '-1',
      last_enqueued_time_utc: types.wrap_timestamp(1),
      is_partition_empty: state.last === -1n || state.emptied,
    };
    return { ...status(200, 'OK'), body: types.wrap_map(body) };
  }

  #receive(sender: Sender, address: string, authorized: ReadonlySet<string>): void {
    const [, hub = '', group = '', id = ''] =
      /^([^/]+)\/ConsumerGroups\/([^/]+)\/Partitions\/(\d+)$/.exec(address) ?? [];
    const partition = this.hubs.get(hub)?.[Number(id)];
    const filter = sender.source.filter as Record<string, unknown> | undefined;
    const text = String(plain(filter?.['apache.org:selector-filter:string']));
    const [, kind, orEqual, place] =
      /^amqp\.annotation\.x-opt-(sequence-number|offset) >(=?) '(-?\d+)'$/.exec(text) ?? [];
    const position = place === undefined ? undefined : BigInt(place) - (orEqual === '=' ? 1n : 0n);
    const after = position === undefined || kind !== 'offset' ? position : sequenceAt(position);
    this.asked.push(`receive ${hub}/${group}/${id} > ${after}`);
    if (![...authorized].some(above => isBelow(address, above))) {
      refuse(sender, 'amqp:unauthorized-access', 'Unauthorized access.');
      return;
    }
    if (partition === undefined || after === undefined) {
      refuse(sender, 'amqp:not-found', 'no such partition');
      return;
    }
    const epoch = epochOf(sender);
    const others = [...partition.receivers].filter(each => each.group === group);
    const highest = others.reduce<bigint | undefined>((most, each) => higher(most, each.epoch), undefined);
    if (this.held.has(`${hub}/${group}`) || (highest !== undefined && (epoch ?? -1n) < highest)) {
      const sentence =
        "At least one receiver for the endpoint is created with epoch of '0', and so non-epoch receiver is not allowed.";
      refuse(sender, 'amqp:link:stolen', sentence);
      return;
    }
    if (epoch !== undefined) {
      for (const each of others) {
        partition.receivers.delete(each);
        refuse(each.sender, 'amqp:link:stolen', `New receiver with higher epoch of '${epoch}' is created.`);
      }
    }
    sender.set_source({ address });
    sender.set_target({ address: sender.target.address });
    let next = partition.events.findIndex(({ sequence }) => sequence > after);
    if (next === -1) next = partition.events.length;
    // No more than there is credit for: the library would keep the rest before everything else of the session.
    const link = sender as unknown as { credit: number; delivery_count: number };
    let sent = 0;
    const flush = () => {
      while (sent < link.delivery_count + link.credit && next < partition.events.length) {
        sender.send(messageOf(partition.events[next] as Stored));
        next += 1;
        sent += 1;
      }
    };
    const receiver: Receiver = { group, epoch, sender, flush };
    const gone = () => void partition.receivers.delete(receiver);
    partition.receivers.add(receiver);
    sender.on('sendable', flush);
    for (const end of ['sender_close', 'sender_detach', 'session_close'] as const) sender.on(end, gone);
    flush();
  }
}

/** Starts one on 127.0.0.1, with TLS where there is a certificate for it. */
export async function startEventHubs(tls?: { key: string; cert: string }): Promise<EventHubs> {
  const hubs = new EventHubs(tls);
  await hubs.start();
  return hubs;
}

function messageOf({ body, properties, annotations, messageId, sequence }: Stored): Message {
  const { types } = rhea;
  return {
    ...(messageId === undefined ? {} : { message_id: messageId }),
    message_annotations: {
      'x-opt-sequence-number': types.wrap_long(int64(sequence)),
      'x-opt-offset': String(sequence * 100n),
      'x-opt-enqueued-time': types.wrap_timestamp(Date.UTC(2026, 0, 15, 12)),
      ...annotations,
    },
    application_properties: properties ?? {},
    body: rhea.message.data_section(
      Buffer.from(typeof body === 'string' ? body : JSON.stringify(body ?? null)),
    ),
  };
}

function int64(value: bigint): number {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  // A number would be exact only up to 2^53; the library takes the bytes themselves, though its types do not say so.
  return bytes as unknown as number;
}

const status = (code: number, description: string): Message => ({
  body: null,
  application_properties: { 'status-code': rhea.types.wrap_int(code), 'status-description': description },
});

function plain(value: unknown): unknown {
  let inner = value;
  while (typeof inner === 'object' && inner !== null && 'value' in inner) inner = inner.value;
  return inner;
}

const isBelow = (address: string, above: string) =>
  `${address}/`.toLowerCase().startsWith(`${above}/`.toLowerCase());

/** Offsets are a hundred apart here; the one before all is -1. */
function sequenceAt(offset: bigint): bigint {
  return offset < 0n ? -1n : offset / 100n;
}

function epochOf({ properties }: Sender): bigint | undefined {
  const epoch = plain((properties as Record<string, unknown> | undefined)?.['com.microsoft:epoch']);
  if (epoch === undefined || epoch === null) return undefined;
  return Buffer.isBuffer(epoch) ? epoch.readBigInt64BE() : BigInt(Number(epoch));
}

const higher = (one: bigint | undefined, other: bigint | undefined) =>
  one === undefined || (other !== undefined && other > one) ? other : one;

function refuse(sender: Sender, condition: string, description: string): void {
  sender.close({ condition, description: `${description} TrackingId:0_1, SystemTracker:x:y` });
}

/** Whether a token is signed with the namespace's key, for what it is shown for. */
function signed(token: string, audience: string): boolean {
  const [, resource = '', signature = '', until = '', name = ''] =
    /^SharedAccessSignature sr=([^&]+)&sig=([^&]+)&se=(\d+)&skn=([^&]+)$/.exec(token) ?? [];
  const right = createHmac('sha256', eventHubsKey.key).update(`${resource}\n${until}`).digest('base64');
  const covers = audience.startsWith(decodeURIComponent(resource));
  return decodeURIComponent(signature) === right && covers && name === eventHubsKey.name;
}
