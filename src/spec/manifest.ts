import { type CloudEventSource, parseCloudEventSource } from './cloud-event-source.ts';
import type { ManifestDocument } from './documents.ts';
import { shortened } from './field-path.ts';
import type { Problem } from './problem.ts';
import { parseScaledJob } from './scaled-job.ts';
import { parseScaledObject } from './scaled-object.ts';
import { didYouMean } from './suggest.ts';
import { parseTriggerAuthentication, type TriggerAuthentication } from './trigger-authentication.ts';
import type { Parsed, Workload } from './workload.ts';

/** Any object of one of our kinds. */
export type Manifest = Workload | TriggerAuthentication | CloudEventSource;

const version = 'v1alpha1';

const parsers: Readonly<
  Record<string, Readonly<Record<string, (document: ManifestDocument) => Parsed<Manifest>>>>
> = {
  'keda.sh': {
    ScaledObject: parseScaledObject,
    ScaledJob: parseScaledJob,
    TriggerAuthentication: parseTriggerAuthentication,
    ClusterTriggerAuthentication: parseTriggerAuthentication,
  },
  'eventing.keda.sh': {
    CloudEventSource: parseCloudEventSource,
    ClusterCloudEventSource: parseCloudEventSource,
  },
};

/** Reads a manifest of one of our kinds; undefined for every other kind. */
export function parseManifest(document: ManifestDocument): Parsed<Manifest> | undefined {
  const [group = '', given] = document.apiVersion.split('/');
  const kinds = Object.hasOwn(parsers, group) ? parsers[group] : undefined;
  if (kinds === undefined) return undefined;
  const parse = Object.hasOwn(kinds, document.kind) ? kinds[document.kind] : undefined;
  const refuse = (field: string, problem: string, mending: string): Parsed<Manifest> => {
    const refused: Problem = { problem, mending, place: document.place([field]) };
    return { ok: false, problems: [refused], notices: [] };
  };
  if (parse === undefined) {
    const known = Object.keys(kinds);
    const problem = `${group} has no kind "${shortened(document.kind)}"${didYouMean(document.kind, known)}`;
    return refuse('kind', problem, `the kinds are ${known.join(', ')}`);
  }
  if (given !== version) {
    return refuse(
      'apiVersion',
      `there is no version "${shortened(given ?? '')}" of ${group}`,
      `use ${group}/${version}`,
    );
  }
  return parse(document);
}
