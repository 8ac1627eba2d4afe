import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Backoff, backoffMs } from '../base/retry.ts';
import { Secret } from '../base/secret.ts';
import {
  certificatesIn,
  type Identity,
  isKeyOf,
  issueCertificate,
  makeAuthority,
  readCertificate,
} from '../base/x509.ts';
import {
  authorityLifeMs,
  type CertificatePems,
  type CertificatePlan,
  clockSkewMs,
  planCertificates,
  serverLifeMs,
} from './certificate-plan.ts';
import type { KubeClient } from './client.ts';
import { type KubeObject, resources } from './objects.ts';
import { reflect } from './reflector.ts';

export interface CertificateOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  /** Where we are. */
  namespace: string;
  secretName: string;
  /** The Services in front of us; the first gives the certificate its common name. */
  services: readonly string[];
  /** Such as `cluster.local`. */
  clusterDomain: string;
  /** There are other certificates than before, ours or another replica's. */
  onChange?(certificates: Certificates): void;
}

/** What a server shows, and by whom it is to be trusted. */
export interface Certificates extends Identity {
  /** The bundle (PEM) that clients are to trust. */
  ca: string;
}

export interface CertificateKeeper extends AsyncDisposable {
  /** Undefined until there are any. */
  readonly current: Certificates | undefined;
  /** Ends when there are certificates. @throws the signal's reason */
  whenReady(signal: AbortSignal): Promise<Certificates>;
}

interface SecretObject extends KubeObject {
  data?: Readonly<Record<string, string>> | null;
}

/** Until there are any nothing is served, so an API server that comes back is noticed as soon as by the reflectors. */
const backoff: Backoff = { firstMs: 500, maxMs: 5_000 };

/**
 * Keeps the certificates of our servers in the secret that KEDA has them in: takes over what is there, makes what
 * is missing or about to run out, and notices what others write. Any number of replicas may do so at once: each
 * writes only over what it has read, and takes what was written first.
 */
export function keepCertificates(options: CertificateOptions): CertificateKeeper {
  const { client, clock, log, namespace, secretName } = options;
  const stop = new AbortController();
  const at = { namespace, name: secretName };
  const dnsNames = dnsNamesOf(options);
  let current: Certificates | undefined;
  /** The secret as it was last in use, so that it can be put back. */
  let last = nothing;
  let wake: (() => void) | undefined;
  let again = false;
  const waiting = new Set<() => void>();

  function take(pems: CertificatePems): void {
    const { ca, cert, key } = pems;
    if (!presentable(pems, clock.now())) return;
    last = pems;
    if (current?.ca === ca && current.cert === cert) return;
    current = { ca, cert, key };
    for (const tell of waiting) tell();
    options.onChange?.(current);
  }

  function check(): void {
    again = true;
    wake?.();
  }

  const watched = reflect<SecretObject, CertificatePems>({
    client,
    clock,
    log,
    resource: resources.secrets,
    namespace,
    fieldSelector: `metadata.name=${secretName}`,
    keep: pemsOf,
    onSet(_key, pems) {
      take(pems);
      check();
    },
    onDelete: check,
  });

  /** @returns when to look again, in milliseconds */
  async function step(): Promise<number> {
    const { signal } = stop;
    const found = await client.get<SecretObject>(resources.secrets, at, { signal });
    const pems = found === undefined ? last : pemsOf(found);
    const now = clock.now();
    const plan = planCertificates(pems, { dnsNames, now });
    if (found !== undefined && plan.make === 'nothing') {
      take(pems);
      return plan.checkInMs;
    }
    const made = await make(plan.make, pems, { dnsNames, now });
    const write = { urgency: 'object', signal } as const;
    const data = { ...found?.data, ...dataOf(made) };
    if (found === undefined) await client.create(resources.secrets, newSecret(at, data), write);
    else await client.replace(resources.secrets, { ...found, data }, write);
    log.info('wrote certificates', { secret: secretName, made: plan.make });
    take(made);
    return 0;
  }

  async function run(): Promise<void> {
    let failures = 0;
    while (!stop.signal.aborted) {
      again = false;
      let pauseMs: number;
      try {
        pauseMs = await step();
        failures = 0;
      } catch (thrown) {
        const fault = faultOf(thrown);
        const overtaken = fault.code === 'KUBE_CONFLICT' || fault.code === 'KUBE_EXISTS';
        // One line when it begins; the same again and again is no news.
        if (!overtaken && failures === 0 && !stop.signal.aborted)
          log.warn('certificates cannot be kept now', { fault });
        pauseMs = overtaken ? 0 : backoffMs(backoff, ++failures);
      }
      if (pauseMs > 0 && !stop.signal.aborted && !again) await pause(pauseMs);
    }
  }

  function pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = clock.after(ms, () => wake?.());
      wake = () => {
        timer[Symbol.dispose]();
        wake = undefined;
        resolve();
      };
    });
  }

  const ended = run();
  return {
    get current() {
      return current;
    },
    whenReady: signal =>
      new Promise((resolve, reject) => {
        const tell = () => {
          if (current === undefined) return;
          waiting.delete(tell);
          signal.removeEventListener('abort', giveUp);
          resolve(current);
        };
        const giveUp = () => {
          waiting.delete(tell);
          reject(signal.reason);
        };
        if (signal.aborted) return giveUp();
        waiting.add(tell);
        signal.addEventListener('abort', giveUp, { once: true });
        tell();
      }),
    async [Symbol.asyncDispose]() {
      stop.abort(new Fault('CANCELLED', 'certificates are kept no longer'));
      wake?.();
      await Promise.all([ended, watched[Symbol.asyncDispose]()]);
    },
  };
}

