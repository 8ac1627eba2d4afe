/** Does one thing with one machine, as KEDA_TASK_DATA says, by Azure's API, and waits until it is done. */
import { setTimeout as sleep } from 'node:timers/promises';

const apiVersion = '2024-07-01';
const { ARM_ENDPOINT: endpoint, ARM_TOKEN: token, SUBSCRIPTION: subscription } = process.env;
const { vm, resourceGroup, action, due, until } = JSON.parse(process.env.KEDA_TASK_DATA);

if (Date.now() >= Date.parse(until)) {
  console.log(`${vm}: ${action} of ${due} is over; what came after it counts`);
  process.exit(0);
}
const machine = [
  ['subscriptions', subscription],
  ['resourceGroups', resourceGroup],
  ['providers', 'Microsoft.Compute'],
  ['virtualMachines', vm],
].flatMap(part => part.map(encodeURIComponent));
const started = await ask('POST', `/${machine.join('/')}/${action}?api-version=${apiVersion}`);
const operation = started.headers.get('azure-asyncoperation');
if (operation !== null) await finished(operation, pauseOf(started));
console.log(`${vm}: ${action} done`);

async function finished(address, pauseMs) {
  await sleep(pauseMs);
  const answer = await ask('GET', address);
  const { status, error } = await answer.json();
  if (status === 'InProgress') await finished(address, pauseOf(answer));
  else if (status !== 'Succeeded') fail(`${action} ended as ${status}: ${error?.message ?? ''}`);
}

async function ask(method, address) {
  const url = new URL(address, endpoint);
  if (url.origin !== new URL(endpoint).origin) fail(`is sent to ${url.origin}, which is to have no token`);
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(url, { method, headers, signal: AbortSignal.timeout(30_000) });
  if (!answer.ok) fail(`Azure answered ${answer.status} ${await answer.text()}`);
  return answer;
}

/** How long Azure asks one to wait, in milliseconds. */
function pauseOf({ headers }) {
  return Number(headers.get('retry-after') ?? 5) * 1000;
}

function fail(why) {
  console.error(`${vm}: ${why}`);
  process.exit(1);
}
