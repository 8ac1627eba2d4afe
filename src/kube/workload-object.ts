import { fingerprint } from '../base/secret.ts';
import { documentOf, type ManifestDocument } from '../spec/documents.ts';
import { labelValue } from '../spec/label-value.ts';
import { formatProblem, type Problem } from '../spec/problem.ts';
import { parseScaledJob } from '../spec/scaled-job.ts';
import { parseScaledObject } from '../spec/scaled-object.ts';
import { surroundingsOf } from '../spec/surroundings.ts';
import { validate } from '../spec/validate.ts';
import type { Workload } from '../spec/workload.ts';
import { marks } from './marks.ts';
import type { KubeObject } from './objects.ts';
import type { Identity } from './status.ts';

/** What is kept of a ScaledObject or ScaledJob. */
export interface KeptWorkload extends Identity {
  version: number;
  generation: number;
  /** The same as long as nothing changed that the engine would see. */
  mark: string;
  /** As JSON. */
  status: string;
  finalizers: readonly string[];
  /** Whether it has the label that it must have. */
  labelled: boolean;
  deleting: boolean;
  /** Whether an answer told of this version before the watch did. */
  ahead: boolean;
  /** What was read of this version, until it is handed on. */
  fresh: FreshWorkload | undefined;
}

/** What came of reading a version of an object. */
export type FreshWorkload =
  | { ok: true; workload: Workload; notices: readonly Problem[] }
  /** With what can be read of it all the same: it is not run, but it is there. */
  | { ok: false; message: string; admissible?: Workload };

export interface ObjectWithStatus extends KubeObject {
  spec?: unknown;
  status?: unknown;
}

export type FormulaCheck = (formula: string, names: readonly string[]) => readonly Problem[];

/** How many of the things that are wrong a condition tells. */
const mostTold = 3;

/**
 * What to keep of a version of an object. It is read only where something in it changed that matters: its spec, or
 * its labels and annotations. A new status is none of that.
 */
export function keepWorkload(
  kind: Workload['kind'],
  object: ObjectWithStatus,
  { before, checkFormula }: { before: KeptWorkload | undefined; checkFormula: FormulaCheck },
): KeptWorkload {
  const { metadata } = object;
  const { namespace = '', name, uid, finalizers = [], labels = {} } = metadata;
  const mark = markOf(object);
  const known = before?.uid === uid && before.mark === mark;
  return {
    kind,
    key: `${kind}/${namespace}/${name}`,
    namespace,
    name,
    uid,
    version: Number(metadata.resourceVersion),
    generation: metadata.generation ?? 1,
    mark,
    status: statusText(object.status),
    finalizers,
    labelled: kind === 'ScaledJob' || labels[marks.scaledObjectName] === labelValue(name),
    deleting: metadata.deletionTimestamp !== undefined,
    ahead: false,
    fresh: known ? before.fresh : readWorkload(kind, object, checkFormula),
  };
}

/** A status as it is kept. */
export const statusText = (status: unknown): string => JSON.stringify(status ?? {});

function markOf({ metadata }: KubeObject): string {
  const { [marks.scaledObjectName]: _ours, ...labels } = metadata.labels ?? {};
  return fingerprint(JSON.stringify([metadata.generation, labels, metadata.annotations]));
}

/** Reads an object and checks it by the rules that KEDA's controllers check; those about its surroundings are for admission. */
export function readWorkload(
  kind: Workload['kind'],
  object: ObjectWithStatus,
  checkFormula: FormulaCheck,
): FreshWorkload {
  const document = documentOf(described(kind, object));
  const parsed = kind === 'ScaledObject' ? parseScaledObject(document) : parseScaledJob(document);
  // A field that we do not know is one that a newer CRD has: what we know of the object stands.
  const workload: Workload | undefined = parsed.ok ? parsed.value : parsed.rest;
  if (workload === undefined)
    return refused(parsed.ok ? [] : parsed.problems, parsed.ok ? undefined : parsed.admissible);
  const unknown = parsed.ok ? [] : parsed.problems;
  const { problems, notices } = check(workload, document, checkFormula);
  if (problems.length > 0) return refused(problems, workload);
  return { ok: true, workload, notices: [...unknown, ...parsed.notices, ...notices] };
}

function refused(problems: readonly Problem[], admissible: Workload | undefined): FreshWorkload {
  const message = sentence(problems);
  return admissible === undefined ? { ok: false, message } : { ok: false, message, admissible };
}

function check(workload: Workload, document: ManifestDocument, checkFormula: FormulaCheck) {
  const nothing = { scaledObjects: [], autoscalers: [], podOwners: [], limits: [], complete: false };
  const around = surroundingsOf(nothing, { operation: 'update', dryRun: true, checkFormula });
  return validate({ manifest: workload, document }, around);
}

/** Lists of the API server have no kind in their items; and the label is there as soon as it may matter. */
function described(kind: Workload['kind'], object: ObjectWithStatus): Readonly<Record<string, unknown>> {
  const { metadata } = object;
  const ours = kind === 'ScaledObject' ? { [marks.scaledObjectName]: labelValue(metadata.name) } : {};
  const labels = { ...metadata.labels, ...ours };
  const { managedFields: _unused, ...kept } = metadata as typeof metadata & { managedFields?: unknown };
  return { ...object, apiVersion: 'keda.sh/v1alpha1', kind, metadata: { ...kept, labels } };
}

function sentence(problems: readonly Problem[]): string {
  const told = problems.slice(0, mostTold).map(formatProblem).join('; ');
  const more = problems.length - mostTold;
  return more > 0 ? `${told}; and ${more} more` : told;
}
