import { type BuildResult, build } from 'esbuild';

/**
 * Bundles the command: one small start file, everything else in chunks that load on first use.
 *
 * @param outdir where the files go
 */
export function bundle(outdir: string): Promise<BuildResult<{ metafile: true }>> {
  return build({
    entryPoints: { eventide: 'src/cli/main.ts' },
    outdir,
    bundle: true,
    splitting: true,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    // 70 MB that only kubeconfigs with an exec or OIDC user need; it is installed beside the bundle.
    external: ['@kubernetes/client-node'],
    chunkNames: 'chunks/[name]-[hash]',
    legalComments: 'linked',
    // CommonJS packages in the bundle ask for Node's own modules through require.
    banner: {
      js: "import { createRequire as eventideRequire } from 'node:module';\nconst require = eventideRequire(import.meta.url);",
    },
  });
}
