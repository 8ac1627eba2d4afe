import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';

export type StorageService = 'queue' | 'blob';

/** Where a storage service is and what lets us in. */
export interface StorageAccess {
  /** The service's URL without a slash at the end, such as `https://mine.queue.core.windows.net`. */
  endpoint: string;
  credential: StorageKey | StorageSas;
}

export interface StorageKey {
  kind: 'key';
  account: string;
  /** Base64, as Azure hands it out. */
  key: Secret;
}

export interface StorageSas {
  kind: 'sas';
  /** A URL query without the question mark. */
  query: Secret;
}

/** The emulator's account and key: the same everywhere, published by Microsoft, no secret. */
const emulator = {
  account: 'devstoreaccount1',
  key: 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
  ports: { blob: 10_000, queue: 10_001 },
} as const;

/**
 * Reads a storage account's connection string as Azure's SDKs do, the emulator's short form included.
 *
 * @throws Fault PARAM_INVALID with a sentence that shows nothing of the string
 */
export function readConnectionString(connection: Secret, service: StorageService): StorageAccess {
  const parts = splitParts(connection.reveal());
  if (parts.get('usedevelopmentstorage')?.toLowerCase() === 'true') return emulatorAccess(parts, service);
  const account = parts.get('accountname');
  const endpoint = parts.get(`${service}endpoint`) ?? accountEndpoint(parts, account, service);
  return { endpoint: checkEndpoint(endpoint, service), credential: readCredential(parts, account) };
}

function splitParts(text: string): Map<string, string> {
  const parts = new Map<string, string>();
  for (const part of text.split(';')) {
    if (part.trim() === '') continue;
    const equals = part.indexOf('=');
    if (equals < 1) throw malformed('needs parts of the form Name=Value with semicolons between them');
    parts.set(part.slice(0, equals).trim().toLowerCase(), part.slice(equals + 1).trim());
  }
  return parts;
}

function emulatorAccess(parts: ReadonlyMap<string, string>, service: StorageService): StorageAccess {
  const text = parts.get('developmentstorageproxyuri') ?? 'http://127.0.0.1';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw malformed('has a DevelopmentStorageProxyUri that is not an http or https URL');
  }
  return {
    endpoint: `${url.protocol}//${url.hostname}:${emulator.ports[service]}/${emulator.account}`,
    credential: { kind: 'key', account: emulator.account, key: new Secret(emulator.key) },
  };
}

function accountEndpoint(
  parts: ReadonlyMap<string, string>,
  account: string | undefined,
  service: StorageService,
): string {
  if (account === undefined) {
    throw malformed(`names neither an AccountName nor a ${endpointName(service)}`);
  }
  const protocol = parts.get('defaultendpointsprotocol') ?? 'https';
  const suffix = parts.get('endpointsuffix') ?? 'core.windows.net';
  return `${protocol}://${account}.${service}.${suffix}`;
}

function checkEndpoint(text: string, service: StorageService): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw malformed(`does not give an http or https URL for its ${endpointName(service)}`);
  }
  if (url.search !== '' || url.username !== '' || url.password !== '') {
    throw malformed(`has a ${endpointName(service)} with more than a plain URL in it`);
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

function readCredential(
  parts: ReadonlyMap<string, string>,
  account: string | undefined,
): StorageKey | StorageSas {
  const key = parts.get('accountkey');
  if (key !== undefined && key !== '') {
    if (account === undefined || account === '') throw malformed('has an AccountKey but no AccountName');
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(key)) throw malformed('has an AccountKey that is not base64');
    return { kind: 'key', account, key: new Secret(key) };
  }
  const sas = parts.get('sharedaccesssignature')?.replace(/^\?/, '');
  if (sas === undefined || sas === '') {
    throw malformed('has neither an AccountKey nor a SharedAccessSignature');
  }
  return { kind: 'sas', query: new Secret(sas) };
}

const endpointName = (service: StorageService) => (service === 'queue' ? 'QueueEndpoint' : 'BlobEndpoint');

function malformed(what: string): Fault {
  return new Fault('PARAM_INVALID', `the connection string of the storage account ${what}`);
}
