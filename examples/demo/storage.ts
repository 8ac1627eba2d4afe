import { BlobServiceClient, type ContainerClient } from '@azure/storage-blob';
import { type QueueClient, QueueServiceClient } from '@azure/storage-queue';
import sharp from 'sharp';

/** The queues and containers of the two examples, reached through Azure's own client. */
export interface Storage {
  imageQueue: QueueClient;
  taskQueue: QueueClient;
  poisonQueue: QueueClient;
  images: ContainerClient;
  thumbnails: ContainerClient;
  results: ContainerClient;
  /** Whether both queues are empty, messages in work included. */
  isDrained(): Promise<boolean>;
}

export interface Counts {
  images: number;
  tasks: number;
  badTasks: number;
}

/** What is to be found once all is done. */
export interface Outcome {
  thumbnails: number;
  wrongSize: number;
  tasksOnce: number;
  tasksTwice: number;
  poisoned: number;
}

export async function openStorage(connection: string): Promise<Storage> {
  const queues = QueueServiceClient.fromConnectionString(connection);
  const blobs = BlobServiceClient.fromConnectionString(connection);
  const storage = {
    imageQueue: queues.getQueueClient('image-queue'),
    taskQueue: queues.getQueueClient('task-queue'),
    poisonQueue: queues.getQueueClient('task-queue-poison'),
    images: blobs.getContainerClient('images'),
    thumbnails: blobs.getContainerClient('thumbnails'),
    results: blobs.getContainerClient('results'),
  };
  const { imageQueue, taskQueue, images, thumbnails, results } = storage;
  await Promise.all([imageQueue, taskQueue, images, thumbnails, results].map(each => each.create()));
  return {
    ...storage,
    async isDrained() {
      const counts = await Promise.all([imageQueue, taskQueue].map(queue => queue.getProperties()));
      return counts.every(({ approximateMessagesCount }) => approximateMessagesCount === 0);
    },
  };
}

/** A large photograph's worth of noise, as JPEG. */
export function makePicture(): Promise<Buffer> {
  const noise = { type: 'gaussian', mean: 128, sigma: 12 } as const;
  return sharp({ create: { width: 3600, height: 2400, channels: 3, background: '#446688', noise } })
    .jpeg()
    .toBuffer();
}

/** Uploads images and queues their names. @param from the number of the first */
export async function sendImages(
  { images, imageQueue }: Storage,
  { picture, count, from }: { picture: Buffer; count: number; from: number },
): Promise<void> {
  const names = Array.from({ length: count }, (_, index) => `image-${from + index + 1}.jpg`);
  await inBatches(names, async name => {
    await images.getBlockBlobClient(name).uploadData(picture);
    await imageQueue.sendMessage(name);
  });
}

/** Queues tasks; a bad one has no numbers to add. @param from the number of the first */
export async function sendTasks(
  { taskQueue }: Storage,
  counts: Omit<Counts, 'images'>,
  from: number,
): Promise<void> {
  const good = Array.from({ length: counts.tasks }, (_, index) => ({
    id: `task-${from + index + 1}`,
    numbers: Array.from({ length: 1000 }, (_each, number) => number * (index + 1)),
  }));
  const bad = Array.from({ length: counts.badTasks }, (_, index) => ({ id: `bad-task-${index + 1}` }));
  await inBatches([...bad, ...good], async task => {
    await taskQueue.sendMessage(JSON.stringify(task));
  });
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += 10) await Promise.all(items.slice(at, at + 10).map(work));
}

/** Opens every thumbnail and lists every result. */
export async function countOutcome({ thumbnails, results, poisonQueue }: Storage): Promise<Outcome> {
  const outcome: Outcome = { thumbnails: 0, wrongSize: 0, tasksOnce: 0, tasksTwice: 0, poisoned: 0 };
  for await (const { name } of thumbnails.listBlobsFlat()) {
    const { width, height } = await sharp(await thumbnails.getBlobClient(name).downloadToBuffer()).metadata();
    if (width === 256 && height === 256) outcome.thumbnails += 1;
    else outcome.wrongSize += 1;
  }
  const runs = new Map<string, number>();
  for await (const { name } of results.listBlobsFlat()) {
    const task = name.split('/')[0] ?? '';
    runs.set(task, (runs.get(task) ?? 0) + 1);
  }
  for (const count of runs.values()) {
    if (count === 1) outcome.tasksOnce += 1;
    else outcome.tasksTwice += 1;
  }
  if (await poisonQueue.exists()) {
    outcome.poisoned = (await poisonQueue.getProperties()).approximateMessagesCount ?? 0;
  }
  return outcome;
}
