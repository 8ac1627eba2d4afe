import { Fault, faultOf } from '../../base/errors.ts';
import { withoutSecrets } from '../../base/secret.ts';
import { ByteChannel } from './byte-channel.ts';
import {
  answerHead,
  capabilitiesFor,
  type Greeting,
  logIn,
  type MysqlUser,
  readGreeting,
} from './mysql-login.ts';
import {
  can,
  faultOfServerError,
  type PacketReader,
  Packets,
  type ServerError,
  serverErrorOf,
} from './mysql-packets.ts';
import type { Address, Way } from './socket.ts';
import type { SqlAnswer, SqlLink } from './sql.ts';
import { QueryUnderWay } from './sql-query.ts';

/** How to come in at the server. */
export interface MysqlEntry extends MysqlUser {
  address: Address;
  /** Plain where there is none. */
  encryption: Way | undefined;
  /** Go on plainly with a server that does not encrypt. */
  mayBePlain: boolean;
  /** SQL that every session starts with; a statement is skipped where the server does not know what it is about. */
  preparations(server: { isMariaDb: boolean }): readonly { sql: string; optional: boolean }[];
}

/** More rows than this are not read to their end. */
const mostRows = 1000;

/** Connects and logs in. @throws Fault of the source or the network; no message holds the password */
export async function connectMysql(entry: MysqlEntry, signal: AbortSignal): Promise<SqlLink> {
  const channel = await ByteChannel.connect(entry.address, signal);
  using _end = channel.closeAt(signal);
  try {
    const packets = new Packets(channel);
    const greeting = await readGreeting(packets);
    await encrypt(packets, { greeting, entry, signal });
    await logIn(packets, greeting, entry);
    await prepare(packets, entry, greeting);
    return link(packets, entry, greeting);
  } catch (thrown) {
    channel[Symbol.dispose]();
    throw cleaned(thrown, entry);
  }
}

function cleaned(thrown: unknown, { password }: MysqlEntry): unknown {
  if (!(thrown instanceof Fault)) return thrown;
  const message = withoutSecrets(thrown.message, [password?.reveal()]);
  return message === thrown.message ? thrown : new Fault(thrown.code, message, { cause: thrown.cause });
}

async function encrypt(
  packets: Packets,
  { greeting, entry, signal }: { greeting: Greeting; entry: MysqlEntry; signal: AbortSignal },
): Promise<void> {
  const { encryption, mayBePlain } = entry;
  if (encryption === undefined) return;
  if ((greeting.capabilities & can.encryption) !== 0) {
    packets.write(answerHead(capabilitiesFor(entry, true)));
    await packets.channel.encrypt(encryption, signal);
  } else if (!mayBePlain) {
    throw new Fault('SOURCE_UNREACHABLE', `${packets.channel.name} does not encrypt`);
  }
}

/** Syntax, or a variable, that older servers do not know. */
const unknownThere: ReadonlySet<number> = new Set([1064, 1115, 1193, 1273]);

async function prepare(packets: Packets, entry: MysqlEntry, { version }: Greeting): Promise<void> {
  const { name } = packets.channel;
  for (const { sql, optional } of entry.preparations({ isMariaDb: /mariadb/i.test(version) })) {
    const { error } = await conversation(packets, sql);
    if (error === undefined || (optional && unknownThere.has(error.number))) continue;
    throw faultOfServerError(error, name);
  }
}

function link(packets: Packets, entry: MysqlEntry, { sessionId }: Greeting): SqlLink {
  const { channel } = packets;
  const underWay = new QueryUnderWay(channel, async (signal, isWanted) => {
    await using other = await connectMysql({ ...entry, preparations: () => [] }, signal);
    if (isWanted()) await other.ask(`KILL QUERY ${sessionId}`, signal);
  });
  return {
    get open() {
      return channel.open;
    },
    ask: (query, signal) => underWay.run(() => exchange(packets, query), signal),
    settled: () => underWay.settled(),
    async [Symbol.asyncDispose]() {
      await underWay.stop();
      // Quit.
      channel.finish(Buffer.from([1, 0, 0, 0, 1]));
    },
  };
}

async function exchange(packets: Packets, query: string): Promise<SqlAnswer> {
  const { answer, error } = await conversation(packets, query);
  if (error !== undefined) throw faultOfServerError(error, packets.channel.name);
  return answer;
}

interface Result {
  answer: SqlAnswer;
  error: ServerError | undefined;
}

async function conversation(packets: Packets, query: string): Promise<Result> {
  try {
    packets.command(3, query);
    return await results(packets);
  } catch (thrown) {
    // In the middle of an answer nobody knows any more what comes next.
    packets.channel.close(faultOf(thrown));
    throw thrown;
  }
}

/** There are several results of several statements, and of a procedure; the first one with columns counts. */
const moreToCome = 0x8;

async function results(packets: Packets): Promise<Result> {
  let answer: SqlAnswer = { columns: 0, row: undefined };
  for (;;) {
    const packet = await packets.read('query');
    if (packet.kind === 0xff) return { answer, error: serverErrorOf(packet) };
    if (packet.kind === 0xfb) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${packets.channel.name} asks for a file of ours`);
    }
    const found =
      packet.kind === 0
        ? { status: statusOfOk(packet), answer }
        : await rows(packets, packet.lengthEncoded() ?? 0);
    if ('error' in found) return { answer, error: found.error };
    if (answer.columns === 0) answer = found.answer;
    if ((found.status & moreToCome) === 0) return { answer, error: undefined };
  }
}

function statusOfOk(packet: PacketReader): number {
  packet.bytes(1);
  packet.lengthEncoded();
  packet.lengthEncoded();
  return packet.integer(2);
}

const isEnd = (packet: PacketReader) => packet.kind === 0xfe && packet.length < 9;

async function rows(
  packets: Packets,
  columns: number,
): Promise<{ status: number; answer: SqlAnswer } | { error: ServerError }> {
  const answer: SqlAnswer = { columns, row: undefined };
  while (!isEnd(await packets.read('query')));
  for (let count = 0; ; count += 1) {
    const packet = await packets.read('query');
    if (packet.kind === 0xff) return { error: serverErrorOf(packet) };
    if (isEnd(packet)) {
      packet.bytes(3);
      return { status: packet.integer(2), answer };
    }
    answer.row ??= [cellOf(packet)];
    if (count < mostRows) continue;
    // The answer is known; a new session is cheaper than the rest of it.
    packets.channel.close(new Fault('CANCELLED', `${packets.channel.name} has more rows than anybody needs`));
    return { status: 0, answer };
  }
}

function cellOf(packet: PacketReader): string | null {
  const length = packet.lengthEncoded();
  return length === undefined ? null : packet.bytes(length).toString('utf8');
}
