import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { Lookup } from './lookup.ts';

type Json = Readonly<Record<string, unknown>>;

/** One parameter's reference to an environment variable of a container. */
export interface EnvReference {
  parameter: string;
  name: string;
  containerName?: string;
}

/** The pod template whose containers' environment is looked at. */
export interface PodEnvironment {
  /** Undefined where the workload has no pod template. */
  template: unknown;
  namespace: string;
  lookup: Lookup;
}

/**
 * The environment of a container as Kubernetes will make it: `envFrom` first, then `env` in order, `$(NAME)`
 * standing for what came before. Values taken from fields of the pod are left out, since no pod is meant.
 *
 * @param containerName the first container unless given; init containers do not count
 * @throws Fault AUTH_MISSING for a container, Secret or ConfigMap that is not there and not optional
 */
export async function containerEnv(
  { template, namespace, lookup }: PodEnvironment,
  containerName?: string,
): Promise<Record<string, string>> {
  const containers = listOf(recordOf(recordOf(template)?.['spec'])?.['containers']);
  const container =
    containerName === undefined
      ? containers[0]
      : (containers.find(({ name }) => name === containerName) ?? noContainer(containerName));
  const env = new Map<string, string>();
  if (container === undefined) return {};
  for (const source of listOf(container['envFrom'])) await addAll(source, env, { namespace, lookup });
  for (const variable of listOf(container['env'])) {
    const name = textOf(variable['name']);
    if (name === undefined) continue;
    const value = await variableValue(name, variable, { env, namespace, lookup });
    if (value !== undefined) env.set(name, value);
  }
  return Object.fromEntries(env);
}

/**
 * Parameters from environment variables: `env` of a TriggerAuthentication. As in KEDA what cannot be found is an
 * empty text, and the first container is meant where none is named, whatever `envSourceContainerName` says.
 */
export async function fromEnv(
  references: readonly EnvReference[],
  pod: PodEnvironment,
): Promise<Record<string, Secret>> {
  const found: Record<string, Secret> = {};
  for (const { parameter, name, containerName } of references) {
    const env = await containerEnv(pod, containerName === '' ? undefined : containerName).catch(tolerate);
    found[parameter] = new Secret(Object.hasOwn(env, name) ? (env[name] ?? '') : '');
  }
  return found;
}

function tolerate(thrown: unknown): Record<string, string> {
  if (thrown instanceof Fault && thrown.code === 'AUTH_MISSING') return {};
  throw thrown;
}

function noContainer(name: string): never {
  throw new Fault('AUTH_MISSING', `the pod template has no container "${name}" to take the environment of`);
}

async function addAll(
  source: Json,
  env: Map<string, string>,
  { namespace, lookup }: Pick<PodEnvironment, 'namespace' | 'lookup'>,
): Promise<void> {
  const prefix = textOf(source['prefix']) ?? '';
  const [configMap, secret] = [recordOf(source['configMapRef']), recordOf(source['secretRef'])];
  if (configMap !== undefined) {
    const name = textOf(configMap['name']) ?? '';
    const values = await lookup.configMap(namespace, name);
    if (values === undefined && configMap['optional'] !== true) throw missing('ConfigMap', name, namespace);
    for (const [key, value] of values ?? []) env.set(prefix + key, value);
  } else if (secret !== undefined && lookup.mayReadSecrets(namespace)) {
    const name = textOf(secret['name']) ?? '';
    const values = await lookup.secret(namespace, name);
    if (values === undefined && secret['optional'] !== true) throw missing('Secret', name, namespace);
    for (const [key, value] of values ?? []) env.set(prefix + key, value.reveal());
  }
}

interface VariablePlace {
  env: ReadonlyMap<string, string>;
  namespace: string;
  lookup: Lookup;
}

/** Undefined where the variable is left out. */
async function variableValue(
  name: string,
  variable: Json,
  place: VariablePlace,
): Promise<string | undefined> {
  const value = textOf(variable['value']) ?? '';
  const from = recordOf(variable['valueFrom']);
  if (value !== '' || from === undefined) return expand(value, place.env);
  const { namespace, lookup } = place;
  const [secret, configMap] = [recordOf(from['secretKeyRef']), recordOf(from['configMapKeyRef'])];
  if (secret !== undefined && lookup.mayReadSecrets(namespace)) {
    const values = await lookup.secret(namespace, textOf(secret['name']) ?? '');
    return keyOf({ kind: 'Secret', name, namespace }, secret, values)?.reveal() ?? blank(values);
  }
  if (configMap !== undefined) {
    const values = await lookup.configMap(namespace, textOf(configMap['name']) ?? '');
    return keyOf({ kind: 'ConfigMap', name, namespace }, configMap, values) ?? blank(values);
  }
  return undefined;
}

/** A key that an existing object lacks is an empty text, as KEDA has it; of an optional object nothing. */
const blank = (values: ReadonlyMap<string, unknown> | undefined) => (values === undefined ? undefined : '');

function keyOf<T>(
  { kind, name, namespace }: { kind: 'Secret' | 'ConfigMap'; name: string; namespace: string },
  reference: Json,
  values: ReadonlyMap<string, T> | undefined,
): T | undefined {
  if (values !== undefined) return values.get(textOf(reference['key']) ?? '');
  if (reference['optional'] === true) return undefined;
  throw missing(kind, textOf(reference['name']) ?? '', namespace, name);
}

function missing(kind: string, name: string, namespace: string, variable?: string): Fault {
  const what = variable === undefined ? "the container's envFrom" : `the container's variable ${variable}`;
  return new Fault(
    'AUTH_MISSING',
    `${what} needs ${kind} "${name}" in namespace "${namespace}", which does not exist`,
  );
}

/** Kubernetes' expansion: `$(NAME)` by what is known already, `$$` for a dollar sign, all else as it is. */
function expand(text: string, env: ReadonlyMap<string, string>): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (env.get(name) ?? whole),
  );
}

const recordOf = (value: unknown): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;

const listOf = (value: unknown): readonly Json[] =>
  Array.isArray(value) ? value.map(recordOf).filter(each => each !== undefined) : [];

const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
