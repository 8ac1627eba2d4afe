import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  authority,
  clientCertificate,
  clientKey,
  serverCertificate,
  serverKey,
} from '../../test/certificates.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import { openCertificateFolder } from './certificate-folder.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'certificates-'));
});
afterEach(() => rm(folder, { recursive: true }));

const open = () => openCertificateFolder(folder, { clock: systemClock, log: silentLog });

/** Puts files where a kubelet would: in a folder of their own, to which `..data` is then switched over. */
async function mount(version: string, files: Record<string, string>): Promise<void> {
  await mkdir(join(folder, version));
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(folder, version, name), text);
    await symlink(join('..data', name), join(folder, name)).catch(() => {});
  }
  await symlink(version, join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), join(folder, '..data'));
}

const ours = { 'tls.crt': serverCertificate, 'tls.key': serverKey, 'ca.crt': authority };

describe('a folder of certificates', () => {
  it('is read at once', async () => {
    await mount('..1', ours);

    using opened = await open();

    expect(opened.current).toMatchObject({ cert: serverCertificate, ca: authority });
    expect(opened.current.key.reveal()).toBe(serverKey);
  });

  it('is read again when a kubelet switches it over', async () => {
    await mount('..1', ours);
    using opened = await open();

    await mount('..2', { 'tls.crt': clientCertificate, 'tls.key': clientKey, 'ca.crt': authority });

    await vi.waitFor(() => expect(opened.current.cert).toBe(clientCertificate), 5_000);
  });

  it('keeps what was there while a pair does not belong together', async () => {
    await mount('..1', ours);
    using opened = await open();
    await mount('..2', { 'tls.crt': clientCertificate, 'tls.key': serverKey, 'ca.crt': authority });

    await mount('..3', { 'tls.crt': clientCertificate, 'tls.key': clientKey, 'ca.crt': '' });

    await vi.waitFor(() => expect(opened.current.ca).toBe(''), 5_000);
    expect(opened.current.key.reveal()).toBe(clientKey);
  });

  it('needs no authority', async () => {
    await mount('..1', { 'tls.crt': serverCertificate, 'tls.key': serverKey });

    using opened = await open();

    expect(opened.current.ca).toBe('');
  });

  it.each<[string, Record<string, string>, RegExp]>([
    ['nothing', {}, /tls\.crt cannot be read/],
    ['no key', { 'tls.crt': serverCertificate }, /tls\.key cannot be read/],
    ['nonsense', { 'tls.crt': 'x', 'tls.key': 'y' }, /no certificate that can be read/],
    ['a key of another', { 'tls.crt': serverCertificate, 'tls.key': clientKey }, /is not of the certificate/],
  ])('is refused with %s in it', async (_title, files, message) => {
    await mount('..1', files);

    await expect(open()).rejects.toThrow(message);
  });
});
