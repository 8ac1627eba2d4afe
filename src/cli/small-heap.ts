import { setFlagsFromString } from 'node:v8';

/**
 * For commands that run for long: has the heap grow by little between two collections. Most of what is made in a
 * reading is garbage at once, and V8 would rather take three times the memory than look for it.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--heap-growing-percent=15');
  setFlagsFromString('--semi-space-growth-factor=1');
}
