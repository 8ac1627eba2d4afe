import { resourceTests } from '../../test/resource-scaler.ts';
import memory from './memory.ts';

resourceTests(memory);
