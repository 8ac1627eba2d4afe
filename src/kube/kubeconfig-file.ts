import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { pluginCredentials } from './credential-plugin.ts';
import { type CredentialPlaces, fileCredentials, type Given } from './file-credentials.ts';
import type { Impersonation, KubeConfig, KubeConfigOptions } from './kubeconfig.ts';
import { proxyFor } from './proxy.ts';

/**
 * Reads kubeconfigs as kubectl does: of each name and setting the first file that has it counts, paths are
 * relative to the file they are in, and of several files some may be missing.
 *
 * @throws Fault KUBECONFIG_INVALID naming file and field
 */
export async function kubeconfigFrom(
  files: readonly string[],
  { context: wanted, environment }: Pick<KubeConfigOptions, 'context' | 'environment'>,
): Promise<KubeConfig> {
  const read = await Promise.all(files.map(readKubeconfig));
  const found = read.filter(file => file !== undefined);
  const all = files.join(', ');
  if (found.length === 0) throw invalid(all, 'there is no such kubeconfig');

  const contextName = wanted ?? found.map(file => file.text('current-context')).find(Boolean);
  if (contextName === undefined) throw invalid(all, 'current-context is not set, and no context was named');
  const context = entryOf(found, { list: 'contexts', entry: 'context', name: contextName, all });
  const cluster = entryOf(found, { list: 'clusters', entry: 'cluster', name: context.need('cluster'), all });
  const userName = context.text('user');
  const user =
    userName === undefined
      ? undefined
      : entryOf(found, { list: 'users', entry: 'user', name: userName, all });

  const server = serverOf(cluster);
  const proxy = proxyOf(cluster) ?? proxyFor(server, environment);
  const serverName = cluster.text('tls-server-name');
  const impersonate = user === undefined ? undefined : impersonationOf(user);
  return {
    server,
    origin: `context "${contextName}" of ${context.file}`,
    namespace: context.text('namespace') ?? 'default',
    ...(serverName === undefined ? {} : { serverName }),
    ...(cluster.flag('insecure-skip-tls-verify') ? { unsafeSsl: true } : {}),
    ...(proxy === undefined ? {} : { proxy }),
    ...(impersonate === undefined ? {} : { impersonate }),
    credentials: credentialsOf(cluster, { user, server }),
  };
}

function credentialsOf(
  cluster: Fields,
  { user, server }: { user: Fields | undefined; server: string },
): KubeConfig['credentials'] {
  const places: CredentialPlaces = {
    // kubectl refuses a certificate authority together with no verification; nothing is verified then.
    ca: cluster.flag('insecure-skip-tls-verify') ? undefined : cluster.given('certificate-authority'),
    cert: user?.given('client-certificate'),
    key: user?.given('client-key'),
    token: user && (user.path('tokenFile') ?? user.inline('token')),
    basic: user && basicOf(user),
  };
  const exec = user?.value('exec');
  const provider = user?.value('auth-provider');
  if (user === undefined || (exec === undefined && provider === undefined)) return fileCredentials(places);
  const providerName = (provider as { name?: unknown } | undefined)?.name;
  if (exec === undefined && providerName !== 'oidc') {
    throw user.invalid('auth-provider', `"${providerName}" is no longer supported; use its exec plugin`);
  }
  return pluginCredentials({
    name: user.where,
    folder: dirname(user.file),
    exec: exec as Record<string, unknown> | undefined,
    oidc: exec === undefined ? (provider as Record<string, unknown>) : undefined,
    cluster: { server, files: fileCredentials({ ca: places.ca }) },
  });
}

function basicOf(user: Fields): CredentialPlaces['basic'] {
  const username = user.text('username');
  return username === undefined ? undefined : { username, password: user.text('password') ?? '' };
}

function serverOf(cluster: Fields): string {
  const server = cluster.need('server').replace(/\/+$/, '');
  if (URL.canParse(server) && /^https?:$/.test(new URL(server).protocol)) return server;
  throw cluster.invalid('server', `"${server}" is not an http or https URL`);
}

