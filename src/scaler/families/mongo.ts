import { createSecureContext } from 'node:tls';
import type { MongoClient, ServerDescription, TopologyDescription } from 'mongodb';
import { Fault, type FaultCode, faultOf } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { fingerprint, type Secret, withoutSecrets } from '../../base/secret.ts';
import { type TlsOptions, tlsIdentity, tlsSettings } from '../../base/tls.ts';
import type { OpenContext } from '../context.ts';
import { requireUsableTls } from './http-auth.ts';
import { parseMongoUri } from './mongo-connection-string.ts';

/** How long a query may take, in milliseconds; KEDA's limit. */
export const mongoTimeoutMs = 10_000;
/** How long to look for a server that can answer, in milliseconds: less, so that it is known what is missing. */
const selectionMs = 3000;
/** Connections to each server, besides the one that watches it. */
const mostConnections = 5;

/** How to come in. */
export interface MongoAccess {
  uri: Secret;
  /** In addition to what the connection string says. */
  tls: TlsOptions | undefined;
}

/** What is counted. */
export interface MongoQuery {
  database: string;
  collection: string;
  /** Extended JSON. */
  filter: string;
}

/** An open deployment of MongoDB. */
export interface MongoSource extends AsyncDisposable {
  /** @throws Fault of the source; PARAM_INVALID where the filter cannot be read */
  count(query: MongoQuery, signal: AbortSignal): Promise<number>;
}

/** What clients are shared by, without a secret in it. */
export function mongoIdentity({ uri, tls }: MongoAccess): string {
  const how = fingerprint(`${uri.reveal()} ${tls === undefined ? '' : `tls ${tlsIdentity(tls)}`}`);
  try {
    const { hosts, user } = parseMongoUri(uri.reveal());
    return `${user}@${hosts} ${how}`;
  } catch {
    // Refused when it is opened, as KEDA does.
    return how;
  }
}

/** A CommonJS package: all of it is the default in a bundle, and there is none where TypeScript is run as it is. */
async function clientLibrary(): Promise<typeof import('mongodb')> {
  const loaded: Partial<typeof import('mongodb')> & { default?: typeof import('mongodb') } = await import(
    'mongodb'
  );
  return loaded.default ?? (loaded as typeof import('mongodb'));
}

/**
 * Connects and logs in.
 *
 * @throws Fault of the source, PARAM_INVALID or NOT_SUPPORTED; no message holds a credential
 */
export async function openMongo(access: MongoAccess, context: OpenContext): Promise<MongoSource> {
  const { hosts, known } = parseMongoUri(access.uri.reveal(), { ownTls: access.tls !== undefined });
  requireUsableTls(access.tls);
  const { MongoClient, BSON } = await clientLibrary();
  const { signal } = context;
  const faultFor = (thrown: unknown, under: AbortSignal) => faultOfMongo(thrown, { hosts, signal: under });
  let client: MongoClient;
  try {
    client = new MongoClient(known.reveal(), optionsOf(access, context));
  } catch (thrown) {
    throw cleaned(faultFor(thrown, signal), access);
  }
  try {
    await connected(client, signal);
  } catch (thrown) {
    await client.close();
    throw cleaned(faultFor(thrown, signal), access);
  }
  return {
    async count({ database, collection, filter }, under) {
      const document = filterOf(BSON.EJSON, filter);
      let count: number;
      try {
        const target = client.db(database).collection(collection);
        count = await target.countDocuments(document, { maxTimeMS: mongoTimeoutMs, signal: under });
      } catch (thrown) {
        throw cleaned(faultFor(thrown, under), access);
      }
      if (Number.isSafeInteger(count) && count >= 0) return count;
      throw new Fault('SOURCE_ANSWER_INVALID', 'MongoDB gave something that is no count of documents');
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

function optionsOf({ uri, tls }: MongoAccess, { connectionName, http }: OpenContext) {
  const { options } = parseMongoUri(uri.reveal());
  const given = new Set([...options.keys()].map(name => name.toLowerCase()));
  const { roots, minTlsVersion } = http;
  return {
    ...(given.has('appname') ? {} : { appName: connectionName(128) }),
    ...(given.has('serverselectiontimeoutms') ? {} : { serverSelectionTimeoutMS: selectionMs }),
    ...(given.has('maxidletimems') ? {} : { maxIdleTimeMS: 60_000 }),
    ...(tls === undefined ? {} : { tls: true }),
    secureContext: createSecureContext(tlsSettings(tls ?? {}, { roots, minTlsVersion })),
    maxPoolSize: mostConnections,
    minPoolSize: 0,
    // One connection watches a server instead of two.
    serverMonitoringMode: 'poll',
    // The answers are numbers, and two of the ways to compress need libraries of their own.
    compressors: 'none',
  } as const;
}

/** Connects, but does not go on trying where every server has been tried in vain. */
async function connected(client: MongoClient, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const look = ({ newDescription }: { newDescription: TopologyDescription }) => {
      const fault = failureOf(newDescription);
      if (fault !== undefined) over(() => reject(fault));
    };
    const stop = () => over(() => reject(signal.reason));
    const over = (settle: () => void) => {
      client.off('topologyDescriptionChanged', look);
      signal.removeEventListener('abort', stop);
      settle();
    };
    client.on('topologyDescriptionChanged', look);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    client.connect().then(
      () => over(resolve),
      thrown => over(() => reject(thrown)),
    );
  });
}

/** Why the first server cannot be used, where that is so of all of them. */
function failureOf({ servers }: { servers: Map<string, ServerDescription> }): Error | undefined {
  const errors = [...servers.values()].map(({ error }) => error ?? undefined);
  return errors.length > 0 && errors.every(error => error !== undefined) ? errors[0] : undefined;
}

/** @throws Fault PARAM_INVALID */
function filterOf(
  ejson: { parse(text: string, options: { relaxed: boolean }): unknown },
  filter: string,
): object {
  try {
    // Numbers keep their types: a whole number of 64 bits may be too large for one of ours.
    const kept = filter.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, asLong);
    return ejson.parse(kept, { relaxed: false }) as object;
  } catch (thrown) {
    throw new Fault('PARAM_INVALID', 'the query is not extended JSON of MongoDB', { cause: thrown });
  }
}

