import { deadline } from '../../base/deadline.ts';
import { Fault, faultOf } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import type { OpenContext } from '../context.ts';
import { requireUsableTls } from './http-auth.ts';
import type { PostgresSettings, SessionKind } from './postgres-connection-string.ts';
import { connectPostgres, type PostgresEntry } from './postgres-link.ts';
import { type Address, addressText, type Way } from './socket.ts';
import { queryTimeoutMs, type SqlLink, SqlPool } from './sql.ts';

/** What tokens for Azure's databases are asked for. */
const azureScope = 'https://ossrdbms-aad.database.windows.net/.default';

/** How the sessions of one pool come in. */
export interface PostgresAccess {
  settings: PostgresSettings;
  /** The password is a token of the pod identity, fetched for each new session. */
  withToken: boolean;
}

/**
 * Opens the database.
 *
 * @throws Fault PARAM_INVALID for certificates that cannot be used, SOURCE_… of the source, AUTH_FAILED of the identity
 */
export async function openPostgres(access: PostgresAccess, context: OpenContext): Promise<SqlPool> {
  const { settings } = access;
  requireUsableTls(settings.tls);
  const { database = settings.user } = settings.parameters;
  const name = `${settings.servers.map(addressText).join(', ')}, database ${database}`;
  return await SqlPool.open({ name, connect: signal => connectAny(access, context, signal) }, context.signal);
}

/** The first server that lets us in and is of the wanted kind, in the order they are given. */
async function connectAny(
  { settings, withToken }: PostgresAccess,
  context: OpenContext,
  signal: AbortSignal,
): Promise<SqlLink> {
  const { identity, tokens } = context;
  const password = withToken ? await tokens.accessToken(identity, azureScope, signal) : settings.password;
  using limit = deadline(signal, settings.connectTimeoutMs ?? queryTimeoutMs);
  const { servers, sessionKind } = settings;
  // Where a standby is only preferred, each server is asked once more whatever it is.
  const kinds: SessionKind[] = sessionKind === 'prefer-standby' ? ['standby', 'any'] : [sessionKind];
  const ways = kinds.flatMap(kind =>
    servers.flatMap(address =>
      entries({ settings, password, address }, context).map(entry => ({ entry, kind })),
    ),
  );
  let fault: Fault | undefined;
  for (const { entry, kind } of ways) {
    try {
      return await connectWanted(entry, kind, limit.signal);
    } catch (thrown) {
      fault = faultOf(thrown);
      if (withToken && password !== undefined && sqlStateOf(fault) === wrongPassword)
        tokens.refused(password);
      // The others would say the same; what is left to try differs only in where and how.
      if (isFinal(fault) || limit.signal.aborted) break;
    }
  }
  throw fault ?? new Fault('PARAM_INVALID', 'there is no server to connect to');
}

const wrongPassword = '28P01';

const sqlStateOf = ({ cause }: Fault) => (cause as { code?: unknown } | undefined)?.code;

/** A wrong password, a database that is not there, or no right to it. */
function isFinal(fault: Fault): boolean {
  const code = sqlStateOf(fault);
  return code === wrongPassword || code === '3D000' || code === '42501';
}

interface Door {
  settings: PostgresSettings;
  password: Secret | undefined;
  address: Address;
}

/** With and without encryption, as the mode wants it. */
function entries({ settings, password, address }: Door, context: OpenContext): PostgresEntry[] {
  const { sslMode, user, bindChannel, logins, parameters } = settings;
  const readOnly = !/^(off|false|no|0)$/i.test(parameters['default_transaction_read_only'] ?? '');
  const common = {
    address,
    user,
    password,
    bindChannel,
    logins,
    // The server cuts longer names; what it cannot write it replaces.
    parameters: { application_name: context.connectionName(63), client_encoding: 'UTF8', ...parameters },
    readOnly,
    statementMs: parameters['statement_timeout'] === undefined ? queryTimeoutMs : undefined,
  };
  const plain: PostgresEntry = { ...common, encryption: undefined, mayBePlain: false };
  const encrypted: PostgresEntry = {
    ...common,
    encryption: encryptionOf(settings, context),
    mayBePlain: false,
  };
  switch (sslMode) {
    case 'disable':
      return [plain];
    case 'allow':
      return [plain, encrypted];
    case 'prefer':
      return [{ ...encrypted, mayBePlain: true }, plain];
    default:
      return [encrypted];
  }
}

/** As libpq: less than verify-ca verifies nothing, except that `require` with an authority is verify-ca. */
function encryptionOf({ sslMode, tls }: PostgresSettings, { http }: OpenContext): Way {
  const verifies = sslMode === 'verify-full' || sslMode === 'verify-ca' || (sslMode === 'require' && tls.ca);
  return {
    tls: verifies ? tls : { ...tls, unsafeSsl: true },
    anyHost: sslMode !== 'verify-full',
    roots: http.roots,
    minTlsVersion: http.minTlsVersion,
  };
}

const kindQuery =
  "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' WHEN current_setting('default_transaction_read_only') = 'on' THEN 'read-only' ELSE 'read-write' END";

/** What a server that is asked with `kindQuery` is good for. */
const kindsOf: Readonly<Record<string, readonly SessionKind[]>> = {
  standby: ['standby', 'read-only'],
  'read-only': ['primary', 'read-only'],
  'read-write': ['primary', 'read-write'],
};

async function connectWanted(entry: PostgresEntry, kind: SessionKind, signal: AbortSignal): Promise<SqlLink> {
  const link = await connectPostgres(entry, signal);
  if (kind === 'any') return link;
  try {
    const { row: [found = ''] = [] } = await link.ask(kindQuery, signal);
    if (kindsOf[String(found)]?.includes(kind)) return link;
    throw new Fault('SOURCE_NOT_FOUND', `${addressText(entry.address)} is ${found}, not ${kind}`);
  } catch (thrown) {
    await link[Symbol.asyncDispose]();
    throw thrown;
  }
}
