import { generateKeyPairSync, verify } from 'node:crypto';
import { expect, it } from 'vitest';
import { jwtClaims, signedJwt } from './jwt.ts';
import { Secret } from './secret.ts';

const pem = (type: 'rsa' | 'ec') => {
  const { privateKey, publicKey } =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = new Secret(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());
  return { key, publicKey };
};

it('signs what can be verified with the public key', () => {
  const { key, publicKey } = pem('rsa');

  const token = signedJwt({ iss: 'us', exp: 5 }, key, { kid: 'k1' }).reveal();
  const [header = '', claims = '', signature = ''] = token.split('.');

  expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toEqual({
    alg: 'RS256',
    typ: 'JWT',
    kid: 'k1',
  });
  expect(jwtClaims(token)).toEqual({ iss: 'us', exp: 5 });
  const signed = Buffer.from(`${header}.${claims}`);
  expect(verify('sha256', signed, publicKey, Buffer.from(signature, 'base64url'))).toBe(true);
});

it.each([
  ['no key', new Secret('hunter2')],
  ['a key of another kind', pem('ec').key],
])('refuses %s without quoting it', (_title, key) => {
  const work = () => signedJwt({}, key);

  expect(work).toThrow('the private key is not an RSA key in PEM');
});

it.each(['', 'a.b', 'a.b.c', `a.${Buffer.from('[1]').toString('base64url')}.c`])(
  'finds no claims in %j',
  text => {
    expect(jwtClaims(text)).toBeUndefined();
  },
);
