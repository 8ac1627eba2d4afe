import { faultCodes } from '../../src/base/errors.ts';

/** The docs page of every code that an error can carry. */
export function faultsPage(): { path: string; text: string } {
  const rows = Object.entries(faultCodes).map(
    ([code, { retry, means }]) => `| \`${code}\` | ${means} | ${retry ? 'yes' : 'no'} |`,
  );
  const text = [
    '# Faults',
    '',
    'Every error carries one of these codes. Where trying again can help, the engine does so by itself, with growing waits.',
    '',
    '| code | what happened | tried again |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n');
  return { path: 'docs/faults.md', text };
}
