/**
 * Everything `npm test` stands for: format and lint, types, unused code, generated files, then all tests.
 * Each check runs even where an earlier one failed; the last line counts them all.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  numFailedTestSuites: number;
  testResults: { assertionResults: { status: string; fullName: string }[] }[];
}

const checks: [string, string[]][] = [
  ['lint and format', ['npx', 'biome', 'check', '--error-on-warnings', '.']],
  ['types', ['npx', 'tsc', '--noEmit']],
  ['unused code', ['npx', 'knip']],
  ['generated files', ['node', '--import', 'tsx', 'scripts/gen.ts', '--check']],
  ['control plane for the cluster tests', ['node', '--import', 'tsx', 'scripts/test-cluster.ts']],
];

let passed = 0;
let failed = 0;
for (const [name, command] of checks) {
  const ok = (await run(command)) === 0;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name}`);
  if (ok) passed += 1;
  else failed += 1;
}

const folder = await mkdtemp(join(tmpdir(), 'eventide-check-'));
const reportFile = join(folder, 'report.json');
const exit = await run([
  ...['npx', 'vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`],
  ...process.argv.slice(2),
]);
const report = JSON.parse(await readFile(reportFile, 'utf8').catch(() => 'null')) as VitestReport | null;
await rm(folder, { recursive: true });

const skipped = report === null ? 0 : report.numPendingTests + report.numTodoTests;
passed += report?.numPassedTests ?? 0;
failed += report?.numFailedTests ?? 0;
// A file that does not load fails without any of its tests being counted.
if (exit !== 0 && (report?.numFailedTests ?? 0) === 0) failed += 1;
for (const { status, fullName } of report?.testResults.flatMap(file => file.assertionResults) ?? []) {
  if (status === 'pending' || status === 'skipped' || status === 'todo') console.log(`skipped: ${fullName}`);
}
const skippingFails = process.env['CI'] === 'true' && skipped > 0;
if (skippingFails) console.log('in CI nothing may be skipped');
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 || skippingFails ? 1 : 0;

function run([command = '', ...rest]: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, rest, { stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', code => resolve(code ?? 1));
  });
}
