import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export type PowerState = 'running' | 'deallocated';

interface Machine {
  state: PowerState;
  /** The operation that is under way. */
  busy: string | undefined;
}

/** One request that changed a machine. */
export interface Operation {
  vm: string;
  action: 'start' | 'deallocate';
  /** Epoch milliseconds. */
  at: number;
}

/** The part of Azure's API for virtual machines that starts and stops them. */
export interface VmApi extends AsyncDisposable {
  readonly endpoint: string;
  readonly token: string;
  readonly subscription: string;
  readonly machines: ReadonlyMap<string, Machine>;
  /** Every operation that was accepted, oldest first. */
  readonly operations: readonly Operation[];
}

interface VmApiOptions {
  /** Names of the machines; they are deallocated at first. */
  machines: readonly string[];
  /** How long an operation takes, in milliseconds. */
  operationMs: number;
}

interface Answer {
  status: number;
  body: unknown;
  headers: Readonly<Record<string, string>>;
}

const operationPath = /^providers\/Microsoft\.Compute\/locations\/here\/operations\/([^/]+)$/;
const actionPath =
  /^resourceGroups\/[^/]+\/providers\/Microsoft\.Compute\/virtualMachines\/([^/]+)\/(start|deallocate)$/;

/**
 * Serves it on a loopback port, written from Microsoft's documentation ("Virtual Machines - Start", "- Deallocate",
 * "Track asynchronous Azure operations"): an operation is accepted with 202 and the address at which to ask how it is
 * doing, a machine does one thing at a time, and a token is needed for all of it.
 */
export async function startVmApi({ machines: names, operationMs }: VmApiOptions): Promise<VmApi> {
  const token = randomUUID();
  const subscription = randomUUID();
  const machines = new Map(names.map(name => [name, { state: 'deallocated', busy: undefined } as Machine]));
  const operations: Operation[] = [];
  /** The machine of each operation there was. */
  const operationOf = new Map<string, string>();
  const timers = new Set<NodeJS.Timeout>();

  function answer({ method, url: asked = '/', headers }: IncomingMessage): Answer {
    const url = new URL(asked, 'http://api');
    const [, of, path = ''] = /^\/subscriptions\/([^/]+)\/(.*)$/.exec(decodeURIComponent(url.pathname)) ?? [];
    if (headers.authorization !== `Bearer ${token}`) {
      return refusal(401, 'AuthenticationFailed', 'The access token is missing or invalid.');
    }
    if (!url.searchParams.has('api-version')) {
      return refusal(400, 'MissingApiVersionParameter', 'The api-version query parameter is required.');
    }
    if (of !== subscription)
      return refusal(404, 'SubscriptionNotFound', 'The subscription could not be found.');
    const [, id] = operationPath.exec(path) ?? [];
    const [, vm, action] = actionPath.exec(path) ?? [];
    if (method === 'GET' && id !== undefined) return report(id);
    if (method === 'POST' && vm !== undefined) return begin(vm, action as Operation['action']);
    return refusal(404, 'InvalidResourceType', 'The resource type could not be found.');
  }

  function begin(vm: string, action: Operation['action']): Answer {
    const machine = machines.get(vm);
    if (machine === undefined) {
      return refusal(404, 'ResourceNotFound', `The Resource 'virtualMachines/${vm}' was not found.`);
    }
    if (machine.busy !== undefined) {
      return refusal(409, 'OperationNotAllowed', `Another operation on '${vm}' is in progress.`);
    }
    const id = randomUUID();
    machine.busy = id;
    operations.push({ vm, action, at: Date.now() });
    operationOf.set(id, vm);
    const timer = setTimeout(() => {
      timers.delete(timer);
      Object.assign(machine, { state: action === 'start' ? 'running' : 'deallocated', busy: undefined });
    }, operationMs);
    timers.add(timer);
    const place = `${endpoint()}/subscriptions/${subscription}/providers/Microsoft.Compute/locations/here/operations/${id}`;
    const headers = { 'azure-asyncoperation': `${place}?api-version=2024-07-01`, 'retry-after': '1' };
    return { status: 202, body: undefined, headers };
  }

  function report(id: string): Answer {
    const vm = operationOf.get(id);
    if (vm === undefined) return refusal(404, 'NotFound', 'There is no such operation.');
    return machines.get(vm)?.busy === id
      ? { status: 200, body: { name: id, status: 'InProgress' }, headers: { 'retry-after': '1' } }
      : { status: 200, body: { name: id, status: 'Succeeded' }, headers: {} };
  }

  const server = createServer((req, res) => {
    req.resume();
    const { status, body, headers } = answer(req);
    res.writeHead(status, { 'content-type': 'application/json', ...headers });
    res.end(body === undefined ? undefined : JSON.stringify(body));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const endpoint = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    endpoint: endpoint(),
    token,
    subscription,
    machines,
    operations,
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearTimeout(timer);
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

function refusal(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message } }, headers: {} };
}
