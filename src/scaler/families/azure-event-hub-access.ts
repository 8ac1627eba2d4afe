import { createHmac } from 'node:crypto';
import { isIP } from 'node:net';
import { Fault, faultOf } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import type { Problem } from '../../spec/problem.ts';
import type { ParamContext } from '../context.ts';
import { busSuffix, isPrivateCloud } from './azure-cloud.ts';
import { type StorageAccount, storageAccount } from './azure-storage.ts';

/** Where a namespace is, and what lets us in. */
export interface EventHubAccess {
  host: string;
  port: number;
  /** Without TLS: Microsoft's emulator knows no other way. */
  plain: boolean;
  credential:
    | { kind: 'key'; name: string; key: Secret }
    | { kind: 'signature'; token: Secret }
    | { kind: 'identity'; scope: string };
}

/** A hub in a namespace, as the manifest and the connection string name it. */
export interface EventHubPlace {
  access: EventHubAccess;
  hub: string;
  /** As they are written in the names of checkpoints. */
  written: { namespace: string; hub: string };
  /** Where the checkpoints are. */
  storage: StorageAccount;
}

interface Values {
  connection: Secret | undefined;
  storageConnection: Secret | undefined;
  storageAccountName: string | undefined;
  eventHubNamespace: string | undefined;
  eventHubName: string | undefined;
  cloud: string | undefined;
  endpointSuffix: string | undefined;
  storageEndpointSuffix: string | undefined;
}

/** What is missing or cannot be, or where the hub and its checkpoints are; the checks are KEDA's. */
export function eventHubPlace(
  values: Values,
  context: ParamContext,
): EventHubPlace | { problems: Problem[] } {
  const suffix = busSuffix(values);
  if (typeof suffix !== 'string') return { problems: [suffix] };
  switch (context.podIdentity.provider) {
    case 'none':
      return byConnection(values);
    case 'azure-workload':
      return byIdentity(values, suffix, context);
    default: {
      const problem = `pod identity ${context.podIdentity.provider} is not for Azure Event Hubs`;
      const mending = 'use azure-workload or a connection string';
      return { problems: [{ problem, mending, place: { field: 'authenticationRef' } }] };
    }
  }
}

const missing = (name: string, mending: string): Problem => ({
  problem: `"${name}" is missing`,
  mending,
  place: { field: `metadata.${name}` },
});

const looked = (name: string) => `looked in the TriggerAuthentication and ${name}FromEnv`;

function byConnection(values: Values): EventHubPlace | { problems: Problem[] } {
  const { connection, storageConnection, eventHubName } = values;
  const problems: Problem[] = [];
  if (connection === undefined) problems.push(missing('connection', looked('connection')));
  if (storageConnection === undefined)
    problems.push(missing('storageConnection', looked('storageConnection')));
  const hub = partOf(connection, 'entitypath') || eventHubName;
  if (connection !== undefined && hub === undefined) {
    problems.push(missing('eventHubName', 'the connection string has no EntityPath that would name the hub'));
  }
  if (connection === undefined || storageConnection === undefined || hub === undefined) return { problems };
  try {
    const access = readEventHubConnection(connection);
    const written = { namespace: namespaceOf(connection), hub };
    return { access, hub, written, storage: storageOf(storageConnection) };
  } catch (thrown) {
    return { problems: [{ problem: faultOf(thrown).message, place: { field: 'metadata.connection' } }] };
  }
}

const storageOf = (connection: Secret): StorageAccount => ({
  service: 'blob',
  connection,
  endpoint: undefined,
  scope: '',
});

function byIdentity(
  values: Values,
  suffix: string,
  context: ParamContext,
): EventHubPlace | { problems: Problem[] } {
  const { eventHubNamespace, eventHubName, connection, cloud } = values;
  const storage = identityStorage(values, context);
  const problems = 'problems' in storage ? [...storage.problems] : [];
  const needs = 'a pod identity needs it';
  if (eventHubNamespace === undefined) problems.push(missing('eventHubNamespace', needs));
  if (eventHubName === undefined) problems.push(missing('eventHubName', needs));
  const host = `${eventHubNamespace}.${suffix}`;
  if (eventHubNamespace !== undefined && !/^[\w.-]+$/.test(host)) {
    const problem = `"${host}" is not the name of a host`;
    problems.push({ problem, place: { field: 'metadata.eventHubNamespace' } });
  }
  if (problems.length > 0 || 'problems' in storage || eventHubName === undefined) return { problems };
  // A private cloud's domain comes from the manifest: a token for that host alone is worth nothing elsewhere.
  const audience = isPrivateCloud(cloud) ? `https://${host}` : 'https://eventhubs.azure.net';
  const access: EventHubAccess = {
    host,
    port: 5671,
    plain: false,
    credential: { kind: 'identity', scope: `${audience}/.default` },
  };
  // A connection string that is given, too, says how checkpoints are called: so it is with KEDA.
  const written = {
    namespace: namespaceOf(connection) || host,
    hub: partOf(connection, 'entitypath') || eventHubName,
  };
  return { access, hub: eventHubName, written, storage };
}

