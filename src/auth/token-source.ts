import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { type HttpOptions, httpClient } from '../base/http.ts';
import type { Secret } from '../base/secret.ts';
import type { AwsCredentials } from '../base/sigv4.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';
import { type AwsIdentity, aws } from './aws.ts';
import type { AwsOptions } from './aws-own.ts';
import { type AzureWorkloadOptions, azureWorkload } from './azure-workload.ts';
import { type GoogleOptions, google } from './google.ts';

/** The identities that the operator was given, each from its environment. */
export interface TokenSourceOptions {
  clock: Clock;
  http: HttpOptions;
  azure: AzureWorkloadOptions;
  aws: AwsOptions;
  google: GoogleOptions;
}

/** Tokens and keys of identities; it is what the scaler layer calls a TokenSource. */
export interface Tokens extends AsyncDisposable {
  /** @throws Fault AUTH_FAILED, or NOT_SUPPORTED for an identity that has no tokens here */
  accessToken(identity: PodIdentity, scope: string, signal: AbortSignal): Promise<Secret>;
  /** @throws Fault AUTH_FAILED */
  googleToken(keyFile: Secret, scope: string, signal: AbortSignal): Promise<Secret>;
  /** @throws Fault AUTH_FAILED, MANIFEST_INVALID, or NOT_SUPPORTED where there is no identity of AWS here */
  awsCredentials(identity: AwsIdentity, signal: AbortSignal): Promise<AwsCredentials>;
  /** What was handed out was not accepted where it was used: who asks next waits for a new one. */
  refused(given: Secret | AwsCredentials): void;
  /** The project of Google that the operator runs in. @throws Fault AUTH_FAILED */
  googleProject(signal: AbortSignal): Promise<string>;
}

/** Opens nothing until the first token is asked for. */
export function tokenSource(options: TokenSourceOptions): Tokens {
  const { clock } = options;
  const client = httpClient(options.http);
  // Instances and containers are asked for their own identity directly: no proxy may come between.
  const { proxy: _proxy, ...unproxied } = options.http;
  const direct = httpClient(unproxied);
  const means = { clock, http: client, direct };
  const azureTokens = azureWorkload(options.azure, means);
  const googleTokens = google(options.google, means);
  const awsKeys = aws(options.aws, means);
  return {
    async accessToken(identity, scope, signal) {
      if (identity.provider === 'azure-workload') {
        return await azureTokens.accessToken(identity, scope, signal);
      }
      if (identity.provider === 'gcp') return await googleTokens.ownToken(scope, signal);
      throw new Fault('NOT_SUPPORTED', `pod identity ${identity.provider} has no access tokens here`);
    },
    googleToken: (...asked) => googleTokens.keyToken(...asked),
    googleProject: signal => googleTokens.ownProject(signal),
    awsCredentials: (...asked) => awsKeys.credentials(...asked),
    refused(given) {
      if ('accessKeyId' in given) return awsKeys.refused(given);
      azureTokens.refused(given);
      googleTokens.refused(given);
    },
    async [Symbol.asyncDispose]() {
      for (const each of [azureTokens, googleTokens, awsKeys]) each[Symbol.dispose]();
      await Promise.all([client, direct].map(each => each[Symbol.asyncDispose]()));
    },
  };
}
