import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { Fault } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import type { LoginAt, SaslLogin } from './kafka-link.ts';

/** SASL PLAIN: user and password as they are, so better within TLS. */
export function saslPlain(username: string, password: Secret): SaslLogin {
  return {
    mechanism: 'PLAIN',
    secrets: [password],
    async login(step) {
      await step(Buffer.from(`\0${username}\0${password.reveal()}`));
    },
  };
}

/** More rounds than any server asks for; one that asks for more would keep us busy for minutes. */
const mostRounds = 1_000_000;
const derive = promisify(pbkdf2);

/** SASL SCRAM (RFC 5802): proves to know the password and has the broker prove the same. */
export function saslScram(hash: 'sha256' | 'sha512', username: string, password: Secret): SaslLogin {
  const length = hash === 'sha256' ? 32 : 64;
  const mechanism = hash === 'sha256' ? 'SCRAM-SHA-256' : 'SCRAM-SHA-512';
  const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest();
  return {
    mechanism,
    secrets: [password],
    async login(step) {
      const nonce = randomBytes(24).toString('base64');
      const name = username.replaceAll('=', '=3D').replaceAll(',', '=2C');
      const first = `n=${name},r=${nonce}`;
      const challenge = (await step(Buffer.from(`n,,${first}`))).toString('utf8');
      const { r: both = '', s: salt = '', i: rounds = '' } = fieldsOf(challenge);
      const isAnswer = both.startsWith(nonce) && both.length > nonce.length && salt !== '';
      if (!isAnswer || !/^[1-9]\d{0,8}$/.test(rounds) || Number(rounds) > mostRounds)
        throw noScram(mechanism);
      const salted = await derive(
        Buffer.from(password.reveal()),
        Buffer.from(salt, 'base64'),
        Number(rounds),
        length,
        hash,
      );
      const last = `c=biws,r=${both}`;
      const exchanged = `${first},${challenge},${last}`;
      const clientKey = hmac(salted, 'Client Key');
      const storedKey = createHash(hash).update(clientKey).digest();
      const signature = hmac(storedKey, exchanged);
      const proof = clientKey.map((byte, index) => byte ^ (signature[index] ?? 0));
      const answer = await step(Buffer.from(`${last},p=${Buffer.from(proof).toString('base64')}`));
      const shown = Buffer.from(fieldsOf(answer.toString('utf8'))['v'] ?? '', 'base64');
      const wanted = hmac(hmac(salted, 'Server Key'), exchanged);
      if (shown.length !== wanted.length || !timingSafeEqual(shown, wanted)) throw noScram(mechanism);
    },
  };
}

function fieldsOf(text: string): Record<string, string> {
  return Object.fromEntries(text.split(',').map(field => [field.slice(0, 1), field.slice(2)]));
}

const noScram = (mechanism: string) =>
  new Fault('SOURCE_REFUSED', `the broker cannot prove by ${mechanism} that it knows the user`);

/** Where bearer tokens come from. */
export interface BearerTokens {
  token(at: LoginAt): Promise<string>;
  /** The broker did not accept it: the next one is a new one. */
  refused(token: string): void;
}

/** SASL OAUTHBEARER (RFC 7628) with Kafka's extensions (KIP-342). */
export function saslBearer(
  tokens: BearerTokens,
  extensions: Readonly<Record<string, string>>,
  secrets: readonly Secret[],
): SaslLogin {
  return {
    mechanism: 'OAUTHBEARER',
    secrets,
    async login(step, at) {
      const token = await tokens.token(at);
      const more = Object.entries(extensions).map(([name, value]) => `${name}=${value}\x01`);
      try {
        const answer = await step(Buffer.from(`n,,\x01auth=Bearer ${token}\x01${more.join('')}\x01`));
        if (answer.length === 0) return;
        // What is wrong comes as JSON, and the broker waits for a sign that it was heard before it refuses.
        await step(Buffer.from('\x01'));
        throw new Fault('SOURCE_REFUSED', `the broker refused the token: ${statusIn(answer)}`);
      } catch (thrown) {
        if (thrown instanceof Fault && thrown.code === 'SOURCE_REFUSED') tokens.refused(token);
        throw thrown;
      }
    },
  };
}

function statusIn(answer: Buffer): string {
  try {
    const said: unknown = JSON.parse(answer.toString('utf8'));
    const status = (said as Record<string, unknown> | null)?.['status'];
    return typeof status === 'string' ? status.slice(0, 100) : 'it does not say why';
  } catch {
    return 'it does not say why';
  }
}
