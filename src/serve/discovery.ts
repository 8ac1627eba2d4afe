/** The API that is served, once. */
export const group = 'external.metrics.k8s.io';
export const version = 'v1beta1';
const groupVersion = `${group}/${version}`;

// Metrics are not listed one by one: like KEDA's, the list names one resource that stands for all of them.
const resource = 'externalmetrics';
const kind = 'ExternalMetricValueList';
const verbs = ['get'];

const versions = [{ groupVersion, version }];
const apiGroup = { name: group, versions, preferredVersion: versions[0] };

/** What is at which path, for clients that look around. */
export const documents: Readonly<Record<string, object>> = {
  '/': {
    paths: [
      '/apis',
      `/apis/${group}`,
      `/apis/${groupVersion}`,
      '/healthz',
      '/livez',
      '/openapi/v2',
      '/openapi/v3',
      `/openapi/v3/apis/${groupVersion}`,
      '/readyz',
      '/version',
    ],
  },
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [apiGroup] },
  [`/apis/${group}`]: { kind: 'APIGroup', apiVersion: 'v1', ...apiGroup },
  [`/apis/${groupVersion}`]: {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion,
    resources: [{ name: resource, singularName: '', namespaced: true, kind, verbs }],
  },
};

/** All of it in one document, as clients since Kubernetes 1.26 ask for at `/apis`. */
export const aggregated = (discoveryVersion: string): object => ({
  kind: 'APIGroupDiscoveryList',
  apiVersion: `apidiscovery.k8s.io/${discoveryVersion}`,
  metadata: {},
  items: [
    {
      metadata: { name: group, creationTimestamp: null },
      versions: [
        {
          version,
          resources: [
            {
              resource,
              responseKind: { group: '', version: '', kind },
              scope: 'Namespaced',
              singularResource: '',
              verbs,
            },
          ],
          freshness: 'Current',
        },
      ],
    },
  ],
});
