import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { tcpServer } from '../../../test/misbehaving-http.ts';
import { faultFrom } from '../../../test/scaler-contract.ts';
import { Secret } from '../../base/secret.ts';
import { connectRedis, faultOfReply, type RedisEntry } from './redis-link.ts';
import { ReplyError } from './resp.ts';

const entry: RedisEntry = { connectionName: 'eventide' };
const { signal } = new AbortController();

/** A server that answers the first command as every server does, and the rest as a test wants. */
function serverThat(answer: (socket: Socket) => void) {
  return tcpServer(socket => {
    socket.once('data', () => {
      socket.write('+OK\r\n');
      socket.on('data', () => answer(socket));
    });
  });
}

describe('a connection to Redis', () => {
  it.each([
    ['more than it was asked for', '+1\r\n+2\r\n', 'SOURCE_ANSWER_INVALID'],
    ['something that is no answer', '?\r\n', 'SOURCE_ANSWER_INVALID'],
    ['more than a count can need', '$2000000\r\n', 'SOURCE_ANSWER_TOO_LARGE'],
  ])('is closed where the server sends %s', async (_title, answer, code) => {
    await using server = await serverThat(socket => socket.write(answer));
    await using link = await connectRedis(server, entry, signal);

    await link.run([['PING']], { signal }).catch(() => {});
    const fault = await faultFrom(link.run([['PING'], ['PING']], { signal }));

    expect(fault.code).toBe(code);
    expect(fault.message).toContain(`127.0.0.1:${server.port}`);
    expect(link.open).toBe(false);
  });

  it('fails all that wait when the server hangs up in the middle', async () => {
    await using server = await serverThat(socket => socket.end('+half of '));
    await using link = await connectRedis(server, entry, signal);

    const faults = await Promise.all([
      faultFrom(link.run([['ONE']], { signal })),
      faultFrom(link.run([['TWO'], ['THREE']], { signal })),
    ]);

    expect(faults.map(({ code }) => code)).toEqual(['SOURCE_UNREACHABLE', 'SOURCE_UNREACHABLE']);
  });

  it('gives each its own answers, whatever pieces they come in', async () => {
    let commands = 0;
    await using server = await serverThat(socket => {
      commands += 1;
      if (commands > 1) return;
      socket.write(':1\r');
      setImmediate(() => socket.write('\n:2\r\n:'));
      setTimeout(() => socket.write('3\r\n'), 5);
    });
    await using link = await connectRedis(server, entry, signal);

    const answers = await Promise.all([
      link.run([['A'], ['B']], { signal }),
      link.run([['C']], { signal }),
      link.run([], { signal }),
    ]);

    expect(answers).toEqual([[1, 2], [3], []]);
  });

  it('shows no password of a server that quotes what it was sent', async () => {
    await using server = await tcpServer(socket => {
      socket.once('data', chunk =>
        socket.write(`-ERR unknown command ${chunk.toString().replaceAll('\r\n', ' ')}\r\n`),
      );
    });

    const fault = await faultFrom(
      connectRedis(
        server,
        { ...entry, username: 'me', password: new Secret('hunter2') },
        AbortSignal.timeout(300),
      ),
    );

    expect(fault.message).not.toContain('hunter2');
  });

  it('gives itself a name that Redis takes', async () => {
    let sent = '';
    await using server = await tcpServer(socket => {
      socket.on('data', chunk => {
        sent += chunk.toString();
        socket.write('+OK\r\n');
      });
    });

    await using _link = await connectRedis(server, { connectionName: 'eventide shop/ürders' }, signal);

    expect(sent).toContain('eventide-shop/-rders');
  });
});

describe('errors of Redis', () => {
  it.each([
    ['NOAUTH Authentication required.', 'SOURCE_REFUSED'],
    ['WRONGPASS invalid username-password pair', 'SOURCE_REFUSED'],
    ['NOPERM User x has no permissions', 'SOURCE_REFUSED'],
    ['DENIED Redis is running in protected mode', 'SOURCE_REFUSED'],
    ['LOADING Redis is loading the dataset in memory', 'SOURCE_BUSY'],
    ['BUSY Redis is busy running a script', 'SOURCE_BUSY'],
    ['CLUSTERDOWN Hash slot not served', 'SOURCE_BUSY'],
    ['ERR max number of clients reached', 'SOURCE_BUSY'],
    ["READONLY You can't write against a read only replica.", 'SOURCE_UNREACHABLE'],
    ['NOGROUP No such key', 'SOURCE_NOT_FOUND'],
    ['WRONGTYPE Operation against a key', 'SOURCE_FAILED'],
    ['ERR syntax error', 'SOURCE_FAILED'],
  ])('%s is %s', (message, code) => {
    expect(faultOfReply(new ReplyError(message), 'here')).toMatchObject({
      code,
      message: `here answered: ${message}`,
    });
  });
});
