import { Lookup } from '../src/auth/lookup.ts';
import { type SecretStores, type StoreAsk, type StoreOptions, secretStores } from '../src/auth/stores.ts';
import { type TokenSourceOptions, tokenSource } from '../src/auth/token-source.ts';
import type { Clock } from '../src/base/clock.ts';
import { type Objects, references } from './references.ts';

interface Given extends Partial<Pick<StoreOptions, 'vault' | 'aws' | 'google'>> {
  identities?: Partial<Pick<TokenSourceOptions, 'azure' | 'aws' | 'google'>>;
}

/** Stores as an operator has them that was told nothing but what is given. */
export function storesOf(clock: Clock, { identities = {}, ...over }: Given = {}): SecretStores {
  const none = { azure: {}, aws: { metadataDisabled: true }, google: {} };
  const tokens = tokenSource({ clock, http: {}, ...none, ...identities });
  const stores = secretStores({ clock, http: {}, tokens, vault: {}, aws: {}, google: {}, ...over });
  return {
    ...stores,
    async [Symbol.asyncDispose]() {
      await stores[Symbol.asyncDispose]();
      await tokens[Symbol.asyncDispose]();
    },
  };
}

/** What a TriggerAuthentication `mine` in namespace `shop` asks stores with. */
export function storeAsk(
  stores: SecretStores,
  objects: Objects = {},
  over: Partial<StoreAsk> = {},
): StoreAsk {
  const { signal } = new AbortController();
  const refs = references(objects);
  return {
    stores,
    references: refs,
    lookup: new Lookup({ references: refs, signal }),
    signal,
    of: 'TriggerAuthentication "mine"',
    clusterWide: false,
    namespace: 'shop',
    workloadNamespace: 'shop',
    doubt: false,
    ...over,
  };
}

/** Asks until the answer is as wanted; between two askings there is time for what is under way. */
export async function eventually<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (wanted(answer)) return answer;
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}
