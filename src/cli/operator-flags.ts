/** One flag of `eventide operator`; a value may be left out of those that are true or false. */
export interface OperatorFlag {
  name: string;
  /** What stands for its value in the help; `bool` for one that is true or false. */
  value: string;
  doc: string;
  preset?: string;
  repeatable?: true;
}

const flag = (name: string, value: string, doc: string, preset?: string): OperatorFlag =>
  preset === undefined ? { name, value, doc } : { name, value, doc, preset };

/** The flags that mean something; names and defaults are KEDA's where KEDA has them. */
export const operatorFlags: readonly OperatorFlag[] = [
  flag('kubeconfig', 'file', 'the cluster to run for; the one it runs in unless given'),
  flag('context', 'name', 'the context of the kubeconfig; its current one unless given'),
  flag('autoscaler', 'mode', 'hpa or direct, for ScaledObjects that do not say', 'hpa'),
  flag('leader-elect', 'bool', 'let one of several processes decide', 'true'),
  flag('leader-election-id', 'name', 'the Lease they agree by', 'operator.keda.sh'),
  flag('metrics-bind-address', 'address', 'where Prometheus scrapes; 0 for nowhere', ':8080'),
  flag('health-probe-bind-address', 'address', 'where the kubelet asks; 0 for nowhere', ':8081'),
  flag('secure-port', 'port', 'where external.metrics.k8s.io is served; 0 for nowhere', '6443'),
  flag('webhook-port', 'port', 'where admission webhooks are served; 0 for nowhere', '9443'),
  flag('enable-prometheus-metrics', 'bool', 'serve Prometheus metrics', 'true'),
  flag('cert-dir', 'folder', 'ca.crt, tls.crt and tls.key from here instead of certificates of our own'),
  flag('cert-secret-name', 'name', 'the Secret our certificates are kept in', 'kedaorg-certs'),
  flag('enable-cert-rotation', 'bool', 'make and renew certificates, unless --cert-dir is given', 'true'),
  flag('enable-webhook-patching', 'bool', 'put the authority into the webhook configuration', 'true'),
  flag('enable-apiservice-patching', 'bool', 'put the authority into the APIService', 'true'),
  flag('validating-webhook-name', 'name', 'the webhook configuration', 'keda-admission'),
  flag('operator-service-name', 'name', 'the Service of the operator', 'keda-operator'),
  flag('metrics-server-service-name', 'name', 'the Service of the metrics API', 'keda-metrics-apiserver'),
  flag('webhooks-service-name', 'name', 'the Service of the webhooks', 'keda-admission-webhooks'),
  flag('k8s-cluster-domain', 'name', 'the domain of Services', 'cluster.local'),
  { name: 'ca-dir', value: 'folder', doc: 'certificates that sources may be signed with', repeatable: true },
  flag('filepath-auth-root-path', 'folder', 'where ClusterTriggerAuthentications may read files'),
  flag('zap-log-level', 'level', 'debug, info, warn or error', 'info'),
  flag('zap-encoder', 'format', 'console or json', 'console'),
];

/** KEDA's flags that change nothing here; they are taken, so that its arguments go on working. */
export const idleFlags: readonly string[] = [
  'disable-compression',
  'enable-high-cardinality-metrics-labels',
  'enable-opentelemetry-metrics',
  'http-idle-conn-timeout',
  'http-max-idle-conns',
  'http-max-idle-conns-per-host',
  'k8s-cluster-name',
  'kube-api-burst',
  'kube-api-qps',
  'logtostderr',
  'metrics-service-bind-address',
  'profiling-bind-address',
  'stderrthreshold',
  'v',
  'zap-devel',
  'zap-stacktrace-level',
  'zap-time-encoding',
];
