import { deadline } from '../../base/deadline.ts';
import { Fault, faultOf } from '../../base/errors.ts';
import { connectKafka, type KafkaEntry, type KafkaLink } from './kafka-link.ts';
import type { Broker } from './kafka-metadata-messages.ts';
import { type Address, joinHostPort } from './socket.ts';

/** The time and the patience of whoever asks. */
export interface AskAt {
  /** Epoch milliseconds. */
  now: number;
  signal: AbortSignal;
}

/** A cluster of Kafka: one connection to each broker that is asked, made when it is first needed. */
export interface KafkaClient extends AsyncDisposable {
  /** Names the cluster in sentences. */
  readonly name: string;
  /** How many connections are open. */
  readonly links: number;
  /** A connection to whichever broker answers. @throws Fault of the source where none does */
  any(at: AskAt): Promise<KafkaLink>;
  /** The connection to one broker. @throws Fault of the source */
  to(broker: Broker, at: AskAt): Promise<KafkaLink>;
}

/** How long one of several bootstrap servers may take before the next is tried, in milliseconds. */
const patienceMs = 1000;

/** Connects to nobody yet. @param bootstrap at least one address */
export function kafkaClient(
  bootstrap: readonly Address[],
  entry: KafkaEntry,
  more: AsyncDisposable[] = [],
): KafkaClient {
  const name = bootstrap.map(({ host, port }) => joinHostPort(host, port)).join(',');
  const links = new Map<string, KafkaLink>();
  const connecting = new Map<string, Promise<KafkaLink>>();
  let first = 0;
  let closed = false;

  function openLink(key: string): KafkaLink | undefined {
    const link = links.get(key);
    if (link !== undefined && !link.open) links.delete(key);
    return link?.open ? link : undefined;
  }

  async function connect(key: string, address: Address, at: AskAt): Promise<KafkaLink> {
    try {
      const link = await connectKafka(address, entry, at);
      if (closed) await link[Symbol.asyncDispose]();
      else links.set(key, link);
      return link;
    } finally {
      connecting.delete(key);
    }
  }

  async function linkTo(address: Address, at: AskAt): Promise<KafkaLink> {
    if (closed) throw new Fault('CANCELLED', `the connection to ${name} was closed`);
    const key = joinHostPort(address.host, address.port);
    const present = openLink(key);
    if (present !== undefined) return present;
    const others = connecting.get(key);
    if (others !== undefined) {
      // What ended the time of another need not have ended ours.
      await others.catch(() => undefined);
      const theirs = openLink(key);
      if (theirs !== undefined) return theirs;
    }
    const mine = connecting.get(key) ?? connect(key, address, at);
    connecting.set(key, mine);
    return await mine;
  }

  async function bootstrapLink(at: AskAt): Promise<KafkaLink> {
    let fault: Fault | undefined;
    // Whoever comes in meanwhile moves `first`, and one that is silent would get a second turn, as the last.
    const start = first;
    for (let tried = 0; tried < bootstrap.length; tried += 1) {
      const index = (start + tried) % bootstrap.length;
      const address = bootstrap[index];
      if (address === undefined) continue;
      const isLast = tried === bootstrap.length - 1;
      using limit = isLast ? undefined : deadline(at.signal, patienceMs);
      try {
        const link = await linkTo(address, limit === undefined ? at : { ...at, signal: limit.signal });
        first = index;
        return link;
      } catch (thrown) {
        if (at.signal.aborted) throw thrown;
        const found = faultOf(thrown);
        // One that refused us says more than one that cannot be reached.
        if (fault?.code !== 'SOURCE_REFUSED') fault = found;
      }
    }
    throw fault ?? new Fault('PARAM_INVALID', 'there is no bootstrap server');
  }

  return {
    name,
    get links() {
      return [...links.values()].filter(({ open }) => open).length;
    },
    async any(at) {
      // The latest, because the one to a bootstrap server is often a second one to a broker: it may fall idle.
      const open = [...links.keys()].filter(key => openLink(key) !== undefined).at(-1);
      const link = open === undefined ? undefined : links.get(open);
      return link ?? (await bootstrapLink(at));
    },
    to: ({ host, port }, at) => linkTo({ host, port }, at),
    async [Symbol.asyncDispose]() {
      closed = true;
      await Promise.allSettled(connecting.values());
      for (const each of [...links.values(), ...more]) await each[Symbol.asyncDispose]();
      links.clear();
    },
  };
}
