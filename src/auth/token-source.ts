import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { type HttpOptions, httpClient } from '../base/http.ts';
import type { Secret } from '../base/secret.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import { type AzureWorkloadOptions, azureWorkload } from './azure-workload.ts';

export interface TokenSourceOptions {
  clock: Clock;
  http: HttpOptions;
  /** From the operator's environment. */
  azure: AzureWorkloadOptions;
}

/** Access tokens of pod identities; it is what the scaler layer calls a TokenSource. */
export interface Tokens extends AsyncDisposable {
  /** @throws Fault AUTH_FAILED, or NOT_SUPPORTED for an identity that has no tokens here */
  accessToken(identity: PodIdentity, scope: string, signal: AbortSignal): Promise<Secret>;
}

/** Opens nothing until the first token is asked for. */
export function tokenSource({ clock, http, azure }: TokenSourceOptions): Tokens {
  const client = httpClient(http);
  const workload = azureWorkload(azure, { clock, http: client });
  return {
    async accessToken(identity, scope, signal) {
      if (identity.provider === 'azure-workload') return await workload.accessToken(identity, scope, signal);
      throw new Fault('NOT_SUPPORTED', `pod identity ${identity.provider} has no access tokens here`);
    },
    async [Symbol.asyncDispose]() {
      workload[Symbol.dispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}
