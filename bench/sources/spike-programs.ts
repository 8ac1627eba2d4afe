import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { kafkaClasses } from '../../test/kafka/server.ts';

const run = promisify(execFile);
const memory = ['-Xmx128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
const quiet = '-Dorg.slf4j.simpleLogger.defaultLogLevel=error';

/** What a producer says when it ends. */
export interface Produced {
  /** Events that the broker has taken. */
  events: number;
  seconds: number;
  /** Events a minute, without the first tenth, when Java is still warming up. */
  perMinute: number;
}

/** The producer and the consumer, compiled. */
export interface Programs {
  /** The consumer's command, up to its arguments. */
  consumer: string[];
  /** Has a consumer read for a moment, and keeps what Java loaded for it, so that later ones start sooner. */
  rehearse(servers: string, topic: string): Promise<void>;
  produce(servers: string, topic: string, limits: Limits): Promise<Produced>;
}

export interface Limits {
  most: number;
  perSecond: number;
  seconds: number;
}

/**
 * Compiles Spike.java.
 *
 * @param folder where its classes go
 */
export async function compilePrograms(folder: string): Promise<Programs> {
  const classes = join(folder, 'classes');
  const jar = join(folder, 'spike.jar');
  const source = fileURLToPath(new URL('Spike.java', import.meta.url));
  await run('javac', ['-cp', kafkaClasses, '-d', classes, source]);
  await run('jar', ['--create', '--file', jar, '-C', classes, '.']);
  const clients = ['kafka-clients-4.1.1', 'slf4j-api-1.7.36', 'slf4j-simple-1.7.36'];
  const paths = [jar, ...clients.map(name => join(dirname(kafkaClasses), `${name}.jar`))].join(':');
  const archive = join(folder, 'spike.jsa');
  const command = [...memory, quiet, '-cp', paths];
  return {
    consumer: ['java', `-XX:SharedArchiveFile=${archive}`, '-Xshare:auto', ...command, 'Spike', 'consume'],
    async rehearse(servers, topic) {
      const ledgers = join(folder, 'rehearsal');
      await mkdir(ledgers);
      const asked = ['Spike', 'consume', servers, topic, 'rehearsal', '100000', ledgers];
      const child = spawn('java', [`-XX:ArchiveClassesAtExit=${archive}`, ...command, ...asked]);
      const exit = once(child, 'exit');
      setTimeout(() => child.kill('SIGTERM'), 5000);
      await exit;
    },
    async produce(servers, topic, { most, perSecond, seconds }) {
      const numbers = [most, perSecond, seconds].map(String);
      const { stdout } = await run('java', [...command, 'Spike', 'produce', servers, topic, ...numbers]);
      const [events = Number.NaN, took = Number.NaN, warm = Number.NaN, warmTook = Number.NaN, failed] =
        stdout.trim().split(' ').map(Number);
      if (failed !== 0) throw new Error(`the broker refused ${failed} events`);
      return { events, seconds: took, perMinute: (warm / warmTook) * 60 };
    },
  };
}

/** What the consumers have noted. */
export interface Ledger {
  /** Events that were worked on, each counted once. */
  once: number;
  /** How often one was worked on again. */
  again: number;
  /** How many consumers there were. */
  consumers: number;
}

/** Reads what the consumers noted in a folder: lines of `PARTITION FROM TO`, where TO is not included. */
export async function readLedger(folder: string): Promise<Ledger> {
  const files = await readdir(folder);
  const texts = await Promise.all(files.map(file => readFile(join(folder, file), 'utf8')));
  const spans = texts
    .flatMap(text => text.split('\n').filter(line => line !== ''))
    .map(line => line.split(' ').map(Number) as [partition: number, from: number, to: number])
    .sort(([a, from], [b, other]) => a - b || from - other);
  let once = 0;
  let again = 0;
  let last = -1;
  let end = 0;
  for (const [partition, from, to] of spans) {
    if (partition !== last) end = 0;
    last = partition;
    const fresh = Math.max(0, to - Math.max(from, end));
    once += fresh;
    again += to - from - fresh;
    end = Math.max(end, to);
  }
  return { once, again, consumers: files.length };
}
