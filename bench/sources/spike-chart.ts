/** What was seen at a moment. */
export interface Sample {
  /** Seconds since the first event was on the broker. */
  second: number;
  /** Events that were on the broker. */
  written: number;
  /** Events that the group had committed. */
  done: number;
  replicas: number;
}

/** The words of the picture, and how long the spike was. */
export interface Caption {
  title: string;
  figures: string;
  spikeSeconds: number;
}

const width = 860;
const left = 64;
const right = 16;

interface Panel {
  title: string;
  top: number;
  height: number;
  /** The largest value on its axis, and the steps between lines. */
  most: number;
  step: number;
  show: (value: number) => string;
}

/** Three plots over one time axis: what waits, what comes and goes a second, and how many consumers there are. */
export function drawSpike(samples: readonly Sample[], { title, figures, spikeSeconds }: Caption): string {
  const seen = everySecond(samples);
  const first = seen[0]?.second ?? 0;
  const last = seen.at(-1)?.second ?? 1;
  const x = (second: number) => left + ((second - first) / (last - first)) * (width - left - right);
  const waiting = seen.map(({ second, written, done }): Point => [second, written - done]);
  const arriving = rates(seen, ({ written }) => written);
  const working = rates(seen, ({ done }) => done);
  const replicas = seen.map((each): Point => [each.second, each.replicas]);
  const panels = {
    backlog: panel('events that wait', { top: 92, height: 170, points: waiting, show: thousands }),
    rate: panel('events a second', {
      top: 312,
      height: 120,
      points: [...arriving, ...working],
      show: thousands,
    }),
    replicas: panel('consumers', { top: 482, height: 90, points: replicas, show: String }),
  };
  const bottom = panels.replicas.top + panels.replicas.height;
  const height = bottom + 40;
  const [from, to] = [x(0), x(spikeSeconds)];
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui,sans-serif" font-size="12">`,
    `<title>${escaped(`${title}: ${figures}`)}</title>`,
    `<style>${style}</style>`,
    '<rect class="page" width="100%" height="100%" rx="8"/>',
    text(16, 28, 'strong', title),
    text(16, 48, 'soft', figures),
    `<rect class="spike" x="${round(from)}" y="70" width="${round(to - from)}" height="${bottom - 70}"/>`,
    ...Object.values(panels).flatMap(axis),
    ...seconds(first, last).flatMap(second => tick(x(second), bottom, second)),
    text(width - right, bottom + 34, 'soft end', 'seconds since the first event'),
    path(
      'backlog area',
      `${line(waiting, x, panels.backlog)}V${bottomOf(panels.backlog)}H${round(x(first))}Z`,
    ),
    path('backlog', line(waiting, x, panels.backlog)),
    path('arriving', line(arriving, x, panels.rate)),
    path('working', line(working, x, panels.rate)),
    path(
      'replicas area',
      `${stairs(replicas, x, panels.replicas)}V${bottomOf(panels.replicas)}H${round(x(first))}Z`,
    ),
    path('replicas', stairs(replicas, x, panels.replicas)),
    legend(panels.rate.top - 10),
    '</svg>',
  ].join('\n')}\n`;
}

type Point = readonly [second: number, value: number];

const style = [
  '.page{fill:#fff}.strong{fill:#1f2328;font-size:16px;font-weight:600}.plain{fill:#1f2328;font-weight:600}.soft{fill:#59636e}',
  'path{fill:none;stroke-width:2;stroke-linejoin:round}.end{text-anchor:end}.middle{text-anchor:middle}.grid{stroke:#d1d9e0;stroke-width:1}.spike{fill:#818b98;fill-opacity:.13}',
  '.area{stroke:none;fill-opacity:.2}',
  '.backlog{stroke:#0969da}.backlog.area{fill:#0969da;stroke:none}.arriving{stroke:#bc4c00}.working{stroke:#1a7f37}',
  '.replicas{stroke:#8250df}.replicas.area{fill:#8250df;stroke:none}',
  '@media(prefers-color-scheme:dark){.page{fill:#0d1117}.strong,.plain{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#3d444d}',
  '.backlog{stroke:#4493f8}.backlog.area{fill:#4493f8}.arriving{stroke:#f0883e}.working{stroke:#3fb950}',
  '.replicas{stroke:#ab7df8}.replicas.area{fill:#ab7df8}}',
].join('');

/** The last sample of each second. */
function everySecond(samples: readonly Sample[]): Sample[] {
  const kept = new Map<number, Sample>();
  for (const each of samples) kept.set(Math.floor(each.second), each);
  return [...kept.values()];
}

/** How much is added a second, at the end of each span between two samples. */
function rates(seen: readonly Sample[], count: (sample: Sample) => number): Point[] {
  return seen.slice(1).map((each, index) => {
    const before = seen[index] ?? each;
    return [each.second, (count(each) - count(before)) / (each.second - before.second)];
  });
}

interface PanelPlan {
  top: number;
  height: number;
  points: readonly Point[];
  show: (value: number) => string;
}

function panel(title: string, { top, height, points, show }: PanelPlan): Panel {
  const largest = Math.max(1, ...points.map(([, value]) => value));
  const step = niceStep(largest / 4);
  return { title, top, height, most: Math.ceil(largest / step) * step, step, show };
}

/** 1, 2 or 5 with zeros behind it, and no less than what is given. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map(each => each * power).find(each => each >= least) ?? power * 10;
}

const thousands = (value: number) => (value === 0 ? '0' : `${(value / 1000).toLocaleString('en')}k`);

const bottomOf = ({ top, height }: Panel) => top + height;

const y = (value: number, { top, height, most }: Panel) => top + height - (value / most) * height;

function axis(panel: Panel): string[] {
  const count = Math.round(panel.most / panel.step);
  const values = Array.from({ length: count + 1 }, (_, index) => index * panel.step);
  return [
    text(left, panel.top - 10, 'plain', panel.title),
    ...values.flatMap(value => {
      const at = y(value, panel);
      return [rule(left, at, width - right, at), text(left - 8, at + 4, 'soft end', panel.show(value))];
    }),
  ];
}

function seconds(first: number, last: number): number[] {
  const from = Math.ceil(first / 10) * 10;
  return Array.from({ length: Math.floor((last - from) / 10) + 1 }, (_, index) => from + index * 10);
}

const tick = (x: number, bottom: number, second: number) => [
  rule(x, bottom, x, bottom + 5),
  text(x, bottom + 18, 'soft middle', String(second)),
];

function legend(at: number): string {
  const marks = [
    ['arriving', 'produced'],
    ['working', 'done and committed'],
  ] as const;
  return marks
    .map(([name, words], index) => {
      const from = left + 140 + index * 100;
      return path(name, `M${from},${at - 4}h18`) + text(from + 24, at, 'soft', words);
    })
    .join('');
}

const round = (value: number) => Math.round(value * 10) / 10;

const line = (points: readonly Point[], x: (second: number) => number, panel: Panel) =>
  points
    .map(
      ([second, value], index) => `${index === 0 ? 'M' : 'L'}${round(x(second))},${round(y(value, panel))}`,
    )
    .join('');

/** A value stays as it is until the next one. */
const stairs = (points: readonly Point[], x: (second: number) => number, panel: Panel) =>
  points
    .map(([second, value], index) => {
      const [across, up] = [round(x(second)), round(y(value, panel))];
      return index === 0 ? `M${across},${up}` : `H${across}V${up}`;
    })
    .join('');

const path = (name: string, shape: string) => `<path class="${name}" d="${shape}"/>`;

const rule = (x1: number, y1: number, x2: number, y2: number) =>
  `<path class="grid" d="M${round(x1)},${round(y1)}L${round(x2)},${round(y2)}"/>`;

const text = (x: number, y: number, name: string, words: string) =>
  `<text class="${name}" x="${round(x)}" y="${round(y)}">${escaped(words)}</text>`;

const escaped = (words: string) => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
