import type { Socket } from 'node:net';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { type Secret, withoutSecrets } from '../../base/secret.ts';
import { type Command, encodeCommands, type Reply, ReplyError, ReplyReader } from './resp.ts';
import { type Address, joinHostPort, openSocket, type Way } from './socket.ts';

export type RedisAddress = Address;

/** How to come in, the same for every server of a deployment. */
export interface RedisEntry extends Way {
  username?: string | undefined;
  /** Without one nobody logs in, whatever the user name, as in KEDA. */
  password?: Secret | undefined;
  /** 0 unless told. */
  database?: number;
  /** What `CLIENT LIST` shows to the owner of the server. */
  connectionName: string;
}

export interface RunOptions {
  signal: AbortSignal;
  /** The most bytes one answer may have; a MiB unless told, which is plenty for numbers. */
  mostBytes?: number;
}

/** One connection to one server. */
export interface RedisLink extends AsyncDisposable {
  /** `host:port` */
  readonly name: string;
  /** False once the server or we have closed it; then it stays closed. */
  readonly open: boolean;
  /**
   * Sends all commands as one request and resolves with their answers in order, errors of the server among them.
   *
   * @throws Fault SOURCE_UNREACHABLE, SOURCE_TIMEOUT, SOURCE_ANSWER_INVALID, SOURCE_ANSWER_TOO_LARGE or CANCELLED
   */
  run(commands: readonly Command[], options: RunOptions): Promise<Reply[]>;
}

interface Waiting {
  left: number;
  mostBytes: number;
  replies: Reply[];
  settle(outcome: Reply[] | Fault): void;
}

const oneMiB = 1024 * 1024;

export const addressText = ({ host, port }: RedisAddress) => joinHostPort(host, port);

/**
 * Connects, logs in and says who we are.
 *
 * @throws Fault SOURCE_UNREACHABLE, SOURCE_REFUSED, SOURCE_BUSY, SOURCE_TIMEOUT…; no message holds a credential
 */
export async function connectRedis(
  address: RedisAddress,
  entry: RedisEntry,
  signal: AbortSignal,
): Promise<RedisLink> {
  const name = addressText(address);
  const socket = await openSocket(address, entry, signal);
  const link = linkOver(socket, name);
  try {
    await introduce(link, entry, signal);
    return link;
  } catch (thrown) {
    await link[Symbol.asyncDispose]();
    throw thrown;
  }
}

async function introduce(link: RedisLink, entry: RedisEntry, signal: AbortSignal): Promise<void> {
  const { username, password, database = 0, connectionName } = entry;
  const named = username === undefined ? [] : [username];
  const login: Command[] = password === undefined ? [] : [['AUTH', ...named, password.reveal()]];
  const choice: Command[] = database === 0 ? [] : [['SELECT', String(database)]];
  // A name may have no blanks. It comes last: what stands before it must have worked.
  const hello: Command = ['CLIENT', 'SETNAME', connectionName.replaceAll(/[^!-~]+/g, '-')];
  const replies = await link.run([...login, ...choice, hello], { signal });
  for (const [index, reply] of replies.entries()) {
    if (!(reply instanceof ReplyError)) continue;
    const isLogin = index < login.length;
    // Since Redis 6 whoever needs no password may give any, if he says his name: KEDA's client says "default".
    if (isLogin && /called without any password configured/.test(reply.message)) continue;
    const fault = faultOfReply(reply, link.name, [password]);
    // Not everyone may give himself a name, and not every server knows of names.
    const matters = index < replies.length - 1 || !/^(NOPERM|ERR)$/.test(reply.code) || isBusy(reply);
    if (isLogin && fault.code === 'SOURCE_FAILED') throw new Fault('SOURCE_REFUSED', fault.message);
    if (matters) throw fault;
  }
}

function linkOver(socket: Socket, name: string): RedisLink {
  const reader = new ReplyReader();
  const line: Waiting[] = [];
  let end: Fault | undefined;

  function close(fault: Fault): void {
    end ??= fault;
    socket.destroy();
    for (const waiting of line.splice(0)) waiting.settle(fault);
  }

  function take(reply: Reply): void {
    const [first] = line;
    if (first === undefined) {
      throw new Fault('SOURCE_ANSWER_INVALID', 'answered what nobody had asked');
    }
    first.replies.push(reply);
    first.left -= 1;
    if (first.left > 0) return;
    line.shift();
    reader.mostBytes = line[0]?.mostBytes ?? oneMiB;
    first.settle(first.replies);
  }

  reader.mostBytes = oneMiB;
  socket.on('data', (chunk: Buffer) => {
    if (end !== undefined) return;
    try {
      for (const reply of reader.push(chunk)) take(reply);
    } catch (thrown) {
      const { code, message } = thrown as Fault;
      close(new Fault(code, `${name} ${message}`));
    }
  });
  socket.on('error', thrown => close(networkFault(thrown, name)));
  socket.on('close', () => close(new Fault('SOURCE_UNREACHABLE', `${name} closed the connection`)));

  return {
    name,
    get open() {
      return end === undefined;
    },
    run(commands, { signal, mostBytes = oneMiB }) {
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(networkFault(signal.reason, name, signal));
        if (end !== undefined) return reject(end);
        if (commands.length === 0) return resolve([]);
        // The answers to what was given up on still come; they are counted, so that the next ones find their owner.
        const stop = () => reject(networkFault(signal.reason, name, signal));
        signal.addEventListener('abort', stop, { once: true });
        const settle = (outcome: Reply[] | Fault) => {
          signal.removeEventListener('abort', stop);
          if (outcome instanceof Fault) reject(outcome);
          else resolve(outcome);
        };
        if (line.length === 0) reader.mostBytes = mostBytes;
        line.push({ left: commands.length, mostBytes, replies: [], settle });
        socket.write(encodeCommands(commands));
      });
    },
    async [Symbol.asyncDispose]() {
      close(new Fault('CANCELLED', `the connection to ${name} was closed`));
    },
  };
}

/** The server is there and cannot answer now: it loads its data, runs a long script, or has no room. */
function isBusy({ code, message }: ReplyError): boolean {
  return (
    /^(LOADING|BUSY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN)$/.test(code) || message.includes('max number of clients')
  );
}

/**
 * The Fault that an error of the server stands for.
 *
 * @param what names the server, and the key where there is one
 */
export function faultOfReply(
  reply: ReplyError,
  what: string,
  secrets: readonly (Secret | undefined)[] = [],
): Fault {
  const known = secrets.map(secret => secret?.reveal());
  const said = withoutSecrets(reply.message, known).slice(0, 200);
  const message = `${what} answered: ${said}`;
  if (/^(NOAUTH|WRONGPASS|NOPERM|DENIED)$/.test(reply.code)) return new Fault('SOURCE_REFUSED', message);
  if (isBusy(reply)) return new Fault('SOURCE_BUSY', message);
  // It is a replica now: whoever asks anew will find the server that took over.
  if (reply.code === 'READONLY') return new Fault('SOURCE_UNREACHABLE', message);
  if (reply.code === 'NOGROUP') return new Fault('SOURCE_NOT_FOUND', message);
  return new Fault('SOURCE_FAILED', message);
}
