import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type TestServer, tcpServer } from '../../../test/misbehaving-http.ts';
import { Fault } from '../../base/errors.ts';
import { connectMysql } from './mysql-link.ts';
import { connectPostgres } from './postgres-link.ts';
import type { SqlLink } from './sql.ts';

const soon = () => AbortSignal.timeout(5000);
const address = ({ host, port }: TestServer) => ({ host, port });
const common = { encryption: undefined, mayBePlain: false, user: 'app', password: undefined };

const postgres = (server: TestServer) =>
  connectPostgres(
    {
      ...common,
      address: address(server),
      bindChannel: false,
      logins: undefined,
      parameters: {},
      readOnly: true,
      statementMs: undefined,
    },
    soon(),
  );

const mysql = (server: TestServer) =>
  connectMysql(
    {
      ...common,
      address: address(server),
      database: '',
      clearText: false,
      nativeHash: true,
      multiStatements: false,
      attributes: {},
      preparations: () => [],
    },
    soon(),
  );

const postgresLogin = Buffer.from('52000000080000000' + '05a0000000549', 'hex');
const mysqlGreeting = Buffer.concat([
  Buffer.from([0x33, 0, 0, 0, 10]),
  Buffer.from('8.0.0\0\u0001\0\0\x0012345678\0', 'latin1'),
  Buffer.from([0xff, 0xf7, 45, 2, 0, 0, 0, 21, ...Array(10).fill(0)]),
  Buffer.from('123456789012\0', 'latin1'),
]);
const mysqlOk = Buffer.from([7, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0]);

/** What a query comes to where the server answers it with these bytes and hangs up. */
async function outcome(
  bytes: Buffer,
  {
    greeting,
    login,
    connect,
  }: { greeting: Buffer; login: Buffer; connect(server: TestServer): Promise<SqlLink> },
): Promise<unknown> {
  await using server = await tcpServer(socket => {
    socket.write(greeting);
    socket.once('data', () => {
      socket.write(login);
      socket.once('data', () => socket.end(bytes));
    });
  });
  try {
    await using link = await connect(server);
    return await link.ask('SELECT 1', soon());
  } catch (thrown) {
    return thrown;
  }
}

const kinds = {
  postgresql: { greeting: Buffer.alloc(0), login: postgresLogin, connect: postgres },
  mysql: { greeting: mysqlGreeting, login: mysqlOk, connect: mysql },
};

/** Bytes that begin like an answer: the parsers must get somewhere before they give up. */
const postgresMessage = fc
  .tuple(fc.constantFrom(...'12CDEGHINSTZn'), fc.uint8Array({ maxLength: 40 }))
  .map(([kind, body]) => {
    const head = Buffer.alloc(5);
    head.write(kind, 'latin1');
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  });
const mysqlPackets = fc
  .array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 })
  .map(bodies =>
    Buffer.concat(bodies.flatMap((body, index) => [Buffer.from([body.length, 0, 0, index + 1]), body])),
  );
const anything = fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes));

describe('whatever a server answers', () => {
  it.each([
    ['postgresql', fc.oneof(anything, fc.array(postgresMessage, { maxLength: 6 }).map(Buffer.concat))],
    ['mysql', fc.oneof(anything, mysqlPackets)],
  ] as const)('%s makes an answer or a Fault of it', async (kind, answers) => {
    await fc.assert(
      fc.asyncProperty(answers, async bytes => {
        const found = await outcome(bytes, kinds[kind]);

        if (found instanceof Fault) expect(found.code).toMatch(/^SOURCE_/);
        else expect(found).toMatchObject({ columns: expect.any(Number) });
      }),
      { numRuns: 150 },
    );
  });

  it.each(['postgresql', 'mysql'] as const)('%s is understood where it is right', async kind => {
    const message = (head: string, hex: string) => {
      const body = Buffer.from(hex, 'hex');
      const size = Buffer.alloc(4);
      size.writeInt32BE(body.length + 4);
      return Buffer.concat([Buffer.from(head), size, body]);
    };
    const right = {
      postgresql: Buffer.concat([
        message('T', '0001'),
        message('D', '00010000000137'),
        message('C', '00'),
        message('Z', '49'),
      ]),
      mysql: Buffer.from(
        [
          '01000001' + '01',
          '01000002' + '03',
          '05000003' + 'fe00000200',
          '02000004' + '0137',
          '05000005' + 'fe00000200',
        ].join(''),
        'hex',
      ),
    };

    expect(await outcome(right[kind], kinds[kind])).toEqual({ columns: 1, row: ['7'] });
  });
});
