import { readFile } from 'node:fs/promises';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import type { KubeCredentials } from './kubeconfig.ts';

/** A text that is given, or the file it is in, with the field that names the file, for people. */
export type Given = { text: string } | { path: string; field: string };

/** Where each credential is. */
export interface CredentialPlaces {
  ca?: Given | undefined;
  cert?: Given | undefined;
  key?: Given | undefined;
  /** Without `Bearer`. */
  token?: Given | undefined;
  /** Used where there is no token. */
  basic?: { username: string; password: string } | undefined;
}

/**
 * Reads the files anew each time, because they rotate.
 *
 * @returns a function that throws Fault KUBECONFIG_INVALID where a file cannot be read
 */
export function fileCredentials(places: CredentialPlaces): () => Promise<KubeCredentials> {
  return async () => {
    const [ca, cert, key, token] = await Promise.all([
      textOf(places.ca),
      textOf(places.cert),
      textOf(places.key),
      textOf(places.token),
    ]);
    const { basic } = places;
    const authorization =
      token !== undefined
        ? `Bearer ${token.trim()}`
        : basic && `Basic ${Buffer.from(`${basic.username}:${basic.password}`).toString('base64')}`;
    return {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key: new Secret(key) }),
      ...(authorization === undefined ? {} : { authorization: new Secret(authorization) }),
    };
  };
}

async function textOf(given: Given | undefined): Promise<string | undefined> {
  if (given === undefined) return undefined;
  if ('text' in given) return given.text;
  try {
    return await readFile(given.path, 'utf8');
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'is not there' : 'cannot be read';
    throw new Fault('KUBECONFIG_INVALID', `${given.field}: ${given.path} ${why}`, { cause });
  }
}
