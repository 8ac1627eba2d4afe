import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { Secret } from '../base/secret.ts';
import type { Certificates } from '../kube/certificates.ts';

/** Certificates that somebody else keeps in a folder. */
export interface MountedCertificates extends AsyncDisposable {
  /** Undefined until they were read. */
  readonly current: Certificates | undefined;
  /** Ends when they were read. @throws Fault USAGE naming the file that cannot be */
  whenReady(signal: AbortSignal): Promise<Certificates>;
}

/** The kubelet swaps a folder within a minute or two of the Secret's change; this is soon enough. */
const lookEveryMs = 10_000;

/**
 * Reads `tls.crt`, `tls.key` and, where it is there, `ca.crt` of a folder, and again when they are others.
 * What cannot be read any more leaves what was there in use.
 */
export function mountedCertificates(
  folder: string,
  { log, onChange }: { log: Log; onChange(): void },
): MountedCertificates {
  let current: Certificates | undefined;
  const timer = setInterval(() => void look(), lookEveryMs);
  timer.unref();

  async function look(): Promise<void> {
    try {
      const read = await readAll(folder);
      if (read.cert === current?.cert && read.key.reveal() === current.key.reveal() && read.ca === current.ca)
        return;
      current = read;
      onChange();
    } catch (thrown) {
      log.warn('the certificates cannot be read, so the ones before stay in use', { fault: faultOf(thrown) });
    }
  }

  return {
    get current() {
      return current;
    },
    async whenReady() {
      current ??= await readAll(folder);
      return current;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
    },
  };
}

async function readAll(folder: string): Promise<Certificates> {
  const [cert, key, ca] = await Promise.all([
    read(folder, 'tls.crt'),
    read(folder, 'tls.key'),
    read(folder, 'ca.crt').catch(() => ''),
  ]);
  return { cert, key: new Secret(key), ca };
}

async function read(folder: string, name: string): Promise<string> {
  try {
    return await readFile(join(folder, name), 'utf8');
  } catch (cause) {
    throw new Fault('USAGE', `--cert-dir: ${join(folder, name)} cannot be read`, { cause });
  }
}
