import type { Secret } from '../base/secret.ts';
import type { TriggerAuthenticationSpec } from '../spec/trigger-authentication.ts';
import type { Workload } from '../spec/workload.ts';

/** A token that ends. */
export interface EndingToken {
  token: Secret;
  /** Epoch milliseconds. */
  endsAt: number;
}

/** The objects that triggers refer to. */
export interface References {
  /** Undefined where there is no such Secret. */
  secret(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Secret> | undefined>;
  configMap(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, string> | undefined>;
  /** The annotations of a ServiceAccount; undefined where there is none. */
  serviceAccount(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, string> | undefined>;
  /**
   * A new token of a ServiceAccount, for the API server.
   *
   * @throws Fault AUTH_MISSING where there is no such ServiceAccount, AUTH_FAILED where we may not, or NOT_SUPPORTED
   *   outside a cluster
   */
  serviceAccountToken(namespace: string, name: string, signal: AbortSignal): Promise<EndingToken>;
  /**
   * The spec of a TriggerAuthentication or, without a namespace, a ClusterTriggerAuthentication; undefined where
   * there is none.
   */
  triggerAuthentication(
    namespace: string | undefined,
    name: string,
    signal: AbortSignal,
  ): Promise<TriggerAuthenticationSpec | undefined>;
  /**
   * The pod template (`metadata` and `spec`) whose container's environment triggers may name; undefined where the
   * workload has none.
   */
  podTemplate(workload: Workload, signal: AbortSignal): Promise<unknown>;
  /** Where ClusterTriggerAuthentications find their Secrets. */
  readonly clusterNamespace: string;
}
