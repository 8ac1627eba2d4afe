import type { HttpOptions } from '../base/http.ts';
import type { Secret } from '../base/secret.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';

/** What a scaler may know about its trigger while its parameters are checked. */
export interface ParamContext {
  podIdentity: PodIdentity;
  namespace: string;
  triggerIndex: number;
  /** The trigger feeds a formula, so its own target value may be left out. */
  asMetricSource: boolean;
}

/** Tokens of an identity provider, cached and renewed by whoever hands this out. */
export interface TokenSource {
  /**
   * An access token of the pod identity for a scope such as `https://storage.azure.com/.default`.
   * @throws Fault AUTH_FAILED, or NOT_SUPPORTED where this world has no such identity
   */
  accessToken(identity: PodIdentity, scope: string, signal: AbortSignal): Promise<Secret>;
}

/** Reads of the cluster for the few scalers that need one. */
export interface ClusterReader {
  /** @throws Fault NOT_SUPPORTED outside a cluster */
  get(path: string, signal: AbortSignal): Promise<unknown>;
}

/** What a scaler gets to open a connection with. */
export interface OpenContext {
  signal: AbortSignal;
  /** Names us to the owner of the source, such as `eventide`. */
  clientName: string;
  identity: PodIdentity;
  tokens: TokenSource;
  /** Proxy and other settings every HTTP connection starts from. */
  http: HttpOptions;
}

/** What a scaler gets to read with. */
export interface ReadContext<C> {
  conn: C;
  /** Aborted at the deadline or when the reading is no longer wanted. */
  signal: AbortSignal;
  /** Epoch milliseconds. */
  now: number;
  namespace: string;
  cluster: ClusterReader;
}
