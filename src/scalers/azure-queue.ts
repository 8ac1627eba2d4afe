import { Fault } from '../base/errors.ts';
import type { ReadContext } from '../scaler/context.ts';
import { defineScaler } from '../scaler/define.ts';
import type { Claim, Delivery, Receipt } from '../scaler/delivery.ts';
import {
  accountIdentity,
  openStorage,
  type StorageAccount,
  type StorageClient,
  serviceUrl,
  storageAccount,
} from '../scaler/families/azure-storage.ts';
import {
  childrenOf,
  encodeText,
  parseStorageXml,
  textOf,
  type XmlElement,
} from '../scaler/families/azure-storage-xml.ts';
import { normalizeMetricName } from '../scaler/metric-name.ts';
import { p } from '../scaler/params.ts';

type Context = ReadContext<StorageClient>;

interface Queue extends StorageAccount {
  queueName: string;
  queueLengthStrategy: 'all' | 'visibleonly';
}

/** The most that Azure hands out or shows at once. */
const mostAtOnce = 32;

/** 32 messages of 64 KiB in which every character is escaped. */
const messagesBytes = 16 * 1024 * 1024;

/** Long enough to outlast half a minute without the source, short enough to hand on after a crash. */
const lockMs = 60_000;

/** The longest Azure hides a message. */
const sevenDaysMs = 7 * 86_400_000;

const delivery: Delivery<Queue, StorageClient> = {
  promise: [
    'Each message becomes one Job: Azure gives it an id, and the Job is named after that. It is claimed by hiding it for a',
    'minute, again and again while its Job runs, and deleted after its Job succeeded. Where nobody could hide it in time,',
    'say after a crash of more than a minute, it is seen again and handed out once more; then it is found to have a Job',
    'that runs, or has succeeded, and gets no second one as long as that Job is there. Meanwhile any other consumer could',
    'take it: let nobody else consume the queue. No order is promised.',
    '',
    'A message whose Job failed is seen again after a pause. After the last attempt its text is copied to the queue',
    '`<queue>-poison`, as Azure Functions does, which is made where it is missing; the copy has an id of its own and does',
    'not expire. Then the message is deleted: a crash in between may leave two copies, and never none. Where the text is',
    'not known any more, after a restart, the message is shown for a moment to read it; if it is not among the first 32 of',
    'the queue it goes back, and is moved when it is handed out next. A message that reaches its time to live (seven days',
    'unless its sender says otherwise) is deleted by Azure, whether its Job is done or not, and cannot be tried again.',
  ].join('\n'),
  lockMs,
  queueId: queue => `${serviceUrl(queue)}/${queue.queueName}`,
  claim,

  async extend({ queueName }, context, receipt) {
    const extended = await hide(queueName, context, receipt, lockMs);
    return { receipt: extended, lockedUntil: context.now + lockMs };
  },

  async acknowledge({ queueName }, context, receipt) {
    const { path, popReceipt } = readReceipt(queueName, receipt);
    await context.conn.send({ method: 'DELETE', path, query: { popreceipt: popReceipt } }, context);
  },

  async release({ queueName }, context, receipt, delayMs) {
    await hide(queueName, context, receipt, delayMs);
  },

  /** As Azure Functions does: a copy in `<queue>-poison`, which is made where it is missing. */
  async deadLetter(queue, context, { receipt, body }) {
    // Held anew before anything is copied: of a message that went back there must be no copy.
    const message =
      body === undefined
        ? await readAgain(queue, context, receipt)
        : {
            receipt: await hide(queue.queueName, context, receipt, lockMs),
            text: Buffer.from(body).toString('utf8'),
          };
    await putPoison(`${queue.queueName}-poison`, context, message.text);
    await delivery.acknowledge(queue, context, message.receipt);
  },
};

