import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

/** Which folders of src/ each folder may import besides itself. */
const law: Record<string, readonly string[]> = {
  base: [],
  spec: ['base'],
  scaler: ['base', 'spec'],
  scalers: ['base', 'scaler', 'spec/problem.ts', 'spec/suggest.ts', 'spec/pod-identity.ts'],
  auth: ['base', 'spec'],
  decide: ['base', 'spec'],
  engine: ['base', 'spec', 'scaler', 'auth', 'decide'],
  kube: ['base', 'spec', 'engine/ports.ts', 'auth/references.ts'],
  local: ['base', 'spec', 'engine/ports.ts', 'auth/references.ts'],
  serve: ['base', 'spec', 'engine'],
  cli: [
    'base',
    'spec',
    'scaler',
    'scalers',
    'auth',
    'decide',
    'engine',
    'kube',
    'local',
    'serve',
    '../package.json',
  ],
};

const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'));
const sources = files
  .filter(name => !name.endsWith('.test.ts'))
  .map(name => [name, readFileSync(join('src', name), 'utf8')] as const);

function importsOf(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(match => match[1] ?? '');
}

describe('the import law', () => {
  it.each(sources)('%s imports only what its folder may', (name, text) => {
    const folder = name.split('/')[0] ?? '';
    const allowed = law[folder] ?? [];

    const strays = importsOf(text)
      .filter(target => target.startsWith('.'))
      .map(target => relative(resolve('src'), resolve('src', dirname(name), target)))
      .filter(
        target =>
          !target.startsWith(`${folder}/`) &&
          !allowed.some(place => target === place || target.startsWith(`${place}/`)),
      );

    expect(strays).toEqual([]);
  });

  it.each(sources.filter(([name]) => /^scalers\/[^/]+\.ts$/.test(name) && !name.endsWith('.gen.ts')))(
    '%s imports no other scaler and has a test',
    (name, text) => {
      const siblings = importsOf(text).filter(target => /^\.\/[^/]+$/.test(target));

      expect(siblings).toEqual([]);
      expect(files).toContain(name.replace(/\.ts$/, '.test.ts'));
    },
  );

  it.each(sources.filter(([name]) => !name.startsWith('cli/')))(
    '%s reads no argv and no environment',
    (_name, text) => {
      expect(text).not.toMatch(/process\.(env|argv|exit)\b/);
    },
  );
});
