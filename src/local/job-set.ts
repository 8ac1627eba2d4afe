import { randomBytes, randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../base/errors.ts';
import type { Job, JobRequest, Task } from '../engine/ports.ts';
import { type JobRecord, type JobTemplate, LocalJob, newPodRecord } from './local-job.ts';
import type { FoundRuns, PodHost } from './pod-process.ts';
import type { StateFile } from './state-file.ts';

export interface JobSetOptions {
  /** `ScaledJob/namespace/name`. */
  key: string;
  name: string;
  template: JobTemplate;
  host: PodHost;
  state: StateFile;
  /** The folder for the files of Jobs. */
  files: string;
  onJob(job: Job): void;
  onJobGone(name: string): void;
}

/** What a name made up by us ends with. */
const suffixBytes = 4;
const longestName = 63;

/** The Jobs of one ScaledJob. */
export class JobSet {
  readonly #options: JobSetOptions;
  readonly #jobs = new Map<string, LocalJob>();
  #closed = false;

  constructor(options: JobSetOptions) {
    this.#options = options;
  }

  list(): Job[] {
    return [...this.#jobs.values()].map(job => job.view);
  }

  /** Files that a Job still needs. */
  get files(): string[] {
    return [...this.#jobs.values()].flatMap(({ record }) => (record.file === undefined ? [] : [record.file]));
  }

  /** Takes up what an earlier process left; what it only intended to start is started. */
  start(found: ReadonlyMap<string, FoundRuns>): void {
    for (const [, kept] of [...this.#options.state.withPrefix(`${this.#prefix}/`)]) {
      const record = kept as JobRecord;
      const job = this.#add(record);
      const runs = found.get(record.pod.uid) ?? new Map();
      if (record.deleting === undefined) job.start(runs);
      else if (runs.size > 0) {
        job.start(runs);
        void this.#end(job);
      } else void this.#end(job);
    }
  }

  /**
   * Creates a Job and begins it once it is kept. After a crash in between, the next process begins it.
   *
   * @throws Fault WORLD_FAILED where the file for its messages cannot be written, CANCELLED while we stop
   */
  async create(request: JobRequest, generation: number): Promise<'created' | 'exists'> {
    const name = request.name ?? this.#newName();
    if (this.#jobs.has(name)) return 'exists';
    if (this.#closed) throw stopped();
    const { template, host } = this.#options;
    const now = host.clock.now();
    const file = request.file && { ...request.file, path: join(this.#options.files, randomUUID()) };
    const job = this.#add({
      name,
      createdAt: now,
      generation,
      state: 'pending',
      env: { ...request.env, ...(file && { [file.variable]: file.path }) },
      failures: 0,
      pod: newPodRecord(name, { hash: template.pod.hash, now }),
      ...(file && { file: file.path }),
      ...(request.task && { task: request.task }),
    });
    if (file !== undefined) await this.#writeFile(file, job);
    await this.#save(job);
    if (this.#closed) throw stopped();
    job.start();
    return 'created';
  }

  /** @throws Fault WORLD_FAILED where there is no such Job */
  async updateTask(name: string, task: Task): Promise<void> {
    const job = this.#jobs.get(name);
    if (job === undefined) throw new Fault('WORLD_FAILED', `there is no Job ${name} to keep data with`);
    job.record.task = task;
    await this.#save(job);
  }

  /** Deletes a Job; one that runs is ended first, which is not waited for. */
  async delete(name: string): Promise<void> {
    const job = this.#jobs.get(name);
    if (job === undefined || job.record.deleting) return;
    if (job.finished) return await this.#remove(job);
    job.record.deleting = true;
    await this.#save(job);
    void this.#end(job);
  }

  /** Forgets the Jobs that have not finished, so that no later process starts them again, and ends them. */
  async stop(): Promise<void> {
    this.#closed = true;
    const unfinished = [...this.#jobs.values()].filter(job => !job.finished);
    for (const { record } of unfinished) this.#options.state.delete(this.#stateKey(record.name));
    await Promise.all(unfinished.map(job => job.stop()));
    await Promise.all(unfinished.map(({ record }) => this.#removeFile(record)));
  }

  kill(): void {
    this.#closed = true;
    for (const job of this.#jobs.values()) if (!job.finished) job.kill();
  }

  get #prefix(): string {
    return `job:${this.#options.key}`;
  }

  #stateKey(name: string): string {
    return `${this.#prefix}/${name}`;
  }

  #newName(): string {
    const suffix = randomBytes(suffixBytes).toString('hex');
    return `${this.#options.name.slice(0, longestName - suffix.length - 1)}-${suffix}`;
  }

  #add(record: JobRecord): LocalJob {
    const { key, template, host } = this.#options;
    const job: LocalJob = new LocalJob(record, {
      owner: key,
      template,
      host,
      save: () => this.#save(job),
      saveLater: then => {
        this.#keep(job);
        this.#options.state.onceWritten(then);
      },
      onChange: () => this.#changed(job),
    });
    this.#jobs.set(record.name, job);
    return job;
  }

  #changed(job: LocalJob): void {
    if (this.#closed || this.#jobs.get(job.record.name) !== job) return;
    if (job.finished) void this.#removeFile(job.record);
    this.#options.onJob(job.view);
  }

  async #save(job: LocalJob): Promise<void> {
    this.#keep(job);
    await this.#options.state.flush();
  }

  #keep(job: LocalJob): void {
    const { name } = job.record;
    // While we stop, what has not finished stays forgotten.
    if (this.#jobs.get(name) !== job || (this.#closed && !job.finished)) return;
    this.#options.state.set(this.#stateKey(name), job.record);
  }

  async #writeFile(file: { path: string; body: Uint8Array }, job: LocalJob): Promise<void> {
    try {
      await writeFile(file.path, file.body, { mode: 0o600 });
    } catch (thrown) {
      this.#jobs.delete(job.record.name);
      const why = (thrown as Error).message;
      throw new Fault('WORLD_FAILED', `the message of ${job.record.name} cannot be written: ${why}`, {
        cause: thrown,
      });
    }
  }

  async #end(job: LocalJob): Promise<void> {
    await job.stop();
    await this.#remove(job);
  }

  async #remove(job: LocalJob): Promise<void> {
    const { name } = job.record;
    if (!this.#jobs.delete(name)) return;
    this.#options.state.delete(this.#stateKey(name));
    if (!this.#closed) this.#options.onJobGone(name);
    await this.#removeFile(job.record);
  }

  async #removeFile({ file }: JobRecord): Promise<void> {
    if (file !== undefined) await rm(file, { force: true });
  }
}

function stopped(): Fault {
  return new Fault('CANCELLED', 'the Job was not created, for everything is being stopped');
}
