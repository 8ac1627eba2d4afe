/** Processes one task, given as JSON after --process-event, and stores a result under the task's id. */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { BlobServiceClient } from '@azure/storage-blob';

const { values } = parseArgs({ options: { 'process-event': { type: 'string' } } });
const task = JSON.parse(values['process-event']);

if (!Array.isArray(task.numbers)) {
  console.error(`${task.id}: there are no numbers to add`);
  process.exit(1);
}
const sum = task.numbers.reduce((total, number) => total + number, 0);
const results = BlobServiceClient.fromConnectionString(process.env.STORAGE_CONNECTION).getContainerClient(
  'results',
);
// A name of its own for each run, so that a task that ran twice would show.
const result = JSON.stringify({ id: task.id, sum, job: process.env.KEDA_TASK_ID });
await results.getBlockBlobClient(`${task.id}/${randomUUID()}.json`).upload(result, Buffer.byteLength(result));
console.log(`${task.id}: sum ${sum}`);
