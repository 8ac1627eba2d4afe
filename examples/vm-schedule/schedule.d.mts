export interface Machine {
  vm: string;
  resourceGroup: string;
  zone: string;
  days: readonly string[];
  start: string;
  stop: string;
}

export interface Transition {
  action: 'start' | 'deallocate';
  at: number;
  until: number;
}

export function readSchedule(text: string): Machine[];
export function transitions(machine: Machine, from: number, to: number): Transition[];
export function instantOf(zone: string, wall: number, which: 'first' | 'last'): number;
export function wallAt(zone: string, instant: number): number;
