import type { Clock } from '../base/clock.ts';
import { askGranted, type Granter, isUnauthorized } from '../base/grant.ts';
import { type HttpAnswer, type HttpClient, type HttpOptions, httpClient } from '../base/http.ts';
import { Keeper } from '../base/keeper.ts';
import { Secret } from '../base/secret.ts';
import type { AwsPlace } from './aws-api.ts';
import type { Lookup } from './lookup.ts';
import type { Json } from './provider-answer.ts';
import type { References } from './references.ts';
import type { Tokens } from './token-source.ts';
import type { VaultOptions, VaultSession } from './vault-session.ts';

export interface StoreOptions {
  clock: Clock;
  http: HttpOptions;
  tokens: Tokens;
  /** From the operator's environment. */
  vault: VaultOptions;
  aws: AwsPlace;
  google: {
    /** CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER */
    secretManagerEndpoint?: string;
  };
}

/** What secret stores are asked with, and what they said; it lives as long as the process. */
export interface SecretStores extends AsyncDisposable {
  readonly clock: Clock;
  readonly http: HttpClient;
  readonly tokens: Tokens;
  readonly options: Pick<StoreOptions, 'vault' | 'aws' | 'google'>;
  readonly sessions: Keeper<VaultSession>;
  /** Tokens of service accounts, and those that are given for them or for a client's secret. */
  readonly grants: Keeper<Secret>;
  /** What stores answered, as JSON, by where it was read and by whom. */
  readonly values: Keeper<Secret>;
}

/** Opens nothing until the first store is asked. */
export function secretStores({ clock, http, tokens, vault, aws, google }: StoreOptions): SecretStores {
  const client = httpClient(http);
  const sessions = new Keeper<VaultSession>(clock);
  const grants = new Keeper<Secret>(clock);
  const values = new Keeper<Secret>(clock, storeWithinMs);
  return {
    clock,
    http: client,
    tokens,
    options: { vault, aws, google },
    sessions,
    grants,
    values,
    async [Symbol.asyncDispose]() {
      for (const each of [sessions, grants, values]) each[Symbol.dispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

/** How long one secret may take, with all that has to be asked for before. */
const storeWithinMs = 15_000;

/** Who wants values of a store, and for whom. */
export interface StoreAsk {
  stores: SecretStores;
  references: References;
  lookup: Lookup;
  signal: AbortSignal;
  /** Such as `TriggerAuthentication "mine"`. */
  of: string;
  /** A ClusterTriggerAuthentication: written by who runs the cluster, not by who uses it. */
  clusterWide: boolean;
  /** Where its Secrets are. */
  namespace: string;
  /** That of the workload. */
  workloadNamespace: string;
  /** What was found last was refused where it was used. */
  doubt: boolean;
}

/** How long a secret that does not end by itself is used before its store is asked whether it has changed. */
const recheckMs = 60_000;

export interface Answered {
  value: Json;
  /** Milliseconds; undefined for what does not end by itself. */
  lifeMs?: number | undefined;
}

/**
 * A value of a store as it is now, or was within the last minute. Notes when it is to be looked at again.
 *
 * @param key all that decides what is answered, without secrets
 * @throws Fault AUTH_FAILED, AUTH_MISSING, or the reason of the asker's signal
 */
export async function storedValue(
  key: readonly unknown[],
  host: string,
  { ask, fetch }: { ask: StoreAsk; fetch(signal: AbortSignal): Promise<Answered> },
): Promise<Json> {
  const { stores, signal, doubt, lookup } = ask;
  const lent = await stores.values.get(JSON.stringify(key), {
    host,
    signal,
    wait: true,
    doubt,
    async fetch(stop) {
      const askedAt = stores.clock.now();
      const { value: given, lifeMs } = await fetch(stop);
      const value = new Secret(JSON.stringify(given));
      return lifeMs === undefined
        ? { value, renewAt: askedAt + recheckMs, endsAt: Number.POSITIVE_INFINITY }
        : { value, renewAt: askedAt + (lifeMs * 2) / 3, endsAt: askedAt + lifeMs };
    },
  });
  lookup.renewBy(lent.renewAt);
  return JSON.parse(lent.value.reveal()) as Json;
}

/** Who a store is asked as. */
export interface Caller<T> extends Granter<T> {
  /** Tells who it is from others; without secrets. */
  key: string;
}

/**
 * Asks a store that takes a token and answers in JSON, and once more with a new one where that is not accepted.
 *
 * @returns its answer, whatever it says, with the token that it was asked with
 * @throws what the caller's `grant` and the client throw
 */
export async function askWithToken(
  who: Caller<Secret>,
  url: string,
  { stores, signal }: Pick<StoreAsk, 'stores' | 'signal'>,
): Promise<{ answer: HttpAnswer; grant: Secret }> {
  return await askGranted(who, {
    send: token => {
      const headers = { authorization: `Bearer ${token.reveal()}`, accept: 'application/json' };
      return stores.http.send({ url, headers, signal });
    },
    isRefused: isUnauthorized,
    signal,
  });
}
