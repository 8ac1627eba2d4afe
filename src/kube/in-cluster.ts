import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { fileCredentials } from './file-credentials.ts';
import type { KubeConfig, KubeConfigOptions } from './kubeconfig.ts';
import { proxyFor } from './proxy.ts';

const usualFolder = '/var/run/secrets/kubernetes.io/serviceaccount';

/** What a pod is given to reach its own cluster; undefined where this process is in none. */
export async function inClusterConfig({
  environment,
  serviceAccountFolder = usualFolder,
}: Pick<KubeConfigOptions, 'environment' | 'serviceAccountFolder'>): Promise<KubeConfig | undefined> {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  if (!host || !port) return undefined;
  const inFolder = (name: string) => join(serviceAccountFolder, name);
  const namespace = await readFile(inFolder('namespace'), 'utf8').catch(() => 'default');
  const server = `https://${isIPv6(host) ? `[${host}]` : host}:${port}`;
  const proxy = proxyFor(server, environment);
  return {
    server,
    origin: `the service account in ${serviceAccountFolder}`,
    namespace: namespace.trim(),
    ...(proxy === undefined ? {} : { proxy }),
    credentials: fileCredentials({
      ca: { path: inFolder('ca.crt'), field: 'the service account' },
      token: { path: inFolder('token'), field: 'the service account' },
    }),
  };
}
