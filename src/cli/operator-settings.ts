import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { parseDuration } from '../base/duration.ts';
import { Fault } from '../base/errors.ts';

/** Where to listen; every interface unless a host is given. */
export interface Address {
  host: string | undefined;
  port: number;
}

/** How the operator is to run, from its flags and its environment. */
export interface OperatorSettings {
  kubeconfig: string | undefined;
  context: string | undefined;
  /** The operator's own; undefined where only the kubeconfig or the pod can tell. */
  namespace: string | undefined;
  /** Names this process among those that may lead. */
  identity: string;
  /** What the names of those began with that ran in our pod before us; undefined outside of pods. */
  before: string | undefined;
  /** All unless given. */
  watchNamespaces: readonly string[] | undefined;
  labelSelector: string | undefined;
  authLabelSelector: string | undefined;
  /** Where ClusterTriggerAuthentications find their Secrets; the operator's own namespace unless given. */
  clusterNamespace: string | undefined;
  restrictSecrets: boolean;
  /** How long tokens of ServiceAccounts live that triggers use. */
  tokenLifeMs: number;
  autoscaler: 'hpa' | 'direct';
  lease: { name: string; durationMs: number; renewDeadlineMs: number; retryPeriodMs: number } | undefined;
  prometheus: Address | undefined;
  health: Address | undefined;
  metricsApi: Address | undefined;
  webhooks: Address | undefined;
  certificates: {
    folder: string | undefined;
    secretName: string;
    rotate: boolean;
    patchWebhook: string | undefined;
    patchApiService: boolean;
    services: { operator: string; metricsServer: string; webhooks: string };
    clusterDomain: string;
  };
  caFolders: readonly string[];
  fileRoot: string | undefined;
  /** How long one reading of a source may take. */
  readTimeoutMs: number;
  minTlsVersion: 'TLSv1.2' | 'TLSv1.3';
  logLevel: 'debug' | 'info' | 'warn' | 'error';
  logFormat: 'console' | 'json';
}

/** Flags as the command line has them, by name; repeatable ones are lists. */
export type Flags = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Reads the operator's flags and KEDA's environment variables.
 *
 * @throws Fault USAGE that names the flag or variable and what would be right
 */
