import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { Fault } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';

/** How to come in at a server of NATS. */
export interface NatsLogin {
  username?: string | undefined;
  password?: Secret | undefined;
  token?: Secret | undefined;
  /** An nkey seed (`SU…`), or a `.creds` file with a JWT and the seed it was issued for. */
  credentials?: Secret | undefined;
}

/** What CONNECT says of who we are. */
export interface NatsProof {
  user?: string;
  pass?: string;
  auth_token?: string;
  jwt?: string;
  nkey?: string;
  sig?: string;
}

/**
 * Who we are, and the server's nonce signed where it asks for that.
 *
 * @param nonce what the server gave us to sign
 * @throws Fault PARAM_INVALID where the credentials hold no seed of a user
 */
export function proofOf(login: NatsLogin, nonce: string | undefined): NatsProof {
  const { username, password, token, credentials } = login;
  const proof: NatsProof = {};
  if (username !== undefined) proof.user = username;
  if (password !== undefined) proof.pass = password.reveal();
  if (token !== undefined) proof.auth_token = token.reveal();
  if (credentials === undefined) return proof;
  const { jwt, seed } = readCredentials(credentials);
  const key = keyOf(seed);
  if (jwt === undefined) proof.nkey = nkeyOf(key);
  else proof.jwt = jwt.reveal();
  if (nonce !== undefined) proof.sig = sign(null, Buffer.from(nonce), key).toString('base64url');
  return proof;
}

/** The texts that must not be seen where a server quotes what it was sent. */
export function secretsOf({ password, token, credentials }: NatsLogin): (Secret | undefined)[] {
  if (credentials === undefined) return [password, token];
  const { jwt, seed } = readCredentials(credentials);
  return [password, token, jwt, seed];
}

/** @throws Fault PARAM_INVALID */
export function readCredentials(credentials: Secret): { jwt: Secret | undefined; seed: Secret } {
  const text = credentials.reveal();
  const block = (name: string) =>
    new RegExp(`-+BEGIN ${name}-+\\s+(\\S+)\\s+-+END ${name}-+`).exec(text)?.[1];
  const jwt = block('NATS USER JWT');
  const seed = block('USER NKEY SEED') ?? text.trim();
  if (seedBytes(seed) === undefined) {
    throw new Fault('PARAM_INVALID', 'the credentials hold no seed of a user of NATS (SU…)');
  }
  return { jwt: jwt === undefined ? undefined : new Secret(jwt), seed: new Secret(seed) };
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const seedPrefix = 18 << 3;
const userPrefix = 20 << 3;

/** The 32 bytes of the key; undefined for what is no seed of a user. */
function seedBytes(seed: string): Buffer | undefined {
  const bytes = fromBase32(seed);
  if (bytes?.length !== 36) return undefined;
  const [first = 0, second = 0] = bytes;
  const kind = ((first & 7) << 5) | (second >> 3);
  const isUser = (first & 0xf8) === seedPrefix && kind === userPrefix;
  return isUser && bytes.readUInt16LE(34) === crc16(bytes.subarray(0, 34))
    ? bytes.subarray(2, 34)
    : undefined;
}

/** A key of Ed25519 is its 32 bytes behind a fixed beginning (RFC 8410). */
const derPrefix = Buffer.from('302e020100300506032b657004220420', 'hex');

function keyOf(seed: Secret) {
  const raw = seedBytes(seed.reveal()) ?? Buffer.alloc(32);
  return createPrivateKey({ key: Buffer.concat([derPrefix, raw]), format: 'der', type: 'pkcs8' });
}

/** The public key as NATS writes it (`U…`). */
function nkeyOf(key: ReturnType<typeof keyOf>): string {
  const raw = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
  const body = Buffer.concat([Buffer.from([userPrefix]), raw]);
  const sum = Buffer.alloc(2);
  sum.writeUInt16LE(crc16(body));
  return toBase32(Buffer.concat([body, sum]));
}

function fromBase32(text: string): Buffer | undefined {
  const bytes: number[] = [];
  let bits = 0;
  let value = 0;
  for (const char of text) {
    const digit = alphabet.indexOf(char);
    if (digit < 0) return undefined;
    value = ((value << 5) | digit) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >> bits) & 0xff);
    }
  }
  return Buffer.from(bytes);
}

function toBase32(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(value >> bits) & 31] ?? '';
    }
  }
  return bits === 0 ? text : text + (alphabet[(value << (5 - bits)) & 31] ?? '');
}

/** CRC-16 as XMODEM has it. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc;
}