/** Whether a server can show them at all. */
function presentable({ cert, key }: CertificatePems, now: number): boolean {
  const read = readCertificate(cert);
  return read !== undefined && now < Date.parse(read.validTo) && isKeyOf(read, key);
}

/** KEDA's names, for each service from the shortest to the longest. */
function dnsNamesOf({ services, namespace, clusterDomain }: CertificateOptions): string[] {
  return services.flatMap(service => [
    service,
    `${service}.${namespace}`,
    `${service}.${namespace}.svc`,
    `${service}.${namespace}.svc.${clusterDomain}`,
  ]);
}

async function make(
  what: CertificatePlan['make'],
  pems: CertificatePems,
  { dnsNames, now }: { dnsNames: readonly string[]; now: number },
): Promise<CertificatePems> {
  const notBefore = now - clockSkewMs;
  let { ca, caKey, cert, key } = pems;
  if (what === 'authority' || what === 'both') {
    const authority = await makeAuthority({
      commonName: 'KEDA',
      organization: 'KEDAORG',
      notBefore,
      notAfter: now + authorityLifeMs,
    });
    // Those before it go on to be trusted, for what they vouched for is still shown.
    const old = certificatesIn(ca).filter(one => Date.parse(readCertificate(one)?.validTo ?? '') > now);
    ca = [authority.cert, ...old].join('');
    caKey = authority.key;
  }
  if (what === 'server' || what === 'both') {
    const [commonName = ''] = dnsNames;
    const end = Date.parse(readCertificate(ca)?.validTo ?? '');
    const notAfter = Math.min(now + serverLifeMs, end);
    ({ cert, key } = await issueCertificate(
      { cert: ca, key: caKey },
      { commonName, dnsNames, notBefore, notAfter },
    ));
  }
  return { ca, caKey, cert, key };
}

const nothing: CertificatePems = { ca: '', caKey: new Secret(''), cert: '', key: new Secret('') };

function pemsOf({ data }: SecretObject): CertificatePems {
  const text = (name: string) => Buffer.from(data?.[name] ?? '', 'base64').toString();
  return {
    ca: text('ca.crt'),
    caKey: new Secret(text('ca.key')),
    cert: text('tls.crt'),
    key: new Secret(text('tls.key')),
  };
}

function dataOf({ ca, caKey, cert, key }: CertificatePems): Record<string, string> {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  return {
    'ca.crt': base64(ca),
    'ca.key': base64(caKey.reveal()),
    'tls.crt': base64(cert),
    'tls.key': base64(key.reveal()),
  };
}

/** With the labels that KEDA gives it. */
function newSecret({ namespace, name }: { namespace: string; name: string }, data: Record<string, string>) {
  const labels = {
    app: 'keda-operator',
    'app.kubernetes.io/name': 'keda-operator',
    'app.kubernetes.io/component': 'keda-operator',
    'app.kubernetes.io/part-of': 'keda',
  };
  return { metadata: { namespace, name, labels }, data };
}
