import { Fault } from '../../base/errors.ts';
import type { ClusterReader } from '../context.ts';

interface EndpointSlice {
  ports?: { port?: number }[] | null;
  endpoints?: { addresses?: string[]; conditions?: { ready?: boolean } }[] | null;
}

/** The service that `http://service.namespace…:port/…` names, or undefined where the host has no namespace. */
export function serviceOf(url: URL): { service: string; namespace: string } | undefined {
  const [service, namespace] = url.hostname.split('.');
  return service === undefined || namespace === undefined ? undefined : { service, namespace };
}

/**
 * The URL once for every ready address behind its service. The port of the URL is the pods' port; where no
 * slice has it, the scheme's own is used, as in KEDA.
 *
 * @throws Fault NOT_SUPPORTED outside a cluster, SOURCE_NOT_FOUND where no address is ready
 */
export async function endpointUrls(url: URL, cluster: ClusterReader, signal: AbortSignal): Promise<string[]> {
  const found = serviceOf(url);
  if (found === undefined) throw new Fault('PARAM_INVALID', `${url.host} names no service and namespace`);
  const { service, namespace } = found;
  const selector = encodeURIComponent(`kubernetes.io/service-name=${service}`);
  const path = `/apis/discovery.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/endpointslices`;
  const list = (await cluster.get(`${path}?labelSelector=${selector}`, signal)) as {
    items?: EndpointSlice[];
  };
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  const urls = new Map<string, string>();
  for (const slice of list.items ?? []) {
    const hasPort = (slice.ports ?? []).some(each => each.port === port);
    for (const endpoint of slice.endpoints ?? []) {
      if (endpoint.conditions?.ready === false) continue;
      for (const address of endpoint.addresses ?? []) {
        if (urls.has(address)) continue;
        const host = address.includes(':') ? `[${address}]` : address;
        urls.set(address, `${url.protocol}//${host}${hasPort ? `:${port}` : ''}${url.pathname}${url.search}`);
      }
    }
  }
  if (urls.size > 0) return [...urls.values()];
  throw new Fault('SOURCE_NOT_FOUND', `no pod of the service ${namespace}/${service} is ready`);
}

export const aggregations = ['average', 'sum', 'max', 'min'] as const;

/** @param values at least one */
export function aggregate(how: (typeof aggregations)[number], values: readonly number[]): number {
  const sum = () => values.reduce((total, value) => total + value, 0);
  switch (how) {
    case 'average':
      return sum() / values.length;
    case 'sum':
      return sum();
    case 'max':
      return Math.max(...values);
    case 'min':
      return Math.min(...values);
  }
}
