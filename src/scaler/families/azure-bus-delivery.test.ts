import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { faultFrom, mustBind, openContext, readContext } from '../../../test/scaler-contract.ts';
import { type ServiceBus, type StubEntity, startServiceBus } from '../../../test/service-bus.ts';
import { deadline } from '../../base/deadline.ts';
import type { Fault } from '../../base/errors.ts';
import scaler from '../../scalers/azure-servicebus.ts';
import type { ReadContext } from '../context.ts';
import type { Claim, Delivery } from '../delivery.ts';
import type { BusClient } from './azure-bus-delivery.ts';

type Params = Parameters<typeof scaler.read>[0];

const deliver = scaler.deliver as Delivery<Params, BusClient>;
const { signal } = new AbortController();
/** What the operator's clock says; the namespace has the same. */
let now = 0;
let bus: ServiceBus;
let queue: StubEntity;
let conn: BusClient;
let params: Params;

const paramsOf = (given: Record<string, string>) =>
  mustBind(scaler, { params: given, auth: { connection: bus.connectionString() } }).params as Params;
const context = (over: Partial<ReadContext<BusClient>> = {}): ReadContext<BusClient> => ({
  ...readContext(conn, signal),
  now,
  ...over,
});
const textOf = ({ body }: Claim) => Buffer.from(body).toString();

async function claimOne(): Promise<Claim> {
  const [claim] = await deliver.claim(params, context(), 1);
  if (claim === undefined) throw new Error('there is no message');
  return claim;
}

beforeEach(async () => {
  now = Date.UTC(2026, 0, 15, 12);
  bus = await startServiceBus({ now: () => now });
  queue = bus.addQueue('shop/orders');
  params = paramsOf({ queueName: 'shop/orders' });
  conn = await scaler.open(params, openContext(signal));
});

afterEach(async () => {
  await scaler.close(conn);
  await bus[Symbol.asyncDispose]();
});

describe('claiming', () => {
  it('locks as many as are wanted and leaves the others to whoever comes', async () => {
    for (const text of ['one', 'two', 'three']) bus.send(queue, text);

    const first = await deliver.claim(params, context(), 2);
    const second = await deliver.claim(params, context(), 5);
    const third = await deliver.claim(params, context(), 5);

    expect([first, second, third].map(claims => claims.map(textOf))).toEqual([['one', 'two'], ['three'], []]);
    expect(queue.messages).toHaveLength(3);
    expect(bus.amqp.asked.filter(asked => asked.startsWith('receive'))).toHaveLength(1);
  });

  it('says what a message is known by, when it was sent, and until when it is locked', async () => {
    const { sequence } = bus.send(queue, 'one');

    const claim = await claimOne();

    expect(claim).toMatchObject({
      messageId: `${sequence}-${now}`,
      deliveryCount: 1,
      sentAt: now,
      lockedUntil: now + queue.lockMs,
    });
  });

  it('knows a message again by the same id, and counts how often it came', async () => {
    bus.send(queue, 'one');

    const first = await claimOne();
    now += queue.lockMs + 1;
    const second = await claimOne();

    expect(second.messageId).toBe(first.messageId);
    expect(second.receipt).not.toBe(first.receipt);
    expect([first.deliveryCount, second.deliveryCount]).toEqual([1, 2]);
  });

  it.each([
    ['bytes', Buffer.from([0, 255, 1]), Buffer.from([0, 255, 1])],
    ['nothing', Buffer.alloc(0), Buffer.alloc(0)],
    ['a large text', 'x'.repeat(900_000), Buffer.from('x'.repeat(900_000))],
    ['a map', { answer: 42, list: ['a', true] }, Buffer.from('{"answer":42,"list":["a",true]}')],
  ])('gives %s as it was sent, or as JSON', async (_what, body, expected) => {
    bus.send(queue, body);

    const claim = await claimOne();

    expect(Buffer.compare(Buffer.from(claim.body), expected)).toBe(0);
  });

  it('lets two claims at once have different messages', async () => {
    for (const text of ['one', 'two', 'three', 'four']) bus.send(queue, text);

    const claims = await Promise.all([1, 2, 3].map(most => deliver.claim(params, context(), most)));

    expect(claims.flat().map(textOf).sort()).toEqual(['four', 'one', 'three', 'two']);
  });

  it('gives up at the deadline, and has what is there afterwards', async () => {
    bus.amqp.silent = true;
    bus.send(queue, 'one');
    using limit = deadline(undefined, 400);

    const fault = await faultFrom(deliver.claim(params, context({ signal: limit.signal }), 1));
    bus.amqp.silent = false;

    expect(fault.code).toBe('SOURCE_TIMEOUT');
    expect(textOf(await claimOne())).toBe('one');
  });

  it('refuses a queue that requires sessions by name', async () => {
    bus.addQueue('sessions', { sessions: true });

    const fault = await faultFrom(deliver.claim(paramsOf({ queueName: 'sessions' }), context(), 1));

    expect(fault.code).toBe('NOT_SUPPORTED');
    expect(fault.message).toBe(
      '127.0.0.1/sessions requires sessions, whose messages cannot be delivered one by one',
    );
  });

  it('refuses an expression by name', () => {
    expect(() => deliver.queueId(paramsOf({ queueName: 'a.*', useRegex: 'true' }))).toThrow(
      /"a\.\*" is an expression/,
    );
  });

  it('says that a queue does not exist', async () => {
    const fault = await faultFrom(deliver.claim(paramsOf({ queueName: 'nowhere' }), context(), 1));

    expect(fault.code).toBe('SOURCE_NOT_FOUND');
  });

  it('says that a key is refused, and does not show it', async () => {
    const key = 'cXVpdGUgYW5vdGhlciBrZXk=';
    const given = {
      params: { queueName: 'shop/orders' },
      auth: { connection: bus.connectionString(undefined, key) },
    };
    const wrong = mustBind(scaler, given).params as Params;
    await using other = await scaler.open(wrong, openContext(signal));

    const fault = await faultFrom(deliver.claim(wrong, context({ conn: other }), 1));

    expect(fault.code).toBe('SOURCE_REFUSED');
    expect(fault.message).not.toContain(key);
  });
});

