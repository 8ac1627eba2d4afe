import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { Secret } from '../base/secret.ts';
import { type Identity, isKeyOf, readCertificate } from '../base/x509.ts';

/** What a server shows, and by whom it is to be trusted. */
export interface FolderCertificates extends Identity {
  /** The bundle (PEM) that clients are to trust; empty where the folder has none. */
  ca: string;
}

export interface CertificateFolder extends Disposable {
  readonly current: FolderCertificates;
}

/** Where the system does not tell of changes, as on some network file systems. */
const lookAgainMs = 60_000;

/** A kubelet changes several files one after another. */
const settleMs = 100;

/**
 * Certificates that somebody else makes: `tls.crt`, `tls.key` and perhaps `ca.crt` in a folder, such as a mounted
 * Secret. They are read again when the folder changes; a pair that does not belong together is left alone, as the
 * other half is on its way.
 *
 * @throws Fault PARAM_INVALID where there is no usable pair at the start
 */
export async function openCertificateFolder(
  folder: string,
  { clock, log, onChange }: { clock: Clock; log: Log; onChange?(certificates: FolderCertificates): void },
): Promise<CertificateFolder> {
  let current = await read(folder);
  let timer: Disposable | undefined;
  let closed = false;
  let complained = '';

  const lookIn = (ms: number) => {
    timer?.[Symbol.dispose]();
    timer = closed ? undefined : clock.after(ms, () => void look());
  };

  async function look(): Promise<void> {
    try {
      const found = await read(folder);
      complained = '';
      const changed =
        found.cert !== current.cert ||
        found.ca !== current.ca ||
        found.key.fingerprint() !== current.key.fingerprint();
      if (changed && !closed) {
        current = found;
        log.info('took other certificates from the folder', { folder });
        onChange?.(current);
      }
    } catch (thrown) {
      const fault = faultOf(thrown);
      if (complained !== fault.message)
        log.warn('certificates in the folder are not used', { folder, fault });
      complained = fault.message;
    }
    lookIn(lookAgainMs);
  }

  const watcher = watchOf(folder, () => lookIn(settleMs));
  lookIn(lookAgainMs);
  return {
    get current() {
      return current;
    },
    [Symbol.dispose]() {
      closed = true;
      timer?.[Symbol.dispose]();
      watcher?.close();
    },
  };
}

function watchOf(folder: string, changed: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, changed);
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}

async function read(folder: string): Promise<FolderCertificates> {
  const [cert, key, ca] = await Promise.all([
    text(join(folder, 'tls.crt')),
    text(join(folder, 'tls.key')),
    text(join(folder, 'ca.crt')).catch(() => ''),
  ]);
  const read = readCertificate(cert);
  if (read === undefined) throw invalid(`${join(folder, 'tls.crt')} has no certificate that can be read`);
  const secret = new Secret(key);
  if (!isKeyOf(read, secret))
    throw invalid(`the key in ${join(folder, 'tls.key')} is not of the certificate`);
  return { cert, key: secret, ca };
}

async function text(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new Fault('PARAM_INVALID', `${path} cannot be read`, { cause });
  }
}

const invalid = (sentence: string) => new Fault('PARAM_INVALID', sentence);
