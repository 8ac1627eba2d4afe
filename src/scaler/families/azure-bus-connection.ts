import type { Secret } from '../../base/secret.ts';
import { type EventHubAccess, readEventHubConnection } from './azure-event-hub-access.ts';
import { joinHostPort } from './socket.ts';

/** Where a namespace of Service Bus is, over AMQP and for its administration, and what lets us in. */
export interface BusAccess extends EventHubAccess {
  /** Such as `https://mine.servicebus.windows.net`. */
  adminUrl: string;
}

/** Where Microsoft's emulator is administered, and where it speaks AMQP, unless told. */
const emulator = { admin: 5300, amqp: 5672 } as const;

/**
 * Reads the connection string of a namespace, the emulator's included. A port in it is where the namespace is
 * administered and speaks AMQP; the emulator's own port 5300 is of its administration only.
 *
 * @throws Fault PARAM_INVALID with a sentence that shows nothing of the string
 */
export function readBusConnection(connection: Secret): BusAccess {
  const access = readEventHubConnection(connection, 'Service Bus namespace');
  const { host, port, plain, credential } = access;
  if (!plain) return busAt(host, port, credential);
  const adminPort = port === emulator.amqp ? emulator.admin : port;
  return {
    ...access,
    port: port === emulator.admin ? emulator.amqp : port,
    adminUrl: `http://${joinHostPort(host, adminPort)}`,
  };
}

/** A namespace of Azure's own, whose ports are 443 and 5671 unless another stands for both. */
export function busAt(host: string, port: number, credential: BusAccess['credential']): BusAccess {
  const authority = port === amqps ? joinHostPort(host, '').replace(/:$/, '') : joinHostPort(host, port);
  return { host, port, plain: false, credential, adminUrl: `https://${authority}` };
}

/** Where Azure speaks AMQP. */
export const amqps = 5671;
