import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { mysqlIdentity, parseMysql } from './mysql-connection-string.ts';
import { addressText } from './socket.ts';

const shown = (text: string) => {
  const { address, password, ...rest } = parseMysql(text);
  return { ...rest, where: addressText(address), password: password?.reveal() };
};

const plain = {
  where: '127.0.0.1:3306',
  user: 'u',
  password: undefined,
  database: 'd',
  encryption: 'none',
  mayBePlain: false,
  clearText: false,
  nativeHash: true,
  multiStatements: false,
  charsets: [],
  collation: undefined,
  connectTimeoutMs: undefined,
  queryTimeoutMs: undefined,
  attributes: {},
  variables: {},
};

describe('a connection string of MySQL', () => {
  // What go-sql-driver 1.10 makes of the same text.
  it.each([
    ['u@/d', {}],
    ['/', { user: '', database: '' }],
    ['u:p@/d', { password: 'p' }],
    [
      'u:p/w@x:y@tcp([de:ad::1]:80)/db%2Fname',
      { where: '[de:ad::1]:80', password: 'p/w@x:y', database: 'db/name' },
    ],
    ['u:p@w@tcp(h:1)/', { where: 'h:1', password: 'p@w', database: '' }],
    ['u@tcp(h)/d', { where: 'h:3306' }],
    ['u@tcp()/d', {}],
    ['u@(h:1)/d', { where: 'h:1' }],
    ['u@tcp(de:ad::1)/d', { where: '[de:ad::1]:3306' }],
    ['u@/d?tls=', {}],
    [
      'u@/d?tls=skip-verify&autocommit=true',
      { encryption: 'skip-verify', variables: { autocommit: 'true' } },
    ],
    ['u@/d?tls=preferred', { encryption: 'skip-verify', mayBePlain: true }],
    ['u@/d?tls=TRUE', { encryption: 'verify' }],
    ['u@/d?tls=true&allowFallbackToPlaintext=1', { encryption: 'verify', mayBePlain: true }],
    [
      'u@/d?charset=utf8mb4,utf8&collation=utf8mb4_bin',
      { charsets: ['utf8mb4', 'utf8'], collation: 'utf8mb4_bin' },
    ],
    ['u@/d?timeout=5s&readTimeout=1m', { connectTimeoutMs: 5000, queryTimeoutMs: 60_000 }],
    ['u@/d?connectionAttributes=a:b,c:d:e', { attributes: { a: 'b', c: 'd:e' } }],
    [
      "u@/d?time_zone=%27Europe%2FParis%27&x='y z'",
      { variables: { time_zone: "'Europe/Paris'", x: "'y z'" } },
    ],
    ['u@/d?x=1+2', { variables: { x: '1 2' } }],
    ['u@/d?multiStatements=true&allowCleartextPasswords=true', { multiStatements: true, clearText: true }],
    ['u@/d?parseTime=true&loc=UTC&allowNativePasswords=true&interpolateParams=true', {}],
  ])('says in %s', (text, found) => {
    expect(shown(text)).toEqual({ ...plain, ...found });
  });

  it.each([
    ['u:p@tcp(h:1)', 'slash'],
    ['u@tcp(http://my.mysql.dev:3306)/stats_db', 'host:port'],
    ['u@tcp(h:none)/d', 'host:port'],
    ['u@tcp(h/d', 'parenthesis'],
    ['u@h/d', 'network'],
    ['u@unix(/tmp/mysql.sock)/d', 'socket'],
    ['u@/d?tls=custom', 'tls'],
    ['u@/d?multiStatements=yes', 'multiStatements'],
    ['u@/d?timeout=soon', 'timeout'],
    ['u@/d?x=50%', '%'],
    ['u@/d?a;DROP=1', 'variable'],
    ["u@/d?collation=x'y", 'collation'],
  ])('is refused as %s', (text, sentence) => {
    expect(() => parseMysql(text)).toThrow(sentence);
  });

  it('shares a session exactly where everything is the same, and names no secret', () => {
    const others = ['u:hunter2@/d', 'u:hunter3@/d', 'v:hunter2@/d', 'u:hunter2@/e', 'u:hunter2@/d?tls=true'];

    const identities = [...others, 'u:hunter2@tcp(:1)/d'].map(text => mysqlIdentity(parseMysql(text)));

    expect(new Set(identities).size).toBe(identities.length);
    expect(identities.join()).not.toContain('hunter');
  });

  it('is read or refused whatever stands in it', () => {
    fc.assert(
      fc.property(fc.constantFrom('', 'u:p@tcp(', 'u@/d?'), fc.string(), (start, rest) => {
        try {
          parseMysql(`${start}${rest}`);
        } catch (thrown) {
          if (!(thrown instanceof Fault) || thrown.code !== 'PARAM_INVALID') throw thrown;
        }
      }),
    );
  });
});
