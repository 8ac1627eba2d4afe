import type { HttpOptions } from '../base/http.ts';
import type { Secret } from '../base/secret.ts';
import type { AwsCredentials } from '../base/sigv4.ts';
import type { PodIdentity } from '../spec/pod-identity.ts';

/** What a scaler may know about its trigger while its parameters are checked. */
export interface ParamContext {
  podIdentity: PodIdentity;
  namespace: string;
  /** Name of the ScaledObject or ScaledJob. */
  workload: string;
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
  /**
   * An access token of Google for who has this key file of a service account, for a scope such as
   * `https://www.googleapis.com/auth/cloud-platform`.
   * @throws Fault AUTH_FAILED
   */
  googleToken(keyFile: Secret, scope: string, signal: AbortSignal): Promise<Secret>;
  /**
   * Keys that requests to AWS are signed with.
   * @throws Fault AUTH_FAILED, or NOT_SUPPORTED where this world has no identity of AWS
   */
  awsCredentials(role: AwsRole, signal: AbortSignal): Promise<AwsCredentials>;
  /** What was handed out was not accepted where it was used: who asks next waits for a new one. */
  refused(given: Secret | AwsCredentials): void;
}

/** Who to be at AWS: ourselves, or a role that trusts us. */
export interface AwsRole {
  /** Ourselves unless given. */
  roleArn?: string;
  /** What the role may ask for of who assumes it. */
  externalId?: string;
  /** Where the keys are asked for; the operator's own region unless given. */
  region?: string;
  /**
   * Whether the role may trust our service account itself, so that it is tried before our own role is asked to
   * assume it: pod identity `aws`, not `aws-eks`.
   */
  webIdentity?: boolean;
}

/** Reads of the cluster for the few scalers that need one. */
export interface ClusterReader {
  /**
   * @param accept what the answer is to be; JSON unless told
   * @throws Fault NOT_SUPPORTED outside a cluster, and those of the API server's client
   */
  get(path: string, signal: AbortSignal, accept?: string): Promise<unknown>;
}

/** What a scaler gets to open a connection with. */
export interface OpenContext {
  signal: AbortSignal;
  /** Names us to the owner of the source where each request does, such as `eventide`. */
  clientName: string;
  /**
   * Names a connection to the owner of the source: whose it is and for which workloads, such as `eventide for
   * shop/orders, shop/mail and 12 more`. A connection that was given one is replaced when the workloads have changed.
   *
   * @param most how many characters the source takes; as many workloads are listed as fit
   */
  connectionName(most?: number): string;
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
