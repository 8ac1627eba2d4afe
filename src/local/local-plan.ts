import { dirname, resolve } from 'node:path';
import type { ManifestDocument } from '../spec/documents.ts';
import { descend, type FieldPath } from '../spec/field-path.ts';
import type { Problem } from '../spec/problem.ts';
import type { ScaledJob, ScaledObject, Workload } from '../spec/workload.ts';
import { containerEnvironment } from './environment.ts';
import type { JobTemplate } from './local-job.ts';
import { numberAt, recordsAt } from './loose-fields.ts';
import { volumeFindings } from './mounts.ts';
import { type Finding, type PodTemplate, type ReadTemplate, readPodTemplate } from './pod-template.ts';
import { type LocalObjects, localObjects } from './references.ts';

/** A Deployment or StatefulSet to run. */
export interface PlannedTarget {
  /** `Deployment/namespace/name`. */
  key: string;
  kind: string;
  name: string;
  template: PodTemplate;
  replicas: number;
  /** The ScaledObjects that scale it, by their keys. */
  scaledBy: readonly string[];
}

export interface PlannedJobs {
  workload: ScaledJob;
  template: JobTemplate;
}

/** What manifests ask a laptop to run, and what stands in the way. */
export interface LocalPlan {
  objects: LocalObjects;
  targets: PlannedTarget[];
  jobs: PlannedJobs[];
  problems: Problem[];
  notices: Problem[];
}

/** The Deployment or StatefulSet that a ScaledObject scales, as `Deployment/namespace/name`. */
export function targetKey({ namespace, target }: ScaledObject): string {
  return `${target.kind}/${namespace}/${target.name}`;
}

/** Reads what manifests ask to run. Problems are complete, each with its place; notices say what is left out. */
export function planLaptop(
  documents: readonly ManifestDocument[],
  workloads: readonly Workload[],
  images: ReadonlyMap<string, string>,
): LocalPlan {
  const plan: LocalPlan = {
    objects: localObjects(documents),
    targets: [],
    jobs: [],
    problems: [],
    notices: [],
  };
  const scalers = new Map<string, string[]>();
  for (const workload of workloads)
    if (workload.kind === 'ScaledObject')
      scalers.set(targetKey(workload), [...(scalers.get(targetKey(workload)) ?? []), workload.key]);
  for (const document of documents) {
    if (isTarget(document)) plan.targets.push(planTarget({ document, images, plan }, scalers));
    else if (/^(CronJob|DaemonSet|Job|Pod|ReplicaSet|ReplicationController)$/.test(document.kind))
      plan.notices.push({ problem: `a ${document.kind} is not run here`, place: document.place(['kind']) });
  }
  const targets = new Set(plan.targets.map(({ key }) => key));
  for (const workload of workloads) {
    const document = documents.find(each => documentKey(each) === workload.key);
    if (workload.kind === 'ScaledObject' && workload.autoscaler === 'hpa')
      plan.notices.push(noAutoscaler(document));
    if (workload.kind === 'ScaledJob') plan.jobs.push(planJobs(workload, document, { images, plan }));
    else if (!targets.has(targetKey(workload))) plan.problems.push(missingTarget(workload, document));
  }
  return plan;
}

interface Planning {
  images: ReadonlyMap<string, string>;
  plan: LocalPlan;
}

const documentKey = ({ kind, namespace, name }: ManifestDocument) => `${kind}/${namespace}/${name}`;

function isTarget({ apiVersion, kind }: ManifestDocument): boolean {
  return apiVersion.startsWith('apps/') && (kind === 'Deployment' || kind === 'StatefulSet');
}

function noAutoscaler(document: ManifestDocument | undefined): Problem {
  const problem = 'there is no HorizontalPodAutoscaler here; its algorithm is computed by eventide itself';
  return { problem, ...(document && { place: document.place(['spec', 'eventide', 'autoscaler']) }) };
}

function missingTarget({ target, name }: ScaledObject, document: ManifestDocument | undefined): Problem {
  const runs = target.kind === 'Deployment' || target.kind === 'StatefulSet';
  return {
    problem: runs
      ? `${target.kind} "${target.name}", which ScaledObject "${name}" scales, is not in these files`
      : `ScaledObject "${name}" scales a ${target.kind}, which cannot be run here`,
    mending: runs ? 'name the file that holds it too' : 'scale a Deployment or a StatefulSet',
    ...(document && { place: document.place(['spec', 'scaleTargetRef']) }),
  };
}

