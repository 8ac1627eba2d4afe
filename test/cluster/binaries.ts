import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

/** The Kubernetes release the bed runs; `control-plane/go.mod` requires the same one. */
const kubernetesVersion = 'v1.36.3';
const kwokVersion = 'v0.8.0';

const sources = join(import.meta.dirname, 'control-plane');
const run = promisify(execFile);

/** Paths of the two programs the bed starts. */
export interface Binaries {
  /** etcd, kube-apiserver, kube-controller-manager and kube-scheduler, by its first argument. */
  controlPlane: string;
  /** The fake kubelet. */
  kwok: string;
}

/** Whether Go is there to build the binaries with. */
export async function hasGo(): Promise<boolean> {
  return run('go', ['version']).then(
    () => true,
    () => false,
  );
}

/**
 * The binaries, from the user's cache folder; built with Go when they are not there (once: about 7 minutes on
 * two cores), by one process however many ask.
 *
 * @throws what the build printed, when it fails.
 */
export async function clusterBinaries(say: (line: string) => void = printed): Promise<Binaries> {
  const folder = join(cacheFolder(), await sourceHash());
  const binaries = { controlPlane: join(folder, 'control-plane'), kwok: join(folder, 'kwok') };
  if ((await exists(binaries.controlPlane)) && (await exists(binaries.kwok))) return binaries;
  await mkdir(folder, { recursive: true });
  await using _lock = await locked(join(folder, 'building'), say);
  if (!(await exists(binaries.controlPlane))) {
    say(`building Kubernetes ${kubernetesVersion} for the cluster tests, once; about 5 minutes on two cores`);
    await build(binaries.controlPlane, buildControlPlane);
  }
  if (!(await exists(binaries.kwok))) {
    say(`building KWOK ${kwokVersion} for the cluster tests, once; about 2 minutes on two cores`);
    await build(binaries.kwok, buildKwok);
  }
  return binaries;
}

/** KEDA's release that is measured, and swapped with; `keda/go.mod` requires the same one. */
const kedaVersion = 'v2.20.2';
const kedaSources = join(import.meta.dirname, 'keda');

/** Paths of KEDA's three programs, and of its module, which has its manifests. */
export interface KedaBinaries {
  operator: string;
  adapter: string;
  webhooks: string;
  module: string;
}

/**
 * The same for KEDA: about 4 minutes on two cores, once.
 *
 * @throws what the build printed, when it fails.
 */
export async function kedaBinaries(say: (line: string) => void = printed): Promise<KedaBinaries> {
  const goMod = await readFile(join(kedaSources, 'go.mod'));
  const hash = createHash('sha256').update(`${process.arch}\n`).update(goMod).digest('hex').slice(0, 16);
  const folder = join(cacheFolder(), hash);
  const path = (name: string) => join(folder, `keda-${name}`);
  await mkdir(folder, { recursive: true });
  await using _lock = await locked(join(folder, 'building'), say);
  for (const name of ['operator', 'adapter', 'webhooks']) {
    if (await exists(path(name))) continue;
    say(`building KEDA's ${name} ${kedaVersion}, once; all three take about 4 minutes on two cores`);
    await build(path(name), async within => {
      const flags = `-s -w -X github.com/kedacore/keda/v2/version.Version=${kedaVersion.slice(1)}`;
      const built = join(within, name);
      const program = `github.com/kedacore/keda/v2/cmd/${name}`;
      await go(['build', '-trimpath', '-ldflags', flags, '-o', built, program], { cwd: kedaSources });
      return built;
    });
  }
  return {
    operator: path('operator'),
    adapter: path('adapter'),
    webhooks: path('webhooks'),
    module: await kedaModule(),
  };
}

/** Where KEDA's source is, with its manifests; downloaded unless it is there. */
export async function kedaModule(): Promise<string> {
  const download = ['mod', 'download', '-json', 'github.com/kedacore/keda/v2'];
  const { stdout } = await run('go', download, { cwd: kedaSources });
  return (JSON.parse(stdout) as { Dir: string }).Dir;
}

function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'eventide', 'cluster');
}

async function sourceHash(): Promise<string> {
  const hash = createHash('sha256').update(`${kubernetesVersion} ${kwokVersion} ${process.arch}\n`);
  for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(await readFile(join(sources, file)));
  return hash.digest('hex').slice(0, 16);
}

/** Puts at `path` what `into` makes in a folder of its own, at once or not at all. */
export async function build(path: string, into: (folder: string) => Promise<string>): Promise<void> {
  const folder = await mkdtemp(`${path}-`);
  try {
    await rename(await into(folder), path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function buildControlPlane(folder: string): Promise<string> {
  const path = join(folder, 'control-plane');
  const [, minor = ''] = kubernetesVersion.split('.');
  const version = [
    `-X k8s.io/component-base/version.gitVersion=${kubernetesVersion}`,
    `-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor}`,
  ].join(' ');
  await go(['build', '-trimpath', '-ldflags', `-s -w ${version}`, '-o', path, '.'], { cwd: sources });
  return path;
}

async function buildKwok(folder: string): Promise<string> {
  const program = `sigs.k8s.io/kwok/cmd/kwok@${kwokVersion}`;
  await go(['install', '-trimpath', '-ldflags', '-s -w', program], { cwd: folder, env: { GOBIN: folder } });
  return join(folder, 'kwok');
}

/** Runs Go without C. @throws what it printed, when it fails */
export function go(
  args: string[],
  { cwd, env = {} }: { cwd: string; env?: Record<string, string> },
): Promise<void> {
  const child = spawn('go', args, {
    cwd,
    env: { ...process.env, CGO_ENABLED: '0', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let printedByGo = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printedByGo = `${printedByGo}${text}`.slice(-4_000);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', code => {
      if (code === 0) resolve();
      else reject(new Error(`go ${args[0]} failed:\n${printedByGo}`));
    });
  });
}

/** Holds the lock file until disposed; one whose holder has died is taken over. */
export async function locked(path: string, say: (line: string) => void): Promise<AsyncDisposable> {
  for (let said = false; ; said = true) {
    const file = await open(path, 'wx').catch(() => undefined);
    if (file !== undefined) {
      await file.writeFile(`${process.pid}\n`);
      await file.close();
      return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
    }
    if (await abandoned(path)) await rm(path, { force: true });
    else if (!said) say('another process is building what a test needs: waiting for it');
    await pause(500);
  }
}

async function abandoned(path: string): Promise<boolean> {
  const holder = Number(await readFile(path, 'utf8').catch(() => ''));
  if (holder > 0) return !alive(holder);
  // Between its creation and its first line the lock has an owner that cannot be asked.
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
  return Date.now() - mtimeMs > 10_000;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function printed(line: string): void {
  process.stderr.write(`${line}\n`);
}
