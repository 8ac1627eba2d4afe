import { delimiter, join } from 'node:path';
import type { Secret } from '../base/secret.ts';
import { inClusterConfig } from './in-cluster.ts';
import { kubeconfigFrom } from './kubeconfig-file.ts';

/** What may change while we run: files rotate, tokens run out. PEM texts and header values. */
export interface KubeCredentials {
  /** Trusted instead of the system's certificates. */
  ca?: string;
  cert?: string;
  key?: Secret;
  /** The whole value of the Authorization header. */
  authorization?: Secret;
}

/** Whom to act as, where that is somebody else than who we are. */
export interface Impersonation {
  user: string;
  uid?: string;
  groups?: readonly string[];
  extra?: Readonly<Record<string, readonly string[]>>;
}

/** How to reach one API server, and as whom. */
export interface KubeConfig {
  /** The address, without a slash at its end. */
  server: string;
  /** Where this was read, for people: `context "prod" of /home/me/.kube/config`. */
  origin: string;
  /** The namespace to use where none is named. */
  namespace: string;
  /** The name the server's certificate must have, where that is not the host in `server`. */
  serverName?: string;
  /** Skips verification of the server; only where the kubeconfig says `insecure-skip-tls-verify`. */
  unsafeSsl?: boolean;
  /** The proxy's URL; a Secret because it may have a password in it. */
  proxy?: Secret;
  impersonate?: Impersonation;
  /**
   * Reads the credentials as they are now. The caller asks again once a minute.
   *
   * @param refused the server has just refused the last ones: get new ones
   * @throws Fault KUBECONFIG_INVALID or KUBE_REFUSED where they cannot be had
   */
  credentials(refused: boolean): Promise<KubeCredentials>;
}

/** The variables of the environment that say where the cluster is. */
export type KubeEnvironment = Readonly<Record<string, string | undefined>>;

export interface KubeConfigOptions {
  /** A kubeconfig to read instead of looking for one. */
  file?: string | undefined;
  /** Instead of the kubeconfig's `current-context`. */
  context?: string | undefined;
  /** KUBECONFIG, KUBERNETES_SERVICE_HOST and _PORT, HTTPS_PROXY, HTTP_PROXY and NO_PROXY are looked at. */
  environment: KubeEnvironment;
  /** The user's home directory. */
  home: string;
  /** Where a pod finds its token; the usual folder unless told. */
  serviceAccountFolder?: string;
}

/**
 * Finds out where the cluster is, in the order of controller-runtime, which KEDA uses: the file named, the files
 * in KUBECONFIG, the pod's service account, and `~/.kube/config`. Reads no credentials yet.
 *
 * @throws Fault KUBECONFIG_INVALID naming file and field
 */
export async function loadKubeConfig(options: KubeConfigOptions): Promise<KubeConfig> {
  const { file, environment, home } = options;
  if (file !== undefined) return await kubeconfigFrom([file], options);
  const named = (environment['KUBECONFIG'] ?? '').split(delimiter);
  const files = named.filter(path => path !== '');
  if (files.length > 0) return await kubeconfigFrom(files, options);
  // A context is a word of kubeconfigs only.
  const inCluster = options.context === undefined ? await inClusterConfig(options) : undefined;
  return inCluster ?? (await kubeconfigFrom([join(home, '.kube', 'config')], options));
}
