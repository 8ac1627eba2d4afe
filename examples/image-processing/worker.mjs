/** Resizes the images that the queue names to 256x256, one after the other, until it is told to stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobServiceClient } from '@azure/storage-blob';
import { QueueClient } from '@azure/storage-queue';
import sharp from 'sharp';

const connection = process.env.STORAGE_CONNECTION;
const queue = new QueueClient(connection, 'image-queue');
const blobs = BlobServiceClient.fromConnectionString(connection);
const images = blobs.getContainerClient('images');
const thumbnails = blobs.getContainerClient('thumbnails');

let stopping = false;
process.once('SIGTERM', () => {
  stopping = true;
});

console.log('ready');
while (!stopping) {
  const { receivedMessageItems } = await queue.receiveMessages({
    numberOfMessages: 1,
    visibilityTimeout: 30,
  });
  const [message] = receivedMessageItems;
  if (message === undefined) {
    await sleep(250);
    continue;
  }
  await resize(message.messageText);
  await queue.deleteMessage(message.messageId, message.popReceipt);
}
console.log('stopped');

async function resize(name) {
  const original = await images.getBlobClient(name).downloadToBuffer();
  const small = await sharp(original)
    .resize(256, 256, { fit: 'cover', fastShrinkOnLoad: false })
    .jpeg()
    .toBuffer();
  await thumbnails
    .getBlockBlobClient(name)
    .uploadData(small, { blobHTTPHeaders: { blobContentType: 'image/jpeg' } });
  console.log(`${name}: ${original.length} bytes -> 256x256, ${small.length} bytes`);
}
