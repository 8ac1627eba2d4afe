/** Puts on a queue what is to be done with machines, when it is due. It remembers nothing and may run twice. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readSchedule, transitions } from './schedule.mjs';
import { sendMessage } from './service-bus.mjs';

/** What was due so long before the start is sent, too; the queue drops what it had already. */
const lookBackMs = 600_000;
const everyMs = 1000;

const { SCHEDULE: schedule, SERVICE_BUS: connection, QUEUE: queue } = process.env;
const machines = readSchedule(schedule);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
console.log(`${machines.length} machines`);

let since = Date.now() - lookBackMs;
while (!stop.signal.aborted) {
  const now = Date.now();
  try {
    for (const machine of machines) await sendDue(machine, since, now);
    since = now;
  } catch (error) {
    // All of it is sent again: what the queue has, it drops.
    console.error(`not sent yet: ${error.message}`);
  }
  await sleep(everyMs, undefined, { signal: stop.signal }).catch(() => {});
}
console.log('stopped');

async function sendDue(machine, from, to) {
  for (const { action, at, until } of transitions(machine, from, to)) {
    const { vm, resourceGroup } = machine;
    const [due, over] = [at, until].map(each => new Date(each).toISOString());
    await sendMessage(connection, queue, {
      id: `${resourceGroup}/${vm}/${action}/${due}`,
      body: { vm, resourceGroup, action, due, until: over },
    });
    console.log(`${vm}: ${action}, due ${due}`);
  }
}
