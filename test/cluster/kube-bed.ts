import { readFile } from 'node:fs/promises';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { type KubeClient, kubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/kubeconfig.ts';
import { documentOf } from '../../src/spec/documents.ts';
import { parseScaledObject } from '../../src/spec/scaled-object.ts';
import type { ScaledObject } from '../../src/spec/workload.ts';
import type { Cluster, Manifest } from './bed.ts';

/** A client of ours for a cluster of the bed, and how often it wrote and asked since it was last looked at. */
export interface CountedClient extends KubeClient {
  /** Such as `GET deployments` or `PATCH deployments/scale`, in order; watches are not counted. */
  readonly requests: string[];
}

/** Opens a client of ours as the administrator of a cluster. */
export async function clientOf(cluster: Cluster): Promise<CountedClient> {
  const config = await loadKubeConfig({ file: cluster.kubeconfig, environment: {}, home: '/' });
  const client = kubeClient(config, { clock: systemClock, log: silentLog });
  const requests: string[] = [];
  const note = (method: string, plural: string, subresource?: string) =>
    requests.push(`${method} ${plural}${subresource === undefined ? '' : `/${subresource}`}`);
  return Object.assign(Object.create(client) as KubeClient, {
    requests,
    get: (...[resource, at, options]: Parameters<KubeClient['get']>) => {
      note('GET', resource.plural, options.subresource);
      return client.get(resource, at, options);
    },
    list: (...[resource, query]: Parameters<KubeClient['list']>) => {
      note('LIST', resource.plural);
      return client.list(resource, query);
    },
    create: (...[resource, object, write]: Parameters<KubeClient['create']>) => {
      note('POST', resource.plural);
      return client.create(resource, object, write);
    },
    patch: (...[resource, at, body, write]: Parameters<KubeClient['patch']>) => {
      note('PATCH', resource.plural, write.subresource);
      return client.patch(resource, at, body, write);
    },
    delete: (...[resource, at, write]: Parameters<KubeClient['delete']>) => {
      note('DELETE', resource.plural);
      return client.delete(resource, at, write);
    },
  }) as CountedClient;
}

/** Teaches a cluster a kind of KEDA's. */
export async function addKind(cluster: Cluster, plural: string): Promise<void> {
  const file = new URL(`../../deploy/crds/keda.sh_${plural}.yaml`, import.meta.url);
  await cluster.apply(await readFile(file, 'utf8'));
}

/** Stores a ScaledObject and reads it back as a workload. */
export async function storeScaledObject(
  cluster: Cluster,
  namespace: string,
  given: { metadata: { name: string; [field: string]: unknown }; spec?: Record<string, unknown> },
): Promise<ScaledObject> {
  const manifest: Manifest = {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: given.metadata,
    spec: {
      scaleTargetRef: { name: 'web' },
      triggers: [{ type: 'cpu', metricType: 'Utilization', metadata: { value: '50' } }],
      ...given.spec,
    },
  };
  const [stored] = await cluster.apply(manifest, namespace);
  const parsed = parseScaledObject(documentOf(stored ?? {}));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.value;
}

/** A Deployment whose pods run at once, with some cpu requested, unless its template is given otherwise. */
export function deployment(
  name: string,
  replicas: number | undefined,
  template: Record<string, unknown> = {},
): Manifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      ...(replicas === undefined ? {} : { replicas }),
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: 'app', image: 'none', resources: { requests: { cpu: '100m' } } }] },
        ...template,
      },
    },
  };
}
