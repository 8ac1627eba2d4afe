import { beforeEach, describe, expect, it } from 'vitest';
import type { ReadContext } from '../src/scaler/context.ts';
import type { Scaler } from '../src/scaler/define.ts';
import type { Claim, Delivery } from '../src/scaler/delivery.ts';
import type { Committed } from '../src/scaler/families/partition-window.ts';
import { deliveryContract } from './delivery-contract.ts';
import { faultFrom, type Given, mustBind, openContext, readContext } from './scaler-contract.ts';

const { signal } = new AbortController();

/** A source in two partitions at least that knows no claims, and keeps for a group how far it has got. */
export interface PartitionedSource {
  scaler: Scaler;
  /** Makes it anew, with nothing in it. */
  empty(): Promise<void>;
  /** The trigger on it, which begins with the oldest message. */
  given(): Given;
  send(partition: number, ...texts: string[]): Promise<unknown>;
  /** What is kept of each partition; nothing is done of one that nothing is kept of. */
  committed(): Promise<Committed[]>;
  /** Says for the group that it has got as far as this number only. */
  setBack(partition: number, offset: number): Promise<unknown>;
  /** Has the source delete all messages of a partition before this number. */
  expire(partition: number, before: number): Promise<unknown>;
  /** The texts that were dead-lettered. */
  poison(): Promise<string[]>;
  copiesDeadLetters?: boolean;
}

export const text = ({ body }: Claim) => Buffer.from(body).toString('utf8');

export function named(claims: readonly Claim[], name: string): Claim {
  const found = claims.find(claim => text(claim) === name);
  if (found === undefined) throw new Error(`no ${name} among the claims`);
  return found;
}

/** The delivery of a trigger by itself, over a connection of its own. */
export async function openDelivery(plain: Scaler, given: Given) {
  let { scaler, params } = mustBind(plain, given);
  const conn = await scaler.open(params, openContext(signal));
  const deliver = scaler.deliver as Delivery<unknown, unknown>;
  // What was looked at a moment ago need not be looked at again: each call is a little later.
  let clock = Date.now();
  const later = () => {
    clock += 1000;
    return clock;
  };
  const context = (now = later()): ReadContext<unknown> => ({ ...readContext(conn, signal), now });
  const claim = (most = 100, now?: number) => deliver.claim(params, context(now), most);
  return {
    claim,
    texts: async (most?: number, now?: number) => (await claim(most, now)).map(text).sort(),
    extend: ({ receipt }: Claim, now?: number) => deliver.extend(params, context(now), receipt),
    acknowledge: ({ receipt }: Claim) => deliver.acknowledge(params, context(), receipt),
    release: ({ receipt }: Claim, delayMs: number, now?: number) =>
      deliver.release(params, context(now), receipt, delayMs),
    deadLetter: ({ receipt, messageId }: Claim, body?: Uint8Array) =>
      deliver.deadLetter(params, context(), {
        receipt,
        messageId,
        body,
        attempts: 5,
        why: 'its job failed',
      }),
    read: () => scaler.read(params, readContext(conn, signal)),
    queueId: () => deliver.queueId(params),
    /** The trigger is this one from now on. */
    change(other: Given) {
      ({ params } = mustBind(plain, other));
    },
    [Symbol.asyncDispose]: () => scaler.close(conn),
  };
}

