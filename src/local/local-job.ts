import { randomUUID } from 'node:crypto';
import type { Job, Task } from '../engine/ports.ts';
import { type FoundRuns, type PodHost, PodProcess, type PodRecord } from './pod-process.ts';
import type { PodTemplate } from './pod-template.ts';

/** What is kept of a Job. */
export interface JobRecord {
  name: string;
  createdAt: number;
  generation: number;
  state: Job['state'];
  finishedAt?: number;
  task?: Task;
  /** For its pods, while it has not finished. */
  env: Readonly<Record<string, string>>;
  /** The file that was made for it. */
  file?: string;
  /** Pods that failed. */
  failures: number;
  /** The one that runs, or ran last. */
  pod: PodRecord;
  /** It is to go as soon as its pod has ended. */
  deleting?: true;
}

/** How the Jobs of a ScaledJob run. */
export interface JobTemplate {
  pod: PodTemplate;
  /** Retries of a pod, or of its containers, before the Job has failed. */
  backoffLimit: number;
  activeDeadlineMs: number | undefined;
}

export interface JobOptions {
  owner: string;
  template: JobTemplate;
  host: PodHost;
  /** Keeps the record; ends when it is in the state file, or cannot be. */
  save(): Promise<void>;
  /** Keeps the record in due time, and calls back when it is really in the file. */
  saveLater(then: () => void): void;
  onChange(): void;
}

const retry = { firstMs: 10_000, maxMs: 360_000 };

/** The record of a pod that a Job is about to start. */
export function newPodRecord(job: string, setting: { hash: string; now: number }): PodRecord {
  const uid = randomUUID();
  return { name: `${job}-${uid.slice(0, 5)}`, uid, hash: setting.hash, createdAt: setting.now };
}

/** One Job: pods one after the other until one succeeds, too many have failed, or its time is over. */
export class LocalJob {
  readonly record: JobRecord;
  readonly #options: JobOptions;
  #pod: PodProcess;
  #stopping = false;
  #late = false;
  #ended: Promise<void> | undefined;
  #resume: (() => void) | undefined;

  constructor(record: JobRecord, options: JobOptions) {
    this.record = record;
    this.#options = options;
    this.#pod = this.#newPod();
  }

  get finished(): boolean {
    return this.record.state === 'succeeded' || this.record.state === 'failed';
  }

  /** As the engine sees it. */
  get view(): Job {
    const { name, createdAt, generation, state, finishedAt, task } = this.record;
    return {
      name,
      state,
      pods: this.finished ? [] : [this.#pod.status],
      createdAt,
      generation,
      ...(finishedAt === undefined ? {} : { finishedAt }),
      ...(task === undefined ? {} : { task }),
    };
  }

  /** Begins, or goes on where the marks of an earlier process say it was. */
  start(found?: FoundRuns): void {
    if (this.finished || this.#stopping) return;
    this.#ended ??= this.#run(found);
  }

  /** Ends it, whatever it has done. The record is left as it is. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#resume?.();
    await this.#pod.stop();
    await this.#ended;
    await this.#pod.clean();
  }

  kill(): void {
    this.#stopping = true;
    this.#pod.kill();
  }

  async #run(found: FoundRuns | undefined): Promise<void> {
    const { host, template } = this.#options;
    const { activeDeadlineMs } = template;
    const left =
      activeDeadlineMs === undefined
        ? undefined
        : this.record.createdAt + activeDeadlineMs - host.clock.now();
    using _deadline = left === undefined ? undefined : host.clock.after(left, () => this.#timeIsOver());
    this.#pod.start(found);
    for (;;) {
      const outcome = await this.#pod.ended;
      if (this.#stopping) return;
      if (outcome === 'succeeded' && !this.#late) return this.#finish('succeeded');
      this.record.failures += 1;
      if (this.#late || this.#isGivenUp()) return this.#finish('failed');
      await this.#nextPod();
      if (this.#stopping) return;
      if (this.#late) return this.#finish('failed');
      this.#pod.start();
    }
  }

  #isGivenUp(): boolean {
    // With OnFailure the containers were tried again in their pod, as often as the limit says.
    const { backoffLimit, pod } = this.#options.template;
    return pod.restartPolicy !== 'Never' || this.record.failures > backoffLimit;
  }

  async #nextPod(): Promise<void> {
    const { template, host, save } = this.#options;
    const before = this.#pod;
    this.record.pod = newPodRecord(this.record.name, { hash: template.pod.hash, now: host.clock.now() });
    this.#pod = this.#newPod();
    await save();
    await before.clean();
    const wait = Math.min(retry.maxMs, retry.firstMs * 2 ** (this.record.failures - 1));
    if (this.#stopping || this.#late) return;
    await new Promise<void>(resolve => {
      const timer = host.clock.after(wait, resolve);
      this.#resume = () => {
        timer[Symbol.dispose]();
        resolve();
      };
    });
  }

  #newPod(): PodProcess {
    const { owner, template, host } = this.#options;
    return new PodProcess(this.record.pod, template.pod, {
      host,
      options: {
        owner,
        env: this.record.env,
        onChange: () => this.#changed(),
        mayRestart: restarts => this.#mayRestart(restarts),
      },
    });
  }

  #changed(): void {
    if (this.finished || this.#pod.groups.size === 0) return;
    if (this.record.state === 'running') return;
    this.record.state = 'running';
    this.#options.onChange();
  }

  #mayRestart(restarts: number): boolean {
    if (restarts < this.#options.template.backoffLimit) return true;
    // The pod's other containers are of no use any more.
    void this.#pod.stop();
    return false;
  }

  #timeIsOver(): void {
    this.#late = true;
    this.#resume?.();
    void this.#pod.stop();
  }

  #finish(state: 'succeeded' | 'failed'): void {
    const { record } = this;
    const pod = this.#pod;
    record.state = state;
    record.finishedAt = this.#options.host.clock.now();
    record.env = {};
    // Until the state says how it ended the marks do.
    this.#options.saveLater(() => void pod.clean());
    this.#options.onChange();
  }
}
