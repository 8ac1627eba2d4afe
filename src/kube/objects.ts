/** What every object of the API server has. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid: string;
  resourceVersion: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Readonly<Record<string, string>>;
  annotations?: Readonly<Record<string, string>>;
  finalizers?: readonly string[];
  ownerReferences?: readonly OwnerReference[];
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** One kind of object, as paths and bodies name it. */
export interface Resource {
  /** Empty for the core group. */
  group: string;
  version: string;
  kind: string;
  plural: string;
  namespaced: boolean;
}

/** `v1`, or `group/version`. */
export const apiVersionOf = ({ group, version }: Pick<Resource, 'group' | 'version'>): string =>
  group === '' ? version : `${group}/${version}`;

const resource = (group: string, kind: string, plural: string, version = 'v1'): Resource => ({
  group,
  version,
  kind,
  plural,
  namespaced: true,
});

/** The kinds that we know without asking the API server. */
export const resources = {
  scaledObjects: resource('keda.sh', 'ScaledObject', 'scaledobjects', 'v1alpha1'),
  scaledJobs: resource('keda.sh', 'ScaledJob', 'scaledjobs', 'v1alpha1'),
  triggerAuthentications: resource('keda.sh', 'TriggerAuthentication', 'triggerauthentications', 'v1alpha1'),
  clusterTriggerAuthentications: {
    ...resource('keda.sh', 'ClusterTriggerAuthentication', 'clustertriggerauthentications', 'v1alpha1'),
    namespaced: false,
  },
  autoscalers: resource('autoscaling', 'HorizontalPodAutoscaler', 'horizontalpodautoscalers', 'v2'),
  deployments: resource('apps', 'Deployment', 'deployments'),
  statefulSets: resource('apps', 'StatefulSet', 'statefulsets'),
  jobs: resource('batch', 'Job', 'jobs'),
  pods: resource('', 'Pod', 'pods'),
  secrets: resource('', 'Secret', 'secrets'),
  configMaps: resource('', 'ConfigMap', 'configmaps'),
  serviceAccounts: resource('', 'ServiceAccount', 'serviceaccounts'),
  limitRanges: resource('', 'LimitRange', 'limitranges'),
  events: resource('events.k8s.io', 'Event', 'events'),
  leases: resource('coordination.k8s.io', 'Lease', 'leases'),
  apiServices: {
    ...resource('apiregistration.k8s.io', 'APIService', 'apiservices'),
    namespaced: false,
  },
  validatingWebhooks: {
    ...resource(
      'admissionregistration.k8s.io',
      'ValidatingWebhookConfiguration',
      'validatingwebhookconfigurations',
    ),
    namespaced: false,
  },
} as const satisfies Record<string, Resource>;