function identityStorage(values: Values, context: ParamContext): StorageAccount | { problems: Problem[] } {
  const { storageAccountName, storageConnection, storageEndpointSuffix, cloud } = values;
  if (storageAccountName === undefined) {
    const mending = 'a pod identity needs it, or a storageConnection';
    return storageConnection === undefined
      ? { problems: [missing('storageAccountName', mending)] }
      : storageOf(storageConnection);
  }
  if (isPrivateCloud(cloud) && storageEndpointSuffix === undefined) {
    return {
      problems: [missing('storageEndpointSuffix', 'cloud Private needs it, such as core.private.cloud')],
    };
  }
  const endpointSuffix = storageEndpointSuffix === undefined ? undefined : `blob.${storageEndpointSuffix}`;
  const account = { connection: undefined, accountName: storageAccountName, endpointSuffix, cloud };
  return storageAccount('blob', account, context);
}

/** As KEDA reads it: the first part of that name counts, whatever the case of its letters. */
function partOf(connection: Secret | undefined, name: string): string | undefined {
  for (const part of connection?.reveal().split(';') ?? []) {
    const equals = part.indexOf('=');
    if (equals > 0 && part.slice(0, equals).trim().toLowerCase() === name) return part.slice(equals + 1);
  }
  return undefined;
}

const namespaceOf = (connection: Secret | undefined) =>
  (partOf(connection, 'endpoint') ?? '').replace(/^sb:\/\//, '').replace(/\/$/, '');

/**
 * Reads a connection string of a namespace or hub, the emulator's included.
 *
 * @param of what it is the connection string of, for sentences
 * @throws Fault PARAM_INVALID with a sentence that shows nothing of the string
 */
export function readEventHubConnection(connection: Secret, of = 'event hub'): EventHubAccess {
  const text = partOf(connection, 'endpoint')?.trim();
  const url = text !== undefined && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^(sb|amqps?|https?):$/.test(url.protocol) || url.hostname === '') {
    throw malformed(of, 'needs an Endpoint such as sb://mine.servicebus.windows.net/');
  }
  const plain = partOf(connection, 'usedevelopmentemulator')?.trim().toLowerCase() === 'true';
  const port = url.port === '' ? (plain ? 5672 : 5671) : Number(url.port);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { host, port, plain, credential: credentialOf(connection, of) };
}

function credentialOf(connection: Secret, of: string): EventHubAccess['credential'] {
  const signature = partOf(connection, 'sharedaccesssignature');
  if (signature) return { kind: 'signature', token: new Secret(signature) };
  const name = partOf(connection, 'sharedaccesskeyname');
  const key = partOf(connection, 'sharedaccesskey');
  if (!name || !key) throw malformed(of, 'needs a SharedAccessKeyName with its SharedAccessKey');
  return { kind: 'key', name, key: new Secret(key) };
}

function malformed(of: string, what: string): Fault {
  return new Fault('PARAM_INVALID', `the connection string of the ${of} ${what}`);
}

/** What connections are shared by; two keys of one namespace are two connections. */
export function eventHubIdentity({ host, port, plain, credential }: EventHubAccess): string {
  const place = `${plain ? 'amqp' : 'amqps'}://${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  switch (credential.kind) {
    case 'key':
      return `${place} key ${credential.name} ${credential.key.fingerprint()}`;
    case 'signature':
      return `${place} signature ${credential.token.fingerprint()}`;
    case 'identity':
      return `${place} identity ${credential.scope}`;
  }
}

/**
 * A shared access signature (Microsoft's "Generate a Shared Access Signature token").
 *
 * @param until epoch seconds
 */
export function sharedAccessToken(
  resource: string,
  { name, key }: { name: string; key: Secret },
  until: number,
): Secret {
  const subject = encodeURIComponent(resource);
  const signature = createHmac('sha256', key.reveal()).update(`${subject}\n${until}`).digest('base64');
  return new Secret(
    `SharedAccessSignature sr=${subject}&sig=${encodeURIComponent(signature)}&se=${until}&skn=${encodeURIComponent(name)}`,
  );
}
