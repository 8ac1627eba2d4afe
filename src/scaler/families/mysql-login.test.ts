import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { hasGo } from '../../../test/cluster/binaries.ts';
import { goProgram } from '../../../test/go-program.ts';
import { tcpServer } from '../../../test/misbehaving-http.ts';
import { faultFrom } from '../../../test/scaler-contract.ts';
import { Secret } from '../../base/secret.ts';
import { connectMysql, type MysqlEntry } from './mysql-link.ts';

const entryAt = (port: number, over: Partial<MysqlEntry> = {}): MysqlEntry => ({
  address: { host: '127.0.0.1', port },
  encryption: undefined,
  mayBePlain: false,
  user: 'app',
  password: new Secret('pässword'),
  database: '',
  clearText: false,
  nativeHash: true,
  multiStatements: false,
  attributes: {},
  preparations: () => [],
  ...over,
});
const soon = () => AbortSignal.timeout(5000);

/** What a session says to the one query the server knows. */
async function ask(entry: MysqlEntry) {
  await using link = await connectMysql(entry, soon());
  return await link.ask('SELECT 7', soon());
}

async function startLogins(method: string, password = 'pässword') {
  const program = await goProgram('mysql-logins', 'a server that logs in as MySQL 8 does, once; 20 seconds');
  const child = spawn(program, [method, password], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [port] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return {
    port: Number(port),
    async [Symbol.asyncDispose]() {
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    },
  };
}

describe.skipIf(!(await hasGo()))('logging in to MySQL 8', { timeout: 120_000 }, () => {
  it.each(['caching_sha2_password', 'sha256_password', 'mysql_native_password'])(
    'knows %s, plainly and encrypted, the first time and later',
    async method => {
      const encrypted = { encryption: { tls: { unsafeSsl: true } } };
      await using plainly = await startLogins(method);
      await using securely = await startLogins(method);

      for (const entry of [entryAt(plainly.port), entryAt(securely.port, encrypted)]) {
        expect(await ask(entry)).toEqual({ columns: 1, row: ['7'] });
        expect(await ask(entry)).toEqual({ columns: 1, row: ['7'] });
        const wrong = await faultFrom(ask({ ...entry, password: new Secret('not-the-password') }));
        expect(wrong.code).toBe('SOURCE_REFUSED');
        expect(wrong.message).not.toContain('not-the-password');
      }
    },
  );

  it('needs no password where there is none', async () => {
    await using server = await startLogins('caching_sha2_password', '');

    expect(await ask(entryAt(server.port, { password: undefined }))).toMatchObject({ row: ['7'] });
  });
});

describe('a server of MySQL that asks for something else', () => {
  const packet = (sequence: number, ...parts: (string | number[])[]) => {
    const body = Buffer.concat(parts.map(part => Buffer.from(part as string)));
    return Buffer.concat([Buffer.from([body.length, 0, 0, sequence]), body]);
  };
  const greeting = packet(
    0,
    [10],
    '8.0.0\0',
    [1, 0, 0, 0],
    '12345678\0',
    [0xff, 0xf7, 45, 2, 0, 0xff, 0xdf, 21],
    '\0'.repeat(10),
    '123456789012\0',
    'caching_sha2_password\0',
  );
  const switchTo = (plugin: string) => packet(2, [0xfe], `${plugin}\0`, '12345678901234567890\0');

  it.each([
    ['mysql_clear_password', false, 'SOURCE_REFUSED', 'allowCleartextPasswords'],
    ['mysql_clear_password', true, 'taken', ''],
    ['client_ed25519', false, 'NOT_SUPPORTED', 'client_ed25519'],
    ['dialog', false, 'NOT_SUPPORTED', 'dialog'],
  ])('for %s, allowed in clear text: %s, comes to %s', async (plugin, clearText, outcome, sentence) => {
    const answers: Buffer[] = [];
    await using server = await tcpServer(socket => {
      socket.write(greeting);
      socket.once('data', () => {
        socket.write(switchTo(plugin));
        socket.once('data', answer => {
          answers.push(answer);
          socket.write(packet(4, [0, 0, 0, 2, 0, 0, 0]));
        });
      });
    });

    const connecting = connectMysql(entryAt(server.port, { clearText }), soon());

    if (outcome === 'taken') {
      await (await connecting)[Symbol.asyncDispose]();
      expect(Buffer.concat(answers).toString('utf8', 4)).toBe('pässword\0');
    } else {
      const fault = await faultFrom(connecting);
      expect(fault.code).toBe(outcome);
      expect(fault.message).toContain(sentence);
    }
  });
});
