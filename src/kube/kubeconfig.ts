import type { Secret } from '../base/secret.ts';

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
   * @throws Fault KUBE_REFUSED where they cannot be had
   */
  credentials(refused: boolean): Promise<KubeCredentials>;
}
