import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { certificatesIn } from '../base/x509.ts';
import type { KubeClient } from './client.ts';
import { type KubeObject, resources } from './objects.ts';
import { reflect } from './reflector.ts';

/** Whose clients a server behind the aggregation layer believes. */
export interface ClientTrust {
  /** Authorities (PEM, one certificate each) whose clients are who their certificate says. */
  clientCas: readonly string[];
  /** Those whose clients may say on whose behalf they ask: the API server as a front proxy. */
  frontProxy?: {
    cas: readonly string[];
    /** Common names of proxies; any is allowed where there are none. */
    allowedNames: readonly string[];
    /** Names of headers, in lower case. */
    usernameHeaders: readonly string[];
    uidHeaders: readonly string[];
    groupHeaders: readonly string[];
    extraHeaderPrefixes: readonly string[];
  };
}

export interface ClientTrustWatch extends AsyncDisposable {
  /** Trusts nobody until the API server has said whom. */
  readonly current: ClientTrust;
  /** Ends when it has. @throws the signal's reason */
  whenReady(signal: AbortSignal): Promise<void>;
}

interface ConfigMap extends KubeObject {
  data?: Readonly<Record<string, string>>;
}

const nobody: ClientTrust = { clientCas: [] };

/**
 * Whom the API server would have servers behind it believe: it says so in a ConfigMap of kube-system, and changes
 * it when its authorities are changed.
 */
export function watchClientTrust({
  onChange,
  ...options
}: {
  client: KubeClient;
  clock: Clock;
  log: Log;
  onChange?(trust: ClientTrust): void;
}): ClientTrustWatch {
  let current = nobody;
  const name = 'extension-apiserver-authentication';
  const take = (trust: ClientTrust) => {
    current = trust;
    onChange?.(trust);
  };
  const watched = reflect<ConfigMap, ClientTrust>({
    ...options,
    resource: resources.configMaps,
    namespace: 'kube-system',
    fieldSelector: `metadata.name=${name}`,
    keep: trustOf,
    onSet: (_key, trust) => take(trust),
    onDelete: () => take(nobody),
  });
  return {
    get current() {
      return current;
    },
    whenReady: signal => watched.whenSynced(signal),
    [Symbol.asyncDispose]: () => watched[Symbol.asyncDispose](),
  };
}

/** The ConfigMap's keys, which the API server names after its own flags. */
function trustOf({ data = {} }: ConfigMap): ClientTrust {
  const lower = (key: string) => namesIn(data[key]).map(name => name.toLowerCase());
  const clientCas = certificatesIn(data['client-ca-file'] ?? '');
  const cas = certificatesIn(data['requestheader-client-ca-file'] ?? '');
  if (cas.length === 0) return { clientCas };
  return {
    clientCas,
    frontProxy: {
      cas,
      allowedNames: namesIn(data['requestheader-allowed-names']),
      usernameHeaders: lower('requestheader-username-headers'),
      uidHeaders: lower('requestheader-uid-headers'),
      groupHeaders: lower('requestheader-group-headers'),
      extraHeaderPrefixes: lower('requestheader-extra-headers-prefix'),
    },
  };
}

/** A list as JSON. What is none names nothing: then nobody is believed for it. */
function namesIn(text = '[]'): string[] {
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list.filter(name => typeof name === 'string' && name !== '') : [];
  } catch {
    return [];
  }
}
