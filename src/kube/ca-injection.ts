import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Backoff, backoffMs } from '../base/retry.ts';
import type { KubeClient } from './client.ts';
import { type KubeObject, type Resource, resources } from './objects.ts';
import { type Reflector, reflect } from './reflector.ts';

export interface CaInjectionOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** The bundle (PEM) that the API server is to trust; undefined while there is none. */
  ca(): string | undefined;
  /** The names of what is to have it; what is left out is left alone. */
  apiService?: string | undefined;
  validatingWebhook?: string | undefined;
}

export interface CaInjection extends AsyncDisposable {
  /** The bundle is another one now. */
  caChanged(): void;
}

/** Where an object of a kind has its bundles, and how they are replaced. */
interface Place<T extends KubeObject> {
  resource: Resource;
  /** Base64; one for each server that the object names. */
  bundles(object: T): Bundle[];
  patch(bundles: readonly Bundle[], ca: string): { type: 'merge' | 'json'; body: unknown };
}

interface Bundle {
  name: string;
  ca: string | undefined;
}

interface ApiService extends KubeObject {
  spec: { caBundle?: string };
}

interface WebhookConfiguration extends KubeObject {
  webhooks?: readonly { name: string; clientConfig: { caBundle?: string } }[];
}

const apiServices: Place<ApiService> = {
  resource: resources.apiServices,
  bundles: ({ spec }) => [{ name: 'spec', ca: spec.caBundle }],
  // A bundle and no verification at all cannot be said at once.
  patch: (_bundles, ca) => ({
    type: 'merge',
    body: { spec: { caBundle: ca, insecureSkipTLSVerify: null } },
  }),
};

const validatingWebhooks: Place<WebhookConfiguration> = {
  resource: resources.validatingWebhooks,
  bundles: ({ webhooks = [] }) =>
    webhooks.map(({ name, clientConfig }) => ({ name, ca: clientConfig.caBundle })),
  // A list can only be patched by position; the names make sure that it is still the same list.
  patch: (bundles, ca) => ({
    type: 'json',
    body: bundles.flatMap(({ name }, i) => [
      { op: 'test', path: `/webhooks/${i}/name`, value: name },
      { op: 'add', path: `/webhooks/${i}/clientConfig/caBundle`, value: ca },
    ]),
  }),
};

/** Who overwrites ours again and again is answered no faster than this. */
const backoff: Backoff = { firstMs: 1_000, maxMs: 60_000 };

/**
 * Keeps our authorities where the API server looks for them: in the APIService of the metrics and in the webhooks.
 * Writes only where it is otherwise, and again when somebody takes them out.
 */
export function injectCa(options: CaInjectionOptions): CaInjection {
  const { apiService, validatingWebhook } = options;
  const kept = [
    ...(apiService === undefined ? [] : [keepIn(apiServices, apiService, options)]),
    ...(validatingWebhook === undefined ? [] : [keepIn(validatingWebhooks, validatingWebhook, options)]),
  ];
  return {
    caChanged() {
      for (const one of kept) one.mend();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(kept.map(one => one[Symbol.asyncDispose]()));
    },
  };
}

function keepIn<T extends KubeObject>(
  place: Place<T>,
  name: string,
  { client, clock, log, ca }: CaInjectionOptions,
): AsyncDisposable & { mend(): void } {
  const stop = new AbortController();
  let working = Promise.resolve();
  let busy = false;
  let timer: Disposable | undefined;
  let tries = 0;

  const watched: Reflector<Bundle[]> = reflect<T, Bundle[]>({
    client,
    clock,
    log,
    resource: place.resource,
    fieldSelector: `metadata.name=${name}`,
    keep: place.bundles,
    onSet: mend,
  });

  /** The bundle that is missing somewhere; undefined where all is well, or nothing can be done. */
  function missing(): { bundles: Bundle[]; wanted: string } | undefined {
    const text = ca();
    const bundles = watched.get(name);
    if (text === undefined || bundles === undefined) return undefined;
    const wanted = Buffer.from(text).toString('base64');
    return bundles.some(bundle => bundle.ca !== wanted) ? { bundles, wanted } : undefined;
  }

  function mend(): void {
    if (busy || timer !== undefined || stop.signal.aborted || missing() === undefined) return;
    busy = true;
    working = write().finally(() => {
      busy = false;
    });
  }

  async function write(): Promise<void> {
    const found = missing();
    if (found === undefined) return;
    const { type, body } = place.patch(found.bundles, found.wanted);
    try {
      await client.patch(place.resource, { name }, body, { type, urgency: 'object', signal: stop.signal });
      log.info('told the API server whom to trust', { kind: place.resource.kind, name });
    } catch (thrown) {
      if (stop.signal.aborted) return;
      log.warn('the API server could not be told whom to trust', {
        kind: place.resource.kind,
        name,
        fault: faultOf(thrown),
      });
    }
    wait();
  }

  /** Until the watch tells of our own patch, and as long as nobody undoes it, there is nothing to do. */
  function wait(): void {
    timer = clock.after(backoffMs(backoff, tries++), () => {
      timer = undefined;
      if (missing() === undefined) tries = 0;
      else mend();
    });
  }

  return {
    mend,
    async [Symbol.asyncDispose]() {
      stop.abort(new Fault('CANCELLED', 'nothing is injected any more'));
      timer?.[Symbol.dispose]();
      await Promise.all([working, watched[Symbol.asyncDispose]()]);
    },
  };
}
