import { createHmac } from 'node:crypto';
import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { joinHostPort } from './socket.ts';

/** Where a namespace of Service Bus is, and what lets us in. */
export interface BusAccess {
  host: string;
  /** Where the namespace is administered: `https://mine.servicebus.windows.net`. */
  adminUrl: string;
  /** Where it speaks AMQP. */
  amqpPort: number;
  /** Without TLS: Microsoft's emulator knows no other way. */
  plain: boolean;
  credential: BusKey | BusSignature | { kind: 'identity'; scope: string };
}

/** A key of a shared access policy. */
export interface BusKey {
  kind: 'key';
  name: string;
  key: Secret;
}

/** A signature that somebody made with such a key. */
export interface BusSignature {
  kind: 'signature';
  token: Secret;
}

/** Where Microsoft's emulator is administered, and where it speaks AMQP, unless told. */
const emulator = { admin: 5300, amqp: 5672 } as const;

/** As Azure's SDKs read it: the first part of a name counts, whatever the case of its letters. */
function partOf(connection: Secret, name: string): string | undefined {
  for (const part of connection.reveal().split(';')) {
    const equals = part.indexOf('=');
    if (equals > 0 && part.slice(0, equals).trim().toLowerCase() === name)
      return part.slice(equals + 1).trim();
  }
  return undefined;
}

/**
 * Reads the connection string of a namespace, the emulator's included. A port in it is where the namespace is
 * administered and speaks AMQP; the emulator's own port 5300 is of its administration only.
 *
 * @throws Fault PARAM_INVALID with a sentence that shows nothing of the string
 */
export function readBusConnection(connection: Secret): BusAccess {
  const text = partOf(connection, 'endpoint');
  const url = text !== undefined && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^(sb|amqps?|https?):$/.test(url.protocol) || url.hostname === '') {
    throw malformed('needs an Endpoint such as sb://mine.servicebus.windows.net/');
  }
  const plain = partOf(connection, 'usedevelopmentemulator')?.toLowerCase() === 'true';
  const port = url.port === '' ? undefined : Number(url.port);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const credential = credentialOf(connection);
  if (plain) {
    const adminUrl = `http://${joinHostPort(host, port ?? emulator.admin)}`;
    const amqpPort = port === undefined || port === emulator.admin ? emulator.amqp : port;
    return { host, adminUrl, amqpPort, plain, credential };
  }
  return { ...encryptedAt(host, port), credential };
}

/** A namespace of Azure's own, by its host. */
export function encryptedAt(host: string, port?: number): Omit<BusAccess, 'credential'> {
  const authority = joinHostPort(host, port ?? '').replace(/:$/, '');
  return { host, adminUrl: `https://${authority}`, amqpPort: port ?? 5671, plain: false };
}

function credentialOf(connection: Secret): BusKey | BusSignature {
  const token = partOf(connection, 'sharedaccesssignature');
  if (token !== undefined && token !== '') return { kind: 'signature', token: new Secret(token) };
  const name = partOf(connection, 'sharedaccesskeyname');
  const key = partOf(connection, 'sharedaccesskey');
  if (!name || !key) {
    throw malformed('needs a SharedAccessKeyName with its SharedAccessKey, or a SharedAccessSignature');
  }
  return { kind: 'key', name, key: new Secret(key) };
}

const malformed = (what: string) =>
  new Fault('PARAM_INVALID', `the connection string of the Service Bus namespace ${what}`);

/**
 * A token for what is below a URL (Microsoft's "Generate a Shared Access Signature token").
 *
 * @param until epoch seconds
 */
export function signBusToken(resource: string, { name, key }: BusKey, until: number): Secret {
  const subject = encodeURIComponent(resource.toLowerCase());
  const signature = createHmac('sha256', key.reveal()).update(`${subject}\n${until}`).digest('base64');
  const parts = { sr: subject, sig: encodeURIComponent(signature), se: until, skn: encodeURIComponent(name) };
  const pairs = Object.entries(parts).map(([part, value]) => `${part}=${value}`);
  return new Secret(`SharedAccessSignature ${pairs.join('&')}`);
}
