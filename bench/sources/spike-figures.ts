import { cpus } from 'node:os';
import type { BenchRow } from '../bench.ts';
import type { Caption, Sample } from './spike-chart.ts';
import type { Ledger, Produced } from './spike-programs.ts';

/** All that was found in one run. */
export interface SpikeRun {
  /** The broker with nothing but a producer that sends as fast as it can. */
  alone: Produced;
  produced: Produced;
  samples: readonly Sample[];
  ledger: Ledger;
}

const wantedPerMinute = 5_000_000;
/** Somebody who wants to wait no longer for an event than this: so much of the spike may wait, in seconds. */
const mostWaitSeconds = 15;

const perMinute = ({ events, seconds }: Produced) => (events / seconds) * 60;

/** The picture's words. @param consumerRate events a second that one consumer does at most */
export function spikeCaption(run: SpikeRun, consumerRate: number): Caption {
  const { produced, ledger } = run;
  const { largest, drainSeconds, most, scaleOutSeconds } = figures(run);
  const words = [
    `largest backlog ${count(largest)}`,
    `first scale-out after ${scaleOutSeconds.toFixed(1)} s`,
    `at most ${most} consumers, each ${count(consumerRate)} a second`,
    `none waits ${drainSeconds.toFixed(1)} s after the end`,
    `${count(produced.events - ledger.once)} lost`,
  ];
  return {
    title: `${count(produced.events)} events in ${produced.seconds.toFixed(0)} seconds into one Kafka topic`,
    figures: words.join(' · '),
    spikeSeconds: produced.seconds,
  };
}

/** The bench's table. */
export function spikeRows(run: SpikeRun): BenchRow[] {
  const { alone, produced, samples, ledger } = run;
  const { largest, drainSeconds, most, scaleOutSeconds, workSeconds } = figures(run);
  const reached = perMinute(produced);
  const wantedReach = Math.min(wantedPerMinute * 0.99, alone.perMinute * 0.9);
  const mostWaiting = Math.round((reached / 60) * mostWaitSeconds);
  const lost = produced.events - ledger.once;
  const written = samples.at(-1)?.written ?? 0;
  return [
    {
      what: `events a minute into one topic, ${cpus().length} cores`,
      measured: `${count(reached)}: ${count(produced.events)} in ${produced.seconds.toFixed(1)} s; the broker alone ${count(alone.perMinute)}`,
      wanted: '5,000,000, or what the broker alone takes',
      ok: reached >= wantedReach,
    },
    {
      what: 'largest backlog',
      measured: count(largest),
      wanted: `< ${count(mostWaiting)}, ${mostWaitSeconds} s of the spike`,
      ok: largest < mostWaiting,
    },
    {
      what: "from the spike's begin",
      measured: `first scale-out ${scaleOutSeconds.toFixed(1)} s, first events done ${workSeconds.toFixed(1)} s`,
      wanted: 'scale-out < 3 s',
      ok: scaleOutSeconds < 3,
    },
    {
      what: "from the spike's end to none waiting",
      measured: `${drainSeconds.toFixed(1)} s`,
      wanted: '< 30 s',
      ok: drainSeconds < 30,
    },
    {
      what: 'replicas',
      measured: `at most ${most}, ${samples.at(-1)?.replicas} at the end; ${ledger.consumers} consumers started`,
      wanted: '0 at the end',
      ok: samples.at(-1)?.replicas === 0,
    },
    {
      what: 'events lost',
      measured: `${count(lost)}: ${count(ledger.once)} done, ${count(ledger.again)} of them again, of ${count(written)} on the broker`,
      wanted: '0',
      ok: lost === 0 && written === produced.events,
    },
  ];
}

function figures({ samples, produced }: SpikeRun) {
  const secondOf = (found: Sample | undefined) => found?.second ?? Number.NaN;
  const emptyAfter = samples.findLastIndex(({ written, done }) => written > done) + 1;
  return {
    largest: Math.max(...samples.map(({ written, done }) => written - done)),
    // The last events are on the broker shortly before the producer says so.
    drainSeconds: Math.max(0, secondOf(samples[emptyAfter]) - produced.seconds),
    most: Math.max(...samples.map(({ replicas }) => replicas)),
    scaleOutSeconds: secondOf(samples.find(({ replicas }) => replicas > 0)),
    workSeconds: secondOf(samples.find(({ done }) => done > 0)),
  };
}

const count = (value: number) => Math.round(value).toLocaleString('en');
