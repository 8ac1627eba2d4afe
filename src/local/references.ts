import type { References } from '../auth/references.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { ManifestDocument } from '../spec/documents.ts';
import { descend, isRecord } from '../spec/field-path.ts';
import {
  parseTriggerAuthentication,
  type TriggerAuthenticationSpec,
} from '../spec/trigger-authentication.ts';
import type { Workload } from '../spec/workload.ts';

/** The values of a Secret or ConfigMap as bytes, since files made from them need not be text. */
export type Values = ReadonlyMap<string, Buffer>;

/** The objects of manifest files that others refer to by name. */
export interface LocalObjects {
  /** Undefined where there is no such Secret; of the values by two ways to give them, `stringData` wins. */
  secret(namespace: string, name: string): Values | undefined;
  configMap(namespace: string, name: string): Values | undefined;
  /** The annotations of a ServiceAccount; undefined where there is none. */
  serviceAccount(namespace: string, name: string): ReadonlyMap<string, string> | undefined;
  /** The document of what a workload scales or makes Jobs from; undefined where the files lack it. */
  owner(workload: Workload): ManifestDocument | undefined;
}

/** Looks objects up among documents. Where one is there twice the last one counts, as after `kubectl apply`. */
export function localObjects(documents: readonly ManifestDocument[]): LocalObjects {
  const byKey = new Map(documents.map(each => [keyOf(each), each] as const));
  const values = (kind: string, namespace: string, name: string): Values | undefined => {
    const value = byKey.get(['', kind, namespace, name].join(' '))?.value;
    return value === undefined ? undefined : valuesOf(value, kind);
  };
  return {
    secret: (namespace, name) => values('Secret', namespace, name),
    configMap: (namespace, name) => values('ConfigMap', namespace, name),
    serviceAccount(namespace, name) {
      const account = byKey.get(['', 'ServiceAccount', namespace, name].join(' '));
      if (account === undefined) return undefined;
      const annotations = descend(account.value, ['metadata', 'annotations']);
      const entries = Object.entries(isRecord(annotations) ? annotations : {});
      return new Map(entries.map(([key, value]) => [key, String(value)] as const));
    },
    owner(workload) {
      const { namespace, name } = workload;
      if (workload.kind === 'ScaledJob')
        return byKey.get(['keda.sh', 'ScaledJob', namespace, name].join(' '));
      const { apiVersion, kind, name: target } = workload.target;
      return byKey.get([groupOf(apiVersion), kind, namespace, target].join(' '));
    },
  };
}

/** The references of triggers, answered from manifest files. All files are one cluster's namespace `default`. */
export function localReferences(documents: readonly ManifestDocument[]): References {
  const objects = localObjects(documents);
  const authentications = authenticationsOf(documents);
  return {
    clusterNamespace: 'default',
    async secret(namespace, name) {
      const values = objects.secret(namespace, name);
      return (
        values && new Map([...values].map(([key, value]) => [key, new Secret(value.toString())] as const))
      );
    },
    async configMap(namespace, name) {
      const values = objects.configMap(namespace, name);
      return values && new Map([...values].map(([key, value]) => [key, value.toString()] as const));
    },
    async serviceAccount(namespace, name) {
      return objects.serviceAccount(namespace, name);
    },
    async serviceAccountToken(namespace, name) {
      const who = `ServiceAccount "${name}" in namespace "${namespace}"`;
      throw new Fault('NOT_SUPPORTED', `there is no cluster here to give a token of ${who}`);
    },
    async triggerAuthentication(namespace, name) {
      return authentications.get(`${namespace ?? ''}/${name}`);
    },
    async podTemplate(workload) {
      if (workload.kind === 'ScaledJob') return descend(workload.jobTargetRef, ['template']);
      return descend(objects.owner(workload)?.value, ['spec', 'template']);
    },
  };
}

const groupOf = (apiVersion: string) => (apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '');

const keyOf = ({ apiVersion, kind, namespace, name }: ManifestDocument) =>
  [groupOf(apiVersion), kind, namespace, name].join(' ');

function valuesOf(object: Readonly<Record<string, unknown>>, kind: string): Values {
  const values = new Map<string, Buffer>();
  const add = (field: string, encoding: 'utf8' | 'base64') => {
    const given = object[field];
    for (const [key, value] of Object.entries(isRecord(given) ? given : {}))
      if (typeof value === 'string') values.set(key, Buffer.from(value, encoding));
  };
  add('data', kind === 'Secret' ? 'base64' : 'utf8');
  add(kind === 'Secret' ? 'stringData' : 'binaryData', kind === 'Secret' ? 'utf8' : 'base64');
  return values;
}

/** What cannot be parsed is left out: who reads the files says what is wrong with it. */
function authenticationsOf(documents: readonly ManifestDocument[]): Map<string, TriggerAuthenticationSpec> {
  const found = new Map<string, TriggerAuthenticationSpec>();
  for (const document of documents) {
    const { apiVersion, kind } = document;
    if (groupOf(apiVersion) !== 'keda.sh' || !/^(Cluster)?TriggerAuthentication$/.test(kind)) continue;
    const parsed = parseTriggerAuthentication(document);
    if (parsed.ok) found.set(`${parsed.value.namespace ?? ''}/${parsed.value.name}`, parsed.value.spec);
  }
  return found;
}
