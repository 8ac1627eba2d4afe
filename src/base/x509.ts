import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { promisify } from 'node:util';
import { bitString, element, elementsOf, oid, sequence, tag, time, unsigned, utf8 } from './der.ts';
import { Fault } from './errors.ts';
import { Secret } from './secret.ts';

/** A certificate with its key, both PEM. */
export interface Identity {
  cert: string;
  key: Secret;
}

interface Validity {
  /** Epoch milliseconds. */
  notBefore: number;
  notAfter: number;
}

const generate = promisify(generateKeyPair);

/**
 * Makes an authority that vouches for itself. Its key is of RSA with 2048 bits in PKCS #1 and its name is among its
 * DNS names, as KEDA, which may take the cluster over again, can use no other.
 */
export async function makeAuthority({
  commonName,
  organization,
  notBefore,
  notAfter,
}: Validity & { commonName: string; organization: string }): Promise<Identity> {
  const { privateKey, publicKey } = await generate('rsa', { modulusLength: 2048 });
  const name = sequence(attribute('2.5.4.10', organization), attribute('2.5.4.3', commonName));
  const keyId = keyIdOf(publicKey);
  const cert = certificate({
    issuer: name,
    subject: name,
    validity: { notBefore, notAfter },
    publicKey,
    signer: privateKey,
    extensions: [
      extension(oids.basicConstraints, sequence(element(tag.boolean, Buffer.from([0xff]))), true),
      // digitalSignature, keyEncipherment, keyCertSign
      extension(oids.keyUsage, element(tag.bitString, Buffer.from([2, 0b1010_0100])), true),
      extension(oids.subjectKeyId, element(tag.octetString, keyId)),
      extension(oids.authorityKeyId, sequence(element(tag.implicit(0), keyId))),
      extension(oids.subjectAltName, dnsNamesOf([commonName])),
    ],
  });
  return { cert, key: new Secret(privateKey.export({ type: 'pkcs1', format: 'pem' }).toString()) };
}

/**
 * Has an authority vouch for a new key of a server, which may show the certificate as a client too.
 *
 * @throws Fault PARAM_INVALID where the authority cannot be read, or its key is neither RSA nor of an elliptic curve
 */
export async function issueCertificate(
  authority: Identity,
  {
    commonName,
    dnsNames,
    notBefore,
    notAfter,
  }: Validity & { commonName: string; dnsNames: readonly string[] },
): Promise<Identity> {
  const { subject, keyId } = readAuthority(authority.cert);
  const signer = readKey(authority.key);
  const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' });
  const cert = certificate({
    issuer: subject,
    subject: sequence(attribute('2.5.4.3', commonName)),
    validity: { notBefore, notAfter },
    publicKey,
    signer,
    extensions: [
      extension(oids.basicConstraints, sequence(), true),
      // digitalSignature
      extension(oids.keyUsage, element(tag.bitString, Buffer.from([7, 0b1000_0000])), true),
      extension(oids.extendedKeyUsage, sequence(oid(oids.serverAuth), oid(oids.clientAuth))),
      extension(oids.subjectKeyId, element(tag.octetString, keyIdOf(publicKey))),
      ...(keyId === undefined
        ? []
        : [extension(oids.authorityKeyId, sequence(element(tag.implicit(0), keyId)))]),
      extension(oids.subjectAltName, dnsNamesOf(dnsNames)),
    ],
  });
  return { cert, key: new Secret(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()) };
}

/** The certificates in a bundle (PEM), one each. What stands between them, and what cannot be read, is left out. */
export function certificatesIn(bundle: string): string[] {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.filter(readable).map(block => `${block}\n`);
}

/** A certificate as Node reads it; undefined where it cannot be read. Of a bundle it is the first. */
export function readCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

const readable = (pem: string) => readCertificate(pem) !== undefined;

function readKey(key: Secret): KeyObject {
  try {
    return createPrivateKey(key.reveal());
  } catch (cause) {
    throw new Fault('PARAM_INVALID', 'the key of the authority cannot be read', { cause });
  }
}

