import { setMaxListeners } from 'node:events';
import { Fault } from '../../base/errors.ts';
import { answerOf, type KeyedCommand, type Outcome, type RedisClient } from './redis.ts';
import {
  addressText,
  connectRedis,
  type RedisAddress,
  type RedisEntry,
  type RedisLink,
  type RunOptions,
} from './redis-link.ts';
import { slotCount, slotOf } from './redis-slots.ts';
import { type Command, type Reply, ReplyError } from './resp.ts';

/** Moves of a key that one command may be sent after. */
const mostMoves = 5;

/** A command that is not answered yet. */
interface Errand {
  readonly index: number;
  readonly command: Command;
  readonly slot: number | undefined;
  /** Where the last server said that it must go: for good, or this once. */
  sentTo?: { address: RedisAddress; asking: boolean };
}

/**
 * Opens a cluster by any of its nodes: one connection to each master that is asked something.
 *
 * @param seeds where to begin; the cluster itself says where the rest is
 * @throws Fault as `connectRedis` does, of the last seed that was tried
 */
export async function openCluster(
  seeds: readonly RedisAddress[],
  entry: RedisEntry,
  signal: AbortSignal,
): Promise<RedisClient> {
  const cluster = new Cluster(seeds, entry);
  try {
    await cluster.learn(signal);
    return cluster;
  } catch (thrown) {
    await cluster[Symbol.asyncDispose]();
    throw thrown;
  }
}

class Cluster implements RedisClient {
  readonly name: string;
  readonly #seeds: readonly RedisAddress[];
  readonly #entry: RedisEntry;
  readonly #links = new Map<string, Promise<RedisLink>>();
  /** The master of each slot. */
  #slots: (RedisAddress | undefined)[] = [];
  #stale = false;
  #closed = false;

  constructor(seeds: readonly RedisAddress[], entry: RedisEntry) {
    this.name = seeds.map(addressText).join(', ');
    this.#seeds = seeds;
    // A cluster has one database.
    this.#entry = { ...entry, database: 0 };
  }

  get links(): number {
    return this.#links.size;
  }

  async run(commands: readonly KeyedCommand[], options: RunOptions): Promise<Outcome[]> {
    if (this.#closed) throw new Fault('CANCELLED', `the connection to ${this.name} was closed`);
    // Every server that is asked listens to it, and there may be hundreds.
    setMaxListeners(0, options.signal);
    if (this.#stale) await this.learn(options.signal);
    const outcomes: Outcome[] = [];
    let errands = commands.map(({ command, key }, index): Errand => {
      return { index, command, slot: key === undefined ? undefined : slotOf(key) };
    });
    for (let round = 0; round <= mostMoves && errands.length > 0; round += 1) {
      const again: Errand[] = [];
      await Promise.all(
        [...this.#byServer(errands)].map(async ([name, some]) => {
          const replies = await this.#send(name, some, options);
          for (const [at, errand] of some.entries()) {
            const outcome = replies instanceof Fault ? replies : (replies[at] ?? null);
            outcomes[errand.index] = outcome;
            if (this.#isSentOn(errand, outcome, name)) again.push(errand);
          }
        }),
      );
      errands = again;
    }
    const [first] = outcomes;
    if (first instanceof Fault && outcomes.every(outcome => outcome instanceof Fault)) throw first;
    return outcomes;
  }

  /** Asks for the map of slots, known nodes first, then the seeds. */
  async learn(signal: AbortSignal): Promise<void> {
    const nodes = new Map<string, RedisAddress>();
    for (const address of [...this.#slots, ...this.#seeds]) {
      if (address !== undefined) nodes.set(addressText(address), address);
    }
    let fault = new Fault('PARAM_INVALID', 'there is no node of the cluster to ask');
    for (const address of nodes.values()) {
      try {
        const link = await this.#link(address, signal);
        const [reply = null] = await link.run([['CLUSTER', 'SLOTS']], { signal });
        this.#slots = slotsOf(answerOf(reply, link.name), address);
        this.#stale = false;
        await this.#drop();
        return;
      } catch (thrown) {
        if (signal.aborted || !(thrown instanceof Fault)) throw thrown;
        fault = thrown;
      }
    }
    throw fault;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const links = [...this.#links.values()];
    this.#links.clear();
    await Promise.all(links.map(closeWhenOpen));
  }

  #byServer(errands: readonly Errand[]): Map<string, Errand[]> {
    const groups = new Map<string, Errand[]>();
    for (const errand of errands) {
      const address = this.#addressFor(errand);
      const name = address === undefined ? '' : addressText(address);
      const group = groups.get(name);
      if (group === undefined) groups.set(name, [errand]);
      else group.push(errand);
    }
    return groups;
  }

  #addressFor({ slot, sentTo }: Errand): RedisAddress | undefined {
    if (sentTo !== undefined) return sentTo.address;
    return slot === undefined ? this.#slots.find(address => address !== undefined) : this.#slots[slot];
  }

  /** The answers of one server, or why there are none. */
  async #send(name: string, errands: readonly Errand[], options: RunOptions): Promise<Reply[] | Fault> {
    const [first] = errands;
    const address = first === undefined ? undefined : this.#addressFor(first);
    if (address === undefined) {
      this.#stale = true;
      return new Fault('SOURCE_BUSY', `no server of the cluster ${this.name} has the key now`);
    }
    try {
      const link = await this.#link(address, options.signal);
      const commands = errands.flatMap(({ command, sentTo }) =>
        sentTo?.asking ? [['ASKING'], command] : [command],
      );
      const replies = await link.run(commands, options);
      let at = -1;
      return errands.map(({ sentTo }) => {
        at += sentTo?.asking ? 2 : 1;
        return replies[at] ?? null;
      });
    } catch (thrown) {
      if (!(thrown instanceof Fault)) throw thrown;
      // Another server may have taken over: the next use asks which. Nothing is sent twice.
      this.#stale = true;
      if (thrown.code !== 'CANCELLED') void this.#forget(name);
      return thrown;
    }
  }

  /** Whether an errand must go elsewhere; then it knows where. */
  #isSentOn(errand: Errand, outcome: Outcome, from: string): boolean {
    if (!(outcome instanceof ReplyError)) return false;
    if (outcome.code === 'READONLY') this.#stale = true;
    const [code, slot, to] = outcome.message.split(' ');
    if ((code !== 'MOVED' && code !== 'ASK') || to === undefined) return false;
    const found = parseAddress(to, from);
    if (found === undefined) return false;
    errand.sentTo = { address: found, asking: code === 'ASK' };
    if (code === 'MOVED') {
      this.#slots[Number(slot)] = found;
      this.#stale = true;
    }
    return true;
  }