describe('settling', () => {
  it('completes a message, which is gone then', async () => {
    bus.send(queue, 'one');
    const claim = await claimOne();

    await deliver.acknowledge(params, context(), claim.receipt);

    expect(queue.messages).toEqual([]);
    expect(queue.deadLetters).toEqual([]);
  });

  it('renews a lock, by another connection too', async () => {
    bus.send(queue, 'one');
    const { receipt } = await claimOne();
    await scaler.close(conn);
    conn = await scaler.open(params, openContext(signal));
    now += queue.lockMs - 1;

    const extended = await deliver.extend(params, context(), receipt);
    now += queue.lockMs - 1;
    await deliver.acknowledge(params, context(), receipt);

    expect(extended.receipt).toBe(receipt);
    expect(extended.lockedUntil).toBe(now + 1);
    expect(queue.messages).toEqual([]);
  });

  it('dead-letters a message with the reason and why', async () => {
    bus.send(queue, 'bad');
    const { receipt, messageId } = await claimOne();

    const why = 'the Job failed 5 times';
    await deliver.deadLetter(params, context(), { receipt, messageId, body: undefined, attempts: 5, why });

    expect(queue.messages).toEqual([]);
    expect(queue.deadLetters).toMatchObject([{ body: 'bad', reason: 'JobFailed', description: why }]);
  });

  it('gives a message back at once', async () => {
    bus.send(queue, 'one');
    const { receipt } = await claimOne();

    await deliver.release(params, context(), receipt, 0);

    expect((await claimOne()).deliveryCount).toBe(2);
  });

  it('gives a message back after a pause, in which nobody has it', async () => {
    queue.lockMs = 300;
    bus.send(queue, 'one');
    const { receipt } = await claimOne();

    await deliver.release(params, context(), receipt, 700);
    const meanwhile = await deliver.claim(params, context(), 1);
    const held = queue.messages[0]?.lockToken;
    await vi.waitFor(() => expect(queue.messages[0]?.lockToken).toBeUndefined(), { timeout: 5000 });

    expect(meanwhile).toEqual([]);
    expect(held).toBeDefined();
    expect(
      bus.amqp.asked.filter(asked => asked.startsWith('com.microsoft:renew-lock')).length,
    ).toBeGreaterThan(1);
    expect((await claimOne()).deliveryCount).toBe(2);
  });

  it('gives back what is paused when it ends', async () => {
    bus.send(queue, 'one');
    const { receipt } = await claimOne();
    await deliver.release(params, context(), receipt, 60_000);

    await scaler.close(conn);

    expect(queue.messages[0]?.lockToken).toBeUndefined();
  });

  const extended = (receipt: string) => deliver.extend(params, context(), receipt);
  const acknowledged = (receipt: string) => deliver.acknowledge(params, context(), receipt);
  const released = (receipt: string) => deliver.release(params, context(), receipt, 0);
  const paused = (receipt: string) => deliver.release(params, context(), receipt, 5000);
  const deadLettered = (receipt: string) =>
    deliver.deadLetter(params, context(), {
      receipt,
      messageId: '1',
      body: undefined,
      attempts: 1,
      why: 'why',
    });

  it.each([
    ['extend', extended],
    ['acknowledge', acknowledged],
    ['release', released],
    ['release after a pause', paused],
    ['dead-letter', deadLettered],
  ])('says at %s that a lock is over', async (_verb, settle: (receipt: string) => Promise<unknown>) => {
    bus.send(queue, 'one');
    const { receipt } = await claimOne();
    now += queue.lockMs + 1;
    const other = await claimOne();

    const fault = await faultFrom(settle(receipt));

    expect(fault.code).toBe('MESSAGE_LOST');
    expect(queue.messages).toHaveLength(1);
    await deliver.acknowledge(params, context(), other.receipt);
  });

  it.each([
    ['acknowledge', acknowledged],
    ['dead-letter', deadLettered],
  ])(
    'takes a message for settled at %s that was settled before, among others',
    async (_verb, settle: (receipt: string) => Promise<unknown>) => {
      for (const text of ['one', 'two']) bus.send(queue, text);
      const { receipt } = await claimOne();
      await settle(receipt);

      await settle(receipt);

      expect(queue.messages).toHaveLength(1);
      expect(queue.deadLetters.length).toBeLessThan(2);
    },
  );

  it('does not take a failure for a settlement', async () => {
    bus.send(queue, 'one');
    const { receipt } = await claimOne();
    const outcomes: [number, string][] = [
      [500, 'SOURCE_FAILED'],
      [503, 'SOURCE_BUSY'],
      [401, 'SOURCE_REFUSED'],
    ];
    for (const [status, code] of outcomes) {
      bus.amqp.answer = { status };
      expect((await faultFrom(acknowledged(receipt))).code).toBe(code);
    }
    bus.amqp.answer = undefined;

    await acknowledged(receipt);

    expect(queue.messages).toEqual([]);
  });

  it.each(['', 'x', '1', '1:x', '1:00000000-0000-0000-0000-00000000000Z'])(
    'refuses "%s" for a receipt',
    async receipt => {
      expect((await faultFrom(acknowledged(receipt))).code).toBe('INTERNAL');
    },
  );
});

