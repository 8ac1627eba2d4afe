import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { parseQuantity } from '../base/quantity.ts';
import { fingerprint } from '../base/secret.ts';
import type { FieldPath } from '../spec/field-path.ts';
import { type Fields, numberAt, recordAt, recordsAt, textAt, textMapAt, textsAt } from './loose-fields.ts';

/** Where to look for what a container runs, since no image is pulled. */
export const runInAnnotation = 'eventide.dev/run-in';

/** A pod template, read as far as processes of a host can follow it. */
export interface PodTemplate {
  namespace: string;
  labels: Readonly<Record<string, string>>;
  annotations: Readonly<Record<string, string>>;
  serviceAccount: string;
  initContainers: readonly Container[];
  /** Those that run together; `sidecar` ones end with the others. */
  containers: readonly Container[];
  restartPolicy: 'Always' | 'OnFailure' | 'Never';
  graceMs: number;
  volumes: readonly Fields[];
  /** Changes when anything in the template does. */
  hash: string;
}

export interface Container {
  name: string;
  /** What to start, before `$(NAME)` is expanded in it. */
  argv: readonly string[];
  /** The directory to run in. */
  folder: string;
  /** The container as written: its environment and mounts are made for each pod. */
  fields: Fields;
  sidecar: boolean;
  /** By resource, in cores or bytes. */
  requests: Readonly<Record<string, number>>;
}

/** Something wrong or worth saying, at a path below the template. */
export interface Finding {
  path: FieldPath;
  problem: string;
  mending?: string;
}

export interface TemplateOrigin {
  template: unknown;
  namespace: string;
  /** The directory of the manifest. */
  folder: string;
  /** The directories to run images in, by name with or without tag. */
  images: ReadonlyMap<string, string>;
}

export interface ReadTemplate {
  template: PodTemplate;
  problems: Finding[];
  notices: Finding[];
}

/** Reads a pod template; complains about everything at once. */
export function readPodTemplate(origin: TemplateOrigin): ReadTemplate {
  const { template, namespace } = origin;
  const problems: Finding[] = [];
  const notices: Finding[] = [];
  const annotations = textMapAt(template, 'metadata', 'annotations');
  const runIn = annotations[runInAnnotation];
  const read = (list: 'containers' | 'initContainers') =>
    recordsAt(template, 'spec', list).map(({ fields, index }) => {
      const path = ['spec', list, index];
      const folder = folderOf(fields, runIn, origin);
      notices.push(...ignoredIn(fields, path));
      const container = readContainer(fields, folder);
      if (typeof container !== 'string') return container;
      const image = textAt(fields, 'image') ?? 'NAME';
      const mending = `give it a command, or say where to run it: --image ${image}=DIR or the annotation ${runInAnnotation}: DIR`;
      problems.push({ path: [...path, 'command'], problem: container, mending });
      return undefined;
    });
  const first = read('initContainers').filter(each => each !== undefined);
  const together = read('containers').filter(each => each !== undefined);
  if (recordsAt(template, 'spec', 'containers').length === 0)
    problems.push({ path: ['spec', 'containers'], problem: 'the pod template has no container to run' });
  const restartPolicy = textAt(template, 'spec', 'restartPolicy');
  const graceSeconds = numberAt(template, 'spec', 'terminationGracePeriodSeconds') ?? 30;
  return {
    template: {
      namespace,
      labels: textMapAt(template, 'metadata', 'labels'),
      annotations,
      serviceAccount: textAt(template, 'spec', 'serviceAccountName') ?? 'default',
      initContainers: first.filter(each => !each.sidecar),
      containers: [...first.filter(each => each.sidecar), ...together],
      restartPolicy: restartPolicy === 'OnFailure' || restartPolicy === 'Never' ? restartPolicy : 'Always',
      graceMs: graceSeconds * 1000,
      volumes: recordsAt(template, 'spec', 'volumes').map(({ fields }) => fields),
      hash: fingerprint(JSON.stringify([template ?? null, [...origin.images]])),
    },
    problems,
    notices,
  };
}

/** The container, or what is missing to run it. */
function readContainer(fields: Fields, folder: Folder): Container | string {
  const name = textAt(fields, 'name') ?? '';
  const [command, args] = [textsAt(fields, 'command'), textsAt(fields, 'args')];
  const container = {
    name,
    folder: folder.path,
    fields,
    sidecar: textAt(fields, 'restartPolicy') === 'Always',
    requests: requestsOf(fields),
  };
  if (command.length > 0) return { ...container, argv: [...command, ...args] };
  if (!folder.chosen) return `container "${name}" has no command, and its image is not pulled here`;
  if (!isFolder(folder.path))
    return `container "${name}" is to run in ${folder.path}, which is not a directory`;
  if (hasStartScript(folder.path))
    return { ...container, argv: ['npm', 'start', ...(args.length > 0 ? ['--', ...args] : [])] };
  if (args.length > 0) return { ...container, argv: args };
  return `container "${name}" has no command, and ${folder.path} no package.json with a start script`;
}

interface Folder {
  path: string;
  /** Whether somebody said where to run this image. */
  chosen: boolean;
}

function folderOf(fields: Fields, runIn: string | undefined, { images, folder }: TemplateOrigin): Folder {
  const image = textAt(fields, 'image') ?? '';
  const bare = image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  const given = images.get(image) ?? images.get(bare) ?? runIn;
  const base = given === undefined ? folder : resolve(folder, given);
  const workingDir = textAt(fields, 'workingDir');
  const inside =
    workingDir === undefined ? base : isAbsolute(workingDir) ? workingDir : join(base, workingDir);
  return { path: isFolder(inside) ? inside : base, chosen: given !== undefined };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function hasStartScript(folder: string): boolean {
  try {
    const read: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    return textAt(read, 'scripts', 'start') !== undefined;
  } catch {
    return false;
  }
}

/** Kubernetes takes the limit where no request is given. */
function requestsOf(fields: Fields): Record<string, number> {
  const requests: Record<string, number> = {};
  const given = {
    ...textMapAt(fields, 'resources', 'limits'),
    ...textMapAt(fields, 'resources', 'requests'),
  };
  for (const [resource, text] of Object.entries(given)) {
    const quantity = parseQuantity(text);
    if (quantity !== undefined) requests[resource] = quantity;
  }
  return requests;
}

function ignoredIn(fields: Fields, path: FieldPath): Finding[] {
  const notices: Finding[] = [];
  const ignore = (found: boolean, field: FieldPath, problem: string) => {
    if (found) notices.push({ path: [...path, ...field], problem });
  };
  const limited = Object.keys(recordAt(fields, 'resources', 'limits')).length > 0;
  ignore(limited, ['resources', 'limits'], 'limits are not enforced on processes of this machine');
  for (const probe of ['livenessProbe', 'readinessProbe', 'startupProbe'])
    ignore(
      fields[probe] !== undefined,
      [probe],
      `${probe} is not asked; a process that runs counts as ready`,
    );
  for (const hook of ['preStop', 'postStart']) {
    const found = recordAt(fields, 'lifecycle')[hook] !== undefined;
    ignore(found, ['lifecycle', hook], `${hook} is not run here`);
  }
  return notices;
}
