#!/usr/bin/env node
import process from 'node:process';
import { Command, CommanderError, Option } from 'commander';
import about from '../../package.json' with { type: 'json' };
import { Fault } from '../base/errors.ts';
import { idleFlags, operatorFlags } from './operator-flags.ts';

/** How a command ends: what the shell gets to see. */
type ExitCode = 0 | 1 | 2 | 130;

const program = new Command('eventide')
  .description(about.description)
  .version(about.version, '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print this help')
  .helpCommand('help [command]', 'print the help of a command')
  .showSuggestionAfterError()
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'eventide: ')) });

program
  .command('run')
  .description('run the workloads of these manifests on this machine, scaled by their events')
  .argument('<file...>', 'manifest files, folders of them, or - for standard input')
  .option('--image <name=folder>', 'where containers of this image run (repeatable)', collect, [])
  .option('--state <folder>', 'where jobs and messages are remembered', '.eventide')
  .option('--json', 'print one JSON object a line')
  .option('--plain', 'print plain lines even on a terminal')
  .option('--keep', 'leave the state folder behind when stopped')
  .action(async (files: string[], options) => exit((await import('./run.ts')).run(files, options)));

program
  .command('check')
  .description('say everything that is wrong with these manifests')
  .argument('<file...>', 'manifest files, folders of them, or - for standard input')
  .option('--live', 'also open each source and say what it reads')
  .option('--json', 'print one JSON object a line')
  .action(async (files: string[], options) => exit((await import('./check.ts')).check(files, options)));

program
  .command('scalers')
  .description('list the trigger types, or the parameters of one')
  .argument('[type]', 'a trigger type, such as azure-queue')
  .option('--json', 'print JSON')
  .action(async (type: string | undefined, options) =>
    exit((await import('./scalers.ts')).scalers(type, options)),
  );

program
  .command('explain')
  .description(
    'say why a workload has the size it has, asking the `eventide run` of this folder or a cluster',
  )
  .argument('<workload>', 'its name; so/NAME or sj/NAME where both kinds have it')
  .option('--state <folder>', 'the state folder of the running eventide', '.eventide')
  .option('-n, --namespace <name>', 'ask the operator of a cluster about this namespace')
  .option('--kubeconfig <file>', 'ask the operator of this cluster')
  .option('--context <name>', 'the context of the kubeconfig; its current one unless given')
  .option('--last <n>', 'how many decisions', '5')
  .option('--json', 'print the records as JSON')
  .action(async (workload: string, options) =>
    exit((await import('./explain.ts')).explain(workload, options)),
  );

const operator = program
  .command('operator')
  .description('run for a cluster, in place of KEDA: operator, metrics server and admission webhooks in one')
  .action(async options => exit((await import('./operator.ts')).operator(options)));
for (const { name, value, doc, preset, repeatable } of operatorFlags) {
  const option = new Option(`--${name} ${value === 'bool' ? '[bool]' : `<${value}>`}`, doc);
  if (value === 'bool') option.preset('true');
  if (preset !== undefined) option.default(preset);
  if (repeatable) option.argParser((given: string, all: string[] = []) => [...all, given]);
  operator.addOption(option);
}
for (const name of idleFlags) operator.addOption(new Option(`--${name} [value]`).preset('true').hideHelp());

program
  .command('completion')
  .description('print a completion script for a shell')
  .argument('<shell>', 'bash, zsh or fish')
  .action(async (shell: string) => exit((await import('./completion.ts')).completion(shell, program)));

try {
  await program.parseAsync();
} catch (thrown) {
  process.exitCode = complain(thrown);
}

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

async function exit(code: Promise<ExitCode> | ExitCode): Promise<void> {
  process.exitCode = await code;
}

/** Every error ends here as a sentence; only a defect of ours asks to be reported. */
function complain(thrown: unknown): ExitCode {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
  if (thrown instanceof Fault && thrown.code !== 'INTERNAL') {
    process.stderr.write(`eventide: ${thrown.message} (${thrown.code})\n`);
    return thrown.code === 'USAGE' ? 2 : 1;
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  process.stderr.write(`eventide: this is a defect, please report it: ${message}\n`);
  return 1;
}