describe('what happens to connections', () => {
  it('takes up again where Azure ended the link', async () => {
    bus.send(queue, 'one');
    const { receipt } = await claimOne();
    bus.amqp.detachReceivers();
    bus.send(queue, 'two');

    const claims = await vi.waitFor(
      async () => {
        const found = await deliver.claim(params, context(), 5);
        expect(found).toHaveLength(1);
        return found;
      },
      { timeout: 5000 },
    );
    await deliver.acknowledge(params, context(), receipt);

    expect(claims.map(textOf)).toEqual(['two']);
    expect(queue.messages).toHaveLength(1);
  });

  it('connects anew after the namespace was away, and settles what it had', async () => {
    bus.send(queue, 'one');
    const { receipt } = await claimOne();
    const port = await bus.shut();
    const away: Fault = await faultFrom(deliver.extend(params, context(), receipt));
    await bus.listen(port);

    await deliver.acknowledge(params, context(), receipt);

    expect(away.code).toBe('SOURCE_UNREACHABLE');
    expect(queue.messages).toEqual([]);
  });

  it('shows the server a new signature before the old one ends', async () => {
    bus.send(queue, 'one');
    await claimOne();
    const tokens = () => bus.amqp.asked.filter(asked => asked === 'put-token shop/orders').length;

    const before = tokens();
    now += 50 * 60_000;
    await deliver.claim(params, context(), 1);

    expect([before, tokens()]).toEqual([1, 2]);
  });

  it('says who it is to the owner of the namespace', async () => {
    await deliver.claim(params, context(), 1);

    expect(bus.amqp.containerIds).toEqual([expect.stringMatching(/^eventide-/)]);
  });
});
