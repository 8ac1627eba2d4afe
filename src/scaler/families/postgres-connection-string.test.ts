import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { authority } from '../../../test/certificates.ts';
import { Fault } from '../../base/errors.ts';
import { parsePostgres, postgresIdentity, statementTimeoutMs } from './postgres-connection-string.ts';
import { addressText } from './socket.ts';

/** What pgx 5.9 makes of the same text, where it is shown whole. */
const shown = (text: string) => {
  const { servers, user, password, sslMode, parameters, connectTimeoutMs } = parsePostgres(text);
  const where = servers.map(addressText).join(',');
  return { where, user, password: password?.reveal(), sslMode, parameters, connectTimeoutMs };
};

const plain = {
  user: 'u',
  password: undefined,
  sslMode: 'prefer',
  parameters: {},
  connectTimeoutMs: undefined,
};

describe('a connection string of PostgreSQL', () => {
  it.each([
    ['postgresql://u:p@localhost:5432', { where: 'localhost:5432', password: 'p' }],
    [
      'postgres://u@h/db?sslmode=disable',
      { where: 'h:5432', sslMode: 'disable', parameters: { database: 'db' } },
    ],
    ['postgres://u@h1,h2:6000', { where: 'h1:6000,h2:6000' }],
    ['postgres://u@h1:1,h2:2', { where: 'h1:1,h2:2' }],
    [
      'postgres://u:p%40w@[::1]:7/d%20b',
      { where: '[::1]:7', password: 'p@w', parameters: { database: 'd b' } },
    ],
    ['postgres://u:a@b@h', { where: 'h:5432', password: 'a@b' }],
    ['postgres://u@h?host=o&port=99&user=v', { where: 'o:99', user: 'v' }],
    ['postgres://u@h?connect_timeout=3', { where: 'h:5432', connectTimeoutMs: 3000 }],
    [
      'postgres://u@h?options=-c%20search_path%3Dx+y',
      { where: 'h:5432', parameters: { options: '-c search_path=x y' } },
    ],
    ['postgres://u@h?default_query_exec_mode=simple_protocol', { where: 'h:5432' }],
    ['postgres://u@', { where: 'localhost:5432' }],
    ['host=h port=1 user=u dbname=d', { where: 'h:1', parameters: { database: 'd' } }],
    ["host = h user=u password='it\\'s \\\\ here'", { where: 'h:5432', password: "it's \\ here" }],
    ["host=h user=u password=it's", { where: 'h:5432', password: "it's" }],
    ['user=u password= host=h', { where: 'localhost:5432', password: 'host=h' }],
    ['user=u host=h password=', { where: 'h:5432' }],
    ['user=u host=a,b,c port=1,2,3', { where: 'a:1,b:2,c:3' }],
    ['user=u host=a,b port=5', { where: 'a:5,b:5' }],
    ['user=u\nhost=h\tapplication_name=x', { where: 'h:5432', parameters: { application_name: 'x' } }],
    ["user=u host=h password='a b' sslmode=''", { where: 'h:5432', password: 'a b' }],
    ['postgres://u@h?sslmode=require&sslmode=disable', { where: 'h:5432', sslMode: 'require' }],
  ])('says in %s', (text, found) => {
    expect(shown(text)).toEqual({ ...plain, ...found });
  });

  it.each([
    ['test_conn_str', 'neither'],
    ["user='u", 'neither'],
    ['postgres://h/db', 'no user'],
    ['postgres://u:50%@h', '%'],
    ['user=u host=/var/run/postgresql', 'socket'],
    ['user=u host=@abstract', 'socket'],
    ['user=u host=h port=none', 'port'],
    ['user=u host=h port=70000', 'port'],
    ['user=u host=h, port=1', 'host'],
    ['user=u host=h sslmode=required', 'sslmode'],
    ['user=u host=h target_session_attrs=any-of-them', 'target_session_attrs'],
    ['user=u host=h connect_timeout=soon', 'connect_timeout'],
    ['user=u host=h require_auth=trust', 'require_auth'],
    ['user=u host=h require_auth=md5,!password', 'require_auth'],
    ['user=u host=h passfile=/root/.pgpass', '"passfile" names a file'],
    ['user=u host=h service=shop', '"service" names a file'],
    ['user=u host=h sslrootcert=/etc/ca.pem', '"sslrootcert" names a file'],
    ['user=u host=h sslkey=/etc/key.pem', '"sslkey" names a file'],
  ])('is refused as %s', (text, sentence) => {
    expect(() => parsePostgres(text)).toThrow(sentence);
  });

  it('takes certificates as they are', () => {
    const { tls } = parsePostgres(`user=u host=h sslrootcert='${authority}' sslcert= `);

    expect(tls).toEqual({ ca: authority });
    expect(parsePostgres('user=u host=h sslrootcert=system').tls).toEqual({});
  });

  it.each([
    ['5s', 5000],
    ['1500', 1500],
    ['2min', 120_000],
    ['0', undefined],
    ['a while', undefined],
  ])('lets a query take %s', (value, ms) => {
    expect(statementTimeoutMs(parsePostgres(`user=u statement_timeout='${value}'`))).toBe(ms);
  });

  it('shares a session exactly where everything is the same, and names no secret', () => {
    const base = 'user=u host=h password=hunter2';
    const others = ['sslmode=require', 'dbname=d', 'application_name=x', 'connect_timeout=9', 'port=1'];

    const identities = [base, ...others.map(other => `${base} ${other}`), `${base}x`].map(text =>
      postgresIdentity(parsePostgres(text)),
    );

    expect(new Set(identities).size).toBe(identities.length);
    expect(identities.join()).not.toContain('hunter2');
  });

  it('is read or refused whatever stands in it, and never shown', () => {
    fc.assert(
      fc.property(fc.constantFrom('', 'postgres://', 'user=u password='), fc.string(), (start, rest) => {
        try {
          parsePostgres(`${start}${rest}`);
        } catch (thrown) {
          if (!(thrown instanceof Fault) || thrown.code !== 'PARAM_INVALID') throw thrown;
        }
      }),
    );
  });
});
