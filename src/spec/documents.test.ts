import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { documentOf, maxManifestBytes, placeProblem, readDocuments } from './documents.ts';
import { parseManifest } from './manifest.ts';
import { formatProblem } from './problem.ts';

const workload = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: web
spec:
  scaleTargetRef: { name: web }
  triggers:
    - type: cron
      metadata:
        desiredReplicas: 1.0
`;

const problemsOf = (text: string | Uint8Array) => readDocuments(text, 'f.yaml').problems.map(formatProblem);

describe('reading documents', () => {
  it('reads every document of a file and numbers them', () => {
    const { documents, problems } = readDocuments(`${workload}---\n---\n${workload}`, 'f.yaml');

    expect(problems).toEqual([]);
    expect(documents.map(({ index, kind, name, namespace }) => ({ index, kind, name, namespace }))).toEqual([
      { index: 0, kind: 'ScaledObject', name: 'web', namespace: 'default' },
      { index: 1, kind: 'ScaledObject', name: 'web', namespace: 'default' },
    ]);
  });

  it('takes lists apart, typed ones too, and keeps the places of their items', () => {
    const text = `apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Secret, metadata: { name: a } }
  - apiVersion: keda.sh/v1alpha1
    kind: ScaledJobList
    items:
      - metadata: { name: b, namespace: n }
