import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import type { OpenContext } from '../context.ts';
import type { AmqpLinkEnd, LinkWish } from './azure-amqp.ts';
import { type AmqpMessage, codes, decodeMessage } from './azure-amqp-frames.ts';
import { AmqpNamespace, type Asking } from './azure-amqp-session.ts';
import { type AmqpValue, amqp } from './azure-amqp-types.ts';
import type { EventHubAccess } from './azure-event-hub-access.ts';
import type { PartitionState } from './azure-event-hub-lag.ts';
import { EventScans } from './azure-event-hub-scan.ts';
import { accountIdentity, openStorage, type StorageAccount, type StorageClient } from './azure-storage.ts';

/** Where events are looked at, and for how long. */
export interface PeekPlace {
  hub: string;
  group: string;
  partition: string;
  /** The last event that is not wanted. */
  after: bigint;
  /** Aborted once it is enough, whatever was seen. */
  enough: AbortSignal;
  /** Events asked for at a time; 64 unless told. */
  atOnce?: number;
  /** What can be done where the consumers have the partition for themselves. */
  advice?: string;
}

/** A storage account that nobody has asked for so long is let go, in milliseconds. */
const unusedMs = 600_000;
/** Events asked for at a time while looking at them, unless told. */
const peekedAtOnce = 64;

/**
 * One connection to a namespace for one identity, made when it is first needed and again after it was lost, and the
 * storage accounts of the checkpoints.
 */
export class EventHubClient implements AsyncDisposable {
  /** What was seen of events. */
  readonly scans = new EventScans();
  readonly #access: EventHubAccess;
  readonly #context: OpenContext;
  readonly #namespace: AmqpNamespace;
  readonly #storages = new Map<string, { client: StorageClient; usedAt: number; users: number }>();
  #closed = false;

  constructor(access: EventHubAccess, context: OpenContext) {
    this.#access = access;
    this.#context = context;
    this.#namespace = new AmqpNamespace(access, context);
  }

  /** The hub as sentences name it. */
  nameOf(hub: string): string {
    return `${this.#access.host}/${hub}`;
  }

