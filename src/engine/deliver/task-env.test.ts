import { describe, expect, it } from 'vitest';
import { modelQueue, modelSource } from '../../../test/delivery-model.ts';
import { manualClock } from '../../base/clock.ts';
import { type TaskInput, taskData } from './task-env.ts';

const clock = manualClock();
const { trigger } = modelSource(modelQueue(clock), clock);
const message = (body: string | Uint8Array, id = 'm1', sentAt?: number) => ({
  id,
  body: typeof body === 'string' ? Buffer.from(body) : body,
  sentAt,
});
const input = (over: Partial<TaskInput> = {}): TaskInput => ({
  messages: [message('hello')],
  attempt: 2,
  trigger,
  queueId: 'https://x/orders',
  spec: { as: 'env', batchSize: 1, maxAttempts: 5 },
  claimedAt: Date.UTC(2026, 0, 2),
  ...over,
});
const batch = { as: 'env', batchSize: 3, maxAttempts: 5 } as const;
const notUtf8 = Uint8Array.of(0xff, 0xfe);

describe('one message', () => {
  it('is its text, with all there is to know about it', () => {
    expect(taskData(input({ messages: [message('hello', 'm1', Date.UTC(2026, 0, 1))] }))).toEqual({
      env: {
        KEDA_TASK_DATA: 'hello',
        KEDA_TASK_ID: 'm1',
        KEDA_TASK_ATTEMPT: '2',
        KEDA_TASK_SOURCE: 'https://x/orders',
        KEDA_TASK_TIME: '2026-01-01T00:00:00.000Z',
        KEDA_TRIGGER_NAME: 's0-model-queue-orders',
        KEDA_TRIGGER_TYPE: 'model-queue',
      },
    });
  });

  it('has the time it was claimed where the source does not say when it was sent', () => {
    expect(taskData(input()).env['KEDA_TASK_TIME']).toBe('2026-01-02T00:00:00.000Z');
  });

  it('has the name of its trigger where that has one', () => {
    const named = { ...trigger, trigger: { ...trigger.trigger, name: 'orders' } };

    expect(taskData(input({ trigger: named })).env['KEDA_TRIGGER_NAME']).toBe('orders');
  });

  it.each([
    ['that is just small enough', 'x'.repeat(32 * 1024)],
    ['that is empty', ''],
    ['with line ends, quotes and emoji', 'a\r\n"b" \u{1f319}'],
  ])('%s goes by variable', (_title, body) => {
    const { env, file } = taskData(input({ messages: [message(body)] }));

    expect(env['KEDA_TASK_DATA']).toBe(body);
    expect(file).toBeUndefined();
  });

  it.each([
    ['is larger than 32 KiB', Buffer.from('x'.repeat(32 * 1024 + 1)), /larger/],
    ['is not UTF-8', notUtf8, /UTF-8/],
    ['has a NUL', Buffer.from('a\0b'), /NUL/],
  ])('goes by file when it %s, as it is', (_title, body, why) => {
    const { env, file } = taskData(input({ messages: [message(body)] }));

    expect(env).not.toHaveProperty('KEDA_TASK_DATA');
    expect(env).toMatchObject({ KEDA_TASK_ID: 'm1' });
    expect(file?.variable).toBe('KEDA_TASK_FILE');
    expect(Buffer.from(file?.body ?? []).equals(body)).toBe(true);
    expect(file?.because).toMatch(why);
  });

  it('goes by file where the manifest asks for that, with nothing to explain', () => {
    const data = taskData(input({ spec: { as: 'file', batchSize: 1, maxAttempts: 5 } }));

    expect(Buffer.from(data.file?.body ?? []).toString()).toBe('hello');
    expect(data.env).not.toHaveProperty('KEDA_TASK_DATA');
    expect(data.file?.because).toBeUndefined();
  });
});

describe('a batch', () => {
  it('is a JSON array of texts, with the ids in the same order and the time of the oldest', () => {
    const messages = [message('one', 'b', Date.UTC(2026, 0, 5)), message('"two"', 'a', Date.UTC(2026, 0, 4))];

    const { env } = taskData(input({ messages, spec: batch }));

    expect(JSON.parse(env['KEDA_TASK_DATA'] ?? '')).toEqual(['one', '"two"']);
    expect(JSON.parse(env['KEDA_TASK_ID'] ?? '')).toEqual(['b', 'a']);
    expect(env['KEDA_TASK_TIME']).toBe('2026-01-04T00:00:00.000Z');
  });

  it('is an array also of one', () => {
    expect(taskData(input({ spec: batch })).env['KEDA_TASK_DATA']).toBe('["hello"]');
  });

  it('has what is not text as base64, and a NUL by its escape', () => {
    const messages = [message(notUtf8, 'a'), message('a\0b', 'b')];

    const { env } = taskData(input({ messages, spec: batch }));

    expect(JSON.parse(env['KEDA_TASK_DATA'] ?? '')).toEqual([{ base64: '//4=' }, 'a\0b']);
  });

  it('goes by file when it is too large together', () => {
    const messages = [message('x'.repeat(20_000), 'a'), message('y'.repeat(20_000), 'b')];

    const { file } = taskData(input({ messages, spec: batch }));

    expect(JSON.parse(Buffer.from(file?.body ?? []).toString())).toHaveLength(2);
  });
});
