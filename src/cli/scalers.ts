import process from 'node:process';
import { Fault } from '../base/errors.ts';
import type { AnyScaler } from '../scaler/define.ts';
import type { Param } from '../scaler/params.ts';
import { testedWords } from '../scaler/tested.ts';
import { loadScaler, scalerTypes } from '../scalers/index.gen.ts';
import { didYouMean } from '../spec/suggest.ts';

/** `eventide scalers [TYPE]`. @throws Fault TYPE_UNKNOWN */
export async function scalers(type: string | undefined, { json = false }: { json?: boolean }): Promise<0> {
  const chosen = type === undefined ? await Promise.all(scalerTypes.map(load)) : [await load(type)];
  if (json) process.stdout.write(`${JSON.stringify(chosen.map(asData), null, 2)}\n`);
  else process.stdout.write(type === undefined ? list(chosen) : chosen.map(describe).join('\n'));
  return 0;
}

async function load(type: string): Promise<AnyScaler> {
  const scaler = await loadScaler(type);
  if (scaler !== undefined) return scaler;
  throw new Fault('TYPE_UNKNOWN', `there is no trigger type "${type}"${didYouMean(type, scalerTypes)}`);
}

function asData({ type, doc, testedWith, params }: AnyScaler): object {
  const parameters = Object.entries(params).map(([name, { parse: _, ...facts }]) => ({ name, ...facts }));
  return { type, doc, testedWith, parameters };
}

function list(all: readonly AnyScaler[]): string {
  const rows = all.map(({ type, testedWith, doc }) => [type, testedWords(testedWith), doc] as const);
  const widths = [0, 1].map(column => Math.max(...rows.map(row => row[column]?.length ?? 0)));
  const lines = rows.map(([type, tested, doc]) =>
    [type.padEnd(widths[0] ?? 0), tested.padEnd(widths[1] ?? 0), doc].join('  '),
  );
  return `${lines.join('\n')}\n`;
}

function describe(scaler: AnyScaler): string {
  const rows = Object.entries(scaler.params)
    .filter(([, param]) => param.removed === undefined)
    .map(([name, param]) => [name, presetOf(param), meaningOf(param)] as const);
  const widths = [0, 1].map(column => Math.max(...rows.map(row => row[column]?.length ?? 0)));
  const lines = rows.map(([name, preset, meaning]) =>
    [name.padEnd(widths[0] ?? 0), preset.padEnd(widths[1] ?? 0), meaning].join('  '),
  );
  return `${scaler.type}\n${scaler.doc}\nTested with: ${testedWords(scaler.testedWith)}.\n\n${lines.map(line => `  ${line}`).join('\n')}\n`;
}

function presetOf({ default: preset, optional }: Param<unknown>): string {
  if (preset !== undefined && preset !== '') return `default ${preset}`;
  return optional || preset === '' ? 'optional' : 'required';
}

function meaningOf({ doc, unit, choices, from = ['metadata'] }: Param<unknown>): string {
  const elsewhere = from.filter(source => source !== 'metadata');
  return [
    doc,
    choices === undefined ? '' : `One of ${choices.join(', ')}.`,
    unit === undefined || doc.toLowerCase().includes(unit.toLowerCase()) ? '' : `In ${unit}.`,
    elsewhere.length === 0
      ? ''
      : `(also from ${elsewhere.map(source => (source === 'auth' ? 'a TriggerAuthentication' : '…FromEnv')).join(', ')})`,
  ]
    .filter(part => part !== '')
    .join(' ');
}
