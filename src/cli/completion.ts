import process from 'node:process';
import type { Command } from 'commander';
import { Fault } from '../base/errors.ts';
import { scalerTypes } from '../scalers/index.gen.ts';

/** `eventide completion SHELL`: the script is made from the commands themselves. @throws Fault USAGE */
export function completion(shell: string, program: Command): 0 {
  const write = scripts[shell];
  if (write === undefined)
    throw new Fault('USAGE', `there is no completion for "${shell}": use bash, zsh or fish`);
  const commands = program.commands.map(command => ({
    name: command.name(),
    description: command.description(),
    options: command.options.map(option => ({ flag: option.long ?? '', description: option.description })),
  }));
  process.stdout.write(write(commands));
  return 0;
}

interface CommandFacts {
  name: string;
  description: string;
  options: { flag: string; description: string }[];
}

const scripts: Record<string, (commands: readonly CommandFacts[]) => string> = {
  bash: commands => `_eventide() {
  local word=\${COMP_WORDS[COMP_CWORD]} command=\${COMP_WORDS[1]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')}" -- "$word"))
    return
  fi
  case "$command" in
${commands.map(({ name, options }) => `    ${name}) [[ "$word" == -* ]] && COMPREPLY=($(compgen -W "${options.map(({ flag }) => flag).join(' ')}" -- "$word"))${name === 'scalers' ? ` || COMPREPLY=($(compgen -W "${scalerTypes.join(' ')}" -- "$word"))` : ''} ;;`).join('\n')}
  esac
}
complete -o default -F _eventide eventide
`,
  zsh: commands => `#compdef eventide
_eventide() {
  if (( CURRENT == 2 )); then
    local -a commands=(${commands.map(({ name, description }) => `'${quote(name)}:${quote(description)}'`).join(' ')})
    _describe command commands
    return
  fi
  case $words[2] in
${commands.map(({ name, options }) => `    ${name}) _arguments ${options.map(({ flag, description }) => `'${flag}[${quote(description)}]'`).join(' ')} '*:${name === 'scalers' ? `type:(${scalerTypes.join(' ')})` : 'file:_files'}' ;;`).join('\n')}
  esac
}
compdef _eventide eventide
`,
  fish: commands =>
    `${commands
      .flatMap(({ name, description, options }) => [
        `complete -c eventide -n __fish_use_subcommand -f -a ${name} -d '${quote(description)}'`,
        ...options.map(
          ({ flag, description: meaning }) =>
            `complete -c eventide -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)} -d '${quote(meaning)}'`,
        ),
        ...(name === 'scalers'
          ? [`complete -c eventide -n '__fish_seen_subcommand_from scalers' -f -a '${scalerTypes.join(' ')}'`]
          : []),
      ])
      .join('\n')}\n`,
};

/** Safe between single quotes and, for zsh, between brackets. */
function quote(text: string): string {
  return text.replace(/['[\]:]/g, ' ');
}
