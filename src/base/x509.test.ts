import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { authority, clientKey, serverCertificate, serverKey } from '../../test/certificates.ts';
import { Secret } from './secret.ts';
import {
  certificatesIn,
  type Identity,
  isKeyOf,
  issueCertificate,
  makeAuthority,
  readCertificate,
} from './x509.ts';

const day = 86_400_000;
const now = Date.now();

const newAuthority = (notAfter = now + 3650 * day) =>
  makeAuthority({ commonName: 'KEDA', organization: 'KEDAORG', notBefore: now - day, notAfter });

const server = {
  commonName: 'keda-operator',
  dnsNames: ['keda-operator', 'keda-operator.keda.svc'],
  notBefore: now - day,
  notAfter: now + 365 * day,
};

/** What a client that trusts only this authority says of a server that shows the certificate. */
async function shownAs(servername: string, ca: string, { cert, key }: Identity): Promise<string> {
  const listening = createServer({ cert, key: key.reveal() }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  try {
    const { port } = listening.address() as AddressInfo;
    const socket = connect({ host: '127.0.0.1', port, ca, servername });
    return await new Promise(resolve => {
      socket.on('secureConnect', () => resolve('trusted'));
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    });
  } finally {
    listening.close();
  }
}

describe('makeAuthority', () => {
  it('makes one that KEDA can go on using: RSA in PKCS #1, with its own name as a DNS name', async () => {
    const { cert, key } = await newAuthority();
    const read = readCertificate(cert);

    expect(read).toMatchObject({ ca: true, subject: 'O=KEDAORG\nCN=KEDA', subjectAltName: 'DNS:KEDA' });
    expect(Date.parse(read?.validTo ?? '')).toBe(Math.floor((now + 3650 * day) / 1000) * 1000);
    expect(read?.verify(read.publicKey)).toBe(true);
    expect(key.reveal()).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/);
    expect(read && isKeyOf(read, key)).toBe(true);
  });

  it('writes years after 2049 so that they are read as such', async () => {
    const { cert } = await newAuthority(Date.UTC(2126, 5, 1));

    expect(readCertificate(cert)?.validTo).toBe('Jun  1 00:00:00 2126 GMT');
  });
});

describe('issueCertificate', () => {
  it('makes one that a client takes for a server of each of its names, and of no other', async () => {
    const ca = await newAuthority();

    const issued = await issueCertificate(ca, server);
    const read = readCertificate(issued.cert);

    for (const name of server.dnsNames) expect(await shownAs(name, ca.cert, issued)).toBe('trusted');
    expect(await shownAs('elsewhere', ca.cert, issued)).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(await shownAs('keda-operator', authority, issued)).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
    expect(read?.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(read && isKeyOf(read, issued.key)).toBe(true);
  });

  it('gives each certificate a serial number of its own', async () => {
    const ca = await newAuthority();

    const [one, another] = [await issueCertificate(ca, server), await issueCertificate(ca, server)];

    expect(readCertificate(one.cert)?.serialNumber).not.toBe(readCertificate(another.cert)?.serialNumber);
  });

  it('can use an authority with a key of an elliptic curve', async () => {
    // Made by OpenSSL: the certificate is of another key, so that its signature alone is looked at.
    const { cert } = await issueCertificate({ cert: authority, key: new Secret(clientKey) }, server);

    expect(readCertificate(cert)?.issuer).toBe('CN=test authority');
    expect(readCertificate(cert)?.verify(createPublicKey(clientKey))).toBe(true);
  });

  it.each([
    ['a certificate that is none', { cert: 'nothing', key: new Secret(serverKey) }],
    ['a key that is none', { cert: authority, key: new Secret('nothing') }],
  ])('says so of an authority with %s', async (_title, ca) => {
    await expect(issueCertificate(ca, server)).rejects.toMatchObject({ code: 'PARAM_INVALID' });
  });
});

describe('certificatesIn', () => {
  it('parts a bundle, and leaves out what is none', () => {
    const broken = authority.replace('MIIB', 'AAAA');

    const found = certificatesIn(`# ours\n${authority}\n\n${broken}\n${serverCertificate}`);

    expect(found).toEqual([`${authority}\n`, `${serverCertificate}\n`]);
  });
});
