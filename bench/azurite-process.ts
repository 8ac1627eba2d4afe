import process from 'node:process';
import { startAzurite } from '../test/azurite.ts';

/** Azurite in a process of its own, so that its work is not measured as ours. It ends with its parent. */
const azurite = await startAzurite();
process.send?.(azurite.connectionString);
process.on('disconnect', () => process.exit(0));
