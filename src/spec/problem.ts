/** Where in a manifest: a file with 1-based line and column, and the path of the field. */
export interface Place {
  file?: string;
  line?: number;
  column?: number;
  /** Such as `spec.triggers[0].metadata.queueLength`. */
  field?: string;
}

/** One thing that is wrong (or worth a notice) with a manifest or a parameter. */
export interface Problem {
  /** What is wrong, in a sentence without a full stop. */
  problem: string;
  /** What would be right. */
  mending?: string;
  /** The named rule that found it, where one did. */
  rule?: string;
  place?: Place;
}

/** One line for a person: `app.yaml:12:7: spec.triggers[0].type: unknown type "cronn": did you mean "cron"?` */
export function formatProblem({ problem, mending, place }: Problem): string {
  const where = [place?.file, place?.line, place?.column].filter(part => part !== undefined).join(':');
  const prefix = [where, place?.field].filter(part => part !== undefined && part !== '').join(': ');
  return `${prefix === '' ? '' : `${prefix}: `}${problem}${mending === undefined ? '' : `: ${mending}`}`;
}
