import { availableParallelism, hostname, totalmem } from 'node:os';
import { parseQuantity } from '../base/quantity.ts';
import { isRecord } from '../spec/field-path.ts';
import { type Fields, recordAt, recordsAt, textAt } from './loose-fields.ts';
import type { Finding } from './pod-template.ts';
import type { LocalObjects, Values } from './references.ts';

/** What a pod can say about itself. */
export interface PodFacts {
  name: string;
  namespace: string;
  uid: string;
  labels: Readonly<Record<string, string>>;
  annotations: Readonly<Record<string, string>>;
  serviceAccount: string;
}

export interface ContainerEnvironment {
  variables: Record<string, string>;
  /** What it refers to and is not there, at paths below the container. Kubernetes would not start it. */
  missing: Finding[];
}

/**
 * The environment of a container by Kubernetes' rules: `envFrom` in order, then `env` in order, the later of two
 * of one name winning; `$(NAME)` stands for a variable that came before.
 *
 * @param extra variables that every one of the container's own may refer to, and none can replace
 */
export function containerEnvironment(
  container: Fields,
  { facts, objects }: { facts: PodFacts; objects: LocalObjects },
  extra: Readonly<Record<string, string>> = {},
): ContainerEnvironment {
  const variables = new Map(Object.entries(extra));
  const missing: Finding[] = [];
  const lookup = (kind: 'Secret' | 'ConfigMap', name: string) =>
    kind === 'Secret' ? objects.secret(facts.namespace, name) : objects.configMap(facts.namespace, name);
  for (const { fields, index } of recordsAt(container, 'envFrom')) {
    const found = fromAll(fields, lookup);
    if (typeof found === 'string') missing.push({ path: ['envFrom', index], problem: found });
    else for (const [name, value] of found) variables.set(name, value);
  }
  for (const { fields, index } of recordsAt(container, 'env')) {
    const name = textAt(fields, 'name');
    if (name === undefined || name === '') continue;
    const given = fields['value'];
    const from = recordAt(fields, 'valueFrom');
    if (given !== undefined && given !== null && given !== '') {
      variables.set(name, expand(typeof given === 'object' ? '' : String(given), variables));
    } else if (Object.keys(from).length === 0) {
      variables.set(name, '');
    } else {
      const found = valueFrom(from, { container, facts, lookup });
      if (typeof found === 'string') variables.set(name, found);
      else if (found !== undefined) missing.push({ path: ['env', index, 'valueFrom'], ...found });
    }
  }
  return { variables: { ...Object.fromEntries(variables), ...extra }, missing };
}

/** Kubernetes' expansion: `$(NAME)` by what is known, `$$` for a dollar sign, all else as it is. */
export function expand(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (variables.get(name) ?? whole),
  );
}

type Lookup = (kind: 'Secret' | 'ConfigMap', name: string) => Values | undefined;

function fromAll(source: Fields, lookup: Lookup): [string, string][] | string {
  const prefix = textAt(source, 'prefix') ?? '';
  for (const [field, kind] of [
    ['configMapRef', 'ConfigMap'],
    ['secretRef', 'Secret'],
  ] as const) {
    const reference = source[field];
    if (!isRecord(reference)) continue;
    const name = textAt(reference, 'name') ?? '';
    const values = lookup(kind, name);
    if (values === undefined)
      return reference['optional'] === true ? [] : `there is no ${kind} "${name}" in these files`;
    return [...values].map(([key, value]) => [prefix + key, value.toString()]);
  }
  return [];
}

interface ValuePlace {
  container: Fields;
  facts: PodFacts;
  lookup: Lookup;
}

/** The value, why there is none, or undefined for one that may be left out. */
function valueFrom(from: Fields, place: ValuePlace): string | { problem: string } | undefined {
  for (const [field, kind] of [
    ['secretKeyRef', 'Secret'],
    ['configMapKeyRef', 'ConfigMap'],
  ] as const) {
    const reference = from[field];
    if (!isRecord(reference)) continue;
    const [name, key] = [textAt(reference, 'name') ?? '', textAt(reference, 'key') ?? ''];
    const values = place.lookup(kind, name);
    const value = values?.get(key);
    if (value !== undefined) return value.toString();
    if (reference['optional'] === true) return undefined;
    if (values === undefined) return { problem: `there is no ${kind} "${name}" in these files` };
    return { problem: `${kind} "${name}" has no key "${key}"` };
  }
  if (isRecord(from['fieldRef'])) {
    const path = textAt(from, 'fieldRef', 'fieldPath') ?? '';
    return podField(path, place.facts) ?? { problem: `a pod has no field "${path}" to take a value from` };
  }
  if (isRecord(from['resourceFieldRef'])) return resourceField(from['resourceFieldRef'], place.container);
  return { problem: `a value cannot be taken from ${Object.keys(from).join(', ')} here` };
}

const loopback = '127.0.0.1';

/** A field of a pod as the downward API gives it; undefined where it gives none of this name. */
export function podField(path: string, facts: PodFacts): string | undefined {
  const keyed = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(path);
  if (keyed !== null) return (keyed[1] === 'labels' ? facts.labels : facts.annotations)[keyed[2] ?? ''] ?? '';
  const fields: Readonly<Record<string, string>> = {
    'metadata.name': facts.name,
    'metadata.namespace': facts.namespace,
    'metadata.uid': facts.uid,
    'spec.serviceAccountName': facts.serviceAccount,
    'spec.nodeName': hostname(),
    'status.podIP': loopback,
    'status.podIPs': loopback,
    'status.hostIP': loopback,
    'status.hostIPs': loopback,
  };
  return Object.hasOwn(fields, path) ? fields[path] : undefined;
}

/** A container's own request or limit in units of the divisor, rounded up; without one, what the machine has. */
function resourceField(reference: Fields, container: Fields): string | { problem: string } {
  const resource = textAt(reference, 'resource') ?? '';
  const [list = '', name = ''] = resource.split('.');
  const divisor = parseQuantity(String(reference['divisor'] ?? '1')) || 1;
  const given = recordAt(container, 'resources', list)[name];
  const machine: Readonly<Record<string, number>> = { cpu: availableParallelism(), memory: totalmem() };
  const quantity = given === undefined ? machine[name] : parseQuantity(String(given));
  if (quantity === undefined) return { problem: `a container has no resource "${resource}" here` };
  // Rounding errors of the division must not count as a whole unit more.
  return String(Math.ceil(quantity / divisor - 1e-9));
}
