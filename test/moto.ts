import { existsSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { Secret } from '../src/base/secret.ts';
import type { AwsCredentials } from '../src/base/sigv4.ts';
import { type AwsClient, openAws } from '../src/scaler/families/aws-client.ts';
import { closedPort } from './misbehaving-http.ts';
import { openContext } from './scaler-contract.ts';
import { type ServerProcess, startProgram } from './server-process.ts';

const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
const python = join(cache, 'eventide', 'moto-5.2.5', 'bin', 'python');

/** In one thread: its queues lose what several do at once, which AWS' do not. */
const program = `
import moto.server as server
run = server.run_simple
server.run_simple = lambda *args, **named: run(*args, **{**named, 'threaded': False})
server.main()
`;

/** Whether moto is where .ci/run puts it: without it these tests are skipped. */
export const motoInstalled = existsSync(python);

const region = 'eu-west-1';
const anyone: AwsCredentials = { accessKeyId: 'AKIATEST', secretAccessKey: new Secret('secret of a test') };

/** A running moto: AWS, as far as it imitates it, and a way to look into its SQS. */
export interface MotoServer extends AsyncDisposable {
  /** `http://127.0.0.1:port` */
  url: string;
  host: string;
  port: number;
  /** One action of SQS. @throws Fault of the source */
  sqs(action: string, input: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>;
  /** Makes a queue. @returns its URL */
  makeQueue(name: string, attributes?: Readonly<Record<string, string>>): Promise<string>;
  /** How many messages a queue has, received and delayed ones included. */
  count(QueueUrl: string): Promise<number>;
  /** The first texts of a queue, which it keeps; none where there is no such queue. */
  peek(queueName: string): Promise<string[]>;
  /** Ends the process; what it held is gone. */
  stop(): Promise<void>;
  /** Starts the process again, on the same port. */
  restart(): Promise<void>;
}

/**
 * Starts AWS with nothing in it.
 *
 * @param unsigned how many actions it takes from anybody, before it wants them signed by somebody that it knows; all
 *   of them unless given
 */
export async function startMoto({ unsigned }: { unsigned?: number } = {}): Promise<MotoServer> {
  const port = await closedPort();
  const url = `http://127.0.0.1:${port}`;
  const client = clientOf(url, anyone);
  let child = await start(port, unsigned);

  async function sqs(action: string, input: Readonly<Record<string, unknown>>) {
    const signal = AbortSignal.timeout(10_000);
    return await client.call({
      action: `AmazonSQS.${action}`,
      input,
      what: 'SQS',
      now: Date.now(),
      signal,
    });
  }
  return {
    url,
    host: '127.0.0.1',
    port,
    sqs,
    async makeQueue(name, attributes = {}) {
      const { QueueUrl } = await sqs('CreateQueue', { QueueName: name, Attributes: attributes });
      return String(QueueUrl);
    },
    async count(QueueUrl) {
      const { Attributes } = await sqs('GetQueueAttributes', { QueueUrl, AttributeNames: ['All'] });
      const counts = Object.entries(Attributes as Record<string, string>);
      return counts
        .filter(([name]) => name.startsWith('ApproximateNumberOfMessages'))
        .reduce((sum, [, count]) => sum + Number(count), 0);
    },
    async peek(queueName) {
      const input = { QueueUrl: queueName, MaxNumberOfMessages: 10, VisibilityTimeout: 0 };
      const { Messages = [] } = await sqs('ReceiveMessage', input).catch(() => ({ Messages: [] }));
      return (Messages as { Body: string }[]).map(({ Body }) => Body);
    },
    stop: () => child.stop('SIGKILL'),
    async restart() {
      await child.stop('SIGKILL');
      child = await start(port, unsigned);
    },
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await child[Symbol.asyncDispose]();
    },
  };
}

/** A user of the server who may do this in SQS. Takes three actions. */
export async function makeUser({ url }: MotoServer, actions: readonly string[]): Promise<AwsCredentials> {
  const ask = async (form: Record<string, string>) => {
    const credential = `AKIATEST/20260101/us-east-1/iam/aws4_request`;
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        authorization: `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host, Signature=none`,
      },
      body: new URLSearchParams({ ...form, UserName: 'eventide', Version: '2010-05-08' }),
    });
    return await answer.text();
  };
  const statement = { Effect: 'Allow', Action: actions.map(name => `sqs:${name}`), Resource: '*' };
  await ask({ Action: 'CreateUser' });
  await ask({
    Action: 'PutUserPolicy',
    PolicyName: 'scaler',
    PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [statement] }),
  });
  const keys = await ask({ Action: 'CreateAccessKey' });
  const value = (name: string) => new RegExp(`<${name}>([^<]+)<`).exec(keys)?.[1] ?? '';
  return { accessKeyId: value('AccessKeyId'), secretAccessKey: new Secret(value('SecretAccessKey')) };
}

function clientOf(url: string, who: AwsCredentials): AwsClient {
  const { signal } = new AbortController();
  return openAws({ region, url, service: 'sqs', who }, '1.0', openContext(signal));
}

function start(port: number, unsigned: number | undefined): Promise<ServerProcess> {
  const strictness = unsigned === undefined ? [] : [`INITIAL_NO_AUTH_ACTION_COUNT=${unsigned}`];
  return startProgram(['env', ...strictness, python, '-c', program, '-H', '127.0.0.1', '-p', String(port)], {
    cwd: tmpdir(),
    asOurselves: true,
    isReady: () =>
      fetch(`http://127.0.0.1:${port}/moto-api/`).then(
        ({ ok }) => ok,
        () => false,
      ),
  });
}