function planTarget(
  { document, images, plan }: Planning & { document: ManifestDocument },
  scalers: ReadonlyMap<string, readonly string[]>,
): PlannedTarget {
  const { kind, name, value } = document;
  const read = readTemplate(document, ['spec', 'template'], { images, plan });
  if (recordsAt(value, 'spec', 'volumeClaimTemplates').length > 0) {
    const place = document.place(['spec', 'volumeClaimTemplates']);
    plan.notices.push({ problem: 'volume claims are not made here; the volumes are not mounted', place });
  }
  const key = documentKey(document);
  const replicas = numberAt(value, 'spec', 'replicas') ?? 1;
  return { key, kind, name, template: read.template, replicas, scaledBy: scalers.get(key) ?? [] };
}

const ignoredOfJobs = [
  'podFailurePolicy',
  'successPolicy',
  'suspend',
  'ttlSecondsAfterFinished',
  'completionMode',
];
const defaultBackoffLimit = 6;

function planJobs(
  workload: ScaledJob,
  document: ManifestDocument | undefined,
  planning: Planning,
): PlannedJobs {
  const { jobTargetRef } = workload;
  const at = (...path: FieldPath) => document?.place(['spec', 'jobTargetRef', ...path]);
  const notice = (problem: string, ...path: FieldPath) => {
    const place = at(...path);
    planning.plan.notices.push({ problem, ...(place && { place }) });
  };
  for (const field of ['parallelism', 'completions'])
    if ((numberAt(jobTargetRef, field) ?? 1) !== 1)
      notice(`${field} is taken for 1: a Job is one pod at a time here`, field);
  for (const field of ignoredOfJobs)
    if (jobTargetRef[field] !== undefined) notice(`${field} is not heeded here`, field);
  const { template } =
    document === undefined
      ? readPodTemplate({
          template: jobTargetRef['template'],
          namespace: workload.namespace,
          folder: resolve('.'),
          images: planning.images,
        })
      : readTemplate(document, ['spec', 'jobTargetRef', 'template'], planning);
  if (template.restartPolicy === 'Always')
    notice(
      'a Job needs restartPolicy Never or OnFailure, a cluster would refuse it; Never is taken',
      'template',
      'spec',
    );
  const deadline = numberAt(jobTargetRef, 'activeDeadlineSeconds');
  return {
    workload,
    template: {
      pod: template.restartPolicy === 'Always' ? { ...template, restartPolicy: 'Never' } : template,
      backoffLimit: numberAt(jobTargetRef, 'backoffLimit') ?? defaultBackoffLimit,
      activeDeadlineMs: deadline === undefined ? undefined : deadline * 1000,
    },
  };
}

/** Reads a pod template and checks, with a pod that is none, that all it refers to is there. */
function readTemplate(document: ManifestDocument, path: FieldPath, { images, plan }: Planning): ReadTemplate {
  const { namespace, name, file, value } = document;
  const folder = file === '' || file.startsWith('<') ? resolve('.') : dirname(resolve(file));
  const template = descend(value, path);
  const read = readPodTemplate({ template, namespace, folder, images });
  const { labels, annotations, serviceAccount } = read.template;
  const facts = { name: `${name}-0`, uid: '', namespace, labels, annotations, serviceAccount };
  const { objects } = plan;
  const volumes = volumeFindings(template, { facts, objects });
  const placed = ({ path: inner, ...finding }: Finding): Problem => ({
    ...finding,
    place: document.place([...path, ...inner]),
  });
  const missing = (['initContainers', 'containers'] as const).flatMap(list =>
    recordsAt(template, 'spec', list).flatMap(({ fields, index }) =>
      containerEnvironment(fields, { facts, objects }).missing.map(finding => ({
        ...finding,
        path: ['spec', list, index, ...finding.path],
      })),
    ),
  );
  plan.problems.push(...[...read.problems, ...missing, ...volumes.problems].map(placed));
  plan.notices.push(...[...read.notices, ...volumes.notices].map(placed));
  return read;
}
