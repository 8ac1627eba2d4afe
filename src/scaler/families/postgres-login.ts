import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { elementsOf } from '../../base/der.ts';
import { Fault } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import type { ByteChannel } from './byte-channel.ts';
import {
  faultOfServerError,
  loginAnswer,
  loginStart,
  passwordMessage,
  readMessage,
  serverErrorOf,
  textsOf,
} from './postgres-messages.ts';

const stretch = promisify(pbkdf2);
/** What a server may ask for; it is our time that it costs. */
const mostRounds = 1_000_000;

export interface PostgresUser {
  user: string;
  password: Secret | undefined;
  /** Log in only where the password is proven to the very server that the encryption ends at. */
  bindChannel: boolean;
  /** Ways to log in that are agreed to, as `require_auth` names them; any where there are none. */
  logins: readonly string[] | undefined;
}

const names: Readonly<Record<number, string>> = {
  3: 'password',
  5: 'md5',
  7: 'gss',
  9: 'sspi',
  10: 'scram-sha-256',
};

/**
 * Answers what the server asks for, until it is content.
 *
 * @throws Fault SOURCE_REFUSED, NOT_SUPPORTED for ways we do not know, or of the channel; without the password in it
 */
export async function logIn(channel: ByteChannel, who: PostgresUser): Promise<void> {
  for (let asked = false; ; asked = true) {
    const body = await authentication(channel);
    const kind = body.readInt32BE(0);
    const way = kind === 0 ? 'none' : (names[kind] ?? 'another way');
    if ((kind !== 0 || !asked) && who.logins?.includes(way) === false) {
      const wanted = kind === 0 ? 'lets us in without a login' : `wants a login by ${way}`;
      throw new Fault('SOURCE_REFUSED', `${channel.name} ${wanted}, which require_auth rules out`);
    }
    if (kind === 0) return;
    const password = passwordOf(channel, who);
    if (who.bindChannel && kind !== 10) throw notBound(channel);
    switch (kind) {
      case 3:
        channel.write(passwordMessage(password));
        break;
      case 5:
        channel.write(passwordMessage(hashed(password, who.user, body.subarray(4, 8))));
        break;
      case 10:
        await scram(channel, { password, mechanisms: textsOf(body.subarray(4)), bind: who.bindChannel });
        break;
      default:
        throw new Fault(
          'NOT_SUPPORTED',
          `${channel.name} wants a login other than with a password, which is not supported`,
        );
    }
  }
}

/** What the server asks for next. */
async function authentication(channel: ByteChannel): Promise<Buffer> {
  for (;;) {
    const { kind, body } = await readMessage(channel, 'login');
    if (kind === 'E') throw faultOfServerError(serverErrorOf(body), channel.name);
    if (kind === 'R' && body.length >= 4) return body;
    if (!/[NSv]/.test(kind)) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${channel.name} does not log in as PostgreSQL does`);
    }
  }
}

function passwordOf({ name }: ByteChannel, { password, user }: PostgresUser): string {
  if (password !== undefined) return password.reveal();
  throw new Fault('SOURCE_REFUSED', `${name} wants a password for ${user}, and there is none`);
}

const notBound = ({ name }: ByteChannel) =>
  new Fault(
    'SOURCE_REFUSED',
    `${name} cannot bind the login to the encryption, as channel_binding=require wants`,
  );

function hashed(password: string, user: string, salt: Buffer): string {
  const md5 = (...parts: (string | Buffer)[]) => {
    const hash = createHash('md5');
    for (const part of parts) hash.update(part);
    return hash.digest('hex');
  };
  return `md5${md5(md5(password, user), salt)}`;
}

interface Scram {
  password: string;
  mechanisms: readonly string[];
  bind: boolean;
}

/** SCRAM-SHA-256 (RFC 5802, RFC 7677), with channel binding where that is required. */
async function scram(channel: ByteChannel, { password, mechanisms, bind }: Scram): Promise<void> {
  const mechanism = bind ? 'SCRAM-SHA-256-PLUS' : 'SCRAM-SHA-256';
  if (!mechanisms.includes(mechanism)) {
    if (bind) throw notBound(channel);
    throw new Fault('NOT_SUPPORTED', `${channel.name} offers only ${mechanisms.join(', ')} to log in with`);
  }
  const header = bind ? 'p=tls-server-end-point,,' : 'n,,';
  const binding = bind ? endPoint(channel) : Buffer.alloc(0);
  const nonce = randomBytes(18).toString('base64');
  // The name in here is not looked at; the one at the start counts.
  const first = `n=,r=${nonce}`;
  channel.write(loginStart(mechanism, `${header}${first}`));

  const challenge = (await authentication(channel)).toString('utf8', 4);
  const { r: both = '', s: salt = '', i: rounds = '' } = attributes(challenge);
  const count = Number(rounds);
  if (!both.startsWith(nonce) || both === nonce || !(count >= 1 && count <= mostRounds)) {
    throw new Fault('SOURCE_ANSWER_INVALID', `${channel.name} sent a challenge that makes no sense`);
  }
  const salted = await stretch(password.normalize('NFKC'), Buffer.from(salt, 'base64'), count, 32, 'sha256');
  const unproven = `c=${Buffer.concat([Buffer.from(header), binding]).toString('base64')},r=${both}`;
  const whole = `${first},${challenge},${unproven}`;
  const clientKey = hmac(salted, 'Client Key');
  const signature = hmac(createHash('sha256').update(clientKey).digest(), whole);
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0)));
  channel.write(loginAnswer(`${unproven},p=${proof.toString('base64')}`));

  const { v: verifier = '' } = attributes((await authentication(channel)).toString('utf8', 4));
  const given = Buffer.from(verifier, 'base64');
  const wanted = hmac(hmac(salted, 'Server Key'), whole);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    throw new Fault(
      'SOURCE_REFUSED',
      `${channel.name} does not know the password itself: it is not the server`,
    );
  }
}

const hmac = (key: Uint8Array, text: string) => createHmac('sha256', key).update(text).digest();

function attributes(text: string): Record<string, string | undefined> {
  return Object.fromEntries(text.split(',').map(part => [part.slice(0, 1), part.slice(2)]));
}

const digests: Readonly<Record<string, string>> = {
  // RSA and ECDSA with SHA-384 and SHA-512; all else is bound with SHA-256 (RFC 5929), older hashes included.
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
};

/** The hash of the server's certificate, with the algorithm that the certificate was signed with. */
function endPoint(channel: ByteChannel): Buffer {
  const certificate = channel.peerCertificate;
  if (certificate === undefined) throw notBound(channel);
  const [whole] = elementsOf(certificate);
  const [, algorithm] = elementsOf(whole?.content ?? Buffer.alloc(0));
  const [id] = elementsOf(algorithm?.content ?? Buffer.alloc(0));
  return createHash(digests[id?.content.toString('hex') ?? ''] ?? 'sha256')
    .update(certificate)
    .digest();
}
