/** Bundles the command into `dist/`: one small start file, everything else in chunks that load on first use. */
import { chmod, rm } from 'node:fs/promises';
import { build } from 'esbuild';

await rm('dist', { recursive: true, force: true });
await build({
  entryPoints: { eventide: 'src/cli/main.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  chunkNames: 'chunks/[name]-[hash]',
  legalComments: 'linked',
  // CommonJS packages in the bundle ask for Node's own modules through require.
  banner: {
    js: `import { createRequire as eventideRequire } from 'node:module';\nconst require = eventideRequire(import.meta.url);`,
  },
});
await chmod('dist/eventide.js', 0o755);
