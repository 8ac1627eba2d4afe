import { describe, expect, it } from 'vitest';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { plainConsole } from '../local/console.ts';
import { consoleLog } from './console-log.ts';

function newLog() {
  const lines: string[] = [];
  const clock = manualClock();
  const log = consoleLog(
    plainConsole(text => lines.push(text)),
    clock,
  );
  return { lines, clock, log };
}

describe('consoleLog', () => {
  it('prints the facts behind the sentence, Faults as their sentence and Secrets not at all', () => {
    const { lines, log } = newLog();

    log
      .with({ queue: 'orders' })
      .warn('it failed', { fault: new Fault('SOURCE_FAILED', 'broken'), key: new Secret('x') });

    expect(lines).toEqual(['00:00:00 warning: it failed (queue orders, fault broken, key "[secret]")\n']);
  });

  it('says the same only once a minute', async () => {
    const { lines, clock, log } = newLog();

    log.warn('it failed');
    await clock.advance(59_000);
    log.warn('it failed');
    log.warn('something else failed');
    await clock.advance(1000);
    log.warn('it failed');

    expect(lines).toHaveLength(3);
  });
});
