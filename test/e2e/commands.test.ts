import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Installed, install } from './eventide.ts';

let installed: Installed;
let folder: string;

beforeAll(async () => {
  installed = await install();
  folder = await mkdtemp(join(tmpdir(), 'eventide-commands-'));
});
afterAll(async () => {
  await installed[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

function eventide(args: readonly string[], input?: string): Promise<Outcome> {
  return new Promise(resolve => {
    const child = execFile(
      process.execPath,
      [installed.entry, ...args],
      { cwd: folder },
      (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
      },
    );
    child.stdin?.end(input);
  });
}

async function manifest(name: string, text: string | Uint8Array): Promise<string> {
  await writeFile(join(folder, name), text);
  return name;
}

const scaledObject = (triggers: string, spec = '') => `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: web
spec:
  scaleTargetRef: { name: web }
${spec}  triggers:
${triggers}
`;

describe('eventide check', () => {
  it('finds nothing wrong with the examples', async () => {
    const examples = ['image-processing.yaml', 'task-processing.yaml', 'storage.yaml'];

    const { code, stdout } = await eventide([
      'check',
      ...examples.map(name => join(process.cwd(), 'examples', name)),
    ]);

    expect(stdout).toContain('nothing is wrong');
    expect(code).toBe(0);
  });

  it('says everything that is wrong at once, with place and mending', async () => {
    const file = await manifest(
      'wrong.yaml',
      scaledObject(
        `    - type: cronn
      metadata: {}
    - type: cron
      metadata: { timezone: Etc/UTC, start: 0 6 * * *, end: 0 20 * * *, desiredReplicas: "many" }
    - type: prometheus
      metadata: { serverAddress: "http://localhost:9090", query: up, treshold: "5" }`,
        '  minReplicaCount: 5\n  maxReplicaCount: 2\n  poolingInterval: 10\n',
      ),
    );

    const { code, stdout } = await eventide(['check', file]);

    expect(code).toBe(1);
    expect(stdout).toMatch(/^wrong\.yaml:9:3: spec\.poolingInterval: .*"pollingInterval"/m);
    expect(stdout).toMatch(/^wrong\.yaml:\d+:\d+: spec.*minReplicaCount.*5.*2/m);
    expect(stdout).toMatch(/^wrong\.yaml:11:7: spec\.triggers\[0\]\.type: .*"cron"/m);
    expect(stdout).toMatch(
      /^wrong\.yaml:14:\d+: .*triggers\[1\]\.metadata\.desiredReplicas: "many" is not a whole number/m,
    );
    expect(stdout).toMatch(/triggers\[2\]\.metadata.*"threshold" is missing/);
    expect(stdout).toMatch(/^notice: wrong\.yaml:16:\d+: .*"treshold".*did you mean "threshold"/m);
  });

  it('takes the spelling of the article, and names the one of KEDA', async () => {
    const file = await manifest(
      'loose.yaml',
      `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: web }
spec:
  scaleTargetRef: { name: web }
  minReplicas: 0
  maxReplicas: 3
  triggers:
    - type: azurestoragequeue
      metadata: { queueName: orders, queueLength: 5, connection: { name: storage, key: connection } }
---
apiVersion: v1
kind: Secret
metadata: { name: storage }
stringData: { connection: UseDevelopmentStorage=true }
`,
    );

    const { code, stdout } = await eventide(['check', file]);

    expect(code).toBe(0);
    for (const spelling of ['minReplicaCount', 'maxReplicaCount', 'azure-queue', 'TriggerAuthentication']) {
      expect(stdout).toMatch(new RegExp(`^notice: .*${spelling}`, 'm'));
    }
  });

  it.each<[string, string | Uint8Array, RegExp]>([
    ['an empty file', '', /no manifest/],
    ['a binary file', Uint8Array.from([0, 255, 1, 254, 0, 0]), /UTF-8|binary/],
    ['a file of 6 MB', `a: ${'x'.repeat(6_000_000)}`, /more than the 5,000,000/],
    ['a file nested very deeply', `${'['.repeat(100_000)}`, /./],
    ['anchors that explode', explodingAnchors(), /./],
  ])('refuses %s with a sentence and no stack trace', async (_title, text, sentence) => {
    const file = await manifest('hostile.yaml', text);

    const { code, stdout, stderr } = await eventide(['check', file]);

    expect(code).toBe(1);
    expect(stdout).toMatch(sentence);
    expect(stdout + stderr).not.toMatch(/\n\s+at .*:\d+:\d+/);
  });

  it('names a file that is not there', async () => {
    const { code, stdout } = await eventide(['check', 'missing.yaml']);

    expect([code, stdout.split('\n')[0]]).toEqual([1, 'missing.yaml: there is no such file']);
  });

  it('reads standard input', async () => {
    const { stdout } = await eventide(['check', '-'], scaledObject('    - type: cronn\n      metadata: {}'));

    expect(stdout).toMatch(/^<stdin>:8:7: /m);
  });

  it('opens each source with --live and says what it read, or why it could not', async () => {
    const server = createServer((request, response) => {
      const value = request.url?.includes('good') ? vector('12') : 'garbage';
      response.end(value);
    }).listen(0, '127.0.0.1');
    await new Promise(resolve => server.once('listening', resolve));
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const trigger = (name: string) =>
      `    - type: prometheus\n      metadata: { serverAddress: "${address}", query: ${name}, threshold: "5" }`;
    const file = await manifest('live.yaml', scaledObject(`${trigger('good')}\n${trigger('bad')}`));

    const { code, stdout } = await eventide(['check', '--live', file]);
    server.close();

    expect(code).toBe(1);
    expect(stdout).toContain('trigger 0 (prometheus): reads 12, target 5 (AverageValue), active');
    expect(stdout).toMatch(/trigger 1 \(prometheus\): .*\(SOURCE_ANSWER_INVALID\)/);
  });
});

describe('eventide scalers', () => {
  it('lists the parameters of a type with their defaults', async () => {
    const { stdout } = await eventide(['scalers', 'azure-queue']);

    expect(stdout).toMatch(/queueName +required/);
    expect(stdout).toMatch(/queueLength +default 5 +Messages per replica/);
  });

  it('says of every type how it was tested', async () => {
    const [listed, described, json] = await Promise.all([
      eventide(['scalers']),
      eventide(['scalers', 'redis']),
      eventide(['scalers', '--json']),
    ]);

    expect(listed.stdout).toMatch(/^redis +Redis 7\S+ +Counts/m);
    expect(listed.stdout).toMatch(/^azure-queue +stub: Azurite \S+/m);
    expect(listed.stdout).toMatch(/^cron +no server needed +Wants/m);
    expect(described.stdout).toMatch(/^Tested with: Redis 7/m);
    const all = JSON.parse(json.stdout) as { testedWith: { kind: string; with?: string } }[];
    for (const { testedWith } of all) {
      if (testedWith.kind === 'none-needed') expect(testedWith).toEqual({ kind: 'none-needed' });
      else
        expect(testedWith).toEqual({
          kind: expect.stringMatching(/^(real|stub)$/),
          with: expect.stringMatching(/./),
        });
    }
  });

  it('guesses what a misspelt type was meant to be', async () => {
    const { code, stderr } = await eventide(['scalers', 'azure-queu']);

    expect([code, stderr]).toEqual([
      1,
      'eventide: there is no trigger type "azure-queu", did you mean "azure-queue"? (TYPE_UNKNOWN)\n',
    ]);
  });
});

describe('eventide explain', () => {
  it('says that nothing runs where nothing does', async () => {
    const { code, stderr } = await eventide(['explain', 'web']);

    expect(code).toBe(1);
    expect(stderr).toContain('no eventide runs with the state folder ".eventide"');
  });
});

describe('eventide completion', () => {
  it.each(['bash', 'zsh', 'fish'])('knows every command in %s', async shell => {
    const { stdout } = await eventide(['completion', shell]);

    for (const command of ['run', 'check', 'scalers', 'explain', 'completion'])
      expect(stdout).toContain(command);
  });

  it('prints a script that bash takes', async () => {
    const { stdout } = await eventide(['completion', 'bash']);

    const { code } = await new Promise<{ code: number }>(resolve => {
      const bash = execFile('bash', ['-n'], error => resolve({ code: error === null ? 0 : 1 }));
      bash.stdin?.end(stdout);
    });

    expect(code).toBe(0);
  });
});

describe('eventide', () => {
  it.each([
    ['a command that is not there', ['rnu'], /unknown command 'rnu'/],
    ['an option that is not there', ['check', '--fast', 'x'], /unknown option '--fast'/],
    ['a missing argument', ['check'], /missing required argument 'file'/],
    ['an image without a folder', ['run', '--image', 'worker', 'x'], /--image needs NAME=FOLDER/],
  ])('explains %s and exits with 2', async (_title, args, sentence) => {
    const { code, stderr } = await eventide(args);

    expect(stderr).toMatch(sentence);
    expect(code).toBe(2);
  });
});

const vector = (value: string) =>
  JSON.stringify({
    status: 'success',
    data: { resultType: 'vector', result: [{ metric: {}, value: [0, value] }] },
  });

function explodingAnchors(): string {
  const levels = Array.from({ length: 30 }, (_, level) =>
    level === 0
      ? 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]'
      : `a${level}: &a${level} [${`*a${level - 1}, `.repeat(10)}]`,
  );
  return levels.join('\n');
}

describe('eventide operator', () => {
  const kubeconfig = JSON.stringify({
    'current-context': 'away',
    contexts: [{ name: 'away', context: { cluster: 'away', user: 'somebody' } }],
    clusters: [{ name: 'away', cluster: { server: 'https://127.0.0.1:1' } }],
    users: [{ name: 'somebody', user: { token: 'a token' } }],
  });
  const nowhere = ['--metrics-bind-address=0'];

  it('waits for an API server that is away, and ends when it is told to', async () => {
    const file = await manifest('kubeconfig', kubeconfig);
    const args = ['operator', `--kubeconfig=${file}`, ...nowhere, '--health-probe-bind-address=0'];
    const child = spawn(process.execPath, [installed.entry, ...args], { cwd: folder });
    const ended = new Promise<number | null>(resolve => child.once('exit', resolve));
    await new Promise<void>(resolve => {
      child.stderr.on('data', chunk => {
        if (String(chunk).includes('refuses connections')) resolve();
      });
    });

    child.kill('SIGTERM');

    expect(await ended).toBe(0);
  });

  it.each([
    ['a kubeconfig that is not there', ['--kubeconfig=missing'], 1, /missing: there is no such kubeconfig/],
    ['a mode that is none', ['--autoscaler=both'], 2, /--autoscaler needs hpa or direct, not "both"/],
    ['a flag that is none', ['--autoscale=hpa'], 2, /unknown option '--autoscale=hpa'/],
  ])('says what is wrong with %s', async (_title, args, code, words) => {
    const outcome = await eventide(['operator', ...args]);

    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toMatch(words);
    expect(outcome.stderr).not.toMatch(/\n\s+at /);
  });
});
