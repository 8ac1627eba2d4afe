import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type QueueClient, QueueServiceClient } from '@azure/storage-queue';
import { commandText } from '../laptop.ts';

/** A folder with the manifest of a ScaledJob whose jobs append their task to a file. */
export interface TaskFolder extends AsyncDisposable {
  folder: string;
  manifest: string;
  queue: QueueClient;
  poison: QueueClient;
  /** Sends tasks `task-1` to `task-<count>`. */
  send(count: number): Promise<void>;
  /** What the jobs that succeeded were given, in the order they finished. */
  done(): Promise<string[]>;
}

interface TaskOptions {
  connectionString: string;
  queueName: string;
  /** What a job does before it notes its task as done; a shell command. */
  work: string;
  maxReplicaCount: number;
  maxAttempts?: number;
}

export async function taskFolder(options: TaskOptions): Promise<TaskFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'eventide-tasks-'));
  const manifest = join(folder, 'tasks.yaml');
  await writeFile(manifest, manifestOf(options));
  const service = QueueServiceClient.fromConnectionString(options.connectionString);
  const queue = service.getQueueClient(options.queueName);
  await queue.create();
  return {
    folder,
    manifest,
    queue,
    poison: service.getQueueClient(`${options.queueName}-poison`),
    async send(count) {
      for (let sent = 0; sent < count; sent += 20) {
        const names = Array.from(
          { length: Math.min(20, count - sent) },
          (_, index) => `task-${sent + index + 1}`,
        );
        await Promise.all(names.map(name => queue.sendMessage(name)));
      }
    },
    async done() {
      const text = await readFile(join(folder, 'done'), 'utf8').catch(() => '');
      return text.split('\n').filter(line => line !== '');
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

function manifestOf({
  connectionString,
  queueName,
  work,
  maxReplicaCount,
  maxAttempts = 5,
}: TaskOptions): string {
  return `apiVersion: v1
kind: Secret
metadata: { name: storage }
stringData: { connection: ${JSON.stringify(connectionString)} }
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: { name: storage }
spec:
  secretTargetRef: [{ parameter: connection, name: storage, key: connection }]
---
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: { name: tasks }
spec:
  pollingInterval: 1
  maxReplicaCount: ${maxReplicaCount}
  eventide: { delivery: { maxAttempts: ${maxAttempts} } }
  jobTargetRef:
    backoffLimit: 0
    template:
      spec:
        restartPolicy: Never
        terminationGracePeriodSeconds: 1
        containers:
          - name: task
            image: none
            command: ["/bin/sh", "-c", ${commandText(`${work}; echo "$KEDA_TASK_DATA" >> done`)}]
  triggers:
    - type: azure-queue
      metadata: { queueName: ${queueName}, queueLength: "1" }
      authenticationRef: { name: storage }
`;
}
