import { type FileHandle, open, stat, truncate } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';

/** A longer line is handed on in pieces. */
const longestLine = 64 * 1024;

/** A file that grew beyond this is emptied once it was read, for a worker may print for months. */
const largestFile = 8 * 1024 * 1024;

/** Reads the lines that a process appends to a file. What cannot be read is no line: output is never worth a failure. */
export class OutputTail {
  readonly #file: string;
  readonly #onLine: (text: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  #offset: number;
  #rest = '';
  #handle: FileHandle | undefined;
  #reading: Promise<void> = Promise.resolve();

  constructor(file: string, onLine: (text: string) => void) {
    this.#file = file;
    this.#onLine = onLine;
    this.#offset = 0;
  }

  /** A tail that leaves out what is in the file already. */
  static async fromEnd(file: string, onLine: (text: string) => void): Promise<OutputTail> {
    const tail = new OutputTail(file, onLine);
    tail.#offset = await stat(file).then(
      ({ size }) => size,
      () => 0,
    );
    return tail;
  }

  /** Reads what is new. */
  read(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#readOn()).catch(() => {});
    return this.#reading;
  }

  /** Reads the rest, a last line without a line break included, and lets go of the file. */
  async end(): Promise<void> {
    await this.read();
    this.#take(this.#decoder.end());
    if (this.#rest !== '') this.#onLine(this.#rest);
    this.#rest = '';
    await this.#handle?.close().catch(() => {});
    this.#handle = undefined;
  }

  async #readOn(): Promise<void> {
    // Most processes print nothing most of the time; to ask for the size is cheaper than to open.
    if (this.#handle === undefined) {
      if ((await stat(this.#file)).size <= this.#offset) return;
      this.#handle = await open(this.#file, 'r');
    }
    const buffer = Buffer.allocUnsafe(longestLine);
    for (;;) {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, this.#offset);
      if (bytesRead === 0) break;
      this.#offset += bytesRead;
      this.#take(this.#decoder.write(buffer.subarray(0, bytesRead)));
    }
    if (this.#offset <= largestFile) return;
    // What is printed between the last read and this is lost: a window of microseconds every 8 MiB.
    await truncate(this.#file);
    this.#offset = 0;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#onLine(line.endsWith('\r') ? line.slice(0, -1) : line);
    if (this.#rest.length <= longestLine) return;
    this.#onLine(this.#rest);
    this.#rest = '';
  }
}
