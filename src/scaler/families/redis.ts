import { Fault } from '../../base/errors.ts';
import {
  addressText,
  connectRedis,
  faultOfReply,
  type RedisAddress,
  type RedisEntry,
  type RedisLink,
  type RunOptions,
} from './redis-link.ts';
import { type Command, type Reply, ReplyError } from './resp.ts';

/** A command with the key that says which server of a cluster it is for; any server where there is none. */
export interface KeyedCommand {
  key?: string;
  command: Command;
}

/** An answer, or why there is none. */
export type Outcome = Reply | Fault;

/** An open deployment of Redis: one server, a cluster, or the master that sentinels watch. */
export interface RedisClient extends AsyncDisposable {
  /** Names it in sentences. */
  readonly name: string;
  /** How many connections are open. */
  readonly links: number;
  /**
   * Sends all commands at once and resolves with their answers in order. A connection that was lost since the
   * last use is made anew; nothing is sent twice.
   *
   * @returns among the answers a Fault for what one server of a cluster could not answer
   * @throws Fault of the source where nothing could be answered
   */
  run(commands: readonly KeyedCommand[], options: RunOptions): Promise<Outcome[]>;
}

/** The answer to one command. @throws Fault of the source, also for an error that the server answered with */
export async function ask(
  client: RedisClient,
  keyed: KeyedCommand,
  options: RunOptions,
): Promise<Exclude<Reply, ReplyError>> {
  const [outcome = null] = await client.run([keyed], options);
  return answerOf(outcome, nameOf(client, keyed.key));
}

/** @throws Fault where the outcome is one, or an error of the server */
export function answerOf(outcome: Outcome, what: string): Exclude<Reply, ReplyError> {
  if (outcome instanceof Fault || outcome instanceof ReplyError) throw faultOf(outcome, what);
  return outcome;
}

/** A number of things, or why there is none. */
export function countOf(outcome: Outcome, what: string): number | Fault {
  const isCount = typeof outcome === 'number' && outcome >= 0 && Number.isSafeInteger(outcome);
  return isCount ? outcome : faultOf(outcome, what);
}

/** The Fault in something that is not what was asked for. */
export function faultOf(outcome: Outcome, what: string): Fault {
  if (outcome instanceof Fault) return outcome;
  if (outcome instanceof ReplyError) return faultOfReply(outcome, what);
  return new Fault('SOURCE_ANSWER_INVALID', `${what} answered with something else than was asked for`);
}

export const nameOf = ({ name }: RedisClient, key: string | undefined) =>
  key === undefined ? name : `${name}, "${key}"`;

/**
 * A client of the one server that `find` leads to, connected already.
 *
 * @param find connects; called again after the connection was lost
 */
async function clientOf(
  name: string,
  find: (signal: AbortSignal) => Promise<RedisLink>,
  signal: AbortSignal,
): Promise<RedisClient> {
  let closed = false;
  let finding: Promise<RedisLink> | undefined;
  let link: RedisLink | undefined;

  function connect(under: AbortSignal): Promise<RedisLink> {
    finding ??= (async () => {
      try {
        const found = await find(under);
        if (closed) await found[Symbol.asyncDispose]();
        link = found;
        return found;
      } finally {
        finding = undefined;
      }
    })();
    return finding;
  }

  async function current(under: AbortSignal): Promise<RedisLink> {
    if (link?.open) return link;
    const others = finding;
    // What ended the time of another need not have ended ours.
    if (others !== undefined) await others.catch(() => undefined);
    return link?.open ? link : await connect(under);
  }

  link = await connect(signal);
  return {
    name,
    get links() {
      return link?.open ? 1 : 0;
    },
    async run(commands, options) {
      if (closed) throw new Fault('CANCELLED', `the connection to ${name} was closed`);
      const used = await current(options.signal);
      const replies = await used.run(
        commands.map(({ command }) => command),
        options,
      );
      const moved = replies.some(reply => reply instanceof ReplyError && reply.code === 'READONLY');
      if (moved) await used[Symbol.asyncDispose]();
      return replies;
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      await link?.[Symbol.asyncDispose]();
    },
  };
}

/** Opens one server. @throws Fault as `connectRedis` does */
export function openServer(
  address: RedisAddress,
  entry: RedisEntry,
  signal: AbortSignal,
): Promise<RedisClient> {
  return clientOf(addressText(address), under => connectRedis(address, entry, under), signal);
}

export interface SentinelSettings {
  sentinels: readonly RedisAddress[];
  /** What the sentinels call the master. */
  master: string;
  /** How to come in at the sentinels. */
  sentinelEntry: RedisEntry;
  /** How to come in at the master. */
  entry: RedisEntry;
}

/**
 * Opens the master that sentinels know, and after each loss of it whichever they know then.
 *
 * @throws Fault as `connectRedis` does; SOURCE_NOT_FOUND where no sentinel knows the name
 */
export function openSentinel(settings: SentinelSettings, signal: AbortSignal): Promise<RedisClient> {
  const name = `${settings.master} of ${settings.sentinels.map(addressText).join(', ')}`;
  return clientOf(name, under => findMaster(settings, under), signal);
}

async function findMaster(settings: SentinelSettings, signal: AbortSignal): Promise<RedisLink> {
  const { sentinels, entry } = settings;
  let fault: Fault | undefined;
  for (const sentinel of sentinels) {
    try {
      const address = await askSentinel(sentinel, settings, signal);
      const link = await connectRedis(address, entry, signal);
      if (await isMaster(link, signal)) return link;
      await link[Symbol.asyncDispose]();
      fault = new Fault('SOURCE_UNREACHABLE', `${link.name} is no master any more, a fail-over is under way`);
    } catch (thrown) {
      if (signal.aborted || !(thrown instanceof Fault)) throw thrown;
      // One that does not know the name says less than one that knows where the master should be.
      if (fault === undefined || fault.code === 'SOURCE_NOT_FOUND') fault = thrown;
    }
  }
  throw fault ?? new Fault('PARAM_INVALID', 'there is no sentinel to ask');
}

async function askSentinel(
  sentinel: RedisAddress,
  { master, sentinelEntry }: SentinelSettings,
  signal: AbortSignal,
): Promise<RedisAddress> {
  await using link = await connectRedis(sentinel, sentinelEntry, signal);
  const [reply = null] = await link.run([['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master]], { signal });
  const found = answerOf(reply, `sentinel ${link.name}`);
  if (found === null) {
    throw new Fault('SOURCE_NOT_FOUND', `sentinel ${link.name} knows no master "${master}"`);
  }
  const [host, port] = Array.isArray(found) ? found.map(String) : [];
  if (host === undefined || !/^\d+$/.test(port ?? '')) {
    throw new Fault('SOURCE_ANSWER_INVALID', `sentinel ${link.name} named no address`);
  }
  return { host, port: Number(port) };
}

async function isMaster(link: RedisLink, signal: AbortSignal): Promise<boolean> {
  const [reply] = await link.run([['ROLE']], { signal });
  // Who may not ask must take the sentinel's word.
  if (reply instanceof ReplyError) return true;
  return Array.isArray(reply) && String(reply[0]) === 'master';
}
