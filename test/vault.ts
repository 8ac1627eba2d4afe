import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { access, mkdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { build, go, locked } from './cluster/binaries.ts';

const sources = join(import.meta.dirname, 'vault');

/**
 * The program, from the user's cache folder; built with Go when it is not there: once, about 4 minutes on two cores.
 *
 * @throws what the build printed, when it fails
 */
export async function vaultBinary(): Promise<string> {
  const hash = createHash('sha256').update(`${process.arch}\n`);
  for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(await readFile(join(sources, file)));
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const folder = join(cache, 'eventide', `vault-${hash.digest('hex').slice(0, 16)}`);
  const path = join(folder, 'vault');
  const isThere = () =>
    access(path).then(
      () => true,
      () => false,
    );
  if (await isThere()) return path;
  await mkdir(folder, { recursive: true });
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  await using _lock = await locked(join(folder, 'building'), say);
  if (await isThere()) return path;
  say('building Vault for the tests of secrets, once; about 4 minutes on two cores');
  await build(path, async within => {
    const built = join(within, 'vault');
    await go(['build', '-trimpath', '-ldflags', '-s -w', '-o', built, '.'], { cwd: sources });
    return built;
  });
  return path;
}

/** A running Vault, unsealed and empty. */
export interface VaultServer extends AsyncDisposable {
  /** `http://127.0.0.1:port` */
  url: string;
  rootToken: string;
  /** Asks as root. @throws for anything but success */
  ask(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<VaultAnswer>;
  /** A token with these policies. */
  token(options: { policies: readonly string[]; ttl?: string; renewable?: boolean }): Promise<string>;
}

interface VaultAnswer {
  data?: Record<string, unknown> | null;
  auth?: { client_token: string } | null;
}

/** Starts a Vault that ends with the test. It is built first where it is not there yet. */
export async function startVault(): Promise<VaultServer> {
  const child = spawn(await vaultBinary(), { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const [url = '', rootToken = ''] = line.split(' ');
  const ask: VaultServer['ask'] = async (method, path, body) => {
    const response = await fetch(`${url}/v1/${path}`, {
      method,
      headers: { 'x-vault-token': rootToken },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? {} : JSON.parse(text);
  };
  return {
    url,
    rootToken,
    ask,
    async token({ policies, ttl = '1h', renewable = true }) {
      const { auth } = await ask('POST', 'auth/token/create', { policies, ttl, renewable });
      return auth?.client_token ?? '';
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}
