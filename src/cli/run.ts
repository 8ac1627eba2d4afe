import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { systemClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { createEngine } from '../engine/engine.ts';
import { type Console, jsonConsole, liveConsole, plainConsole } from '../local/console.ts';
import { createLaptop, type Laptop, laptopProblems } from '../local/laptop.ts';
import { localReferences } from '../local/references.ts';
import { loadScaler } from '../scalers/index.gen.ts';
import { listenOnLoopback } from '../serve/listen.ts';
import { statusApi } from '../serve/status-api.ts';
import { formatProblem, type Problem } from '../spec/problem.ts';
import { consoleLog } from './console-log.ts';
import { type ApiAddress, apiFile } from './explain.ts';
import { hostEnvironment, hostHttp, hostStores, hostTokens } from './host.ts';
import { loadManifests, type Manifests } from './manifests.ts';
import { liveReferences } from './reload.ts';
import { keepHeapSmall } from './small-heap.ts';
import { inOrder, verify } from './verify.ts';

interface RunOptions {
  image: readonly string[];
  state: string;
  json?: boolean;
  plain?: boolean;
  keep?: boolean;
}

/**
 * `eventide run FILE…`: until it is interrupted.
 *
 * @returns 1 where the manifests are wrong; nothing was started then
 */
export async function run(names: readonly string[], options: RunOptions): Promise<0 | 1> {
  keepHeapSmall();
  const images = readImages(options.image);
  const manifests = await loadManifests(names);
  const notices = await requireRunnable(manifests, images, options);
  if (notices === undefined) return 1;
  const stateFolder = resolve(options.state);
  await mkdir(stateFolder, { recursive: true });
  const console = chooseConsole(options);
  try {
    await runUntilInterrupted(names, manifests, {
      console,
      images,
      notices,
      stateFolder,
      keep: options.keep ?? false,
    });
  } finally {
    console[Symbol.dispose]();
  }
  return 0;
}

function readImages(given: readonly string[]): Map<string, string> {
  return new Map(
    given.map(text => {
      const at = text.lastIndexOf('=');
      if (at < 1 || at === text.length - 1) {
        throw new Fault(
          'USAGE',
          `--image needs NAME=FOLDER, such as example.com/worker:1=./worker, not "${text}"`,
        );
      }
      return [text.slice(0, at), resolve(text.slice(at + 1))];
    }),
  );
}

/** Says what is wrong; the notices where nothing is. */
async function requireRunnable(
  manifests: Manifests,
  images: ReadonlyMap<string, string>,
  { json }: RunOptions,
): Promise<Problem[] | undefined> {
  const { documents, workloads } = manifests;
  const references = localReferences(documents);
  const verified = await verify(manifests, references, { signal: new AbortController().signal });
  const local = laptopProblems(
    documents,
    workloads.map(({ workload }) => workload),
    images,
  );
  const problems = inOrder([...manifests.problems, ...verified.problems, ...local.problems], documents);
  for (const problem of problems) {
    process.stderr.write(
      json ? `${JSON.stringify({ level: 'problem', ...problem })}\n` : `${formatProblem(problem)}\n`,
    );
  }
  if (problems.length > 0) return undefined;
  if (workloads.length === 0 && documents.length > 0) {
    process.stderr.write('there is no ScaledObject or ScaledJob in these files\n');
    return undefined;
  }
  return inOrder([...manifests.notices, ...verified.notices, ...local.notices], documents);
}

function chooseConsole({ json, plain }: RunOptions): Console {
  const write = (text: string) => process.stdout.write(text);
  if (json) return jsonConsole(write);
  if (plain || !process.stdout.isTTY) return plainConsole(write);
  return liveConsole({ terminal: process.stdout, now: () => systemClock.now() });
}

interface Setting {
  console: Console;
  images: ReadonlyMap<string, string>;
  notices: readonly Problem[];
  stateFolder: string;
  keep: boolean;
}

async function runUntilInterrupted(
  names: readonly string[],
  manifests: Manifests,
  setting: Setting,
): Promise<void> {
  const { console, images, notices, stateFolder, keep } = setting;
  const clock = systemClock;
  const log = consoleLog(console, clock);
  const http = hostHttp();
  // A file does not say when its objects were created; periods that count from then count from now.
  const workloads = manifests.workloads.map(({ workload }) => ({ ...workload, createdAt: clock.now() }));
  const laptop = await createLaptop({
    documents: manifests.documents,
    workloads,
    stateFolder,
    images,
    environment: hostEnvironment(),
    clock,
    log,
    onOutput: line => console.output(line),
    onReport: (workload, report) => console.report(workload, report),
    onJob: (key, job) => engine.jobChanged(key, job),
    onJobGone: (key, name) => engine.jobGone(key, name),
    onTarget: key => engine.wake(key),
  });
  await using tokens = hostTokens(clock, http);
  await using stores = hostStores(clock, http, tokens);
  using live = liveReferences(names, manifests.documents, (kind, namespace, name) => {
    console.say(
      clock.now(),
      `${kind} "${name}" was edited: triggers use it from now on, processes when they start anew`,
    );
    engine.referenceChanged(kind, namespace, name);
  });
  const { references } = live;
  const engine = createEngine({ world: laptop, references, loadScaler, tokens, stores, clock, log, http });
  try {
    const interrupted = interruption(console, laptop);
    const token = new Secret(randomBytes(24).toString('base64url'));
    await using api = await listenOnLoopback(statusApi(engine, token));
    await announce(join(stateFolder, apiFile), { port: api.port, token: token.reveal(), pid: process.pid });
    for (const notice of notices) console.notice(notice);
    await laptop.start();
    for (const workload of workloads) engine.set(workload);
    console.say(
      clock.now(),
      `${workloads.map(({ name }) => name).join(', ')}: \`eventide explain NAME\` says why it is as it is`,
    );
    await interrupted;
    console.say(clock.now(), 'stopping what was started');
  } finally {
    await engine[Symbol.asyncDispose]();
    await laptop[Symbol.asyncDispose]();
    await rm(join(stateFolder, apiFile), { force: true });
    if (!keep) await laptop.removeState();
  }
}

/** Ends with the first Ctrl-C; the second one waits for nothing. */
function interruption(console: Console, laptop: Laptop): Promise<void> {
  return new Promise(resolve => {
    let times = 0;
    const stop = () => {
      times += 1;
      if (times === 1) return resolve();
      laptop.kill();
      console[Symbol.dispose]();
      process.exit(130);
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}

/** Only the owner of the state folder may read the token. */
async function announce(file: string, address: ApiAddress): Promise<void> {
  await rm(file, { force: true });
  await writeFile(file, JSON.stringify(address), { mode: 0o600 });
}
