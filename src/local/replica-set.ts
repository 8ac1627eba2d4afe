import { randomUUID } from 'node:crypto';
import type { TargetState } from '../engine/ports.ts';
import { type FoundRuns, type PodHost, PodProcess, type PodRecord } from './pod-process.ts';
import type { PodTemplate } from './pod-template.ts';
import type { StateFile } from './state-file.ts';

/** What is kept of a Deployment or StatefulSet. */
interface ReplicaSetRecord {
  replicas: number;
  pods: (PodRecord & { ordinal: number; stopping: boolean })[];
}

export interface ReplicaSetOptions {
  /** `Deployment/namespace/name`. */
  key: string;
  kind: string;
  name: string;
  template: PodTemplate;
  /** Of the manifest; what was kept counts more. */
  replicas: number;
  host: PodHost;
  state: StateFile;
  /** A pod started, became ready or ended. */
  onChange(): void;
}

interface Member {
  ordinal: number;
  pod: PodProcess;
}

/** The pods of a Deployment or StatefulSet, as many as were asked for. */
export class ReplicaSet {
  readonly #options: ReplicaSetOptions;
  readonly #members = new Set<Member>();
  readonly #ending = new Set<Promise<void>>();
  #replicas: number;
  #closed = false;

  constructor(options: ReplicaSetOptions) {
    this.#options = options;
    this.#replicas = options.replicas;
  }

  get state(): TargetState {
    let readyReplicas = 0;
    for (const { pod } of this.#members) if (pod.ready) readyReplicas += 1;
    return { replicas: this.#replicas, readyReplicas };
  }

  /** Those that are not about to end. */
  get pods(): PodProcess[] {
    return [...this.#members].map(({ pod }) => pod).filter(pod => !pod.stopping);
  }

  get template(): PodTemplate {
    return this.#options.template;
  }

  /** Takes up what an earlier process left, and starts what is missing. */
  async start(found: ReadonlyMap<string, FoundRuns>): Promise<void> {
    const [kept] = [...this.#options.state.withPrefix(this.#key)];
    if (kept !== undefined) this.#takeUp(kept[1] as ReplicaSetRecord, found);
    await this.#reconcile();
  }

  /** Ends once the number is kept; pods start and end in their own time, the newest ends first. */
  async setReplicas(replicas: number): Promise<void> {
    this.#replicas = replicas;
    await this.#reconcile();
  }

  /** Forgets the pods, so that no later process starts them again, and ends them. */
  async stop(): Promise<void> {
    this.#closed = true;
    this.#save();
    for (const member of this.#members) this.#end(member);
    await Promise.all(this.#ending);
  }

  kill(): void {
    this.#closed = true;
    for (const { pod } of this.#members) pod.kill();
  }

  get #key(): string {
    return `target:${this.#options.key}`;
  }

  #takeUp({ replicas, pods }: ReplicaSetRecord, found: ReadonlyMap<string, FoundRuns>): void {
    this.#replicas = replicas;
    for (const { ordinal, stopping, ...record } of pods) {
      const member = this.#member(ordinal, record);
      member.pod.start(found.get(record.uid) ?? new Map());
      if (stopping || record.hash !== this.template.hash) this.#end(member);
    }
  }

  async #reconcile(): Promise<void> {
    if (this.#closed) return;
    const live = [...this.#members]
      .filter(({ pod }) => !pod.stopping)
      .sort((a, b) => a.ordinal - b.ordinal || a.pod.record.createdAt - b.pod.record.createdAt);
    for (const member of live.slice(this.#replicas).reverse()) this.#end(member);
    const added: Member[] = [];
    while (live.length + added.length < this.#replicas) {
      const ordinal = this.#freeOrdinal();
      if (ordinal === undefined) break;
      added.push(this.#member(ordinal, this.#newRecord(ordinal)));
    }
    this.#save();
    await this.#options.state.flush();
    // What was added may have been taken away while it was written down.
    for (const { pod } of added) if (!pod.stopping) pod.start();
  }

  /** The lowest that no pod has; undefined where a StatefulSet has to wait for one to end. */
  #freeOrdinal(): number | undefined {
    const taken = new Set([...this.#members].map(({ ordinal }) => ordinal));
    let ordinal = 0;
    while (taken.has(ordinal)) ordinal += 1;
    return this.#options.kind === 'StatefulSet' && ordinal >= this.#replicas ? undefined : ordinal;
  }

  #newRecord(ordinal: number): PodRecord {
    const { name, host, template } = this.#options;
    return {
      name: `${name}-${ordinal}`,
      uid: randomUUID(),
      hash: template.hash,
      createdAt: host.clock.now(),
    };
  }

  #member(ordinal: number, record: PodRecord): Member {
    const { key, host, onChange } = this.#options;
    const template: PodTemplate = { ...this.template, restartPolicy: 'Always' };
    const pod = new PodProcess(record, template, { host, options: { owner: key, onChange } });
    const member = { ordinal, pod };
    this.#members.add(member);
    return member;
  }

  #end(member: Member): void {
    if (member.pod.stopping) return;
    const ending = this.#ended(member).finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  async #ended(member: Member): Promise<void> {
    await member.pod.stop();
    this.#members.delete(member);
    this.#save();
    await this.#options.state.flush();
    await member.pod.clean();
    this.#options.onChange();
    // A StatefulSet may have waited for the name.
    await this.#reconcile();
  }

  #save(): void {
    const pods = [...this.#members].map(({ ordinal, pod }) => ({
      ...pod.record,
      ordinal,
      stopping: pod.stopping,
    }));
    const record: ReplicaSetRecord = { replicas: this.#replicas, pods: this.#closed ? [] : pods };
    this.#options.state.set(this.#key, record);
  }
}