/** A whole number that JavaScript would round, in the notation that keeps it; anything else as it is. */
function asLong(token: string): string {
  if (!/^-?\d+$/.test(token) || Number.isSafeInteger(Number(token))) return token;
  const long = BigInt(token);
  return BigInt.asIntN(64, long) === long ? `{"$numberLong":"${token}"}` : token;
}

const codes = new Map<number, FaultCode>([
  // Authentication failed, or the user is not there.
  ...[18, 11, 8000].map(each => [each, 'SOURCE_REFUSED'] as const),
  ...[50, 262].map(each => [each, 'SOURCE_TIMEOUT'] as const),
  // Shutting down, or no primary any more.
  ...[91, 189, 10_107, 11_600, 11_602, 13_435, 13_436].map(each => [each, 'SOURCE_UNREACHABLE'] as const),
]);

interface Failed {
  name?: string;
  message: string;
  code?: unknown;
  reason?: { servers?: Map<string, ServerDescription> };
}

/** The Fault that an error of the client library stands for. */
function faultOfMongo(thrown: unknown, { hosts, signal }: { hosts: string; signal: AbortSignal }): Fault {
  if (thrown instanceof Fault || signal.aborted) return networkFault(thrown, hosts, signal);
  const { name = '', message, code, reason } = thrown as Failed;
  if (name === 'MongoServerSelectionError') {
    const inner = reason?.servers === undefined ? undefined : failureOf({ servers: reason.servers });
    if (inner !== undefined && inner !== thrown) return faultOfMongo(inner, { hosts, signal });
    return new Fault('SOURCE_UNREACHABLE', `${hosts}: ${message}`, { cause: thrown });
  }
  if (typeof code === 'number') {
    // Without credentials the server says the same as of a collection that may not be read.
    const isLogin = code === 13 && /requires authentication/i.test(message);
    const found = isLogin ? 'SOURCE_REFUSED' : (codes.get(code) ?? 'SOURCE_FAILED');
    return new Fault(found, `${hosts} answered: ${message.slice(0, 300)} (${code})`, { cause: thrown });
  }
  if (name === 'MongoNetworkTimeoutError') {
    return new Fault('SOURCE_TIMEOUT', `${hosts} did not answer in time`, { cause: thrown });
  }
  if (name === 'MongoCompatibilityError') {
    return new Fault('NOT_SUPPORTED', `${hosts}: ${message}`, { cause: thrown });
  }
  if (/^Mongo(Network|TopologyClosed|PoolCleared)/.test(name)) return networkFault(thrown, hosts);
  if (/^Mongo(Parse|InvalidArgument|API|MissingCredentials|MissingDependency)Error$/.test(name)) {
    return new Fault('PARAM_INVALID', `the connection string: ${message}`, { cause: thrown });
  }
  return typeof code === 'string' ? networkFault(thrown, hosts) : faultOf(thrown);
}

/** The client library likes to quote what it was given. */
function cleaned(fault: Fault, { uri }: MongoAccess): Fault {
  const text = uri.reveal();
  const password = /\/\/[^@/]*?:([^@/]*)@/.exec(text)?.[1];
  const message = withoutSecrets(fault.message, [text, password, password && decodedOrSame(password)]);
  return message === fault.message ? fault : new Fault(fault.code, message);
}

function decodedOrSame(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
