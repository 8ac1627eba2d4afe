import { setMaxListeners } from 'node:events';
import type { Clock } from '../base/clock.ts';
import { Fault, faultOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { alarm } from './alarm.ts';
import type { KubeClient } from './client.ts';
import { gate } from './gate.ts';
import { handedOver, heldBy, holderOf, type Lease, type LeaseSpec, seenLease } from './lease-record.ts';
import { callDeadline } from './limits.ts';
import { resources } from './objects.ts';
import { reflect } from './reflector.ts';

export interface LeadershipOptions {
  client: KubeClient;
  clock: Clock;
  log: Log;
  namespace: string;
  /** KEDA's is `operator.keda.sh`: its operator and ours exclude each other while one replaces the other. */
  name: string;
  /** Who we are; no two processes may have the same. */
  identity: string;
  /**
   * What the identities of processes before us begin with that cannot be alive any more, such as the name of our pod
   * with something after it that no name has; none unless given.
   */
  before?: string;
  /** How long others wait after the leader's last renewal; 15 s unless told, as in client-go. */
  leaseDurationMs?: number;
  /** How long after its last renewal the leader goes on; 10 s unless told. Shorter than `leaseDurationMs`. */
  renewDeadlineMs?: number;
  /** Between renewals, and between attempts of the others where no watch tells them of changes; 2 s unless told. */
  retryPeriodMs?: number;
  /**
   * Somebody else may lead from now on: nothing may be written any more, and the process must end. Called once.
   *
   * @param fault KUBE_CONFLICT where somebody else leads, KUBE_UNREACHABLE where the lease could not be renewed
   */
  onLost(fault: Fault): void;
  random?: () => number;
}

/** Whether this process is the one that changes the cluster. */
export interface Leadership extends AsyncDisposable {
  readonly leading: boolean;
  /** Who leads, as far as is known. */
  readonly leader: string | undefined;
  /** Ends when we lead. @throws the signal's reason; Fault CANCELLED after the end */
  whenLeading(signal: AbortSignal): Promise<void>;
  /** Stands for election no more and, where we lead, hands over at once. @throws Fault where nobody could be told */
  release(signal: AbortSignal): Promise<void>;
}

/** A request for the lease that takes longer went to a dead socket; there is time for some more. */
const longestAttemptMs = 3_000;

/** Between finding the lease other than thought and looking what it is. */
const raceMs = 50;

/** The API server sends bookmarks each minute: a watch that was silent for longer is not to be relied on. */
const deafAfterMs = 95_000;

/**
 * Stands for election as client-go does: the lease names its holder, who renews it, and whoever has seen no
 * renewal for its duration takes it. A watch tells the others at once of a lease that was released, and spares
 * the API server their asking.
 */
export function leadership(options: LeadershipOptions): Leadership {
  const { clock, log, namespace, name, identity, random = Math.random } = options;
  const { renewDeadlineMs = 10_000, retryPeriodMs = 2_000 } = options;
  const ending = new AbortController();
  const { signal } = ending;
  setMaxListeners(0, signal);
  const elected = gate();
  const bell = alarm(clock);
  const lease = leaseOf(options);
  let leading = false;

  const watch = reflect<Lease, Lease>({
    client: options.client,
    clock,
    log,
    resource: resources.leases,
    namespace,
    fieldSelector: `metadata.name=${name}`,
    keep: object => object,
    onSet(_key, object) {
      // What the leader has written itself is newer than what it is told here.
      if (!leading) lease.seen.observe(object);
      if (leading ? holderOf(object) !== identity : holderOf(object) === '') bell.ring();
    },
    onDelete: () => bell.ring(),
    random,
  });

  const attempt = async <T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const doing = `reach the lease ${namespace}/${name}`;
    using limit = callDeadline(clock, { ms: Math.min(ms, longestAttemptMs), signal, doing });
    return await work(limit.signal);
  };

  /** Ends when we lead, or when all is over. */
  const stand = async () => {
    let failed = false;
    let told: string | undefined;
    while (!signal.aborted) {
      try {
        if (await attempt(longestAttemptMs, lease.take)) return;
        failed = false;
        const holder = holderOf(lease.seen.lease);
        if (told !== holder) log.info('standing by', { leader: holder });
        told = holder;
      } catch (thrown) {
        const fault = faultOf(thrown);
        if (!isRace(fault) && !failed && !signal.aborted) {
          log.warn('cannot stand for election', { fault });
          failed = true;
        }
      }
      const hears = watch.heardAt !== undefined && clock.elapsed() - watch.heardAt < deafAfterMs;
      // Spread, so that those who stand by do not all ask at once.
      const aWhileMs = retryPeriodMs * (1 + 0.2 * random());
      await bell.wait(hears && !failed ? lease.seen.leftMs + aWhileMs / 10 : aWhileMs, signal);
    }
  };

  /** @returns why we lead no more; undefined when all is over */
  const lead = async (): Promise<Fault | undefined> => {
    // Counted from before each request: the patience of the others begins no earlier.
    let renewedAt = clock.elapsed();
    let fault: Fault | undefined;
    let failing = false;
    await bell.wait(retryPeriodMs, signal);
    while (!signal.aborted) {
      const askedAt = clock.elapsed();
      const leftMs = renewedAt + renewDeadlineMs - askedAt;
      if (leftMs <= 0) return fault ?? new Fault('KUBE_UNREACHABLE', 'this process had no time to renew');
      try {
        // Without asking first what it is; where that was wrong, it is seen what has become of it.
        const stillOurs = isRace(fault)
          ? await attempt(leftMs, lease.take)
          : await attempt(leftMs, lease.renew);
        if (!stillOurs) {
          const holder = holderOf(lease.seen.lease);
          return new Fault('KUBE_CONFLICT', `the lease ${namespace}/${name} was taken by ${holder}`);
        }
        renewedAt = askedAt;
        fault = undefined;
        failing = false;
      } catch (thrown) {
        if (signal.aborted) return undefined;
        fault = faultOf(thrown);
        // One line when it begins; what comes of it has one of its own.
        if (!isRace(fault) && !failing) log.warn('the lease cannot be renewed', { fault });
        failing = !isRace(fault);
      }
      await bell.wait(
        fault === undefined ? retryPeriodMs : isRace(fault) ? raceMs : retryPeriodMs / 4,
        signal,
      );
    }
    return undefined;
  };

  const run = async () => {
    await stand();
    if (signal.aborted) return;
    leading = true;
    log.info('leading', { lease: `${namespace}/${name}`, identity });
    elected.open();
    const lost = await lead();
    if (lost === undefined) return;
    leading = false;
    log.error('leading no more', { fault: lost });
    options.onLost(lost);
  };
  const running = run();

  const end = async () => {
    const stopped = new Fault('CANCELLED', 'stands for election no more');
    ending.abort(stopped);
    elected.close(stopped);
    await Promise.all([running, watch[Symbol.asyncDispose]()]);
  };

  return {
    get leading() {
      return leading;
    },
    get leader() {
      return holderOf(lease.seen.lease) || undefined;
    },
    whenLeading: waiting => elected.passed(waiting),
    async release(until) {
      leading = false;
      await end();
      // Asked of the server: a request that took the lease may have been cut off after it was done.
      if (await lease.release(until))
        log.info('the lease was handed over', { lease: `${namespace}/${name}` });
    },
    async [Symbol.asyncDispose]() {
      leading = false;
      await end();
    },
  };
}

