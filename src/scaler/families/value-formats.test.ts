import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../base/errors.ts';
import { type ValueFormat, valueAt, valueFormats } from './value-formats.ts';

function take(format: ValueFormat, location: string, body: string): number | string {
  try {
    return valueAt(format, location)(Buffer.from(body), 'api.example.com');
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown.code;
    throw thrown;
  }
}

const page = `# HELP jobs Jobs by state.
# TYPE jobs gauge
jobs{state="waiting",queue="a b"} 7
jobs{state="done", queue="x\\"y\\\\z",} 1.5e+03 1395066363000
jobs_total 42
http_seconds_bucket{le="+Inf"} 12
http_seconds_count 12
temperature{city="Köln"} -3.5
never NaN
{"quoted.name",kind="odd"} 9 # {trace="1"} 1
`;

describe('a value', () => {
  it.each<[ValueFormat, string, string, number | string]>([
    ['json', 'a.b', '{"a":{"b":1.5}}', 1.5],
    ['json', 'a', '{"a":"100m"}', 0.1],
    ['json', 'a', '{"a":"2Ki"}', 2048],
    ['json', 'a', '{"a":"many"}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '{"a":true}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '{"a":null}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '{"a":[1]}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '{"a":NaN}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '{"a":nope}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '{"a":-}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '{"a":1e999}', 'SOURCE_ANSWER_INVALID'],
    ['json', 'b', '{"a":1}', 'SOURCE_NOT_FOUND'],
    ['json', 'a', '<html></html>', 'SOURCE_ANSWER_INVALID'],
    ['json', 'a', '', 'SOURCE_ANSWER_INVALID'],
    ['yaml', 'foo.bar', 'foo: {bar: 42}', 42],
    ['yaml', 'foo.0.bar', 'foo:\n- bar: 4.5', 4.5],
    ['yaml', 'foo', 'foo: "1500m"', 1.5],
    ['yaml', 'foo', 'foo: yes', 'SOURCE_ANSWER_INVALID'],
    ['yaml', 'foo', 'foo: -010', -8],
    ['yaml', 'foo', 'foo: 089', 89],
    ['yaml', 'foo', 'foo: 0b1_1', 3],
    ['yaml', 'foo', 'foo: 1_000.5', 1000.5],
    ['yaml', 'foo', 'foo: 2024-01-01', 'SOURCE_ANSWER_INVALID'],
    ['yaml', 'foo', 'foo: [1]', 'SOURCE_ANSWER_INVALID'],
    ['yaml', 'foo.bar', 'foo: 5', 5],
    ['yaml', 'bar', 'foo: 5', 'SOURCE_NOT_FOUND'],
    ['yaml', 'constructor', 'foo: 5', 'SOURCE_NOT_FOUND'],
    ['yaml', 'foo', 'foo: 5\n---\nfoo: 6', 5],
    ['yaml', 'b.x', 'a: &a {x: 3}\nb:\n  <<: *a', 3],
    ['yaml', 'foo', '- foo', 'SOURCE_NOT_FOUND'],
    ['yaml', 'foo', 'just words', 'SOURCE_ANSWER_INVALID'],
    ['yaml', 'foo', 'foo: [', 'SOURCE_ANSWER_INVALID'],
    ['yaml', 'foo', '', 'SOURCE_ANSWER_INVALID'],
    ['xml', 'stats.tasks', '<?xml version="1.0"?><stats><tasks> 12 </tasks></stats>', 12],
    ['xml', 'stats.queue.@depth', '<stats><queue depth="7"/></stats>', 7],
    ['xml', 'stats.queue.1', '<stats><queue>7</queue><queue>8</queue></stats>', 8],
    ['xml', 'stats.queue', '<stats><queue id="a">7</queue><queue>8</queue></stats>', 7],
    ['xml', 'stats.queue.0.len', '<stats><queue><len>3k</len></queue></stats>', 3000],
    ['xml', 's.a\\.b', '<x:s xmlns:x="urn:x"><a.b>4</a.b></x:s>', 4],
    ['xml', 'stats.none', '<stats/>', 'SOURCE_NOT_FOUND'],
    ['xml', 'stats', '<stats><a>1</a></stats>', 'SOURCE_ANSWER_INVALID'],
    ['xml', 'stats', '<stats>', 'SOURCE_ANSWER_INVALID'],
    ['xml', 'stats', 'words', 'SOURCE_ANSWER_INVALID'],
    ['xml', 'stats', '', 'SOURCE_ANSWER_INVALID'],
    ['prometheus', 'jobs', page, 7],
    ['prometheus', 'jobs{state="done"}', page, 1500],
    ['prometheus', 'jobs{queue="x\\"y\\\\z"}', page, 1500],
    ['prometheus', '{__name__="jobs",queue="a b"}', page, 7],
    ['prometheus', 'jobs{state!="waiting"}', page, 1500],
    ['prometheus', 'jobs{state=~"done|failed"}', page, 1500],
    ['prometheus', 'jobs{state=~"wait.*"}', page, 7],
    ['prometheus', 'jobs{state!~".+ing"}', page, 1500],
    ['prometheus', 'jobs{zone=""}', page, 7],
    ['prometheus', 'jobs_total', page.replaceAll('\n', '\r\n'), 42],
    ['prometheus', 'http_seconds_count', page, 12],
    ['prometheus', 'temperature{city="Köln"}', page, -3.5],
    ['prometheus', '{"quoted.name"}', page, 9],
    ['prometheus', 'never', page, 'SOURCE_ANSWER_INVALID'],
    ['prometheus', 'job', page, 'SOURCE_NOT_FOUND'],
    ['prometheus', 'jobs{state="lost"}', page, 'SOURCE_NOT_FOUND'],
    ['prometheus', 'jobs', 'jobs{state="waiting" 7', 'SOURCE_ANSWER_INVALID'],
    ['prometheus', 'jobs', 'jobs seven', 'SOURCE_ANSWER_INVALID'],
    ['prometheus', 'jobs', '<html>', 'SOURCE_ANSWER_INVALID'],
    ['prometheus', 'jobs', '', 'SOURCE_ANSWER_INVALID'],
  ])('in %s at %s of %j is %s', (format, location, body, wanted) => {
    expect(take(format, location, body)).toBe(wanted);
  });

  it.each([
    '',
    '{}',
    '{a="b"}',
    'jobs{',
    'jobs{a="b"',
    'jobs{a=b}',
    'jobs{a=~"(x+)+"}',
    'jobs extra',
    'a{"b"}',
  ])('cannot be at the selector %j', location => {
    expect(() => valueAt('prometheus', location)).toThrow(/^(has|names)/);
  });

  it('comes from no bomb of aliases or depth', () => {
    const aliases = [
      'a: &a [1]',
      ...'bcdefghi'.split('').map((key, i) => `${key}: &${key} [${`*${'abcdefghi'[i]},`.repeat(20)}]`),
    ];

    expect(take('yaml', 'z', aliases.join('\n'))).toBe('SOURCE_ANSWER_INVALID');
    expect(take('yaml', 'z', '['.repeat(50_000))).toBe('SOURCE_ANSWER_INVALID');
    expect(take('xml', 'a', '<a>'.repeat(50_000))).toBe('SOURCE_ANSWER_INVALID');
  });

  it('is a number or a fault, whatever the body', () => {
    const pieces = fc.constantFrom(
      ...['{', '}', '[', ']', '"', ':', ',', '<', '>', '/', 'a', '1', ' ', '\n', '#', '&a', '*a', '- ', '<<'],
      ...[
        '<a>',
        '</a>',
        '<!--',
        ']]>',
        '<![CDATA[',
        '<?',
        '&lt;',
        '=',
        '\\',
        '\u0000',
        'é',
        '!!int',
        '|',
        '>',
      ],
    );
    const body = fc.oneof(
      fc.array(pieces, { maxLength: 40 }).map(parts => parts.join('')),
      fc.string({ unit: 'binary', maxLength: 60 }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...valueFormats), body, (format, text) => {
        const value = take(format, 'a', text);

        expect(Number.isFinite(value) || /^SOURCE_(NOT_FOUND|ANSWER_INVALID)$/.test(String(value))).toBe(
          true,
        );
      }),
      { numRuns: 2000 },
    );
  });
});
