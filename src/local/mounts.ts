import { lstat, mkdir, readlink, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { fingerprint } from '../base/secret.ts';
import { isRecord } from '../spec/field-path.ts';
import { type PodFacts, podField } from './environment.ts';
import { type Fields, numberAt, recordAt, recordsAt, textAt } from './loose-fields.ts';
import type { Container, Finding, PodTemplate } from './pod-template.ts';
import type { LocalObjects, Values } from './references.ts';
import type { StateFile } from './state-file.ts';

interface VolumeFile {
  path: string;
  body: Buffer;
  mode: number;
}

/** What a volume is made of. */
type Volume =
  /** Files that are the same for every pod, or, where the pod's own fields are in them, of one pod. */
  | { kind: 'files'; files: VolumeFile[]; ofPod: boolean }
  | { kind: 'empty' }
  | { kind: 'claim'; claim: string }
  | { kind: 'path'; path: string };

/** A pod, as far as its volumes depend on it. */
export interface MountedPod {
  id: string;
  facts: PodFacts;
  template: PodTemplate;
  /** What pods with the same template share. */
  owner: string;
}

/** What is wrong with the volumes of a pod template, at paths below the template; what is ignored is a notice. */
export function volumeFindings(
  template: unknown,
  context: { facts: PodFacts; objects: LocalObjects },
): { problems: Finding[]; notices: Finding[] } {
  const problems: Finding[] = [];
  const notices: Finding[] = [];
  const known = new Set<string>();
  for (const { fields, index } of recordsAt(template, 'spec', 'volumes')) {
    const path = ['spec', 'volumes', index];
    known.add(textAt(fields, 'name') ?? '');
    const volume = readVolume(fields, context);
    if (typeof volume === 'string') problems.push({ path, problem: volume });
    else if (volume === undefined)
      notices.push({
        path,
        problem: 'this kind of volume is not there on this machine; it is an empty directory',
      });
    else if (volume.kind === 'claim')
      notices.push({ path, problem: 'the claim is a directory in the state folder here' });
  }
  for (const list of ['initContainers', 'containers'])
    for (const { fields: container, index } of recordsAt(template, 'spec', list))
      for (const { fields, index: at } of recordsAt(container, 'volumeMounts')) {
        const name = textAt(fields, 'name') ?? '';
        const path = ['spec', list, index, 'volumeMounts', at];
        if (!known.has(name))
          notices.push({ path, problem: `there is no volume "${name}"; it is not mounted` });
      }
  return { problems, notices };
}

/**
 * Volumes as directories below the state folder. Each reaches its containers by the path in the variable
 * `EVENTIDE_MOUNT_<VOLUME>`, and at the mount path itself, by a symbolic link, where nothing is there yet and we
 * may write. Links are noted in the state before they are made, so that they are removed even after a crash.
 */
export class Mounts {
  readonly #folder: string;
  readonly #objects: LocalObjects;
  readonly #state: StateFile;
  /** By owner and volume: written once a run. */
  readonly #shared = new Map<string, Promise<void>>();
  readonly #linked = new Set<string>();
  readonly #linksOfPod = new Map<string, string[]>();

  constructor(folder: string, objects: LocalObjects, state: StateFile) {
    this.#folder = folder;
    this.#objects = objects;
    this.#state = state;
  }

  /**
   * Makes the volumes of a pod.
   *
   * @returns the variables of each container
   */
  async prepare(pod: MountedPod): Promise<(container: Container) => Record<string, string>> {
    const { template } = pod;
    const folders = new Map<string, string>();
    const ofPod = new Set<string>();
    for (const fields of template.volumes) {
      const name = textAt(fields, 'name') ?? '';
      const read = readVolume(fields, { facts: pod.facts, objects: this.#objects });
      const volume: Volume = typeof read === 'object' ? read : { kind: 'empty' };
      if (volume.kind === 'empty' || (volume.kind === 'files' && volume.ofPod)) ofPod.add(name);
      folders.set(name, await this.#make(volume, name, pod));
    }
    const all = [...template.initContainers, ...template.containers];
    if (folders.size > 0)
      for (const container of all)
        for (const { fields: mount } of recordsAt(container.fields, 'volumeMounts'))
          await this.#mount(mount, { folders, ofPod, pod: pod.id });
    return container =>
      Object.fromEntries(
        recordsAt(container.fields, 'volumeMounts').flatMap(({ fields }) => {
          const name = textAt(fields, 'name') ?? '';
          const path = folders.get(name);
          return path === undefined ? [] : [[mountVariable(name), path]];
        }),
      );
  }

  /** Removes what was of one pod alone. */
  async release(podId: string, template: PodTemplate): Promise<void> {
    for (const path of this.#linksOfPod.get(podId) ?? []) await this.#unlink(path);
    this.#linksOfPod.delete(podId);
    if (template.volumes.length > 0)
      await rm(join(this.#folder, 'pods', podId), { recursive: true, force: true });
  }

  /** Removes every link of this run and of earlier ones. */
  async removeLinks(): Promise<void> {
    for (const [key] of [...this.#state.withPrefix('link:')]) await this.#unlink(key.slice('link:'.length));
  }

  async #make(volume: Volume, name: string, { id, owner }: MountedPod): Promise<string> {
    switch (volume.kind) {
      case 'path':
        return volume.path;
      case 'claim':
        return await this.#directory('claims', volume.claim);
      case 'empty':
        return await this.#directory('pods', id, name);
      case 'files': {
        if (volume.ofPod) {
          const folder = await this.#directory('pods', id, name);
          await writeFiles(folder, volume.files);
          return folder;
        }
        const folder = join(this.#folder, 'volumes', fingerprint(owner), name);
        const written = this.#shared.get(folder) ?? this.#writeShared(folder, volume.files);
        this.#shared.set(folder, written);
        await written;
        return folder;
      }
    }
  }

  async #writeShared(folder: string, files: readonly VolumeFile[]): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFiles(folder, files);
  }

  async #directory(...path: string[]): Promise<string> {
    const folder = join(this.#folder, ...path);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  async #mount(
    mount: Fields,
    {
      folders,
      ofPod,
      pod,
    }: { folders: ReadonlyMap<string, string>; ofPod: ReadonlySet<string>; pod: string },
  ): Promise<void> {
    const name = textAt(mount, 'name') ?? '';
    const [folder, path, inside = ''] = [
      folders.get(name),
      textAt(mount, 'mountPath') ?? '',
      textAt(mount, 'subPath'),
    ];
    if (folder === undefined || !isAbsolute(path) || !isInside(inside)) return;
    const target = join(folder, inside);
    if (ofPod.has(name) && inside !== '') await mkdir(target, { recursive: true }).catch(() => {});
    if (this.#linked.has(path) || !(await this.#link(path.replace(/\/+$/, ''), target))) return;
    if (!ofPod.has(name)) return;
    this.#linksOfPod.set(pod, [...(this.#linksOfPod.get(pod) ?? []), path]);
  }

  /** Whether the link is there now, and ours. */
  async #link(path: string, target: string): Promise<boolean> {
    const ours = await this.#isOurs(path);
    if (ours === undefined) return false;
    this.#linked.add(path);
    this.#state.set(`link:${path}`, target);
    await this.#state.flush();
    try {
      if (ours) await unlink(path);
      await symlink(target, path);
      return true;
    } catch {
      this.#linked.delete(path);
      this.#state.delete(`link:${path}`);
      return false;
    }
  }

  /** False where the path is free, undefined where it is taken or cannot be. */
  async #isOurs(path: string): Promise<boolean | undefined> {
    try {
      const found = await lstat(path);
      const ours = found.isSymbolicLink() && (await readlink(path)).startsWith(`${this.#folder}/`);
      return ours ? true : undefined;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') return undefined;
    }
    const parent = await lstat(dirname(path)).catch(() => undefined);
    return parent === undefined ? undefined : false;
  }

  async #unlink(path: string): Promise<void> {
    if (await this.#isOurs(path)) await unlink(path).catch(() => {});
    this.#linked.delete(path);
    this.#state.delete(`link:${path}`);
  }
}

/** The variable that names the directory of a volume. */
export function mountVariable(volume: string): string {
  return `EVENTIDE_MOUNT_${volume.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;
}

async function writeFiles(folder: string, files: readonly VolumeFile[]): Promise<void> {
  for (const { path, body, mode } of files) {
    const file = join(folder, path);
    if (path.includes('/')) await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    // One that is there may be read-only.
    await rm(file, { force: true });
    await writeFile(file, body, { mode });
  }
}

const isInside = (path: string) => !isAbsolute(path) && !path.split('/').includes('..');

const readable = 0o644;

interface VolumeContext {
  facts: PodFacts;
  objects: LocalObjects;
}

/** The volume, what is missing to make it, or undefined for a kind that is not known here. */
function readVolume(fields: Fields, context: VolumeContext): Volume | string | undefined {
  if (isRecord(fields['emptyDir'])) return { kind: 'empty' };
  const path = textAt(fields, 'hostPath', 'path');
  if (path !== undefined) return { kind: 'path', path };
  const claim = textAt(fields, 'persistentVolumeClaim', 'claimName');
  if (claim !== undefined) return { kind: 'claim', claim };
  if (isRecord(fields['projected'])) {
    const mode = numberAt(fields, 'projected', 'defaultMode') ?? readable;
    const files: VolumeFile[] = [];
    for (const { fields: source } of recordsAt(fields, 'projected', 'sources')) {
      const read = filesOf(source, mode, context);
      if (typeof read === 'string') return read;
      files.push(...(read ?? []));
    }
    const ofPod = recordsAt(fields, 'projected', 'sources').some(({ fields: each }) => 'downwardAPI' in each);
    return { kind: 'files', files, ofPod };
  }
  const files = filesOf(fields, undefined, context);
  return Array.isArray(files) ? { kind: 'files', files, ofPod: 'downwardAPI' in fields } : files;
}

function filesOf(
  source: Fields,
  projectedMode: number | undefined,
  { facts, objects }: VolumeContext,
): VolumeFile[] | string | undefined {
  for (const [field, kind] of [
    ['secret', 'Secret'],
    ['configMap', 'ConfigMap'],
  ] as const) {
    const reference = source[field];
    if (!isRecord(reference)) continue;
    const name = textAt(reference, 'secretName') ?? textAt(reference, 'name') ?? '';
    const values =
      kind === 'Secret' ? objects.secret(facts.namespace, name) : objects.configMap(facts.namespace, name);
    const optional = reference['optional'] === true;
    if (values === undefined) return optional ? [] : `there is no ${kind} "${name}" in these files`;
    const mode = projectedMode ?? numberAt(reference, 'defaultMode') ?? readable;
    return pick(values, reference, { mode, optional, of: `${kind} "${name}"` });
  }
  if (!isRecord(source['downwardAPI'])) return undefined;
  const mode = projectedMode ?? numberAt(source, 'downwardAPI', 'defaultMode') ?? readable;
  return recordsAt(source, 'downwardAPI', 'items').flatMap(({ fields }) => {
    const path = textAt(fields, 'path') ?? '';
    const body = podFieldFile(textAt(fields, 'fieldRef', 'fieldPath') ?? '', facts);
    return path !== '' && isInside(path) ? [{ path, body: Buffer.from(body), mode }] : [];
  });
}

function pick(
  values: Values,
  reference: Fields,
  { mode, optional, of }: { mode: number; optional: boolean; of: string },
): VolumeFile[] | string {
  const items = recordsAt(reference, 'items');
  if (items.length === 0) return [...values].map(([path, body]) => ({ path, body, mode }));
  const files: VolumeFile[] = [];
  for (const { fields } of items) {
    const [key, path] = [textAt(fields, 'key') ?? '', textAt(fields, 'path') ?? ''];
    const body = values.get(key);
    if (path === '' || !isInside(path)) return `"${path}" is no path inside a volume`;
    if (body !== undefined) files.push({ path, body, mode: numberAt(fields, 'mode') ?? mode });
    else if (!optional) return `${of} has no key "${key}"`;
  }
  return files;
}

/** A file of the downward API: all labels or annotations as `key="value"` lines, or one field. */
function podFieldFile(path: string, facts: PodFacts): string {
  const all = { 'metadata.labels': facts.labels, 'metadata.annotations': facts.annotations };
  const map = recordAt(all, path);
  if (!Object.hasOwn(all, path)) return podField(path, facts) ?? '';
  return Object.keys(map)
    .sort()
    .map(key => `${key}=${JSON.stringify(map[key])}`)
    .join('\n');
}