export default defineScaler({
  type: 'azure-queue',
  doc: 'Counts the messages of one Azure Storage queue: all of them, or only those that are visible. A message that is delivered is the text that is stored, so one that its sender encoded as base64 arrives as base64.',
  testedWith: { kind: 'stub', with: "Azurite 3.35.0, Microsoft's emulator" },
  params: {
    queueName: p.text({ doc: 'Name of the queue.' }),
    queueLength: p.integer({ doc: 'Messages per replica.', unit: 'messages', default: '5' }),
    activationQueueLength: p.integer({
      doc: 'Active above this many messages.',
      unit: 'messages',
      default: '0',
    }),
    queueLengthStrategy: p.choice(['all', 'visibleonly'], {
      doc: '`visibleonly` counts what can be received now, up to 31 messages; from 32 on, and with `all`, messages that are being processed are counted too.',
      default: 'all',
    }),
    connection: p.secret({
      doc: 'Connection string of the storage account; not needed with a pod identity.',
      from: ['auth', 'metadata', 'env'],
      optional: true,
    }),
    accountName: p.text({
      doc: 'Name of the storage account; needed with a pod identity.',
      optional: true,
    }),
    cloud: p.text({
      doc: 'Cloud of the account: AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud or Private.',
      optional: true,
    }),
    endpointSuffix: p.text({
      doc: 'Domain of the queue service, such as `queue.core.private.cloud`; for `cloud: Private` only.',
      optional: true,
    }),
  },
  target: 'queueLength',
  activation: 'activationQueueLength',
  counts: 'waiting and in flight',
  countsFor: {
    words:
      'what waits and what is being processed; with `queueLengthStrategy: visibleonly` for what waits alone',
    of: ({ queueLengthStrategy }) =>
      queueLengthStrategy === 'visibleonly' ? 'waiting' : 'waiting and in flight',
  },
  resolve(values, context) {
    const account = storageAccount('queue', values, context);
    return 'problems' in account ? account : { ...values, ...account };
  },
  metricName: ({ queueName }) => normalizeMetricName(`azure-queue-${queueName}`),
  endpoint: queue => accountIdentity(queue),
  query: ({ queueName, queueLengthStrategy }) => `${queueLengthStrategy} ${queueName}`,
  open: async (queue, context) => openStorage(queue, context),
  async read({ queueName, queueLengthStrategy }, context) {
    if (queueLengthStrategy === 'visibleonly') {
      const visible = (await messages(queueName, context, { peekonly: 'true', numofmessages: '32' })).length;
      if (visible < mostAtOnce) return visible;
    }
    const path = [queueName];
    const answer = await context.conn.send({ method: 'GET', path, query: { comp: 'metadata' } }, context);
    const count = answer.headers['x-ms-approximate-messages-count'];
    if (typeof count === 'string' && /^\d{1,15}$/.test(count)) return Number(count);
    throw new Fault(
      'SOURCE_ANSWER_INVALID',
      `${context.conn.nameOf(path)} did not say how many messages it has`,
    );
  },
  deliver: delivery,
});

/** The messages that a Get or Peek answers with. */
async function messages(
  queueName: string,
  context: Context,
  query: Readonly<Record<string, string>>,
): Promise<readonly XmlElement[]> {
  const path = [queueName, 'messages'];
  const answer = await context.conn.send({ method: 'GET', path, query, maxBytes: messagesBytes }, context);
  const list = parseStorageXml(answer.body, 'QueueMessagesList', context.conn.nameOf([queueName]));
  return childrenOf(list, 'QueueMessage');
}

/** Takes messages by hiding them, 32 at a time, until there are enough or the queue gives fewer. */
async function claim({ queueName }: Queue, context: Context, most: number): Promise<Claim[]> {
  const claims: Claim[] = [];
  while (claims.length < most) {
    const wanted = Math.min(mostAtOnce, most - claims.length);
    const query = { numofmessages: String(wanted), visibilitytimeout: String(lockMs / 1_000) };
    let taken: readonly XmlElement[];
    try {
      taken = await messages(queueName, context, query);
    } catch (thrown) {
      // What was taken before is ours: to lose it would hide it for a minute. The next claim meets the fault.
      if (claims.length > 0) return claims;
      throw thrown;
    }
    claims.push(...taken.map(message => readClaim(message, context, queueName)));
    if (taken.length < wanted) break;
  }
  return claims;
}