export function operatorSettings(
  flags: Flags,
  environment: Readonly<Record<string, string | undefined>>,
): OperatorSettings {
  const text = (name: string): string | undefined => {
    const value = flags[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const named = (name: string) => text(name) ?? '';
  const bool = (name: string) => readBool(`--${name}`, text(name) ?? 'false');
  const variable = (name: string) => environment[name]?.trim() || undefined;
  const folder = text('cert-dir');
  const pod = variable('POD_NAME');
  return {
    kubeconfig: text('kubeconfig'),
    context: text('context'),
    namespace: variable('POD_NAMESPACE'),
    identity: `${pod ?? hostname()}_${crypto.randomUUID()}`,
    // A kubelet starts a container again only when it has ended, and no two pods have the same name.
    before: pod === undefined ? undefined : `${pod}_`,
    watchNamespaces: namespaces(variable('WATCH_NAMESPACE')),
    labelSelector: variable('WATCH_LABEL_SELECTOR'),
    authLabelSelector: variable('WATCH_LABEL_SELECTOR_FOR_TRIGGERAUTH'),
    clusterNamespace: variable('KEDA_CLUSTER_OBJECT_NAMESPACE'),
    restrictSecrets: /^true$/i.test(variable('KEDA_RESTRICT_SECRET_ACCESS') ?? ''),
    tokenLifeMs: tokenLife(variable),
    autoscaler: choice('--autoscaler', named('autoscaler'), ['hpa', 'direct']),
    lease: bool('leader-elect')
      ? {
          name: named('leader-election-id'),
          durationMs: milliseconds(variable, 'KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION', '15s'),
          renewDeadlineMs: milliseconds(variable, 'KEDA_OPERATOR_LEADER_ELECTION_RENEW_DEADLINE', '10s'),
          retryPeriodMs: milliseconds(variable, 'KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD', '2s'),
        }
      : undefined,
    prometheus: bool('enable-prometheus-metrics')
      ? address('--metrics-bind-address', named('metrics-bind-address'))
      : undefined,
    health: address('--health-probe-bind-address', named('health-probe-bind-address')),
    metricsApi: address('--secure-port', `:${named('secure-port')}`),
    webhooks: address('--webhook-port', `:${named('webhook-port')}`),
    certificates: {
      folder: folder === undefined ? undefined : resolve(folder),
      secretName: named('cert-secret-name'),
      rotate: folder === undefined && bool('enable-cert-rotation'),
      patchWebhook: bool('enable-webhook-patching') ? named('validating-webhook-name') : undefined,
      patchApiService: bool('enable-apiservice-patching'),
      services: {
        operator: named('operator-service-name'),
        metricsServer: named('metrics-server-service-name'),
        webhooks: named('webhooks-service-name'),
      },
      clusterDomain: named('k8s-cluster-domain'),
    },
    caFolders: list(flags['ca-dir']).map(each => resolve(each)),
    fileRoot: text('filepath-auth-root-path'),
    readTimeoutMs: wholeNumber('KEDA_HTTP_DEFAULT_TIMEOUT', variable('KEDA_HTTP_DEFAULT_TIMEOUT') ?? '3000'),
    minTlsVersion: variable('KEDA_HTTP_MIN_TLS_VERSION') === 'TLS13' ? 'TLSv1.3' : 'TLSv1.2',
    logLevel: choice('--zap-log-level', named('zap-log-level'), ['debug', 'info', 'warn', 'error']),
    logFormat: choice('--zap-encoder', named('zap-encoder'), ['console', 'json']),
  };
}

const list = (value: Flags[string]): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value;

/** KEDA's manifests say "all namespaces" with nothing, or with a pair of quotes. */
function namespaces(value: string | undefined): readonly string[] | undefined {
  const given = (value ?? '')
    .split(',')
    .map(each => each.trim())
    .filter(each => each !== '' && each !== '""');
  return given.length === 0 ? undefined : given;
}

function readBool(name: string, value: string): boolean {
  if (/^(1|t|T|TRUE|true|True)$/.test(value)) return true;
  if (/^(0|f|F|FALSE|false|False)$/.test(value)) return false;
  throw new Fault('USAGE', `${name} needs true or false, not "${value}"`);
}

function choice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const found = choices.find(each => each === value);
  if (found === undefined) throw new Fault('USAGE', `${name} needs ${choices.join(' or ')}, not "${value}"`);
  return found;
}

function address(name: string, value: string): Address | undefined {
  if (value === '0' || value === ':0' || value === '') return undefined;
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw new Fault('USAGE', `${name} needs an address such as :8080 or 127.0.0.1:8080, not "${value}"`);
  }
  return { host: match[1] || match[2] || undefined, port };
}

function milliseconds(variable: (name: string) => string | undefined, name: string, preset: string): number {
  const value = variable(name) ?? preset;
  const ms = parseDuration(value);
  if (ms === undefined || ms <= 0)
    throw new Fault('USAGE', `${name} needs a duration such as 15s, not "${value}"`);
  return ms;
}

const hourMs = 3_600_000;

function tokenLife(variable: (name: string) => string | undefined): number {
  const name = 'KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY';
  const ms = milliseconds(variable, name, '1h');
  if (ms >= hourMs && ms <= 6 * hourMs) return ms;
  throw new Fault('USAGE', `${name} needs a duration from 1h to 6h, not "${variable(name)}"`);
}

function wholeNumber(name: string, value: string): number {
  if (!/^\d{1,9}$/.test(value) || Number(value) === 0)
    throw new Fault('USAGE', `${name} needs a number of milliseconds, not "${value}"`);
  return Number(value);
}
