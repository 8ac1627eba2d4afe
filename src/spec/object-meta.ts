import type { ManifestDocument } from './documents.ts';
import { shortened } from './field-path.ts';
import { Findings } from './findings.ts';
import type { Problem } from './problem.ts';
import { type Field, type Infer, s } from './schema.ts';
import type { Parsed } from './workload.ts';

/** The name of an object as Kubernetes wants it: a DNS subdomain. */
const objectName = s.custom<string, { required: true }>(
  { required: true },
  (value, findings) => {
    if (typeof value !== 'string') return findings.wrongType('a text', value);
    if (value.length > 253) return findings.problem('is longer than the 253 letters a name may have');
    if (/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(value)) return value;
    return findings.problem(
      `"${shortened(value)}" is not a name`,
      'use lower-case letters, digits, "-" and "." only',
    );
  },
  () => ({ type: 'string' }),
);

const metadata = s.open({
  required: true,
  known: {
    name: objectName,
    namespace: s.text({}),
    labels: s.map(s.text({}), {}),
    annotations: s.map(s.text({}), {}),
    uid: s.text({}),
    creationTimestamp: s.time({}),
  },
});

/** What all kinds have in common, as the API server keeps it. */
export interface ObjectMeta {
  namespace: string;
  name: string;
  uid: string;
  generation: number;
  /** Epoch milliseconds; 0 where a manifest has not been created anywhere yet. */
  createdAt: number;
  labels: Readonly<Record<string, string>>;
  annotations: Readonly<Record<string, string>>;
}

/** Reads the frame of a manifest of ours, and its spec by its declaration; complains once about everything. */
export function parseObject<F extends Field<unknown>, T>(
  document: ManifestDocument,
  spec: F,
  make: (spec: Infer<F>, meta: ObjectMeta) => T,
): Parsed<T> {
  const findings = new Findings(document);
  const frame = s.object(
    {
      apiVersion: s.text({}),
      kind: s.text({}),
      metadata,
      spec: { ...spec, required: true },
      status: s.open({}),
    },
    {},
  );
  const read = frame.read(document.value, findings) as { spec?: Infer<F> } | undefined;
  const problems = findings.problems.sort(byPlace);
  const notices = findings.notices.sort(byPlace);
  const { surpluses, tolerances } = findings;
  const serious = problems.length - surpluses.length - tolerances.length;
  if (read?.spec === undefined || serious > 0) return { ok: false, problems, notices };
  const value = make(read.spec as Infer<F>, metaOf(document));
  if (problems.length === 0) return { ok: true, value, notices };
  const rest = tolerances.length === 0 ? { rest: value } : {};
  return { ok: false, problems, notices, admissible: value, ...rest };
}

function byPlace({ place: a }: Problem, { place: b }: Problem): number {
  return (a?.line ?? 0) - (b?.line ?? 0) || (a?.column ?? 0) - (b?.column ?? 0);
}

function metaOf({ namespace, name, value, kind }: ManifestDocument): ObjectMeta {
  const meta = value['metadata'] as Readonly<Record<string, unknown>>;
  const texts = (found: unknown) => (found ?? {}) as Readonly<Record<string, string>>;
  const created = typeof meta['creationTimestamp'] === 'string' ? Date.parse(meta['creationTimestamp']) : 0;
  return {
    namespace,
    name,
    uid: typeof meta['uid'] === 'string' ? meta['uid'] : `${kind}/${namespace}/${name}`,
    generation: typeof meta['generation'] === 'number' ? meta['generation'] : 1,
    createdAt: created,
    labels: texts(meta['labels']),
    annotations: texts(meta['annotations']),
  };
}
