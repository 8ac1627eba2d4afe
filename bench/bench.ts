/** One line of the table that `npm run bench` prints. */
export interface BenchRow {
  what: string;
  measured: string;
  wanted: string;
  ok: boolean;
}

/** One set of measurements. */
export interface Bench {
  name: string;
  run(): Promise<BenchRow[]>;
}
