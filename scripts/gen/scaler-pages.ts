import type { AnyScaler, Scaler } from '../../src/scaler/define.ts';
import type { Param } from '../../src/scaler/params.ts';
import { testedWords } from '../../src/scaler/tested.ts';

const sourceNames = { metadata: '`metadata`', auth: 'TriggerAuthentication', env: 'environment' };

/**
 * One docs page per trigger type, and an index of them.
 *
 * @param examples of each type a manifest, as YAML
 */
export function scalerPages(
  scalers: readonly AnyScaler[],
  examples: ReadonlyMap<string, string>,
): { path: string; text: string }[] {
  const pages = scalers.map(scaler => ({
    path: `docs/scalers/${scaler.type}.md`,
    text: page(scaler, examples.get(scaler.type) ?? ''),
  }));
  const rows = scalers.map(
    ({ type, doc, testedWith }) => `| [${type}](${type}.md) | ${doc} | ${testedWords(testedWith)} |`,
  );
  return [...pages, { path: 'docs/scalers/README.md', text: [...indexHead, ...rows, ''].join('\n') }];
}

const indexHead = [
  '# Trigger types',
  '',
  'Each was tested with what the last column names: the system itself, unless it says stub. A stub is an emulator, or a',
  'server written from the documentation of the system. The manifest on each page was checked, and read against the same',
  'where there is something to read.',
  '',
  '| type | what it counts | tested with |',
  '|---|---|---|',
];

function page(scaler: AnyScaler, example: string): string {
  const rows = Object.entries(scaler.params).map(([name, param]) => row(name, param));
  const table = [
    '| parameter | kind | default | read from | meaning |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
  const parts = [
    `# ${scaler.type}`,
    scaler.doc,
    testedSentence(scaler),
    `\`\`\`yaml\n${example.trimEnd()}\n\`\`\``,
    '## Parameters',
    table,
    ...facts(scaler),
  ];
  return `${parts.join('\n\n')}\n`;
}

function row(name: string, param: Param<unknown>): string {
  const names = [name, ...(param.also ?? [])].map(each => `\`${each}\``).join(', ');
  const kind = param.choices === undefined ? param.kind : param.choices.map(each => `\`${each}\``).join(', ');
  const absent = param.optional || param.removed !== undefined ? 'none' : '**required**';
  const preset = param.default === undefined ? absent : `\`${param.default}\``;
  const sources = (param.from ?? ['metadata']).map(source => sourceNames[source]).join(', ');
  const meaning = [
    param.doc,
    unitOf(param),
    param.deprecated === undefined ? '' : `Deprecated: ${param.deprecated}.`,
    param.removed === undefined ? '' : `Removed: ${param.removed}.`,
  ];
  return `| ${names} | ${kind} | ${preset} | ${sources} | ${meaning.filter(part => part !== '').join(' ')} |`.replace(
    /\n/g,
    ' ',
  );
}

/** The unit, where the sentence does not say it already. */
function unitOf({ unit, doc }: Param<unknown>): string {
  return unit === undefined || doc.toLowerCase().includes(unit.toLowerCase()) ? '' : `In ${unit}.`;
}

function testedSentence({ testedWith }: AnyScaler): string {
  switch (testedWith.kind) {
    case 'real':
      return `Tested with ${testedWith.with}.`;
    case 'stub':
      return `Tested with a stub: ${testedWith.with}.`;
    case 'none-needed':
      return 'There is no server to test it with.';
  }
}

function facts(scaler: AnyScaler): string[] {
  if (scaler.kind === 'resource') return [];
  const { activationParam, deliver } = scaler;
  const lines = [
    `The target is ${targetOf(scaler)}.`,
    ...(activationParam === undefined ? [] : [`The activation threshold is \`${activationParam}\`.`]),
    `A ScaledJob takes the number for ${countsOf(scaler)}.`,
    deliver === undefined
      ? 'It starts Jobs by this number; messages are not handed to them.'
      : 'It can have each message delivered to a Job of its own: see below.',
    ...(scaler.noCachedMetrics ? ['`useCachedMetrics` is refused.'] : []),
  ];
  const delivery = deliver === undefined ? [] : ['## Delivery', deliveryIntroduction, deliver.promise];
  return [lines.map(line => `- ${line}`).join('\n'), ...delivery];
}

const deliveryIntroduction = [
  'A ScaledJob has its messages delivered where its pod template mentions `KEDA_TASK_DATA`, which holds the message then,',
  'or where it has `spec.eventide.delivery`; [an example](../../examples/task-processing.yaml).',
].join('\n');

function targetOf({ describe, targetWords, targetParam, fixedTarget }: Scaler): string {
  if (describe !== undefined) return "the source's own";
  return targetWords ?? (targetParam === undefined ? String(fixedTarget) : `\`${targetParam}\``);
}

function countsOf({ countsWords, counts }: Scaler): string {
  return countsWords ?? (counts === 'waiting' ? 'what waits' : 'what waits and what is being processed');
}
