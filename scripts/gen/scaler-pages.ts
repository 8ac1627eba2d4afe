import type { AnyScaler, Scaler } from '../../src/scaler/define.ts';
import type { Param } from '../../src/scaler/params.ts';

const sourceNames = { metadata: '`metadata`', auth: 'TriggerAuthentication', env: 'environment' };

/** One docs page per trigger type, and an index of them. */
export function scalerPages(scalers: readonly AnyScaler[]): { path: string; text: string }[] {
  const pages = scalers.map(scaler => ({ path: `docs/scalers/${scaler.type}.md`, text: page(scaler) }));
  const rows = scalers.map(({ type, doc }) => `| [${type}](${type}.md) | ${doc} |`).join('\n');
  const index = `# Trigger types\n\n| type | what it counts |\n|---|---|\n${rows}\n`;
  return [...pages, { path: 'docs/scalers/README.md', text: index }];
}

function page(scaler: AnyScaler): string {
  const rows = Object.entries(scaler.params).map(([name, param]) => row(name, param));
  const table = [
    '| parameter | kind | default | read from | meaning |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
  return `# ${scaler.type}\n\n${scaler.doc}\n\n${table}\n${facts(scaler)}`;
}

function row(name: string, param: Param<unknown>): string {
  const names = [name, ...(param.also ?? [])].map(each => `\`${each}\``).join(', ');
  const kind = param.choices === undefined ? param.kind : param.choices.map(each => `\`${each}\``).join(', ');
  const absent = param.optional || param.removed !== undefined ? 'none' : '**required**';
  const preset = param.default === undefined ? absent : `\`${param.default}\``;
  const sources = (param.from ?? ['metadata']).map(source => sourceNames[source]).join(', ');
  const meaning = [param.doc, unitOf(param), param.removed === undefined ? '' : `Removed: ${param.removed}.`];
  return `| ${names} | ${kind} | ${preset} | ${sources} | ${meaning.filter(part => part !== '').join(' ')} |`.replace(
    /\n/g,
    ' ',
  );
}

/** The unit, where the sentence does not say it already. */
function unitOf({ unit, doc }: Param<unknown>): string {
  return unit === undefined || doc.toLowerCase().includes(unit.toLowerCase()) ? '' : `In ${unit}.`;
}

function facts(scaler: AnyScaler): string {
  if (scaler.kind === 'resource') return '';
  const counts = scaler.counts === 'waiting' ? 'what waits' : 'what waits and what is being processed';
  const lines = [
    `The number includes ${counts}.`,
    `The target is ${targetOf(scaler)}${scaler.activationParam === undefined ? '' : `, the activation threshold \`${scaler.activationParam}\``}.`,
    ...(scaler.deliver === undefined
      ? []
      : ['A ScaledJob can have each message delivered to a Job of its own.']),
    ...(scaler.noCachedMetrics ? ['`useCachedMetrics` is refused.'] : []),
  ];
  const promise = scaler.deliver?.promise;
  const delivery = promise === undefined ? '' : `\n## Delivery\n\n${promise}\n`;
  return `\n${lines.map(line => `- ${line}`).join('\n')}\n${delivery}`;
}

function targetOf({ describe, targetParam, fixedTarget }: Scaler): string {
  if (describe !== undefined) return "the source's own";
  return targetParam === undefined ? String(fixedTarget) : `\`${targetParam}\``;
}