  async #link(address: RedisAddress, signal: AbortSignal): Promise<RedisLink> {
    const name = addressText(address);
    for (;;) {
      const present = this.#links.get(name);
      if (present === undefined) break;
      const link = await present.catch(() => undefined);
      if (link?.open) return link;
      if (this.#links.get(name) === present) this.#links.delete(name);
    }
    const opening = connectRedis(address, this.#entry, signal);
    this.#links.set(name, opening);
    try {
      const link = await opening;
      if (this.#closed) await link[Symbol.asyncDispose]();
      return link;
    } catch (thrown) {
      if (this.#links.get(name) === opening) this.#links.delete(name);
      throw thrown;
    }
  }

  async #forget(name: string): Promise<void> {
    const link = this.#links.get(name);
    this.#links.delete(name);
    if (link !== undefined) await closeWhenOpen(link);
  }

  /** Closes connections to servers that have no slot any more. */
  async #drop(): Promise<void> {
    const masters = new Set<string>();
    for (const address of this.#slots) if (address !== undefined) masters.add(addressText(address));
    const left = [...this.#links.keys()].filter(name => !masters.has(name));
    await Promise.all(left.map(name => this.#forget(name)));
  }
}

async function closeWhenOpen(opening: Promise<RedisLink>): Promise<void> {
  // One that never opened has nothing to close.
  const link = await opening.catch(() => undefined);
  await link?.[Symbol.asyncDispose]();
}

/** @throws Fault SOURCE_ANSWER_INVALID */
function slotsOf(reply: Reply, asked: RedisAddress): (RedisAddress | undefined)[] {
  const slots: (RedisAddress | undefined)[] = new Array(slotCount).fill(undefined);
  const invalid = new Fault('SOURCE_ANSWER_INVALID', `${addressText(asked)} gave no map of its cluster`);
  if (!Array.isArray(reply)) throw invalid;
  for (const range of reply) {
    const [start, end, master] = Array.isArray(range) ? range : [];
    if (typeof start !== 'number' || typeof end !== 'number' || !Array.isArray(master)) throw invalid;
    const [host, port] = master;
    if (typeof port !== 'number' || start < 0 || end >= slotCount) throw invalid;
    // A node that does not know its own name answers at the one we used.
    const known = host === null || host === undefined || String(host) === '' ? asked.host : String(host);
    slots.fill({ host: known, port }, start, end + 1);
  }
  return slots;
}

/** @param from where the server that said so is, for an address without a host */
function parseAddress(text: string, from: string): RedisAddress | undefined {
  const colon = text.lastIndexOf(':');
  const port = Number(text.slice(colon + 1));
  if (colon === -1 || !Number.isInteger(port)) return undefined;
  const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  return {
    host: host === '' ? from.slice(0, from.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1') : host,
    port,
  };
}
