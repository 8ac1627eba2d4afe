import process from 'node:process';
import fc from 'fast-check';

// The same run twice says the same. EVENTIDE_SEED=random looks where nobody has looked yet.
const seed = process.env['EVENTIDE_SEED'] ?? '1';
if (seed !== 'random') fc.configureGlobal({ seed: Number(seed) });
