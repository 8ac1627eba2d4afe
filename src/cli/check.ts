import process from 'node:process';
import type { Tokens } from '../auth/token-source.ts';
import { systemClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { Readings } from '../engine/readings.ts';
import { Sources } from '../engine/sources.ts';
import { localReferences } from '../local/references.ts';
import { formatProblem, type Problem } from '../spec/problem.ts';
import { hostHttp, hostStores, hostTokens } from './host.ts';
import { loadManifests, type Manifests } from './manifests.ts';
import { inOrder, type VerifiedTrigger, verify } from './verify.ts';

interface CheckOptions {
  live?: boolean;
  json?: boolean;
}

/** `eventide check FILE…`: 1 where anything is wrong. */
export async function check(
  names: readonly string[],
  { live = false, json = false }: CheckOptions,
): Promise<0 | 1> {
  const manifests = await loadManifests(names);
  const clock = systemClock;
  const http = hostHttp();
  await using tokens = hostTokens(clock, http);
  await using stores = hostStores(clock, http, tokens);
  const verified = await verify(manifests, localReferences(manifests.documents), {
    signal: new AbortController().signal,
    ...(live ? { stores } : {}),
  });
  const problems = inOrder([...manifests.problems, ...verified.problems], manifests.documents);
  const notices = inOrder([...manifests.notices, ...verified.notices], manifests.documents);
  for (const problem of problems) say('problem', problem, json);
  for (const notice of notices) say('notice', notice, json);
  const failed = live ? await readAll(verified.triggers, tokens, json) : 0;
  if (!json) process.stdout.write(`${summary(manifests, problems.length + failed, notices.length)}\n`);
  return problems.length + failed > 0 ? 1 : 0;
}

function say(level: 'problem' | 'notice', problem: Problem, json: boolean): void {
  const line = json
    ? JSON.stringify({ level, ...problem })
    : `${level === 'notice' ? 'notice: ' : ''}${formatProblem(problem)}`;
  process.stdout.write(`${line}\n`);
}

function summary({ documents, workloads }: Manifests, problems: number, notices: number): string {
  const count = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`;
  const read = `${count(documents.length, 'object')} read, ${count(workloads.length, 'workload')}`;
  return `${read}: ${problems === 0 ? 'nothing is wrong' : count(problems, 'problem')}${notices === 0 ? '' : `, ${count(notices, 'notice')}`}`;
}

/** Opens every source and says what it reads. @returns how many could not be read */
async function readAll(triggers: readonly VerifiedTrigger[], tokens: Tokens, json: boolean): Promise<number> {
  const clock = systemClock;
  const http = hostHttp();
  const cluster = {
    get: async () => {
      throw new Fault('NOT_SUPPORTED', 'there is no cluster here to read from');
    },
  };
  const stop = new AbortController().signal;
  const options = {
    clock,
    log: silentLog,
    random: Math.random,
    tokens,
    http,
    cluster,
    clientName: 'eventide',
    stop,
  };
  await using sources = new Sources(options);
  const readings = new Readings(sources, clock);
  const answers = await Promise.all(
    triggers.map(async ({ loaded, trigger, binding }) => {
      const what = `${loaded.workload.key} trigger ${trigger.index} (${trigger.type})`;
      if (!binding.ok) return { what, ok: false, sentence: binding.fault.message, code: binding.fault.code };
      if (binding.bound.kind === 'resource')
        return { what, ok: true, sentence: 'is known while the target runs' };
      const reading = await readings.read(binding.bound);
      if (!reading.ok) return { what, ok: false, sentence: reading.fault.message, code: reading.fault.code };
      const { target } = binding.bound;
      const active = reading.active ? 'active' : 'not active';
      return {
        what,
        ok: true,
        sentence: `reads ${reading.value}, target ${target.value} (${target.type}), ${active}`,
      };
    }),
  );
  for (const { what, ok, sentence, code } of answers) {
    const line = json
      ? JSON.stringify({ level: ok ? 'reading' : 'problem', what, sentence, code })
      : `${what}: ${sentence}${code === undefined ? '' : ` (${code})`}`;
    process.stdout.write(`${line}\n`);
  }
  return answers.filter(({ ok }) => !ok).length;
}
