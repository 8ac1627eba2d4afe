import { Fault, faultOf } from '../../base/errors.ts';
import { withoutSecrets } from '../../base/secret.ts';
import { ByteChannel } from './byte-channel.ts';
import { logIn, type PostgresUser } from './postgres-login.ts';
import {
  cancelRequest,
  cellsOf,
  encryptionRequest,
  faultOfServerError,
  readMessage,
  type ServerError,
  serverErrorOf,
  simpleQuery,
  startup,
  statement,
  sync,
  terminate,
} from './postgres-messages.ts';
import type { Address, Way } from './socket.ts';
import type { SqlAnswer, SqlLink } from './sql.ts';
import { QueryUnderWay } from './sql-query.ts';

/** How to come in at one server. */
export interface PostgresEntry extends PostgresUser {
  address: Address;
  /** Plain where there is none. */
  encryption: Way | undefined;
  /** Go on plainly with a server that does not encrypt. */
  mayBePlain: boolean;
  /** What the session starts with: database, application_name and whatever else the server knows. */
  parameters: Readonly<Record<string, string>>;
  /** Every query runs in a transaction that may not write. */
  readOnly: boolean;
  /** The server stops a query after this, in milliseconds; as the session says where it is undefined. */
  statementMs: number | undefined;
}

/**
 * Connects and logs in.
 *
 * @throws Fault of the source or the network; `cause` is the `ServerError` where the server said why
 */
export async function connectPostgres(entry: PostgresEntry, signal: AbortSignal): Promise<SqlLink> {
  const channel = await encrypted(entry, signal);
  using _end = channel.closeAt(signal);
  try {
    channel.write(startup({ ...entry.parameters, user: entry.user }));
    await logIn(channel, entry);
    const key = await settled(channel);
    return link(channel, entry, key);
  } catch (thrown) {
    channel[Symbol.dispose]();
    throw cleaned(thrown, entry);
  }
}

function cleaned(thrown: unknown, { password }: PostgresEntry): unknown {
  if (!(thrown instanceof Fault) || password === undefined) return thrown;
  const message = withoutSecrets(thrown.message, [password.reveal()]);
  return message === thrown.message ? thrown : new Fault(thrown.code, message, { cause: thrown.cause });
}

async function encrypted(entry: PostgresEntry, signal: AbortSignal): Promise<ByteChannel> {
  const { address, encryption, mayBePlain } = entry;
  const channel = await ByteChannel.connect(address, signal);
  if (encryption === undefined) return channel;
  using _end = channel.closeAt(signal);
  try {
    channel.write(encryptionRequest);
    const answer = (await channel.read(1)).toString('latin1');
    if (answer === 'N' && mayBePlain) return channel;
    if (answer === 'N') throw new Fault('SOURCE_UNREACHABLE', `${channel.name} does not encrypt`);
    if (answer !== 'S') throw new Fault('SOURCE_ANSWER_INVALID', `${channel.name} does not speak PostgreSQL`);
    await channel.encrypt(encryption, signal);
    return channel;
  } catch (thrown) {
    channel[Symbol.dispose]();
    throw thrown;
  }
}

/** Waits until the server is ready. @returns what stops a query of this session */
async function settled(channel: ByteChannel): Promise<Buffer | undefined> {
  let key: Buffer | undefined;
  for (;;) {
    const { kind, body } = await readMessage(channel, 'login');
    if (kind === 'E') throw faultOfServerError(serverErrorOf(body), channel.name);
    if (kind === 'K') key = Buffer.from(body);
    if (kind === 'Z') return key;
  }
}

function link(channel: ByteChannel, entry: PostgresEntry, key: Buffer | undefined): SqlLink {
  const underWay = new QueryUnderWay(channel, async (signal, isWanted) => {
    if (key === undefined) throw new Fault('NOT_SUPPORTED', `${channel.name} cannot be told to stop`);
    using stopper = await encrypted(entry, signal);
    if (!isWanted()) return;
    stopper.write(cancelRequest(key));
    // It says nothing, and hangs up when it is done.
    using _end = stopper.closeAt(signal);
    await stopper.read(1).catch(() => {});
  });
  return {
    get open() {
      return channel.open;
    },
    ask: (query, signal) => underWay.run(() => exchange(channel, query, entry), signal),
    settled: () => underWay.settled(),
    async [Symbol.asyncDispose]() {
      await underWay.stop();
      channel.finish(terminate);
    },
  };
}

/** The query in a transaction of its own, all in one request: behind a pooler the next one may be somebody else's. */
async function exchange(channel: ByteChannel, query: string, entry: PostgresEntry): Promise<SqlAnswer> {
  const { readOnly, statementMs } = entry;
  channel.write(
    Buffer.concat([
      statement(readOnly ? 'BEGIN READ ONLY' : 'BEGIN'),
      ...(statementMs === undefined ? [] : [statement(`SET LOCAL statement_timeout = ${statementMs}`)]),
      statement(query),
      statement('COMMIT'),
      sync,
    ]),
  );
  const { answer, error } = await conversation(channel);
  if (error !== undefined) throw faultOfServerError(error, channel.name);
  return answer;
}

async function conversation(channel: ByteChannel): Promise<Result> {
  try {
    const outcome = await result(channel);
    if (outcome.inTransaction) {
      channel.write(simpleQuery('ROLLBACK'));
      await result(channel);
    }
    return outcome;
  } catch (thrown) {
    // In the middle of an answer nobody knows any more what comes next.
    channel.close(faultOf(thrown));
    throw thrown;
  }
}

interface Result {
  answer: SqlAnswer;
  error: ServerError | undefined;
  inTransaction: boolean;
}

/** Reads until the server is ready again. */
async function result(channel: ByteChannel): Promise<Result> {
  const answer: SqlAnswer = { columns: 0, row: undefined };
  let error: ServerError | undefined;
  for (;;) {
    const { kind, body } = await readMessage(channel, 'query').catch(thrown => {
      // It said why before it hung up.
      throw error === undefined ? thrown : faultOfServerError(error, channel.name);
    });
    if (kind === 'T') answer.columns = body.length < 2 ? 0 : body.readInt16BE(0);
    if (kind === 'D') answer.row ??= cellsOf(body);
    if (kind === 'E') error ??= serverErrorOf(body);
    if (kind === 'G') throw new Fault('SOURCE_ANSWER_INVALID', `${channel.name}: the query waits for data`);
    if (kind === 'Z') return { answer, error, inTransaction: body.toString('latin1') !== 'I' };
  }
}