/** Whether somebody else was quicker, or the lease is not what we thought it was. */
function isRace(fault: Fault | undefined): boolean {
  return fault !== undefined && ['KUBE_CONFLICT', 'KUBE_EXISTS', 'KUBE_NOT_FOUND'].includes(fault.code);
}

/** The lease in the cluster, and what can be done to it. */
function leaseOf(options: LeadershipOptions) {
  const { client, clock, namespace, name, identity, before, leaseDurationMs = 15_000 } = options;
  const seen = seenLease(clock);
  const urgency = 'lease' as const;
  const read = (signal: AbortSignal) =>
    client.get<Lease>(resources.leases, { namespace, name }, { urgency, signal });
  const write = async (lease: Lease, spec: LeaseSpec, signal: AbortSignal) => {
    const next = { ...lease, spec: { ...lease.spec, ...spec } };
    seen.observe(await client.replace<Lease>(resources.leases, next, { urgency, signal }));
    return true;
  };
  const isWaitedFor = (holder: string) =>
    holder !== identity && !(before !== undefined && holder.startsWith(before));
  const held = (previous: Lease | undefined) =>
    heldBy(identity, { previous, durationMs: leaseDurationMs, now: clock.now() });
  return {
    seen,
    /** @returns whether it is ours now */
    async take(signal: AbortSignal): Promise<boolean> {
      const lease = await read(signal);
      if (lease === undefined) {
        const fresh = { metadata: { namespace, name }, spec: held(undefined) };
        seen.observe(await client.create<Lease>(resources.leases, fresh, { urgency, signal }));
        return true;
      }
      seen.observe(lease);
      if (isWaitedFor(holderOf(lease)) && seen.leftMs > 0) return false;
      return await write(lease, held(lease), signal);
    },
    /** @returns true. @throws Fault KUBE_CONFLICT where somebody else has written meanwhile */
    async renew(signal: AbortSignal): Promise<boolean> {
      const { lease } = seen;
      if (lease === undefined) throw new Fault('INTERNAL', 'a lease that nobody has taken cannot be renewed');
      return await write(lease, held(lease), signal);
    },
    /** @returns whether it was ours */
    async release(signal: AbortSignal): Promise<boolean> {
      const lease = await read(signal);
      if (lease === undefined || holderOf(lease) !== identity) return false;
      return await write(lease, handedOver(clock.now()), signal);
    },
  };
}