interface Parts {
  /** Names as DER: they have to be the same bytes as in the authority's own certificate. */
  issuer: Buffer;
  subject: Buffer;
  validity: Validity;
  publicKey: KeyObject;
  signer: KeyObject;
  extensions: readonly Buffer[];
}

const oids = {
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  subjectAltName: '2.5.29.17',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** RFC 5280, section 4.1. */
function certificate(parts: Parts): string {
  const { validity, publicKey, signer } = parts;
  const algorithm = signatureAlgorithm(signer);
  const serial = randomBytes(16);
  // Never zero, and the same length each time.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const body = sequence(
    element(tag.explicit(0), unsigned(Buffer.from([2]))),
    unsigned(serial),
    algorithm,
    parts.issuer,
    sequence(time(validity.notBefore), time(validity.notAfter)),
    parts.subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    element(tag.explicit(3), sequence(...parts.extensions)),
  );
  const whole = sequence(body, algorithm, bitString(sign('sha256', body, signer)));
  const lines = whole.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function signatureAlgorithm(signer: KeyObject): Buffer {
  switch (signer.asymmetricKeyType) {
    case 'rsa':
      return sequence(oid('1.2.840.113549.1.1.11'), element(0x05));
    case 'ec':
      return sequence(oid('1.2.840.10045.4.3.2'));
    default:
      throw new Fault(
        'PARAM_INVALID',
        `an authority's key must be RSA or of an elliptic curve, not ${signer.asymmetricKeyType}`,
      );
  }
}

const attribute = (type: string, value: string): Buffer => element(tag.set, sequence(oid(type), utf8(value)));

function extension(id: string, value: Buffer, critical = false): Buffer {
  const mark = critical ? [element(tag.boolean, Buffer.from([0xff]))] : [];
  return sequence(oid(id), ...mark, element(tag.octetString, value));
}

const dnsNamesOf = (names: readonly string[]): Buffer =>
  sequence(...names.map(name => element(tag.implicit(2), Buffer.from(name))));

/** RFC 5280, section 4.2.1.2, the first way: the hash of the key's bits. */
function keyIdOf(publicKey: KeyObject): Buffer {
  const info = elementsOf(publicKey.export({ type: 'spki', format: 'der' }))[0];
  const bits = info && elementsOf(info.content)[1]?.content.subarray(1);
  return createHash('sha1')
    .update(bits ?? Buffer.alloc(0))
    .digest();
}

/** What those it vouches for have of an authority. */
function readAuthority(pem: string): { subject: Buffer; keyId: Buffer | undefined } {
  const cert = readCertificate(pem);
  if (cert === undefined) throw new Fault('PARAM_INVALID', 'the certificate of the authority cannot be read');
  const whole = elementsOf(cert.raw)[0];
  const body = whole && elementsOf(whole.content)[0];
  const fields = body === undefined ? [] : elementsOf(body.content);
  // The version is left out of certificates of the first version.
  const subject = fields[fields[0]?.tag === tag.explicit(0) ? 5 : 4];
  if (subject === undefined)
    throw new Fault('PARAM_INVALID', 'the certificate of the authority has no subject');
  const list = fields.find(field => field.tag === tag.explicit(3));
  const extensions =
    list === undefined ? [] : elementsOf(list.content).flatMap(one => elementsOf(one.content));
  const subjectKeyId = extensions
    .map(one => elementsOf(one.content))
    .find(([id]) => id?.whole.equals(oid(oids.subjectKeyId)))
    ?.at(-1);
  const keyId = subjectKeyId && elementsOf(subjectKeyId.content)[0]?.content;
  return { subject: subject.whole, keyId };
}

/** Whether a certificate is of a key. */
export function isKeyOf(cert: X509Certificate, key: Secret): boolean {
  try {
    const own = createPublicKey(createPrivateKey(key.reveal()));
    return own.equals(cert.publicKey);
  } catch {
    return false;
  }
}
