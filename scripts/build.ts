/** `npm run build`: the bundled command in `dist/`. */
import { chmod, rm } from 'node:fs/promises';
import { bundle } from './bundle.ts';

await rm('dist', { recursive: true, force: true });
await bundle('dist');
await chmod('dist/eventide.js', 0o755);
