import { describe, expect, it } from 'vitest';
import type { AmqpMessage } from './azure-amqp-frames.ts';
import { compileEventFilter } from './azure-event-hub-filter.ts';

const event = (over: Partial<AmqpMessage> = {}): AmqpMessage => ({
  annotations: new Map<string, bigint | string | Date>([
    ['x-opt-sequence-number', 12n],
    ['x-opt-offset', '4711'],
    ['x-opt-enqueued-time', new Date(Date.UTC(2026, 0, 15, 12))],
    ['x-opt-partition-key', 'berlin'],
    ['iothub-connection-device-id', 'lamp-7'],
  ]),
  properties: ['id-1', null, null, 'page', null, 'c-1', 'application/json'],
  applicationProperties: new Map<string, string | number | bigint | boolean>([
    ['lang', 'en'],
    ['size', 2_000],
    ['big', 2n ** 60n],
    ['urgent', true],
  ]),
  body: Buffer.from(
    JSON.stringify({
      kind: 'page',
      url: 'https://a.example/x?y',
      depth: 3,
      tags: ['new', 'b'],
      deep: { 'odd name': null },
    }),
  ),
  ...over,
});

describe('event filters', () => {
  it.each([
    ["body.kind == 'page'", true],
    ['body.kind != "page"', false],
    ['body.depth >= 3 && body.depth < 4', true],
    ["body.depth > 3 || properties.lang == 'en'", true],
    ['!(body.depth > 3) && !properties.missing', true],
    ["body.url startsWith 'https://' && body.url contains '?' && !(body.url endsWith '/')", true],
    ["properties.lang in ['de', 'en']", true],
    ["properties.lang in ['de', 'fr']", false],
    ["'new' in body.tags && body.tags contains 'b' && body.tags[0] == 'new'", true],
    ["body.deep['odd name'] == null && body.nothing.at.all == null", true],
    ['properties.urgent', true],
    ['properties.lang', false],
    ['properties.big > 1000000 && properties.big != 5', true],
    ["system.sequenceNumber == 12 && system.offset == '4711'", true],
    ["system.enqueuedTime >= '2026-01-15' && system.enqueuedTime < '2026-01-16'", true],
    ["system.partitionKey == 'berlin' && system.subject == 'page' && system.messageId == 'id-1'", true],
    ["system['iothub-connection-device-id'] == 'lamp-7'", true],
    ["body.depth == '3' || body.kind > 1", false],
    ['body.constructor != null || body.__proto__ != null || properties.toString != null', false],
    ["body.kind == 'it\\'s'", false],
    ['true', true],
  ])('%s is %s', (text, expected) => {
    expect(compileEventFilter(text)(event())).toBe(expected);
  });

  it.each([
    ['a text that is no JSON', Buffer.from('hello there'), "body contains 'there'"],
    ['a number', Buffer.from('7'), 'body == 7'],
    ['a value of AMQP', new Map([['kind', 'page']]), "body.kind == 'page'"],
    ['nothing', null, 'body == null'],
  ] as const)('takes %s for a body', (_title, body, text) => {
    expect(compileEventFilter(text)(event({ body }))).toBe(true);
  });

  it.each([
    ['', 'ends too early'],
    ["body.kind = 'page'", 'character 11'],
    ["kind == 'page'", 'has "kind" at character 1'],
    ["body.kind == 'page", 'is not understood'],
    ["body.kind == 'page')", 'has ) at character 20'],
    ['(body.a', 'where ) must be'],
    ['body.', 'ends too early'],
    ['body[a]', 'has a at character 6'],
    ["body.a in ['x' 'y']", 'where , must be'],
    ['body.a in [', 'ends too early'],
    [`${'('.repeat(40)}true${')'.repeat(40)}`, 'nests deeper'],
    [`${'!'.repeat(40)}true`, 'nests deeper'],
    ['1'.repeat(5000), 'longer than 4096'],
  ])('refuses %s', (text, problem) => {
    expect(() => compileEventFilter(text)).toThrow(problem);
  });
});
