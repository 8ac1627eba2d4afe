import { fingerprint } from '../base/secret.ts';
import type { JobRequest } from '../engine/ports.ts';
import { excludedLabels, annotations as known } from '../spec/annotations.ts';
import { isRecord } from '../spec/field-path.ts';
import { labelValue } from '../spec/label-value.ts';
import type { ScaledJob } from '../spec/workload.ts';
import { marks } from './marks.ts';
import type { OwnerReference } from './objects.ts';

/** Where a message that goes by file is found in every container of the Job. */
const folder = '/var/run/eventide/task';
const fileName = 'body';
const volumeName = 'eventide-task';

type Open = Readonly<Record<string, unknown>>;

/** A Job to be created, as the API server takes it. */
export interface NewJob extends Open {
  metadata: { namespace: string; name?: string; generateName?: string } & Open;
}

const digests = new WeakMap<ScaledJob['jobTargetRef'], string>();

/** A short digest of what a ScaledJob makes its Jobs from. The API server sorts fields, so the same is the same. */
export function templateDigest({ jobTargetRef }: ScaledJob): string {
  const known = digests.get(jobTargetRef);
  if (known !== undefined) return known;
  const digest = fingerprint(JSON.stringify(jobTargetRef));
  digests.set(jobTargetRef, digest);
  return digest;
}

/** The name of the Secret that holds a Job's message. */
export const taskSecretName = (job: string): string => `${job}-task`;

/**
 * The Job for a request: labels, annotations, owner and defaults as KEDA gives them, and for a Job that carries
 * messages its name, the variables, the file, the task and the finalizer that keeps it until they are settled.
 *
 * Other than KEDA it does not copy kubectl's last-applied-configuration.
 *
 * @param version what `app.kubernetes.io/version` is to say
 */
export function jobObject(workload: ScaledJob, request: JobRequest, version: string): NewJob {
  const { jobTargetRef, namespace, name } = workload;
  const { task, file } = request;
  const secret = file !== undefined && request.name !== undefined ? taskSecretName(request.name) : undefined;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      namespace,
      ...(request.name === undefined ? { generateName: `${name}-` } : { name: request.name }),
      labels: labelsOf(workload, version),
      annotations: {
        [known.jobGeneration]: String(workload.generation),
        ...without(workload.annotations, [marks.lastApplied]),
        [marks.template]: templateDigest(workload),
        ...(task === undefined ? {} : { [marks.task]: JSON.stringify(task) }),
        ...(secret === undefined ? {} : { [marks.file]: secret }),
      },
      ...(task === undefined ? {} : { finalizers: [marks.taskFinalizer] }),
      ownerReferences: [ownerOf(workload)],
    },
    spec: { ...jobTargetRef, template: podTemplate(workload, request, secret) },
  };
}

/** A reference to the ScaledJob, as the controller of its Jobs. */
export function ownerOf({ name, uid }: ScaledJob): OwnerReference {
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledJob',
    name,
    uid,
    controller: true,
    blockOwnerDeletion: true,
  };
}

/**
 * The Secret with the body of a message. It belongs to the ScaledJob until there is a Job to belong to: whatever
 * breaks off in between, it goes with one of them.
 */
export function taskSecret(workload: ScaledJob, job: string, body: Uint8Array): NewJob {
  const { controller: _one, blockOwnerDeletion: _two, ...owner } = ownerOf(workload);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'Opaque',
    metadata: {
      namespace: workload.namespace,
      name: taskSecretName(job),
      labels: { [marks.scaledJobName]: labelValue(workload.name) },
      ownerReferences: [owner],
    },
    data: { [fileName]: Buffer.from(body).toString('base64') },
  };
}

function labelsOf(workload: ScaledJob, version: string): Record<string, string> {
  const name = labelValue(workload.name);
  return {
    'app.kubernetes.io/name': name,
    'app.kubernetes.io/version': version,
    'app.kubernetes.io/part-of': name,
    'app.kubernetes.io/managed-by': 'keda-operator',
    [marks.scaledJobName]: name,
    ...without(workload.labels, excludedLabels(workload)),
  };
}

function without(all: Readonly<Record<string, string>>, keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(all).filter(([key]) => !keys.includes(key)));
}

function podTemplate(
  { jobTargetRef, name }: ScaledJob,
  request: JobRequest,
  secret: string | undefined,
): Open {
  const template = recordOf(jobTargetRef['template']);
  const metadata = recordOf(template['metadata']);
  const spec = recordOf(template['spec']);
  const variables = variablesOf(request, secret);
  const equip = (containers: unknown) =>
    Array.isArray(containers) ? containers.map(each => equipped(each)) : [];

  function equipped(container: unknown): unknown {
    if (!isRecord(container)) return container;
    const own = listOf(container['env']).filter(each => !isRecord(each) || !names.has(each['name']));
    const mount = { name: volumeName, mountPath: folder, readOnly: true };
    return {
      ...container,
      // Ours come first, so that the container's own may refer to them.
      ...(variables.length === 0 ? {} : { env: [...variables, ...own] }),
      ...(secret === undefined ? {} : { volumeMounts: [...listOf(container['volumeMounts']), mount] }),
    };
  }

  const names = new Set<unknown>(variables.map(each => each.name));
  const volume = { name: volumeName, secret: { secretName: secret, defaultMode: 0o444 } };
  return {
    ...template,
    metadata: {
      ...metadata,
      generateName: `${name}-`,
      labels: { ...recordOf(metadata['labels']), [marks.scaledJobName]: labelValue(name) },
    },
    spec: {
      ...spec,
      // The API server's default is not one that a Job may have.
      restartPolicy: spec['restartPolicy'] || 'OnFailure',
      containers: equip(spec['containers']),
      ...(spec['initContainers'] === undefined ? {} : { initContainers: equip(spec['initContainers']) }),
      ...(secret === undefined ? {} : { volumes: [...listOf(spec['volumes']), volume] }),
    },
  };
}

function variablesOf(
  { env, file }: JobRequest,
  secret: string | undefined,
): { name: string; value: string }[] {
  const path = file === undefined || secret === undefined ? {} : { [file.variable]: `${folder}/${fileName}` };
  return Object.entries({ ...env, ...path }).map(([name, value]) => ({ name, value: literal(value) }));
}

/** A value that the kubelet hands on as it is: it would take $(NAME) for a variable and $$ for a dollar sign. */
function literal(value: string): string {
  return value.replaceAll('$', '$$$$');
}

function recordOf(value: unknown): Open {
  return isRecord(value) ? value : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