`;

    const { documents } = readDocuments(text, 'f.yaml');

    expect(documents.map(({ kind, name }) => `${kind} ${name}`)).toEqual(['Secret a', 'ScaledJob b']);
    expect(documents[1]?.place(['metadata', 'namespace'])).toEqual({
      file: 'f.yaml',
      line: 8,
      column: 30,
      field: 'metadata.namespace',
    });
  });

  it('reads JSON', () => {
    const { documents } = readDocuments(
      '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}',
      'f.json',
    );

    expect(documents[0]?.name).toBe('a');
  });

  it('applies merge keys and reads a leading zero as octal, as kubectl does', () => {
    const text = 'apiVersion: v1\nkind: X\na: &a { x: 1, y: 2 }\nb: { <<: *a, y: 3 }\nmode: 0644\n';

    const { documents } = readDocuments(text, 'f.yaml');

    expect(documents[0]?.value).toMatchObject({ b: { x: 1, y: 3 }, mode: 0o644 });
  });

  it('keeps a key named __proto__ a key', () => {
    const { documents } = readDocuments('apiVersion: v1\nkind: X\n__proto__: { polluted: true }\n', 'f.yaml');

    expect(Object.keys(documents[0]?.value ?? {})).toContain('__proto__');
    expect(documents[0]?.value).not.toHaveProperty('polluted');
  });

  it.each([
    ['nothing', '', 'f.yaml: the file holds no manifest'],
    ['comments only', '# hello\n---\n', 'f.yaml: the file holds no manifest'],
    ['a text', 'hello', 'f.yaml:1:1: a manifest is an object with apiVersion and kind, this is a text'],
    ['no kind', 'apiVersion: v1', 'f.yaml:1:1: the object has no kind: add one, such as kind: ScaledObject'],
    ['a tab', 'a:\n\tb: 1', 'f.yaml:2:1: this is not YAML: Tabs are not allowed as indentation'],
    ['a key twice', 'kind: X\na: 1\na: 2', 'f.yaml:3:1: the key "a" is there twice: keep one of them'],
    ['an unknown alias', 'a: *b', 'f.yaml:1:4: there is no anchor &b before this alias'],
    ['an alias inside its anchor', 'a: &a [*a]', 'f.yaml:1:8: there is no anchor &a before this alias'],
    ['a NUL', 'a: \u0000', 'f.yaml: the file is binary, not a manifest'],
    [
      'a template',
      'a: {{ .Values.a }}\nb: ]',
      'f.yaml:2:4: this is not YAML: Unexpected flow-seq-end token in YAML stream: "]": render the template first',
    ],
  ])('says what is wrong with a file that holds %s', (_title, text, sentence) => {
    const problems = problemsOf(text);

    expect(problems).toEqual([sentence]);
  });

  it('does not add up brackets that texts of many documents leave open', () => {
    const one = 'apiVersion: v1\nkind: X\nscript: "if (a) {"\n---\n';

    const { documents, problems } = readDocuments(one.repeat(3000), 'f.yaml');

    expect(problems).toEqual([]);
    expect(documents).toHaveLength(3000);
  });

  it('refuses bytes that are not UTF-8', () => {
    const problems = problemsOf(new Uint8Array([0x61, 0xff, 0xfe]));

    expect(problems).toEqual(['f.yaml: the file is not UTF-8 text']);
  });

  it.each([
    ['is too large', 'a'.repeat(maxManifestBytes + 1), /5,000,001 bytes, more than the 5,000,000/],
    ['opens brackets without end', '['.repeat(1_000_000), /nested too deeply/],
    ['opens maps without end', '{a: '.repeat(1_000_000), /nested too deeply/],
    ['closes as often as it opens', '[]'.repeat(1_000_000), /not YAML/],
    [
      'is indented without end',
      Array.from({ length: 3000 }, (_, n) => `${' '.repeat(n)}a:`).join('\n'),
      /nested/,
    ],
    ['is deeper than any manifest', `${'['.repeat(200)}${']'.repeat(200)}`, /nested more than 100 levels/],
    ['has anchors that explode', laughs('abcdefghijk'), /aliases stand for more than 100,000 values/],
    ['has merge keys that pile up', pile(3000), /aliases stand for more than 100,000 values/],
    ['is one error after the other', '&a '.repeat(300_000), /not YAML/],
  ])('refuses a file that %s', (_title, text, sentence) => {
    const [problem] = problemsOf(text);

    expect(problem).toMatch(sentence);
  });

  it('reads on after a document it cannot read', () => {
    const { documents, problems } = readDocuments(`a: [\n---\n${workload}`, 'f.yaml');

    expect(problems).toHaveLength(1);
    expect(documents).toHaveLength(1);
  });

  it('never throws, whatever the text, and neither does parsing', () => {
    const yamlish = fc.array(
      fc.constantFrom(
        ...workload.split(/(?<=[\s:{}])/),
        '- ',
        '[',
        '&a ',
        '*a',
        '!x ',
        '---\n',
        '\t',
        '"',
        '|\n',
        '? ',
      ),
    );
    const bytes = fc.uint8Array({ maxLength: 200 });

    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          yamlish.map(parts => parts.join('')),
          bytes,
        ),
        text => {
          const { documents, problems } = readDocuments(text, 'f.yaml');
          const parsed = documents.map(document => parseManifest(document));
          return documents.length > 0 || problems.length > 0 || parsed.length > 0;
        },
      ),
      { numRuns: 1500 },
    );
  });
});

describe('places', () => {
  const document = readDocuments(workload, 'f.yaml').documents[0] ?? documentOf({});

  it.each([
    [
      ['spec', 'triggers', 0, 'metadata', 'desiredReplicas'],
      10,
      9,
      'spec.triggers[0].metadata.desiredReplicas',
    ],
    [['spec', 'triggers', 0], 8, 7, 'spec.triggers[0]'],
    [['spec', 'triggers', 3, 'type'], 7, 3, 'spec.triggers[3].type'],
    [['metadata', 'annotations', 'a.b/c'], 3, 1, 'metadata.annotations["a.b/c"]'],
    [[], 1, 1, ''],
  ] as const)('finds %j at line %i, column %i', (path, line, column, field) => {
    const place = document.place(path);

    expect(place).toEqual({ file: 'f.yaml', line, column, field });
  });

  it('knows how a scalar is spelled', () => {
    const spelling = document.spelling(['spec', 'triggers', 0, 'metadata', 'desiredReplicas']);

    expect(spelling).toBe('1.0');
  });

  it('gives a problem of a trigger its place in the file', () => {
    const problem = { problem: 'is wrong', place: { field: 'metadata.desiredReplicas' } };

    const placed = placeProblem(document, ['spec', 'triggers', 0], problem);

    expect(formatProblem(placed)).toBe('f.yaml:10:9: spec.triggers[0].metadata.desiredReplicas: is wrong');
  });

  it('finds a key with dots in it, and takes an unknown path as it is', () => {
    const dotted = documentOf({ metadata: { 'a.b': { c: [1] } } }, 'cluster');

    expect(
      placeProblem(dotted, ['metadata'], { problem: 'x', place: { field: 'a.b.c[0]' } }).place?.field,
    ).toBe('metadata["a.b"].c[0]');
    expect(
      placeProblem(dotted, ['metadata'], { problem: 'x', place: { field: 'q.r[1]' } }).place?.field,
    ).toBe('metadata.q.r[1]');
  });
});

function laughs(names: string): string {
  const lines = Array.from(names, (name, index) => {
    const inner = index === 0 ? 'x' : `*${names[index - 1]}`;
    return `${name}: &${name} [${Array(9).fill(inner).join(', ')}]`;
  });
  return `apiVersion: v1\nkind: X\n${lines.join('\n')}`;
}

function pile(count: number): string {
  const lines = Array.from({ length: count }, (_, n) => `k${n + 1}: &k${n + 1} { <<: *k${n}, y${n}: 1 }`);
  return `apiVersion: v1\nkind: X\nk0: &k0 { x: 1 }\n${lines.join('\n')}`;
}
