import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { OutputLine } from './console.ts';
import { containerEnvironment, expand, type PodFacts } from './environment.ts';
import type { Mounts } from './mounts.ts';
import { OutputTail } from './output-tail.ts';
import type { Container, PodTemplate } from './pod-template.ts';
import type { LocalObjects } from './references.ts';
import { adoptRun, type HostRun, removeRun, startRun } from './shim.ts';

/** What is kept of a pod in the state. */
export interface PodRecord {
  name: string;
  uid: string;
  /** Of the template it was made from. */
  hash: string;
  createdAt: number;
}

/** What all pods of a laptop share. */
export interface PodHost {
  /** The folder of the marks and outputs. */
  runs: string;
  /** What every process of this machine starts with. */
  environment: Readonly<Record<string, string>>;
  objects: LocalObjects;
  mounts: Mounts;
  clock: Clock;
  log: Log;
  onOutput(line: OutputLine): void;
}

export interface PodOptions {
  /** What pods with the same template share. */
  owner: string;
  /** Added to every container. */
  env?: Readonly<Record<string, string>>;
  /** A container started, or ended. */
  onChange(): void;
  /** Asked before a container that failed is started again, with how many times any of the pod's has been. */
  mayRestart?(restarts: number): boolean;
}

/** By container, the highest number among the marks that an earlier run left. */
export type FoundRuns = ReadonlyMap<string, number>;

const readOutputEveryMs = 250;
const crashLoop = { firstMs: 10_000, maxMs: 300_000, forgetAfterMs: 600_000 };
const lost = 137;

interface Current {
  run: HostRun;
  /** Ends when everything it printed was read. */
  over: Promise<{ code: number; notBegun?: string }>;
}

/** The containers of one pod as processes: init containers one after the other, then all others together. */
export class PodProcess {
  readonly record: PodRecord;
  /** How it ended; never fails. */
  readonly ended: Promise<'succeeded' | 'failed'>;
  readonly #template: PodTemplate;
  readonly #host: PodHost;
  readonly #options: PodOptions;
  readonly #current = new Map<string, Current>();
  /** The number of each container's last run. */
  readonly #numbers = new Map<string, number>();
  readonly #pauses = new Set<() => void>();
  #begin: (found: FoundRuns) => void = () => {};
  #phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed' = 'Pending';
  #initialized = false;
  #restarts = 0;
  #stopping = false;
  #sidecarsStop = false;
  #stopped: Promise<void> | undefined;

