/**
 * Writes every generated file from its declaration; with `--check` it writes nothing and fails where one is
 * stale, missing, or left over.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { crdFiles } from '../src/spec/crd.ts';
import { deployManifest } from './gen/deploy-manifest.ts';
import { faultsPage } from './gen/faults-page.ts';
import { scalerIndex } from './gen/scaler-index.ts';
import { scalerPages } from './gen/scaler-pages.ts';
import { scalerSchema } from './gen/scaler-schema.ts';

interface GeneratedFile {
  path: string;
  text: string;
}

/** Folders in which every file is generated, so that a file nobody generates any more is noticed. */
const ownedFolders = ['deploy/crds', 'docs/scalers'];

const types = (await readdir('src/scalers'))
  .filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.endsWith('.gen.ts'))
  .map(name => basename(name, '.ts'))
  .sort();

const index: GeneratedFile = { path: 'src/scalers/index.gen.ts', text: scalerIndex(types) };
const check = process.argv.includes('--check');
const stale: string[] = [];
// The pages are made from the scalers that the index leads to, so the index comes first.
await settle(index);
const { loadScaler } = await import('../src/scalers/index.gen.ts');
const scalers = await Promise.all(types.map(async type => ({ type, scaler: await loadScaler(type) })));
const misnamed = scalers.filter(({ type, scaler }) => scaler?.type !== type);
if (misnamed.length > 0) {
  console.error(
    `file name and type differ: ${misnamed.map(({ type }) => `src/scalers/${type}.ts`).join(', ')}`,
  );
  process.exit(1);
}
const declared = scalers.flatMap(({ scaler }) => (scaler === undefined ? [] : [scaler]));
const files = [
  ...crdFiles(),
  await deployManifest(),
  ...scalerPages(declared, await examples(types)),
  scalerSchema(declared),
  faultsPage(),
];
for (const file of files) await settle(file);
await removeLeftovers(new Set(files.map(file => file.path)));

if (check && stale.length > 0) {
  console.error(`stale: ${stale.join(', ')}\nrun: npm run gen`);
  process.exit(1);
}
console.log(
  check ? 'generated files are fresh' : `${files.length + 1} files generated, ${stale.length} changed`,
);

/** The manifest that the docs page of each type shows. */
async function examples(of: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const path = (type: string) => join('examples', 'scalers', `${type}.yaml`);
  const read = of.map(async type => [type, await readFile(path(type), 'utf8').catch(() => '')] as const);
  const texts = new Map(await Promise.all(read));
  const lacking = of.filter(type => texts.get(type) === '');
  if (lacking.length === 0) return texts;
  console.error(`a manifest that shows the type is missing: ${lacking.map(path).join(', ')}`);
  process.exit(1);
}

async function settle({ path, text }: GeneratedFile): Promise<void> {
  const present = await readFile(path, 'utf8').catch(() => undefined);
  if (present === text) return;
  stale.push(path);
  if (check) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

async function removeLeftovers(wanted: ReadonlySet<string>): Promise<void> {
  for (const folder of ownedFolders) {
    for (const name of await readdir(folder).catch(() => [])) {
      const path = join(folder, name);
      if (wanted.has(path)) continue;
      stale.push(path);
      if (!check) await rm(path);
    }
  }
}
