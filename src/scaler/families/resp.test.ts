import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { encodeCommands, type Reply, ReplyError, ReplyReader } from './resp.ts';

function wire(reply: Reply): Buffer {
  if (reply === null) return Buffer.from('$-1\r\n');
  if (typeof reply === 'number') return Buffer.from(`:${reply}\r\n`);
  if (typeof reply === 'string') return Buffer.from(`+${reply}\r\n`);
  if (reply instanceof ReplyError) return Buffer.from(`-${reply.message}\r\n`);
  if (Array.isArray(reply)) return Buffer.concat([Buffer.from(`*${reply.length}\r\n`), ...reply.map(wire)]);
  return Buffer.concat([Buffer.from(`$${reply.length}\r\n`), reply, Buffer.from('\r\n')]);
}

const lines = fc.string({ maxLength: 20 }).map(text => text.replaceAll(/[\r\n]/g, ' '));
const { replies } = fc.letrec<{ replies: Reply; leaf: Reply }>(tie => ({
  leaf: fc.oneof(
    lines,
    fc.maxSafeInteger(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes)),
    lines.map(line => new ReplyError(line)),
  ),
  replies: fc.oneof(
    { maxDepth: 4 },
    tie('leaf'),
    fc.array(tie('replies'), { maxLength: 4 }) as fc.Arbitrary<Reply>,
  ),
}));

function read(reader: ReplyReader, ...pieces: (string | Buffer)[]): Reply[] {
  return pieces.flatMap(piece => [...reader.push(Buffer.from(piece))]);
}

function refusal(reader: ReplyReader, ...pieces: string[]): Fault {
  try {
    read(reader, ...pieces);
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown;
    throw thrown;
  }
  throw new Error('nothing was refused');
}

describe('reading replies', () => {
  it('reads the same whatever pieces they come in', () => {
    fc.assert(
      fc.property(fc.array(replies, { maxLength: 5 }), fc.array(fc.nat(60)), (sent, cuts) => {
        const bytes = Buffer.concat(sent.map(wire));
        const reader = new ReplyReader();
        const seen: Reply[] = [];
        let at = 0;

        for (const cut of [...cuts, bytes.length]) {
          seen.push(...reader.push(bytes.subarray(at, at + cut)));
          at = Math.min(bytes.length, at + cut);
        }

        expect(seen).toEqual(sent);
      }),
    );
  });

  it('reads commands as they are written, bytes and all', () => {
    const body = Buffer.from([0xff, 0x0d, 0x0a, 0x00]);

    const bytes = encodeCommands([['SET', 'schlüssel', body], ['PING'], ['ECHO', body, '']]);

    const seen = read(new ReplyReader(), bytes);
    expect(seen).toEqual([
      ['SET', 'schlüssel', body].map(arg => Buffer.from(arg)),
      [Buffer.from('PING')],
      [Buffer.from('ECHO'), body, Buffer.from('')],
    ]);
  });

  it('takes the missing list for nothing', () => {
    expect(read(new ReplyReader(), '*-1\r\n*0\r\n')).toEqual([null, []]);
  });

  it.each([
    ['another protocol', 'HTTP/1.1 400 Bad Request\r\n'],
    ['a number that is none', ':1.5\r\n'],
    ['a number of 30 digits', `:${'9'.repeat(30)}\r\n`],
    ['a negative length', '$-2\r\n'],
    ['a length that is none', '*x\r\n'],
    ['a text that does not end where it said', '$2\r\nabcd'],
    ['a line without an end', `+${'x'.repeat(70_000)}`],
    ['lists without end', '*1\r\n'.repeat(1000)],
  ])('refuses %s', (_title, bytes) => {
    expect(refusal(new ReplyReader(), bytes)).toMatchObject({ code: 'SOURCE_ANSWER_INVALID' });
  });

  it.each([
    ['that is announced', '$1001\r\n'],
    ['that comes in parts', `*200\r\n${'$10\r\n0123456789\r\n'.repeat(100)}`],
  ])('refuses an answer that is too large %s, before it has read it', (_title, bytes) => {
    const reader = new ReplyReader();
    reader.mostBytes = 1000;

    expect(refusal(reader, bytes)).toMatchObject({ code: 'SOURCE_ANSWER_TOO_LARGE' });
  });

  it('counts the size of each answer by itself', () => {
    const reader = new ReplyReader();
    reader.mostBytes = 20;

    expect(read(reader, '$10\r\n0123456789\r\n'.repeat(50))).toHaveLength(50);
  });
});
