import { describe, expect, it } from 'vitest';
import { manualClock } from '../base/clock.ts';
import { Fault } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { type LineLogOptions, lineLog } from './line-log.ts';

function logged(over: Partial<LineLogOptions> = {}) {
  const lines: string[] = [];
  const log = lineLog({
    clock: manualClock(0),
    level: 'info',
    format: 'console',
    write: line => lines.push(line),
    ...over,
  });
  return { log, lines };
}

describe('a log of lines', () => {
  it('has columns for people', () => {
    const { log, lines } = logged();

    log.warn('a source cannot be read', {
      workload: 'ScaledObject/shop/web',
      fault: new Fault('SOURCE_TIMEOUT', 'it is silent'),
      key: new Secret('hidden'),
      none: undefined,
    });

    expect(lines).toEqual([
      '1970-01-01T00:00:00.000Z WARN  a source cannot be read workload=ScaledObject/shop/web fault="it is silent" key=[secret]\n',
    ]);
  });

  it('is JSON for machines, with the facts that are on every line', () => {
    const { log, lines } = logged({ format: 'json' });

    log.with({ part: 'watch' }).error('it broke', { fault: new Fault('SOURCE_BUSY', 'later') });

    expect(lines.map(line => JSON.parse(line))).toEqual([
      {
        time: '1970-01-01T00:00:00.000Z',
        level: 'error',
        message: 'it broke',
        part: 'watch',
        fault: { code: 'SOURCE_BUSY', message: 'later' },
      },
    ]);
  });

  it('leaves out what is less important than asked for', () => {
    const { log, lines } = logged({ level: 'warn' });

    log.debug('small');
    log.info('middling');

    expect(lines).toEqual([]);
  });
});