  /** The ids of a hub's partitions. @throws Fault of the source */
  async partitions(hub: string, asking: Asking): Promise<readonly string[]> {
    const what = this.nameOf(hub);
    const body = await this.#manage(hub, { type: 'com.microsoft:eventhub', name: hub }, what, asking);
    const ids = body.get('partition_ids');
    if (!Array.isArray(ids) || ids.length === 0 || !ids.every(id => typeof id === 'string')) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${what} does not say which partitions it has`);
    }
    return ids;
  }

  /** Which events a partition has. @throws Fault of the source */
  async partition(hub: string, id: string, asking: Asking): Promise<PartitionState> {
    const what = `partition ${id} of ${this.nameOf(hub)}`;
    const properties = { type: 'com.microsoft:partition', name: hub, partition: id };
    const body = await this.#manage(hub, properties, what, asking);
    const first = integer(body.get('begin_sequence_number'));
    const last = integer(body.get('last_enqueued_sequence_number'));
    // Below zero there is only what stands for no event at all.
    if (first === undefined || last === undefined || first < -1n || last < -1n) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${what} does not say which events it has`);
    }
    const isEmpty = body.get('is_partition_empty');
    return { id, first, last, isEmpty: typeof isEmpty === 'boolean' ? isEmpty : undefined };
  }

  /**
   * Shows the events of a partition in order, until `take` returns true or it is enough. The events stay what they are: this is a
   * receiver without an epoch, which commits nothing and drives no consumer away.
   *
   * @throws Fault of the source; SOURCE_REFUSED where a consumer of the group has the partition for itself
   */
  async peek(place: PeekPlace, take: (event: AmqpMessage) => boolean, asking: Asking): Promise<void> {
    const { hub, group, partition, after, enough, atOnce = peekedAtOnce, advice } = place;
    const connection = await this.#namespace.authorized(hub, asking);
    const what = `partition ${partition} of ${this.nameOf(hub)} in consumer group ${group}`;
    const { signal } = asking;
    let taken = 0;
    let seen = false;
    let stop = () => {};
    let finish = () => {};
    let link: Promise<AmqpLinkEnd> | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        stop = () => reject(networkFault(signal.reason, this.#access.host, signal));
        if (signal.aborted) return stop();
        signal.addEventListener('abort', stop, { once: true });
        finish = resolve;
        enough.addEventListener('abort', finish, { once: true });
        const wish: LinkWish = {
          role: 'receiver',
          source: sourceOf(`${hub}/ConsumerGroups/${group}/Partitions/${partition}`, after),
          target: amqp.described(codes.target, amqp.list([amqp.string('eventide')])),
          take: bytes => {
            if (seen) return;
            seen = take(decodeMessage(bytes));
            if (seen) return resolve();
            taken += 1;
            if (taken % atOnce === 0) allow();
          },
          over: fault => reject(explained(fault, what, advice)),
        };
        link = connection.attach(wish, signal);
        const allow = () => void link?.then(end => end.allow(atOnce));
        link.then(allow, thrown => reject(explained(thrown, what, advice)));
      });
    } finally {
      seen = true;
      signal.removeEventListener('abort', stop);
      enough.removeEventListener('abort', finish);
      link?.then(
        end => end.detach(),
        () => {},
      );
    }
  }

  /** Works with the storage of checkpoints, over connections that stay open. @throws Fault PARAM_INVALID; those of `work` */
  async withStorage<T>(
    account: StorageAccount,
    work: (storage: StorageClient) => Promise<T>,
    { now }: Asking,
  ): Promise<T> {
    const key = accountIdentity(account);
    const storage = this.#storages.get(key) ?? {
      client: openStorage(account, this.#context),
      usedAt: now,
      users: 0,
    };
    this.#storages.set(key, storage);
    storage.users += 1;
    storage.usedAt = now;
    try {
      return await work(storage.client);
    } finally {
      storage.users -= 1;
      if (this.#closed) await storage.client[Symbol.asyncDispose]();
      else await this.#letGo(now);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const storages = [...this.#storages.values()];
    this.#storages.clear();
    await Promise.all(storages.map(({ client }) => client[Symbol.asyncDispose]()));
    await this.#namespace[Symbol.asyncDispose]();
  }

  async #letGo(now: number): Promise<void> {
    for (const [key, { client, usedAt, users }] of this.#storages) {
      if (users > 0 || now - usedAt < unusedMs) continue;
      this.#storages.delete(key);
      await client[Symbol.asyncDispose]();
    }
  }

  /** What a READ of `$management` answers with. */
  async #manage(
    hub: string,
    properties: Readonly<Record<string, string>>,
    what: string,
    asking: Asking,
  ): Promise<ReadonlyMap<AmqpValue, AmqpValue>> {
    const question = (token: string) => ({
      properties: { operation: 'READ', ...properties, security_token: token },
      what,
    });
    const { body } = await this.#namespace.ask({ node: '$management', entity: hub }, question, asking);
    if (body instanceof Map) return body;
    throw new Fault('SOURCE_ANSWER_INVALID', `${what} answered with something else than a map`);
  }
}

function integer(value: AmqpValue | undefined): bigint | undefined {
  if (typeof value === 'bigint') return value;
  return typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : undefined;
}

const selector = 'apache.org:selector-filter:string';

function sourceOf(address: string, after: bigint): Buffer {
  const text = `amqp.annotation.x-opt-sequence-number > '${after}'`;
  const filter = amqp.map([amqp.symbol(selector), amqp.named(selector, amqp.string(text))]);
  const nothing = amqp.null();
  const fields = [amqp.string(address), nothing, nothing, nothing, nothing, nothing, nothing, filter];
  return amqp.described(codes.source, amqp.list(fields));
}

/** A consumer with an epoch keeps others of its group away: what can be done about it is not in Azure's sentence. */
function explained(
  fault: Fault,
  what: string,
  advice = 'give filterConsumerGroup a group of its own',
): Fault {
  const stolen = /link:stolen|epoch|receiver/i.test(fault.message) && fault.code !== 'SOURCE_UNREACHABLE';
  if (!stolen) return fault;
  const sentence = `${what} cannot be looked at while its consumers have it for themselves; ${advice}`;
  return new Fault('SOURCE_REFUSED', sentence, { cause: fault });
}
