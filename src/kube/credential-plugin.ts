import { join } from 'node:path';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { KubeCredentials } from './kubeconfig.ts';

/** A user whose credentials come from a program, or from an OpenID Connect provider. */
export interface PluginUser {
  /** For people: `/home/me/.kube/config: user "me"`. */
  name: string;
  /** Where the kubeconfig is: a command with a slash in it is relative to it. */
  folder: string;
  exec: Readonly<Record<string, unknown>> | undefined;
  oidc: Readonly<Record<string, unknown>> | undefined;
  cluster: { server: string; files: () => Promise<KubeCredentials> };
}

/**
 * Gets credentials through `@kubernetes/client-node`, which keeps them until they run out. It weighs 70 MB in
 * memory, so only those who need it load it.
 *
 * @returns a function that throws Fault KUBE_REFUSED where there are none to be had
 */
export function pluginCredentials(user: PluginUser): (refused: boolean) => Promise<KubeCredentials> {
  let session: Awaited<ReturnType<typeof begin>> | undefined;
  return async refused => {
    const files = await user.cluster.files();
    if (refused) session = undefined;
    session ??= await begin(user, files.ca);
    const got: { headers?: Record<string, unknown>; cert?: unknown; key?: unknown } = {};
    try {
      await session.applyToHTTPSOptions(got);
    } catch (cause) {
      throw new Fault('KUBE_REFUSED', `${user.name}: no credentials could be had: ${firstLine(cause)}`, {
        cause,
      });
    }
    const authorization = got.headers?.['Authorization'];
    return {
      ...files,
      ...(got.cert === undefined ? {} : { cert: String(got.cert) }),
      ...(got.key === undefined ? {} : { key: new Secret(String(got.key)) }),
      ...(typeof authorization === 'string' ? { authorization: new Secret(authorization) } : {}),
    };
  };
}

async function begin({ name, folder, exec, oidc, cluster }: PluginUser, ca: string | undefined) {
  const { KubeConfig } = await import('@kubernetes/client-node').catch(cause => {
    throw new Fault(
      'KUBECONFIG_INVALID',
      `${name}: needs the package @kubernetes/client-node, which is not here`,
      { cause },
    );
  });
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'cluster', server: cluster.server, skipTLSVerify: false }],
    users: [
      {
        name: 'user',
        ...(exec === undefined ? {} : { exec: runnable(exec, { folder, server: cluster.server, ca }) }),
        ...(oidc === undefined ? {} : { authProvider: oidc }),
      },
    ],
    contexts: [{ name: 'context', cluster: 'cluster', user: 'user' }],
    currentContext: 'context',
  });
  return config;
}

interface ExecPlace {
  folder: string;
  server: string;
  ca: string | undefined;
}

/** What client-node leaves to us of the rules for exec plugins: relative commands, and what they are told. */
function runnable(exec: Readonly<Record<string, unknown>>, { folder, server, ca }: ExecPlace) {
  const command = String(exec['command'] ?? '');
  const info = {
    apiVersion: exec['apiVersion'],
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(exec['provideClusterInfo'] === true
        ? { cluster: { server, ...(ca && { 'certificate-authority-data': base64(ca) }) } }
        : {}),
    },
  };
  return {
    ...exec,
    command: /^[^/\\].*[/\\]/.test(command) ? join(folder, command) : command,
    env: [
      ...(Array.isArray(exec['env']) ? exec['env'] : []),
      { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) },
    ],
  };
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

function firstLine(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return message.trim().split('\n')[0]?.slice(0, 300) || 'the program failed and said nothing';
}
