import { resourceTests } from '../../test/resource-scaler.ts';
import cpu from './cpu.ts';

resourceTests(cpu);
