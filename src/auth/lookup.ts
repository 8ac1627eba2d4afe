import { Fault } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import type { References } from './references.ts';

/** An object that credentials came from; a change in it may change them. */
export interface UsedObject {
  kind:
    | 'Secret'
    | 'ConfigMap'
    | 'ServiceAccount'
    | 'TriggerAuthentication'
    | 'ClusterTriggerAuthentication'
    /** The pod template of what a ScaledObject scales, by the name of the ScaledObject. */
    | 'Target';
  /** Empty for a ClusterTriggerAuthentication. */
  namespace: string;
  name: string;
}

interface LookupOptions {
  references: References;
  signal: AbortSignal;
  /** Secrets are read from the cluster namespace only, whatever namespace is meant (KEDA_RESTRICT_SECRET_ACCESS). */
  restrictSecretAccess?: boolean;
}

/** Reads Secrets, ConfigMaps and service accounts for one trigger: each object once, and remembers which they were. */
export class Lookup {
  readonly #options: LookupOptions;
  readonly #read = new Map<string, Promise<ReadonlyMap<string, unknown> | undefined>>();
  readonly #used = new Map<string, UsedObject>();
  #renewAt = Number.POSITIVE_INFINITY;

  constructor(options: LookupOptions) {
    this.#options = options;
  }

  /** Everything asked for so far, found or not, each once. */
  get used(): readonly UsedObject[] {
    return [...this.#used.values()];
  }

  /** When something of it is to be looked up again though nobody tells of a change, in epoch milliseconds. */
  get renewAt(): number {
    return this.#renewAt;
  }

  renewBy(at: number): void {
    this.#renewAt = Math.min(this.#renewAt, at);
  }

  note(object: UsedObject): void {
    this.#used.set(`${object.kind}/${object.namespace}/${object.name}`, object);
  }

  /** False where only Secrets of the cluster namespace may be read and this is another one. */
  mayReadSecrets(namespace: string): boolean {
    const { restrictSecretAccess, references } = this.#options;
    return !restrictSecretAccess || namespace === references.clusterNamespace;
  }

  /** Undefined where there is no such Secret. */
  secret(namespace: string, name: string): Promise<ReadonlyMap<string, Secret> | undefined> {
    const { references, signal, restrictSecretAccess } = this.#options;
    const place = restrictSecretAccess ? references.clusterNamespace : namespace;
    return this.#once({ kind: 'Secret', namespace: place, name }, () =>
      references.secret(place, name, signal),
    );
  }

  /** The annotations of a service account; undefined where there is none. */
  serviceAccount(namespace: string, name: string): Promise<ReadonlyMap<string, string> | undefined> {
    const { references, signal } = this.#options;
    return this.#once({ kind: 'ServiceAccount', namespace, name }, () =>
      references.serviceAccount(namespace, name, signal),
    );
  }

  /** Undefined where there is no such ConfigMap. */
  configMap(namespace: string, name: string): Promise<ReadonlyMap<string, string> | undefined> {
    const { references, signal } = this.#options;
    return this.#once({ kind: 'ConfigMap', namespace, name }, () =>
      references.configMap(namespace, name, signal),
    );
  }

  #once<T>(
    object: UsedObject,
    read: () => Promise<ReadonlyMap<string, T> | undefined>,
  ): Promise<ReadonlyMap<string, T> | undefined> {
    this.note(object);
    const key = `${object.kind}/${object.namespace}/${object.name}`;
    const known = this.#read.get(key) as Promise<ReadonlyMap<string, T> | undefined> | undefined;
    if (known !== undefined) return known;
    const reading = read();
    this.#read.set(key, reading);
    return reading;
  }
}

/** One parameter's reference to a key of a Secret or ConfigMap. */
export interface KeyReference {
  parameter: string;
  name: string;
  key: string;
}

/**
 * The value of a key, which must be there: KEDA goes on with an empty text where it is not, and the scaler then
 * fails with a sentence that leads elsewhere.
 *
 * @throws Fault AUTH_MISSING
 */
export function requireKey<T>(
  values: ReadonlyMap<string, T> | undefined,
  { parameter, name, key }: KeyReference,
  where: { kind: 'Secret' | 'ConfigMap'; namespace: string },
): T {
  const value = values?.get(key);
  if (value !== undefined) return value;
  const lacks = values === undefined ? 'which does not exist' : 'which has no such key';
  throw new Fault(
    'AUTH_MISSING',
    `parameter "${parameter}" is key "${key}" of ${where.kind} "${name}" in namespace "${where.namespace}", ${lacks}`,
  );
}
