import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodePublication, NatsReader, readHeaders } from './nats-wire.ts';

const eventsOf = (...chunks: readonly (string | Uint8Array)[]) => {
  const reader = new NatsReader();
  return chunks.flatMap(chunk => reader.push(Buffer.from(chunk)));
};

describe('what a server of NATS says', () => {
  const said = [
    'INFO {"server_id":"N1"}\r\n',
    'PING\r\n+OK\r\npong\r\n',
    'MSG a.b 1 5\r\nhi\r\n!\r\n',
    'HMSG a.c 1 to.me 27 30\r\nNATS/1.0\r\nA: one\r\nb:two\r\n\r\nhö\r\n',
    'HMSG inbox 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n',
    "-ERR 'Authorization Violation'\r\n",
  ].join('');
  const plain = { subscription: '1', reply: undefined, status: undefined, description: '', headers: [] };
  const heard = [
    { kind: 'info', info: { server_id: 'N1' } },
    { kind: 'ping' },
    { kind: 'pong' },
    { kind: 'message', message: { ...plain, subject: 'a.b', data: Buffer.from('hi\r\n!') } },
    {
      kind: 'message',
      message: {
        ...plain,
        subject: 'a.c',
        reply: 'to.me',
        headers: [
          ['A', 'one'],
          ['b', 'two'],
        ],
        data: Buffer.from('hö'),
      },
    },
    {
      kind: 'message',
      message: {
        ...plain,
        subject: 'inbox',
        status: 404,
        description: 'No Messages',
        data: Buffer.alloc(0),
      },
    },
    { kind: 'error', text: 'Authorization Violation' },
  ];

  it('is read as a whole and byte by byte', () => {
    expect(eventsOf(said)).toEqual(heard);
    expect(eventsOf(...[...Buffer.from(said)].map(byte => Buffer.from([byte])))).toEqual(heard);
  });

  it('is read however it is cut', () => {
    const bytes = Buffer.from(said);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), cuts => {
        const at = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index], end));

        expect(eventsOf(...chunks)).toEqual(heard);
      }),
    );
  });

  it.each([
    ['another protocol', '220 mail.example.com ESMTP\r\n', 'SOURCE_ANSWER_INVALID'],
    ['bytes without sense', Buffer.from([0xff, 0xfe, 0x00, 0x7b, 0x0a]), 'SOURCE_ANSWER_INVALID'],
    ['INFO that is no JSON', 'INFO {"a\r\n', 'SOURCE_ANSWER_INVALID'],
    ['a message without a size', 'MSG a 1 many\r\n', 'SOURCE_ANSWER_INVALID'],
    ['headers larger than the message', 'HMSG a 1 9 3\r\n', 'SOURCE_ANSWER_INVALID'],
    ['a message that goes on after its end', 'MSG a 1 2\r\nhello\r\n', 'SOURCE_ANSWER_INVALID'],
    ['a message of a gigabyte', 'MSG a 1 1000000000\r\n', 'SOURCE_ANSWER_TOO_LARGE'],
    ['a line without end', Buffer.alloc(2 ** 20 + 1, 'A'), 'SOURCE_ANSWER_TOO_LARGE'],
  ])('is refused where it is %s', (_title, bytes, code) => {
    expect(() => eventsOf(bytes)).toThrowError(expect.objectContaining({ code }));
  });
});

describe('a message to a server of NATS', () => {
  it.each([
    ['as it is', { subject: 'a', data: 'hö' }, 'PUB a 3\r\nhö\r\n'],
    ['with a way back', { subject: 'a', reply: 'b', data: '' }, 'PUB a b 0\r\n\r\n'],
    [
      'with headers, of which none can begin another',
      { subject: 'a', headers: [['Why', 'no\r\nwork']] as const, data: 'x' },
      'HPUB a 26 27\r\nNATS/1.0\r\nWhy: no work\r\n\r\nx\r\n',
    ],
  ])('is written %s', (_title, publication, text) => {
    expect(encodePublication(publication).toString()).toBe(text);
  });

  it.each(['a b', 'a\r\nPUB b 0', ''])('is not sent to "%s"', subject => {
    expect(() => encodePublication({ subject, data: '' })).toThrowError(/not a subject/);
  });
});

it('reads headers of which a value has a colon', () => {
  expect(readHeaders('NATS/1.0\r\nUrl: http://a:1\r\n\r\n').headers).toEqual([['Url', 'http://a:1']]);
});
