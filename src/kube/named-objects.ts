import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { KubeClient } from './client.ts';
import type { KubeObject, Resource } from './objects.ts';
import { type NamespacesReflector, reflectIn } from './reflect-namespaces.ts';

interface NamedObjectsOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  resource: Resource;
  /** All unless given. */
  namespaces: readonly string[] | undefined;
  /** One that was asked for is another version, is there now, or is gone. */
  onChange(namespace: string, name: string): void;
}

/** What is known of an object that was asked for. */
interface Asked {
  /** What the last answer was; undefined where there was no such object. */
  version: string | undefined;
  /** On the monotonic clock. */
  at: number;
  /** How many are asking just now. */
  asking: number;
}

/** More names than this, and those that were missing long ago are forgotten; who still wants them asks again. */
const tidyAbove = 1_000;
const missingLongMs = 3_600_000;

/**
 * Objects of one kind that are fetched when they are asked for, and not kept. Whether they are edited afterwards is
 * noticed by a watch of metadata alone, which begins with the first of them and keeps a version per name.
 */
export class NamedObjects<T extends KubeObject> implements AsyncDisposable {
  readonly #options: NamedObjectsOptions;
  readonly #asked = new Map<string, Asked>();
  readonly #reading = new Map<string, Promise<T | undefined>>();
  #reflector: NamespacesReflector<string> | undefined;
  #tidyAt = tidyAbove;

  constructor(options: NamedObjectsOptions) {
    this.#options = options;
  }

  /**
   * An object as it is now. Those who ask at the same time share an answer.
   *
   * @returns undefined where there is none
   * @throws what the client throws
   */
  async read(namespace: string, name: string, signal: AbortSignal): Promise<T | undefined> {
    const key = `${namespace}/${name}`;
    const under = this.#reading.get(key);
    if (under !== undefined) return await under;
    // Before it is asked for: whatever happens to it after the answer, the watch then tells.
    const asked = this.#note(key);
    const reading = this.#read(key, { namespace, name }, signal).finally(() => {
      asked.asking -= 1;
      this.#reading.delete(key);
    });
    this.#reading.set(key, reading);
    return await reading;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reflector?.[Symbol.asyncDispose]();
  }

  async #read(
    key: string,
    at: { namespace: string; name: string },
    signal: AbortSignal,
  ): Promise<T | undefined> {
    const reflector = this.#watch();
    const before = reflector.get(key);
    const object = await this.#options.client.get<T>(this.#options.resource, at, { signal });
    const version = object?.metadata.resourceVersion;
    const asked = this.#asked.get(key);
    if (asked !== undefined) asked.version = version;
    if (version !== undefined) reflector.put(key, { version, kept: version });
    else if (reflector.get(key) === before) reflector.put(key, undefined);
    // The watch may have been faster than the answer.
    const told = reflector.get(key);
    if (told !== undefined && told !== version) this.#options.onChange(at.namespace, at.name);
    return object;
  }

  #note(key: string): Asked {
    const at = this.#options.clock.elapsed();
    const known = this.#asked.get(key);
    if (known !== undefined) {
      known.at = at;
      known.asking += 1;
      return known;
    }
    if (this.#asked.size >= this.#tidyAt) this.#tidy(at);
    const asked: Asked = { version: undefined, at, asking: 1 };
    this.#asked.set(key, asked);
    return asked;
  }

  #tidy(now: number): void {
    for (const [key, { version, at, asking }] of this.#asked) {
      if (version === undefined && asking === 0 && now - at > missingLongMs) this.#asked.delete(key);
    }
    this.#tidyAt = Math.max(tidyAbove, this.#asked.size * 2);
  }

  #watch(): NamespacesReflector<string> {
    const { client, clock, log, resource, namespaces } = this.#options;
    this.#reflector ??= reflectIn<KubeObject, string>(namespaces, {
      client,
      clock,
      log,
      resource,
      metadataOnly: true,
      keep: ({ metadata: { namespace, name, resourceVersion } }) =>
        this.#asked.has(`${namespace}/${name}`) ? resourceVersion : undefined,
      onSet: (key, version) => {
        const asked = this.#asked.get(key);
        if (asked === undefined || asked.asking > 0 || asked.version === version) return;
        asked.version = version;
        this.#tell(key);
      },
      onDelete: key => {
        // Who still wants it asks again, and is told when it is back.
        if (this.#asked.get(key)?.asking === 0) this.#asked.delete(key);
        this.#tell(key);
      },
    });
    return this.#reflector;
  }

  #tell(key: string): void {
    const [namespace = '', name = ''] = key.split('/');
    this.#options.onChange(namespace, name);
  }
}
