import { type Machine, wallAt } from './schedule.mjs';

/** Every kind of offset: behind, ahead, half an hour, a quarter. */
const zones = [
  'Europe/Berlin',
  'America/Denver',
  'Asia/Kolkata',
  'Asia/Kathmandu',
  'Pacific/Auckland',
  'UTC',
];

/** A machine whose working hours, in its own zone, begin and end at these moments, to the second. */
export function machineFor(number: number, startAt: number, stopAt: number): Machine {
  const zone = zones[number % zones.length] ?? 'UTC';
  const time = (instant: number) => new Date(wallAt(zone, instant)).toISOString().slice(11, 19);
  return {
    vm: `vm-${number}`,
    resourceGroup: 'offices',
    zone,
    days: ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'],
    start: time(startAt),
    stop: time(stopAt),
  };
}
