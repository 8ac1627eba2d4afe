import { describe, expect, it } from 'vitest';
import { Secret } from './secret.ts';
import { signedHeaders } from './sigv4.ts';

const signing = {
  credentials: {
    accessKeyId: 'AKIDEXAMPLE',
    secretAccessKey: new Secret('wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'),
  },
  region: 'us-east-1',
  service: 'service',
  now: Date.UTC(2015, 7, 30, 12, 36),
};

const at = (path: string) => `https://example.amazonaws.com${path}`;

const form = 'application/x-www-form-urlencoded';
const sessionToken =
  'AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==';

/** @see https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html */
describe("AWS's own test suite of signature version 4", () => {
  it.each([
    ['get-vanilla', { path: '/' }, '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31'],
    [
      'get-vanilla-query-order-key-case',
      { path: '/?Param2=value2&Param1=value1' },
      'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
    ],
    [
      'get-vanilla-query-unreserved',
      {
        path: '/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz',
      },
      '9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197',
    ],
    [
      'get-vanilla-utf8-query',
      { path: '/?ሴ=bar' },
      '2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04',
    ],
    [
      'get-unreserved',
      { path: '/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz' },
      '07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f',
    ],
    [
      'get-header-value-trim',
      { path: '/', headers: { 'My-Header1': ' value1', 'My-Header2': ' "a   b   c"' } },
      'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736',
    ],
    [
      'get-header-key-duplicate',
      { path: '/', headers: { 'My-Header1': 'value2,value2,value1' } },
      'c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea',
    ],
    [
      'post-x-www-form-urlencoded',
      { method: 'POST', path: '/', headers: { 'Content-Type': form }, body: 'Param1=value1' },
      'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
    ],
    [
      'post-sts-header-before',
      { method: 'POST', path: '/', sessionToken },
      '85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead',
    ],
  ] as [
    string,
    { path: string; method?: string; headers?: Record<string, string>; body?: string; sessionToken?: string },
    string,
  ][])('%s', (_name, { path, method = 'GET', sessionToken: token, ...rest }, signature) => {
    const credentials = {
      ...signing.credentials,
      ...(token === undefined ? {} : { sessionToken: new Secret(token) }),
    };

    const headers = signedHeaders({ method, url: at(path), ...rest }, { ...signing, credentials });

    expect(headers['authorization']).toMatch(
      'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=',
    );
    expect(headers['authorization']?.split('Signature=')[1]).toBe(signature);
  });
});

it('signs with the token of keys that end, and keeps the headers that were given', () => {
  const credentials = { ...signing.credentials, sessionToken: new Secret('T') };
  const request = { method: 'POST', url: at('/'), headers: { accept: 'application/json' }, body: '{}' };

  const headers = signedHeaders(request, { ...signing, credentials });

  expect(headers).toMatchObject({
    accept: 'application/json',
    'x-amz-date': '20150830T123600Z',
    'x-amz-security-token': 'T',
  });
  expect(headers['authorization']).toContain('SignedHeaders=accept;host;x-amz-date;x-amz-security-token');
});
