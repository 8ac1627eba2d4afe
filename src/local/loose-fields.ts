import { descend, type FieldPath, isRecord } from '../spec/field-path.ts';

/** An object as a manifest holds it. */
export type Fields = Readonly<Record<string, unknown>>;

/** The object at a path; empty where there is none. */
export function recordAt(value: unknown, ...path: FieldPath): Fields {
  const found = descend(value, path);
  return isRecord(found) ? found : {};
}

/** The objects of the list at a path, with their places in it. */
export function recordsAt(value: unknown, ...path: FieldPath): { fields: Fields; index: number }[] {
  const found = descend(value, path);
  const list: readonly unknown[] = Array.isArray(found) ? found : [];
  return list.flatMap((fields, index) => (isRecord(fields) ? [{ fields, index }] : []));
}

/** The text at a path. */
export function textAt(value: unknown, ...path: FieldPath): string | undefined {
  const found = descend(value, path);
  return typeof found === 'string' ? found : undefined;
}

/** The number at a path. */
export function numberAt(value: unknown, ...path: FieldPath): number | undefined {
  const found = descend(value, path);
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}

/** The texts of the list at a path; numbers and the like as the texts they look like. */
export function textsAt(value: unknown, ...path: FieldPath): string[] {
  const found = descend(value, path);
  const list: readonly unknown[] = Array.isArray(found) ? found : [];
  return list.flatMap(item => (typeof item === 'object' ? [] : [String(item)]));
}

/** The texts of the map at a path. */
export function textMapAt(value: unknown, ...path: FieldPath): Record<string, string> {
  return Object.fromEntries(
    Object.entries(recordAt(value, ...path)).flatMap(([key, text]) =>
      typeof text === 'object' || text === undefined ? [] : [[key, String(text)]],
    ),
  );
}