function readClaim(message: XmlElement, { conn, now }: Context, queueName: string): Claim {
  const id = textOf(message, 'MessageId');
  const popReceipt = textOf(message, 'PopReceipt');
  const body = textOf(message, 'MessageText');
  const deliveryCount = Number(textOf(message, 'DequeueCount'));
  if (!id || !popReceipt || body === undefined || !Number.isInteger(deliveryCount)) {
    const what = conn.nameOf([queueName]);
    throw new Fault('SOURCE_ANSWER_INVALID', `${what} handed out a message without its id, receipt or text`);
  }
  const sentAt = Date.parse(textOf(message, 'InsertionTime') ?? '');
  return {
    messageId: id,
    body: Buffer.from(body, 'utf8'),
    receipt: `${id}:${popReceipt}`,
    deliveryCount,
    ...(Number.isNaN(sentAt) ? {} : { sentAt }),
    lockedUntil: now + lockMs,
  };
}

/** A receipt is the message's id and Azure's own "pop receipt": all that any process needs to settle it. */
function readReceipt(
  queueName: string,
  receipt: Receipt,
): { id: string; popReceipt: string; path: string[] } {
  const [id, popReceipt] = [receipt.slice(0, receipt.indexOf(':')), receipt.slice(receipt.indexOf(':') + 1)];
  if (id === '' || popReceipt === '' || !receipt.includes(':')) {
    throw new Fault('INTERNAL', `"${receipt}" is not a receipt of an Azure Storage queue`);
  }
  return { id, popReceipt, path: [queueName, 'messages', id] };
}

/** Hides a claimed message for so long from now on, its text untouched; the receipt changes. */
async function hide(queueName: string, context: Context, receipt: Receipt, forMs: number): Promise<Receipt> {
  const { id, path, popReceipt } = readReceipt(queueName, receipt);
  const seconds = Math.ceil(Math.min(Math.max(0, forMs), sevenDaysMs) / 1_000);
  const query = { popreceipt: popReceipt, visibilitytimeout: String(seconds) };
  const answer = await context.conn.send({ method: 'PUT', path, query }, context);
  const next = answer.headers['x-ms-popreceipt'];
  if (typeof next !== 'string' || next === '') {
    const what = context.conn.nameOf([queueName]);
    throw new Fault('SOURCE_ANSWER_INVALID', `${what} gave no new receipt for a message`);
  }
  return `${id}:${next}`;
}

/**
 * The text of a message of which only the receipt is left. Azure reads no message by its id: ours is shown for
 * a moment, looked for among the first 32 and hidden again. Where it is not among them, or another receiver was
 * quicker, it stays with the others and will be handed out once more.
 */
async function readAgain(
  { queueName }: Queue,
  context: Context,
  receipt: Receipt,
): Promise<{ receipt: Receipt; text: string }> {
  const shown = await hide(queueName, context, receipt, 0);
  const { id } = readReceipt(queueName, shown);
  const visible = await messages(queueName, context, { peekonly: 'true', numofmessages: '32' });
  const text = textOf(
    visible.find(message => textOf(message, 'MessageId') === id),
    'MessageText',
  );
  if (text === undefined) {
    const what = context.conn.nameOf([queueName]);
    throw new Fault('MESSAGE_LOST', `message ${id} of ${what} went back: its text could not be read again`);
  }
  return { receipt: await hide(queueName, context, shown, lockMs), text };
}

async function putPoison(poisonQueue: string, context: Context, text: string): Promise<void> {
  const put = () =>
    context.conn.send(
      {
        method: 'POST',
        path: [poisonQueue, 'messages'],
        // Kept until someone has looked at it, not for Azure's seven days.
        query: { messagettl: '-1' },
        body: `<QueueMessage><MessageText>${encodeText(text)}</MessageText></QueueMessage>`,
      },
      context,
    );
  try {
    await put();
  } catch (thrown) {
    if (!(thrown instanceof Fault) || thrown.code !== 'SOURCE_NOT_FOUND') throw thrown;
    await context.conn.send({ method: 'PUT', path: [poisonQueue] }, context);
    await put();
  }
}
