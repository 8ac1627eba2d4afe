import type { CloudEventSource } from '../spec/cloud-event-source.ts';
import { type ManifestDocument, readDocuments } from '../spec/documents.ts';
import { parseManifest } from '../spec/manifest.ts';
import type { Problem } from '../spec/problem.ts';
import type { TriggerAuthentication } from '../spec/trigger-authentication.ts';
import type { Workload } from '../spec/workload.ts';
import { readFiles } from './read-files.ts';

/** A workload with the document it was read from, which knows its places. */
export interface LoadedWorkload {
  workload: Workload;
  document: ManifestDocument;
}

/** All that the named files hold, sorted by what it is to us. */
export interface Manifests {
  documents: readonly ManifestDocument[];
  workloads: readonly LoadedWorkload[];
  authentications: readonly { authentication: TriggerAuthentication; document: ManifestDocument }[];
  problems: readonly Problem[];
  notices: readonly Problem[];
}

/** Reads and parses manifest files. Whatever is wrong with them, all of it, is in `problems`. */
export async function loadManifests(names: readonly string[]): Promise<Manifests> {
  const { files, problems } = await readFiles(names);
  const documents: ManifestDocument[] = [];
  for (const { file, bytes } of files) {
    const read = readDocuments(bytes, file);
    documents.push(...read.documents);
    problems.push(...read.problems);
  }
  const workloads: LoadedWorkload[] = [];
  const authentications: { authentication: TriggerAuthentication; document: ManifestDocument }[] = [];
  const notices: Problem[] = [];
  for (const document of documents) {
    const parsed = parseManifest(document);
    if (parsed === undefined) continue;
    notices.push(...parsed.notices);
    if (!parsed.ok) problems.push(...parsed.problems);
    const value = parsed.ok ? parsed.value : parsed.rest;
    if (value === undefined) continue;
    if (isWorkload(value)) workloads.push({ workload: value, document });
    else if (isAuthentication(value)) authentications.push({ authentication: value, document });
  }
  problems.push(...repeated(documents));
  return { documents, workloads, authentications, problems, notices };
}

type Parsed = Workload | TriggerAuthentication | CloudEventSource;

const isWorkload = (value: Parsed): value is Workload =>
  value.kind === 'ScaledObject' || value.kind === 'ScaledJob';

const isAuthentication = (value: Parsed): value is TriggerAuthentication =>
  value.kind === 'TriggerAuthentication' || value.kind === 'ClusterTriggerAuthentication';

/** The same object twice: a cluster would keep the last one silently. */
function repeated(documents: readonly ManifestDocument[]): Problem[] {
  const first = new Map<string, ManifestDocument>();
  return documents.flatMap(document => {
    const { apiVersion, kind, namespace, name } = document;
    const key = [apiVersion.split('/')[0], kind, namespace, name].join(' ');
    const before = first.get(key);
    if (before === undefined || name === '') {
      first.set(key, document);
      return [];
    }
    const { file, line } = before.place([]);
    const problem = `${kind} "${name}" is there twice, first at ${file}:${line}`;
    return [{ problem, mending: 'keep one of them', place: document.place(['metadata', 'name']) }];
  });
}
