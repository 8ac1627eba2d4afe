import type { ManifestDocument } from './documents.ts';
import type { FieldPath } from './field-path.ts';
import type { Manifest } from './manifest.ts';
import type { Problem } from './problem.ts';
import type { Surroundings } from './surroundings.ts';

/** A parsed object together with the document it was read from. */
export interface Subject<M extends Manifest = Manifest> {
  manifest: M;
  document: ManifestDocument;
}

/** One rule that a readable object may still break. */
export interface Rule {
  name: string;
  /** KEDA's word for it, the `reason` of keda_webhook_scaled_object_validation_errors_total; none where KEDA counts nothing. */
  reason: string | undefined;
  kinds: readonly Manifest['kind'][];
  /** Whether breaking it refuses the object, or is only worth saying. */
  level: 'refuse' | 'notice';
  check(subject: Subject, around: Surroundings): Problem[];
}

/** What a rule found: a sentence, the field it is about, and what would be right. */
export interface Breach {
  problem: string;
  mending?: string;
  path?: FieldPath;
}

type OfKind<K extends Manifest['kind']> = Manifest & { kind: K };

interface RuleOf<K extends Manifest['kind']> {
  name: string;
  reason?: string;
  kinds: readonly K[];
  level?: 'refuse' | 'notice';
  check(manifest: OfKind<K>, around: Surroundings, document: ManifestDocument): Iterable<Breach>;
}

/** Makes a rule from a check that sees only objects of its kinds; gives what it finds a name and a place. */
export function rule<const K extends Manifest['kind']>(declared: RuleOf<K>): Rule {
  const { name, reason, kinds, level = 'refuse' } = declared;
  return {
    name,
    reason,
    kinds,
    level,
    check({ manifest, document }, around) {
      if (!(kinds as readonly string[]).includes(manifest.kind)) return [];
      const found = declared.check(manifest as OfKind<K>, around, document);
      return Array.from(found, ({ path = [], ...breach }) => ({
        ...breach,
        rule: name,
        place: document.place(path),
      }));
    },
  };
}
