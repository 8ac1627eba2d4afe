/**
 * The known name nearest to a strange one, or undefined where none is near: at most a third of its letters
 * may differ (inserted, dropped, changed or swapped), letter case aside.
 */
export function nearest(strange: string, known: readonly string[]): string | undefined {
  const most = Math.max(1, Math.floor(strange.length / 3));
  let best: { name: string; distance: number } | undefined;
  for (const name of known) {
    if (Math.abs(name.length - strange.length) > most) continue;
    const distance = editDistance(strange.toLowerCase(), name.toLowerCase());
    if (distance <= most && distance < (best?.distance ?? Number.POSITIVE_INFINITY))
      best = { name, distance };
  }
  return best?.name;
}

/** `, did you mean "x"?` or nothing. */
export function didYouMean(strange: string, known: readonly string[]): string {
  const name = nearest(strange, known);
  return name === undefined ? '' : `, did you mean "${name}"?`;
}

function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const options = [(last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1)];
      if (swapped) options.push((before[j - 2] ?? 0) + 1);
      row.push(Math.min(...options));
    }
    before = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
