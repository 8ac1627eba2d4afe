import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Fault } from '../../base/errors.ts';
import { networkFault } from '../../base/http.ts';
import { type Address, addressText, encryptSocket, openSocket, type Way } from './socket.ts';

/** How many bytes may wait for somebody to read them. */
const mostAhead = 256 * 1024;

/**
 * A connection whose bytes are waited for, so that a protocol reads like the conversation that it is. One reader at
 * a time.
 */
export class ByteChannel implements Disposable {
  readonly name: string;
  readonly #address: Address;
  #socket: Socket;
  #chunks: Buffer[] = [];
  #buffered = 0;
  #wanted = 0;
  #paused = false;
  #wake: ((fault?: Fault) => void) | undefined;
  #unlisten: (() => void) | undefined;
  #end: Fault | undefined;

  private constructor(socket: Socket, address: Address) {
    this.#address = address;
    this.name = addressText(address);
    this.#socket = socket;
    this.#listen(socket);
  }

  /** @throws Fault SOURCE_UNREACHABLE, SOURCE_TIMEOUT or CANCELLED */
  static async connect(address: Address, signal: AbortSignal): Promise<ByteChannel> {
    return new ByteChannel(await openSocket(address, {}, signal), address);
  }

  /** False once either side has closed it; then it stays closed. */
  get open(): boolean {
    return this.#end === undefined;
  }

  /** The certificate of the server; undefined where nothing is encrypted. */
  get peerCertificate(): Buffer | undefined {
    const socket = this.#socket as Partial<TLSSocket>;
    return socket.encrypted ? socket.getPeerCertificate?.().raw : undefined;
  }

  get encrypted(): boolean {
    return (this.#socket as Partial<TLSSocket>).encrypted ?? false;
  }

  /**
   * Goes on encrypted.
   *
   * @throws Fault SOURCE_UNREACHABLE where the certificate is not trusted or the handshake fails
   */
  async encrypt(way: Way, signal: AbortSignal): Promise<void> {
    // Somebody in between may have put plain bytes there, to be taken for the server's.
    if (this.#buffered > 0) {
      throw new Fault('SOURCE_ANSWER_INVALID', `${this.name} sent something before the TLS handshake`);
    }
    const plain = this.#socket;
    this.#unlisten?.();
    this.#socket = await encryptSocket(plain, { address: this.#address, way, signal });
    this.#listen(this.#socket);
  }

  /**
   * Exactly so many bytes, however they arrive.
   *
   * @throws Fault where the connection ends before
   */
  async read(size: number): Promise<Buffer> {
    if (this.#buffered < size) await this.#more(size);
    this.#wanted = 0;
    const [first = Buffer.alloc(0)] = this.#chunks;
    const whole = first.length >= size ? first : Buffer.concat(this.#chunks, this.#buffered);
    if (whole === first) this.#chunks.shift();
    else this.#chunks = [];
    this.#buffered -= size;
    if (whole.length > size) this.#chunks.unshift(whole.subarray(size));
    if (this.#paused && this.#buffered < mostAhead) this.#flow(true);
    return whole.subarray(0, size);
  }

  /** @throws Fault where it is closed already */
  write(bytes: Uint8Array): void {
    if (this.#end !== undefined) throw this.#end;
    this.#socket.write(bytes);
  }

  /** Closes it; whoever reads is told why. A second call does nothing. */
  close(fault: Fault): void {
    this.#end ??= fault;
    this.#socket.destroy();
    this.#wake?.(this.#end);
  }

  /** Closes it when the signal is aborted, until what is returned is disposed. */
  closeAt(signal: AbortSignal): Disposable {
    const stop = () => this.close(networkFault(signal.reason, this.name, signal));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    return { [Symbol.dispose]: () => signal.removeEventListener('abort', stop) };
  }

  /** Says what is to be said last, and closes. */
  finish(bytes: Uint8Array): void {
    if (this.#end !== undefined) return;
    this.#end = new Fault('CANCELLED', `the connection to ${this.name} was closed`);
    this.#wake?.(this.#end);
    const socket = this.#socket;
    socket.write(bytes, () => socket.destroy());
    // A peer that takes nothing must not keep it.
    setTimeout(() => socket.destroy(), 1000).unref();
  }

  [Symbol.dispose](): void {
    this.close(new Fault('CANCELLED', `the connection to ${this.name} was closed`));
  }

  #more(size: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) {
        reject(this.#end);
        return;
      }
      this.#wanted = size;
      if (this.#paused) this.#flow(true);
      this.#wake = fault => {
        this.#wake = undefined;
        if (fault === undefined) resolve();
        else reject(fault);
      };
    });
  }

  #flow(flows: boolean): void {
    this.#paused = !flows;
    if (flows) this.#socket.resume();
    else this.#socket.pause();
  }

  #listen(socket: Socket): void {
    const data = (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#buffered += chunk.length;
      if (this.#buffered >= this.#wanted + mostAhead) this.#flow(false);
      if (this.#buffered >= this.#wanted) this.#wake?.();
    };
    const error = (thrown: unknown) => this.close(networkFault(thrown, this.name));
    // Also where only the server has ended: it will answer nothing any more.
    const end = () => this.close(new Fault('SOURCE_UNREACHABLE', `${this.name} closed the connection`));
    socket.on('data', data).on('error', error).on('end', end).on('close', end);
    this.#unlisten = () =>
      void socket.off('data', data).off('error', error).off('end', end).off('close', end);
  }
}
