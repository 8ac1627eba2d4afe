import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../base/secret.ts';
import { saslBearer, saslPlain, saslScram } from './kafka-sasl.ts';

const at = { host: 'broker', now: 0, signal: new AbortController().signal };
const password = new Secret('pencil');

describe('SCRAM', () => {
  /** A broker that knows the password, and may be changed in what it says. */
  function broker(change: { nonce?: string; rounds?: string; proof?: (bytes: Buffer) => Buffer } = {}) {
    const said: string[] = [];
    const salt = Buffer.from('salt of the user');
    const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest();
    const salted = pbkdf2Sync(password.reveal(), salt, 4096, 32, 'sha256');
    let exchanged = '';
    const step = async (bytes: Buffer) => {
      const message = bytes.toString();
      said.push(message);
      if (said.length === 1) {
        const nonce = change.nonce ?? `${/,r=([^,]+)/.exec(message)?.[1]}more`;
        const challenge = `r=${nonce},s=${salt.toString('base64')},i=${change.rounds ?? '4096'}`;
        exchanged = `${message.slice(3)},${challenge},`;
        return Buffer.from(challenge);
      }
      const [last = '', proof = ''] = message.split(',p=');
      exchanged += last;
      const stored = createHash('sha256').update(hmac(salted, 'Client Key')).digest();
      const signature = hmac(stored, exchanged);
      const key = Buffer.from(
        Buffer.from(proof, 'base64').map((byte, index) => byte ^ (signature[index] ?? 0)),
      );
      expect(createHash('sha256').update(key).digest()).toEqual(stored);
      const own = hmac(hmac(salted, 'Server Key'), exchanged);
      return Buffer.from(`v=${(change.proof?.(own) ?? own).toString('base64')}`);
    };
    return { said, step };
  }

  it('proves the password without sending it, and has the broker prove the same', async () => {
    const { said, step } = broker();

    await saslScram('sha256', 'us,er=x', password).login(step, at);

    expect(said[0]).toMatch(/^n,,n=us=2Cer=3Dx,r=/);
    expect(said.join()).not.toContain('pencil');
  });

  it.each([
    ['does not know the password', { proof: (own: Buffer) => Buffer.alloc(own.length) }],
    ['proves nothing', { proof: () => Buffer.alloc(0) }],
    ['answers another login', { nonce: 'another' }],
    ['asks for work without end', { rounds: '999999999' }],
    ['asks for no work', { rounds: '0' }],
  ])('does not trust a broker that %s', async (_title, change) => {
    const login = saslScram('sha256', 'user', password).login(broker(change).step, at);

    await expect(login).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
  });

  it('does not trust a broker that says something else', async () => {
    const login = saslScram('sha512', 'user', password).login(async () => Buffer.from('hello'), at);

    await expect(login).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
  });
});

it('PLAIN sends user and password', async () => {
  const said: string[] = [];

  await saslPlain('user', password).login(async bytes => {
    said.push(bytes.toString());
    return Buffer.alloc(0);
  }, at);

  expect(said).toEqual(['\0user\0pencil']);
});

describe('OAUTHBEARER', () => {
  it('hears what is wrong with a token, lets the broker refuse it, and asks for a new one the next time', async () => {
    const [said, refused]: [string[], string[]] = [[], []];
    const tokens = { token: async () => 'abc', refused: (token: string) => void refused.push(token) };
    const login = saslBearer(tokens, { traceId: '7' }, []).login(async bytes => {
      said.push(bytes.toString());
      return Buffer.from(said.length === 1 ? '{"status":"invalid_token"}' : '');
    }, at);

    await expect(login).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('invalid_token'),
    });
    expect(said).toEqual(['n,,\x01auth=Bearer abc\x01traceId=7\x01\x01', '\x01']);
    expect(refused).toEqual(['abc']);
  });
});