function proxyOf(cluster: Fields): Secret | undefined {
  const proxy = cluster.text('proxy-url');
  if (proxy === undefined) return undefined;
  if (URL.canParse(proxy) && /^https?:$/.test(new URL(proxy).protocol)) return new Secret(proxy);
  // Without its value, in which there may be a password.
  throw cluster.invalid('proxy-url', 'only http and https URLs are supported');
}

function impersonationOf(user: Fields): Impersonation | undefined {
  const name = user.text('as');
  if (name === undefined) return undefined;
  const [uid, groups, extra] = [user.text('as-uid'), user.value('as-groups'), user.value('as-user-extra')];
  return {
    user: name,
    ...(uid === undefined ? {} : { uid }),
    ...(Array.isArray(groups) ? { groups: groups.map(String) } : {}),
    ...(extra === undefined ? {} : { extra: extra as Record<string, string[]> }),
  };
}

/** The fields of one map in one file, and where it is. */
interface Fields {
  file: string;
  /** For people: `/home/me/.kube/config: user "me"`. */
  where: string;
  value(field: string): unknown;
  text(field: string): string | undefined;
  need(field: string): string;
  flag(field: string): boolean;
  inline(field: string): Given | undefined;
  path(field: string): Given | undefined;
  /** From `field-data`, in base64, or the file that `field` names. */
  given(field: string): Given | undefined;
  invalid(field: string, problem: string): Fault;
}

function fieldsOf(map: Readonly<Record<string, unknown>>, at: { file: string; where: string }): Fields {
  const complain = (field: string, problem: string) => invalid(at.where, `${field}: ${problem}`);
  const text = (field: string): string | undefined => {
    const value = map[field];
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value === 'string') return value;
    // `password: 1234` is a number to YAML. Its value is not repeated: it may be secret.
    if (typeof value === 'number') return String(value);
    throw complain(field, 'must be a text');
  };
  const inline = (field: string): Given | undefined => {
    const value = text(field);
    return value === undefined ? undefined : { text: value };
  };
  const path = (field: string): Given | undefined => {
    const value = text(field);
    if (value === undefined) return undefined;
    return { path: resolve(dirname(at.file), value), field: `${at.where}: ${field}` };
  };
  return {
    ...at,
    value: field => map[field] ?? undefined,
    text,
    need(field) {
      const value = text(field);
      if (value === undefined) throw complain(field, 'is missing');
      return value;
    },
    flag: field => map[field] === true,
    inline,
    path,
    given(field) {
      const data = text(`${field}-data`);
      if (data === undefined) return path(field);
      if (!/^[A-Za-z0-9+/=\s]+$/.test(data)) throw complain(`${field}-data`, 'is not base64');
      return { text: Buffer.from(data, 'base64').toString('utf8') };
    },
    invalid: complain,
  };
}

async function readKubeconfig(file: string): Promise<Fields | undefined> {
  let source: string;
  try {
    source = await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Fault('KUBECONFIG_INVALID', `${file} cannot be read`, { cause });
  }
  let value: unknown;
  try {
    value = parse(source);
  } catch (thrown) {
    // The place alone: the parser quotes the line, and secrets are in this file.
    const place = (thrown as { linePos?: [{ line: number }] }).linePos?.[0].line;
    throw invalid(file, `not YAML${place === undefined ? '' : `, line ${place}`}`);
  }
  if (!isMap(value)) throw invalid(file, 'not a kubeconfig: there are no fields in it');
  return fieldsOf(value, { file, where: file });
}

/** The first entry of that name in any file. */
function entryOf(
  files: readonly Fields[],
  { list, entry, name, all }: { list: string; entry: string; name: string; all: string },
): Fields {
  for (const file of files) {
    const entries = file.value(list) ?? [];
    if (!Array.isArray(entries)) throw file.invalid(list, 'must be a list');
    const found = entries.find(candidate => isMap(candidate) && candidate['name'] === name);
    if (found === undefined) continue;
    const where = `${file.file}: ${entry} "${name}"`;
    const fields = found[entry] ?? {};
    if (!isMap(fields)) throw invalid(where, `${entry} must have fields`);
    return fieldsOf(fields, { file: file.file, where });
  }
  throw invalid(all, `${list} has no "${name}"`);
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(where: string, problem: string): Fault {
  return new Fault('KUBECONFIG_INVALID', `${where}: ${problem}`);
}
