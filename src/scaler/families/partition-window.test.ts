import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PartitionWindow, readDone, windowSize, writeDone } from './partition-window.ts';

const time = { now: 1000, until: 2000 };
const begun = (offset = 0, ...done: number[]) => new PartitionWindow({ offset, done: new Set(done) });

/** Offers these as one fetch does, and returns what was handed out. */
function fetch(window: PartitionWindow, offsets: number[], now = time.now): number[] {
  const from = window.fetchFrom(now);
  const handed = offsets.filter(
    offset => offset >= from && window.offer(offset, { now, until: now + 1000 }) !== undefined,
  );
  window.passed(from, (offsets.at(-1) ?? from - 1) + 1, new Set(offsets));
  return handed;
}

describe('the messages of a partition', () => {
  it('are handed out once, and committed up to the first that is not done', () => {
    const window = begun(5);

    expect(fetch(window, [5, 6, 7, 8])).toEqual([5, 6, 7, 8]);
    expect(fetch(window, [5, 6, 7, 8])).toEqual([]);
    window.finish(6);
    window.finish(8);
    expect(window.committed).toEqual({ offset: 5, done: new Set([6, 8]) });
    window.finish(5);
    expect(window.committed).toEqual({ offset: 7, done: new Set([8]) });
    window.finish(7);
    expect(window.committed).toEqual({ offset: 9, done: new Set() });
  });

  it('are not handed out again when they were done before a crash', () => {
    expect(fetch(begun(5, 6, 8), [5, 6, 7, 8, 9])).toEqual([5, 7, 9]);
  });

  it('need not be at every offset', () => {
    const window = begun();

    expect(fetch(window, [3, 7])).toEqual([3, 7]);
    window.finish(3);
    window.finish(7);

    expect(window.committed.offset).toBe(8);
  });

  it('come again when they are given back, not before their time', () => {
    const window = begun();
    fetch(window, [0, 1]);
    window.release(0, 5000);

    expect(window.fetchFrom(4999)).toBe(2);
    expect(fetch(window, [0, 1], 4999)).toEqual([]);
    expect(window.fetchFrom(5000)).toBe(0);
    expect(fetch(window, [0, 1], 5000)).toEqual([0]);
    expect(window.committed.offset).toBe(0);
  });

  it('count how often they were handed out', () => {
    const window = begun();

    const first = window.offer(0, time);
    window.release(0, 0);

    expect([first, window.offer(0, time)]).toEqual([1, 2]);
  });

  it('come again when nobody holds on to them', () => {
    const window = begun();
    fetch(window, [0, 1]);
    window.hold(1, 9000);

    window.expire(2000);

    expect(fetch(window, [0, 1], 2000)).toEqual([0]);
  });

  it('are held by whoever took them up after a crash, and not handed out', () => {
    const window = begun(5);

    expect(window.hold(6, 9000)).toBe(true);
    expect(fetch(window, [5, 6, 7])).toEqual([5, 7]);
    expect(window.committed.offset).toBe(5);
  });

  it('cannot be held or given back once they are done', () => {
    const window = begun(5, 7);

    expect([window.hold(4, 9000), window.hold(7, 9000), window.release(7, 0)]).toEqual([false, false, false]);
    expect([window.finish(7), window.finish(8)]).toEqual([false, true]);
  });

  it('that are gone are waited for no longer', () => {
    const window = begun();
    fetch(window, [0, 1, 2]);
    window.release(0, 0);
    window.release(1, 0);

    expect(fetch(window, [1, 2])).toEqual([1]);
    window.finish(1);
    window.finish(2);

    expect(window.committed.offset).toBe(3);
  });

  it('are handed out only so far ahead of the first that is not done', () => {
    const window = begun(100);
    fetch(window, [100]);

    expect([window.hasRoom(100 + windowSize - 1), window.hasRoom(100 + windowSize)]).toEqual([true, false]);
    window.finish(100);
    expect(window.hasRoom(100 + windowSize)).toBe(true);
  });

  it('are not handed out again where another process has got further', () => {
    const window = begun();
    fetch(window, [0, 1, 2]);

    window.merge({ offset: 2, done: new Set([4]) });

    expect(window.committed.offset).toBe(2);
    expect(fetch(window, [2, 3, 4, 5])).toEqual([3, 5]);
  });

  it('come again where somebody has set the group back', () => {
    const window = begun(5);
    fetch(window, [5, 6]);
    window.finish(5);
    window.wrote(6);

    window.merge({ offset: 2, done: new Set() });

    // What is being worked on is not begun a second time.
    expect(fetch(window, [2, 3, 4, 5, 6, 7])).toEqual([2, 3, 4, 5, 7]);
  });

  it('are each handed out and committed just once, whatever happens', () => {
    const events = fc.array(
      fc.tuple(fc.constantFrom('fetch', 'finish', 'release', 'crash', 'commit'), fc.nat(40)),
      {
        maxLength: 80,
      },
    );
    fc.assert(
      fc.property(events, steps => {
        const all = Array.from({ length: 40 }, (_, offset) => offset).filter(offset => offset % 3 !== 1);
        let broker = { offset: 0, text: '' };
        let window = begun();
        const finished = new Set<number>();
        let working = new Set<number>();
        const commit = () => {
          const { committed } = window;
          broker = { offset: committed.offset, text: writeDone(committed) };
          window.wrote(committed.offset);
          const done = readDone(broker.offset, broker.text);
          // Only what is done is committed, and all that is.
          expect(all.filter(each => each < broker.offset || done.has(each))).toEqual(
            all.filter(each => finished.has(each)),
          );
        };
        for (const [event, pick] of steps) {
          if (event === 'fetch') {
            for (const offset of fetch(window, all.slice(0, pick))) {
              expect(finished.has(offset) || working.has(offset)).toBe(false);
              working.add(offset);
            }
          } else if (event === 'finish' || event === 'release') {
            const offset = [...working][pick % Math.max(1, working.size)];
            if (offset === undefined) continue;
            working.delete(offset);
            if (event === 'release') window.release(offset, 0);
            else {
              finished.add(offset);
              window.finish(offset);
              commit();
            }
          } else if (event === 'commit') commit();
          else {
            window = new PartitionWindow({
              offset: broker.offset,
              done: readDone(broker.offset, broker.text),
            });
            working = new Set();
          }
        }
      }),
    );
  });
});

describe('what is done beyond a commit', () => {
  it('is kept in a text that a broker has room for, and read back', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 40), fc.uniqueArray(fc.nat(windowSize - 1)), (offset, beyond) => {
        const done = new Set(beyond.map(each => offset + each));

        const text = writeDone({ offset, done });

        expect(readDone(offset, text)).toEqual(new Set([...done].sort((a, b) => a - b)));
        expect(text.length).toBeLessThan(2000);
      }),
    );
  });

  it.each([null, '', 'eventide', 'somebody else', 'eventide:2:AA'])('is nothing by the text %s', text => {
    expect(readDone(5, text)).toEqual(new Set());
  });
});
