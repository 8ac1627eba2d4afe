import { unwatchFile, watchFile } from 'node:fs';
import type { References } from '../auth/references.ts';
import { localReferences } from '../local/references.ts';
import type { ManifestDocument } from '../spec/documents.ts';
import { loadManifests } from './manifests.ts';

/** How often files are looked at, in milliseconds. */
const lookEveryMs = 1000;

/** The objects that triggers get their credentials from. */
const kinds: ReadonlySet<string> = new Set([
  'Secret',
  'ServiceAccount',
  'ConfigMap',
  'TriggerAuthentication',
  'ClusterTriggerAuthentication',
]);

/** What triggers refer to, as the files say it now. */
export interface LiveReferences extends Disposable {
  readonly references: References;
}

/**
 * Reads the files anew when one of them is edited, and says which Secrets, ConfigMaps and TriggerAuthentications
 * are others than before. While the files cannot be read the old ones stay.
 */
export function liveReferences(
  names: readonly string[],
  documents: readonly ManifestDocument[],
  onChange: (kind: string, namespace: string, name: string) => void,
): LiveReferences {
  let present = localReferences(documents);
  let known = contents(documents);
  let reading = Promise.resolve();

  async function reload(): Promise<void> {
    const manifests = await loadManifests(names);
    if (manifests.problems.length > 0) return;
    const next = contents(manifests.documents);
    const keys = [...new Set([...known.keys(), ...next.keys()])].filter(
      key => known.get(key) !== next.get(key),
    );
    present = localReferences(manifests.documents);
    known = next;
    for (const key of keys) {
      const [kind = '', namespace = '', name = ''] = key.split('/');
      onChange(kind, kind.startsWith('Cluster') ? '' : namespace, name);
    }
  }

  const edited = () => {
    reading = reading.then(reload, reload);
  };
  const files = [...new Set([...names, ...documents.map(({ file }) => file)])].filter(
    file => !/^(-|<)/.test(file),
  );
  for (const file of files) watchFile(file, { interval: lookEveryMs }, edited);
  return {
    references: {
      clusterNamespace: present.clusterNamespace,
      secret: (...wanted) => present.secret(...wanted),
      configMap: (...wanted) => present.configMap(...wanted),
      serviceAccount: (...wanted) => present.serviceAccount(...wanted),
      serviceAccountToken: (...wanted) => present.serviceAccountToken(...wanted),
      triggerAuthentication: (...wanted) => present.triggerAuthentication(...wanted),
      podTemplate: (...wanted) => present.podTemplate(...wanted),
    },
    [Symbol.dispose]() {
      for (const file of files) unwatchFile(file, edited);
    },
  };
}

function contents(documents: readonly ManifestDocument[]): Map<string, string> {
  return new Map(
    documents
      .filter(({ kind }) => kinds.has(kind))
      .map(({ kind, namespace, name, value }) => [`${kind}/${namespace}/${name}`, JSON.stringify(value)]),
  );
}