/** The contract of delivery, and what every source passes whose claims are known to us alone. */
export function windowedContract(source: PartitionedSource): void {
  const partitions = 2;
  let sent: number[] = [];

  async function send(partition: number, ...texts: string[]): Promise<void> {
    await source.send(partition, ...texts);
    sent[partition] = (sent[partition] ?? 0) + texts.length;
  }

  async function empty(): Promise<void> {
    sent = Array.from({ length: partitions }, () => 0);
    await source.empty();
  }

  async function offsets(): Promise<number[]> {
    const found = await source.committed();
    return sent.map((_, partition) => found[partition]?.offset ?? 0);
  }

  async function left(): Promise<number> {
    const found = await source.committed();
    const each = sent.map((count, partition) => {
      const { offset, done } = found[partition] ?? { offset: 0, done: new Set() };
      return count - offset - done.size;
    });
    return each.reduce((sum, count) => sum + count, 0);
  }

  const opened = () => openDelivery(source.scaler, source.given());

  // What is released with a pause comes back at once here: the pause is known to nobody but us.
  const deliver = source.scaler.deliver as Delivery<unknown, unknown>;
  const impatient: Delivery<unknown, unknown> = {
    ...deliver,
    release: (trigger, context, receipt) => deliver.release(trigger, context, receipt, 0),
  };
  let turn = 0;
  deliveryContract({
    scaler: { ...source.scaler, deliver: impatient },
    empty,
    given: source.given,
    async send(message) {
      turn += 1;
      await send(turn % partitions, message);
    },
    async pass() {},
    left,
    poison: source.poison,
    copiesDeadLetters: source.copiesDeadLetters ?? false,
  });

  describe('by itself', () => {
    beforeEach(empty);

    it('claims no more than it was asked for, each once, from one partition after the other', async () => {
      await send(0, 'a', 'b', 'c');
      await send(1, 'd', 'e', 'f');
      await using queue = await opened();

      const claims: Claim[][] = [];
      for (const most of [1, 1, 1, 5]) claims.push(await queue.claim(most));

      expect(claims.map(({ length }) => length)).toEqual([1, 1, 1, 3]);
      expect(claims.flat().map(text).sort()).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
      // Which one comes first is the network's; from then on they take turns.
      const [, second = '', third = ''] = claims.map(([claim]) => (claim === undefined ? '' : text(claim)));
      expect(second < 'd').not.toBe(third < 'd');
      expect(await queue.claim()).toEqual([]);
    });

    it('has a later process hand out what is not done, and only that', async () => {
      await send(0, 'a', 'b', 'c', 'd', 'e');
      await using first = await opened();
      const claims = await first.claim();
      await first.acknowledge(named(claims, 'a'));
      await first.acknowledge(named(claims, 'd'));
      await using second = await opened();

      expect(await offsets()).toEqual([1, 0]);
      expect(await second.texts()).toEqual(['b', 'c', 'e']);
    });

    it('commits on top of what another process has committed in the meantime', async () => {
      await send(0, 'a', 'b', 'c');
      await using first = await opened();
      await using second = await opened();
      const claims = await first.claim();
      await second.claim();

      await first.acknowledge(named(claims, 'a'));
      await second.acknowledge(named(claims, 'b'));
      await Promise.all([first.acknowledge(named(claims, 'c')), second.acknowledge(named(claims, 'c'))]);

      expect(await offsets()).toEqual([3, 0]);
    });

    it('hands a released message out again after its pause, and one that nobody held on to after its claim', async () => {
      await send(0, 'a', 'b');
      await using queue = await opened();
      const now = Date.now();
      const claims = await queue.claim(100, now);
      await queue.release(named(claims, 'a'), 5000, now);
      await queue.extend(named(claims, 'b'), now + 30_000);

      const early = await queue.claim(100, now + 4999);
      const again = await queue.claim(100, now + 5000);
      const held = await queue.claim(100, now + 64_000);
      const expired = await queue.claim(100, now + 90_000);

      expect([early, again, held, expired].map(each => each.map(text))).toEqual([[], ['a'], [], ['a', 'b']]);
      expect(again).toMatchObject([{ deliveryCount: 2, messageId: named(claims, 'a').messageId }]);
    });

    it('settles a message once, and says of it then that it is lost', async () => {
      await send(0, 'a');
      await using queue = await opened();
      const claim = named(await queue.claim(), 'a');
      await queue.acknowledge(claim);

      await queue.acknowledge(claim);

      expect((await faultFrom(queue.release(claim, 0))).code).toBe('MESSAGE_LOST');
      expect((await faultFrom(queue.extend(claim))).code).toBe('MESSAGE_LOST');
      const strange = { ...claim, receipt: 'strange' };
      expect((await faultFrom(queue.acknowledge(strange))).code).toBe('MESSAGE_LOST');
    });

    it('hands out no more than 10,000 beyond one that is not done, and the rest after that', async () => {
      const texts = Array.from({ length: 10_002 }, (_, n) => String(n));
      await send(0, ...texts);
      await using queue = await opened();
      const claims: Claim[] = [];
      const claimAll = async () => {
        for (let got = 1; got > 0; ) {
          const some = await queue.claim(20_000);
          got = some.length;
          claims.push(...some);
        }
      };

      await claimAll();
      const before = claims.length;
      await queue.acknowledge(named(claims, '0'));
      await claimAll();

      expect([before, claims.length]).toEqual([10_000, 10_001]);
      expect(new Set(claims.map(text)).size).toBe(10_001);
    });

    it('goes on from where the group was set back to', async () => {
      await send(0, 'a', 'b', 'c');
      await using queue = await opened();
      for (const claim of await queue.claim()) await queue.acknowledge(claim);
      const before = await queue.texts();

      await source.setBack(0, 1);

      expect(before).toEqual([]);
      expect(await queue.texts()).toEqual(['b', 'c']);
    });

    it('goes on after what the source has deleted, and still keeps what it had claimed and cannot process', async () => {
      await send(0, 'a', 'b', 'c');
      await using queue = await opened();
      const claims = await queue.claim(2);
      await queue.release(named(claims, 'b'), 0);
      await source.expire(0, 2);

      const rest = await queue.claim();
      await queue.deadLetter(named(claims, 'a'), Buffer.from('a'));
      for (const claim of rest) await queue.acknowledge(claim);

      expect(rest.map(text)).toEqual(['c']);
      expect(await source.poison()).toEqual(['a']);
      expect(await offsets()).toEqual([3, 0]);
    });

    it('is done with a partition whose messages were all deleted, and takes what comes then', async () => {
      await send(0, 'a', 'b', 'c');
      await source.expire(0, 3);
      await using queue = await opened();

      const none = await queue.claim();
      const passed = await offsets();
      await send(0, 'd');

      expect([none, passed]).toEqual([[], [3, 0]]);
      expect(await queue.texts()).toEqual(['d']);
    });
  });
}