  constructor(record: PodRecord, template: PodTemplate, setting: { host: PodHost; options: PodOptions }) {
    this.record = record;
    this.#template = template;
    this.#host = setting.host;
    this.#options = setting.options;
    const begun = new Promise<FoundRuns>(resolve => {
      this.#begin = resolve;
    });
    this.ended = begun.then(found => this.#run(found));
  }

  /** @param found the marks of an earlier run: what they stand for is taken up, not started again */
  start(found: FoundRuns = new Map()): void {
    this.#begin(found);
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** Whether all of its containers run. */
  get ready(): boolean {
    return (
      !this.#stopping &&
      this.#phase === 'Running' &&
      this.#template.containers.every(({ name }) => this.#current.has(name))
    );
  }

  /** As a Kubernetes pod shows it: the phase, and the types of conditions that are True. */
  get status(): { phase: string; conditions: string[] } {
    const conditions = ['PodScheduled'];
    if (this.#initialized) conditions.push('Initialized');
    if (this.ready) conditions.push('ContainersReady', 'Ready');
    return { phase: this.#phase, conditions };
  }

  /** The process groups, by container. */
  get groups(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#current].flatMap(([name, { run }]) => (run.pid === undefined ? [] : [[name, run.pid]])),
    );
  }

  /** Asks every container to end, and kills those that have not when the template's grace period is over. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** Ends every process group at once. */
  kill(): void {
    this.#stopping = true;
    for (const { run } of this.#current.values()) run.signal('SIGKILL');
  }

  /** Removes what it left on disk; to be called when it has ended and the state no longer needs to know how. */
  async clean(): Promise<void> {
    await Promise.all([...this.#numbers].map(([name, number]) => removeRun(this.#mark(name, number))));
  }

  get #endSignal(): NodeJS.Signals {
    return this.#template.graceMs > 0 ? 'SIGTERM' : 'SIGKILL';
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    for (const resume of this.#pauses) resume();
    this.#begin(new Map());
    for (const { run } of this.#current.values()) run.signal(this.#endSignal);
    using _late = this.#host.clock.after(this.#template.graceMs, () => this.kill());
    await this.ended;
  }

  async #run(found: FoundRuns): Promise<'succeeded' | 'failed'> {
    let succeeded = false;
    try {
      succeeded = await this.#runAll(found);
    } catch (thrown) {
      this.#host.log.error('a pod cannot be run', { pod: this.record.name, fault: thrown });
    }
    await this.#host.mounts.release(this.record.uid, this.#template).catch(() => {});
    this.#phase = succeeded ? 'Succeeded' : 'Failed';
    return succeeded ? 'succeeded' : 'failed';
  }

  async #runAll(found: FoundRuns): Promise<boolean> {
    const { initContainers, containers, restartPolicy } = this.#template;
    if (this.#stopping && found.size === 0) return false;
    const facts = this.#facts();
    const pod = { id: this.record.uid, facts, template: this.#template, owner: this.#options.owner };
    const variables = await this.#host.mounts.prepare(pod);
    const keep = (container: Container, policy: PodTemplate['restartPolicy']) =>
      this.#keep(container, {
        policy,
        found: found.get(container.name),
        variables: variables(container),
        facts,
      });
    for (const container of initContainers)
      if ((await keep(container, restartPolicy === 'Never' ? 'Never' : 'OnFailure')) !== 0) return false;
    this.#initialized = true;
    this.#phase = 'Running';
    const sidecars = containers.filter(each => each.sidecar).map(each => keep(each, 'Always'));
    const codes = await Promise.all(
      containers.filter(each => !each.sidecar).map(each => keep(each, restartPolicy)),
    );
    if (sidecars.length > 0) await this.#stopSidecars(sidecars);
    return codes.every(code => code === 0);
  }

  async #stopSidecars(sidecars: readonly Promise<number>[]): Promise<void> {
    this.#sidecarsStop = true;
    for (const resume of this.#pauses) resume();
    for (const { run } of this.#current.values()) run.signal(this.#endSignal);
    using _late = this.#host.clock.after(this.#template.graceMs, () => {
      for (const { run } of this.#current.values()) run.signal('SIGKILL');
    });
    await Promise.all(sidecars);
  }

  /** Runs one container until it is not to be started again; the code it ended with. */
  async #keep(container: Container, setting: Keeping): Promise<number> {
    const { policy, found } = setting;
    const { clock, log } = this.#host;
    const { name } = container;
    let number = found ?? 0;
    let failures = number;
    this.#restarts += number;
    for (let adopt = found !== undefined; ; adopt = false) {
      if (this.#isOver(container) && !adopt) return lost;
      const began = clock.elapsed();
      const { code, notBegun } = await this.#once(container, { ...setting, number, adopt });
      this.#options.onChange();
      if (this.#isOver(container)) return code;
      if (notBegun === undefined && (policy === 'Never' || (policy === 'OnFailure' && code === 0)))
        return code;
      if (clock.elapsed() - began >= crashLoop.forgetAfterMs) failures = 0;
      failures += 1;
      if (notBegun !== undefined) {
        log.warn('a process cannot be started now', { process: this.#label(name), problem: notBegun });
        await this.#pause(crashLoop.firstMs);
        continue;
      }
      if (this.#options.mayRestart?.(this.#restarts) === false) return code;
      this.#restarts += 1;
      // As in Kubernetes the first restart is immediate; who fails again waits longer each time.
      const wait = Math.min(crashLoop.maxMs, crashLoop.firstMs * 2 ** (failures - 2));
      if (failures > 1) {
        const facts = { process: this.#label(name), code, seconds: wait / 1000 };
        log.warn('a process ends again and again; it is started again later', facts);
        await this.#pause(wait);
      }
      if (!this.#isOver(container)) number += 1;
    }
  }

  #isOver({ sidecar }: Container): boolean {
    return this.#stopping || (sidecar && this.#sidecarsStop);
  }

  async #once(container: Container, setting: Once): Promise<{ code: number; notBegun?: string }> {
    const { name } = container;
    const { number, adopt } = setting;
    const mark = this.#mark(name, number);
    const { clock } = this.#host;
    let run: HostRun | undefined;
    try {
      run = adopt ? await adoptRun(mark, clock) : undefined;
      run ??= this.#isOver(container) ? undefined : startRun(this.#launch(container, mark, setting), clock);
    } catch (thrown) {
      return { code: lost, notBegun: (thrown as Error).message };
    }
    if (run === undefined) return { code: lost };
    this.#numbers.set(name, number);
    const over = this.#read(run, { name, mark, adopt });
    this.#current.set(name, { run, over });
    if (this.#isOver(container)) run.signal(this.#endSignal);
    this.#options.onChange();
    const ended = await over;
    this.#current.delete(name);
    // Only now the mark of this run is sure to be there: without any, a later process would begin from the start.
    if (number > 0 && ended.notBegun === undefined) await removeRun(this.#mark(name, number - 1));
    return ended;
  }

  #launch(container: Container, mark: string, { variables: mounts, facts }: Once) {
    const { environment, objects } = this.#host;
    const extra = { ...this.#options.env, ...mounts };
    const { variables, missing } = containerEnvironment(container.fields, { facts, objects }, extra);
    if (missing.length > 0) throw new Error(missing.map(({ problem }) => problem).join('; '));
    const known = new Map(Object.entries(variables));
    return {
      mark,
      argv: container.argv.map(word => expand(word, known)),
      env: { ...environment, HOSTNAME: this.record.name, ...variables },
      cwd: container.folder,
    };
  }

  /** Hands on what a process prints, until it has ended and all of it was read. */
  async #read(
    run: HostRun,
    { name, mark, adopt }: { name: string; mark: string; adopt: boolean },
  ): Promise<{ code: number; notBegun?: string }> {
    const { clock, onOutput } = this.#host;
    const process = this.#label(name);
    const tails = await Promise.all(
      (['stdout', 'stderr'] as const).map(async stream => {
        const onLine = (text: string) => onOutput({ process, stream, text, at: clock.now() });
        const file = `${mark}${stream === 'stdout' ? '.out' : '.err'}`;
        // What runs on has most likely been read up to here by the process before us.
        return adopt && run.pid !== undefined
          ? await OutputTail.fromEnd(file, onLine)
          : new OutputTail(file, onLine);
      }),
    );
    let timer: Disposable | undefined;
    const again = () => {
      timer = clock.after(readOutputEveryMs, () => {
        for (const tail of tails) void tail.read();
        again();
      });
    };
    again();
    const { code = lost, notBegun } = await run.ended;
    timer?.[Symbol.dispose]();
    await Promise.all(tails.map(tail => tail.end()));
    return { code, ...(notBegun === undefined ? {} : { notBegun }) };
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      const resume = () => {
        timer[Symbol.dispose]();
        this.#pauses.delete(resume);
        resolve();
      };
      const timer = this.#host.clock.after(ms, resume);
      this.#pauses.add(resume);
    });
  }

  #facts(): PodFacts {
    const { namespace, labels, annotations, serviceAccount } = this.#template;
    const { name, uid } = this.record;
    return { name, uid, namespace, labels, annotations, serviceAccount };
  }

  #label(container: string): string {
    return `${this.record.name}/${container}`;
  }

  #mark(container: string, number: number): string {
    return join(this.#host.runs, `${this.record.uid}.${container}.${number}`);
  }
}

interface Keeping {
  policy: PodTemplate['restartPolicy'];
  /** The number of its mark that an earlier run left. */
  found: number | undefined;
  /** Of its mounts. */
  variables: Readonly<Record<string, string>>;
  facts: PodFacts;
}

interface Once extends Keeping {
  number: number;
  adopt: boolean;
}
