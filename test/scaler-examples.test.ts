import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadManifests } from '../src/cli/manifests.ts';
import { verify } from '../src/cli/verify.ts';
import { localReferences } from '../src/local/references.ts';
import { scalerTypes } from '../src/scalers/index.gen.ts';

const folder = 'examples/scalers';
const { signal } = new AbortController();

describe('the example of a trigger type', () => {
  it('is there for every type, and for nothing else', async () => {
    const files = await readdir(folder);

    expect(files.sort()).toEqual(scalerTypes.map(type => `${type}.yaml`).sort());
  });

  it.each(scalerTypes)('has nothing wrong with it and leaves nothing to notice: %s', async type => {
    const manifests = await loadManifests([join(folder, `${type}.yaml`)]);

    const verified = await verify(manifests, localReferences(manifests.documents), { signal });

    expect([...manifests.problems, ...verified.problems]).toEqual([]);
    expect([...manifests.notices, ...verified.notices]).toEqual([]);
  });

  it.each(scalerTypes)(
    'is bound with the credentials that it holds, and with no field KEDA lacks: %s',
    async type => {
      const manifests = await loadManifests([join(folder, `${type}.yaml`)]);

      const { triggers } = await verify(manifests, localReferences(manifests.documents), { signal });

      expect(triggers.map(({ binding }) => binding.ok && binding.bound.trigger.type)).toEqual([type]);
      expect(manifests.documents.filter(({ value }) => 'eventide' in Object(value['spec']))).toEqual([]);
    },
  );
});
