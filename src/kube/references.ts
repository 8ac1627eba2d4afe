import type { References } from '../auth/references.ts';
import type { Clock } from '../base/clock.ts';
import { deadline } from '../base/deadline.ts';
import { Fault } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { Secret } from '../base/secret.ts';
import { descend } from '../spec/field-path.ts';
import type { ScaledObject } from '../spec/workload.ts';
import type { AuthenticationWatch } from './authentication-watch.ts';
import type { KubeClient } from './client.ts';
import type { Discovery } from './discovery.ts';
import { NamedObjects } from './named-objects.ts';
import { type KubeObject, resources } from './objects.ts';
import { requestToken } from './service-accounts.ts';

export interface ReferencesOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  discovery: Discovery;
  /** The namespaces that are looked at; all unless given. */
  namespaces?: readonly string[];
  /** Where ClusterTriggerAuthentications find their Secrets. */
  clusterNamespace: string;
  /** Secrets are read in `clusterNamespace` only (KEDA_RESTRICT_SECRET_ACCESS). */
  restrictSecrets?: boolean;
  /** How long tokens of ServiceAccounts live, in milliseconds; an hour unless told. */
  tokenLifeMs?: number;
  authentications: AuthenticationWatch;
  /** Something that was asked for is there now, is another than it was, or is gone. */
  onChange(kind: string, namespace: string, name: string): void;
}

/** The objects that triggers refer to, in a cluster. */
export interface KubeReferences extends References, AsyncDisposable {
  /** The target of a ScaledObject has another spec: whoever was given its pod template is told. */
  targetChanged(workloadKey: string): void;
  /** There is no such ScaledObject any more. */
  forget(workloadKey: string): void;
  /** Ends when it is known which TriggerAuthentications there are. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
}

interface SecretObject extends KubeObject {
  data?: Readonly<Record<string, string>>;
}

interface ConfigMapObject extends KubeObject {
  data?: Readonly<Record<string, string>>;
  binaryData?: Readonly<Record<string, string>>;
}

/** How long it may take until it is known which TriggerAuthentications there are, in milliseconds. */
const knownWithinMs = 10_000;
const hourMs = 3_600_000;

/** Nothing is fetched before it is asked for. */
export function kubeReferences(options: ReferencesOptions): KubeReferences {
  const { client, clock, log, namespaces, clusterNamespace, onChange } = options;
  const shared = { client, clock, log };
  // ClusterTriggerAuthentications refer to what is in the operator's own namespace.
  const places = namespaces && [...new Set([...namespaces, clusterNamespace])];
  const secrets = new NamedObjects<SecretObject>({
    ...shared,
    resource: resources.secrets,
    namespaces: options.restrictSecrets ? [clusterNamespace] : places,
    onChange: (namespace, name) => onChange('Secret', namespace, name),
  });
  const configMaps = new NamedObjects<ConfigMapObject>({
    ...shared,
    resource: resources.configMaps,
    namespaces: places,
    onChange: (namespace, name) => onChange('ConfigMap', namespace, name),
  });
  const accounts = new NamedObjects<KubeObject>({
    ...shared,
    resource: resources.serviceAccounts,
    namespaces: places,
    onChange: (namespace, name) => onChange('ServiceAccount', namespace, name),
  });
  const { authentications } = options;
  /** By the key of a ScaledObject, who was given the template of its target. */
  const templates = new Map<string, Pick<ScaledObject, 'namespace' | 'name'>>();
  authentications.listen({
    onSet(now, before) {
      // Until the first lists are in nobody was told anything; a new status is no news.
      const isNews = now.uid !== before?.uid || now.generation !== before.generation;
      if (isNews && authentications.synced) onChange(now.kind, now.namespace, now.name);
    },
    onDelete: ({ kind, namespace, name }) => onChange(kind, namespace, name),
  });

  async function known(signal: AbortSignal): Promise<void> {
    if (authentications.synced) return;
    using limit = deadline(signal, knownWithinMs);
    try {
      await authentications.whenSynced(limit.signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw new Fault('KUBE_UNREACHABLE', 'it is not known yet which TriggerAuthentications there are', {
        cause,
      });
    }
  }

  async function targetTemplate(workload: ScaledObject, signal: AbortSignal): Promise<unknown> {
    const { key, namespace, name, target } = workload;
    // Before it is asked for: whatever happens to it after the answer is then told.
    templates.set(key, { namespace, name });
    try {
      const kind = await options.discovery.find(target.apiVersion, target.kind, signal);
      const object = await client.get(kind, { namespace, name: target.name }, { signal });
      return descend(object, ['spec', 'template']);
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.code === 'KUBE_NOT_FOUND') return undefined;
      throw thrown;
    }
  }

  return {
    clusterNamespace,
    targetChanged(workloadKey) {
      const given = templates.get(workloadKey);
      if (given !== undefined) onChange('Target', given.namespace, given.name);
    },
    forget: workloadKey => void templates.delete(workloadKey),
    whenSynced: signal => authentications.whenSynced(signal),
    async secret(namespace, name, signal) {
      if (options.restrictSecrets && namespace !== clusterNamespace) throw restricted(namespace, options);
      const found = await secrets.read(namespace, name, signal);
      return found && new Map(entries(found.data, 'base64').map(([key, text]) => [key, new Secret(text)]));
    },
    async configMap(namespace, name, signal) {
      const found = await configMaps.read(namespace, name, signal);
      return found && new Map([...entries(found.data, 'utf8'), ...entries(found.binaryData, 'base64')]);
    },
    async serviceAccount(namespace, name, signal) {
      const found = await accounts.read(namespace, name, signal);
      return found && new Map(Object.entries(found.metadata.annotations ?? {}));
    },
    serviceAccountToken: (namespace, name, signal) =>
      requestToken(client, { namespace, name }, { lifeMs: options.tokenLifeMs ?? hourMs, signal }),
    async triggerAuthentication(namespace, name, signal) {
      await known(signal);
      return authentications.spec(namespace, name);
    },
    async podTemplate(workload, signal) {
      return workload.kind === 'ScaledJob'
        ? descend(workload.jobTargetRef, ['template'])
        : await targetTemplate(workload, signal);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([secrets, configMaps, accounts].map(each => each[Symbol.asyncDispose]()));
    },
  };
}

function entries(
  data: Readonly<Record<string, string>> | undefined,
  encoding: 'utf8' | 'base64',
): (readonly [string, string])[] {
  return Object.entries(data ?? {}).map(
    ([key, value]) => [key, encoding === 'utf8' ? value : Buffer.from(value, encoding).toString()] as const,
  );
}

function restricted(namespace: string, { clusterNamespace }: ReferencesOptions): Fault {
  const sentence = `Secrets may be read in namespace "${clusterNamespace}" only, not in "${namespace}"`;
  return new Fault('NOT_SUPPORTED', sentence);
}
