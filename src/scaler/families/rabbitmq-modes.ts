import { never } from '../../base/errors.ts';
import type { Problem } from '../../spec/problem.ts';
import type { Measure } from '../define.ts';
import type { QueueFacts } from './rabbitmq-management.ts';

export const modes = [
  'QueueLength',
  'MessageRate',
  'DeliverGetRate',
  'PublishedToDeliveredRatio',
  'ExpectedQueueConsumptionTime',
] as const;

export type Mode = (typeof modes)[number];

/** KEDA's default where nothing is said at all. */
const defaultLength = 20;

interface Given {
  mode: Mode | 'Unknown';
  value: number | undefined;
  queueLength: number | undefined;
  protocol: 'amqp' | 'http';
  timeout: number | undefined;
}

/** What is measured and the target: `mode` with `value`, or the old `queueLength` alone, or nothing for 20 messages. */
export function modeOf(given: Given): { mode: Mode; value: number } | { problems: Problem[] } {
  const { value = 0, queueLength = 0, protocol, timeout = 0 } = given;
  const mode = given.mode === 'Unknown' ? undefined : given.mode;
  const refused = (field: string, problem: string, mending: string) => ({
    problems: [{ problem, mending, place: { field: `metadata.${field}` } }],
  });
  if (queueLength !== 0) {
    if (mode === undefined && value === 0) return { mode: 'QueueLength', value: queueLength };
    return refused('queueLength', 'queueLength is given beside mode or value', 'leave out queueLength');
  }
  if (mode === undefined && value === 0) return { mode: 'QueueLength', value: defaultLength };
  if (mode === undefined) return refused('mode', '"mode" is missing', 'say what the value is of');
  if (value === 0) return refused('value', '"value" is missing', `say how much a replica takes on`);
  if (protocol === 'amqp' && mode !== 'QueueLength') {
    return refused('mode', `AMQP does not tell what ${mode} needs`, 'use an http or https URL');
  }
  if (protocol === 'amqp' && timeout !== 0) {
    return refused('timeout', 'timeout is for the management API only', 'leave it out');
  }
  return { mode, value };
}

/** What is made of the facts. */
export interface Measured {
  mode: Mode;
  excludeUnacknowledged: boolean;
  activationValue: number;
}

/**
 * KEDA's numbers. Where nobody takes messages, a ratio or a time cannot be computed: then the number is the
 * activation threshold, and the trigger is active for the sake of the messages.
 */
export function measureOf(
  facts: QueueFacts,
  { mode, excludeUnacknowledged, activationValue }: Measured,
): Measure {
  const { publishRate, deliverGetRate } = facts;
  const messages = excludeUnacknowledged ? facts.ready : facts.messages;
  const above = (value: number) => value > activationValue;
  switch (mode) {
    case 'QueueLength':
      return messages;
    case 'MessageRate':
      return { value: publishRate, active: above(publishRate) || above(messages) };
    case 'DeliverGetRate':
      return deliverGetRate;
    case 'PublishedToDeliveredRatio': {
      if (publishRate === 0) return 0;
      if (deliverGetRate === 0) return { value: activationValue, active: true };
      return publishRate / deliverGetRate;
    }
    case 'ExpectedQueueConsumptionTime': {
      if (messages === 0) return 0;
      if (deliverGetRate === 0) return { value: activationValue, active: true };
      return (publishRate - deliverGetRate) / deliverGetRate + messages / deliverGetRate;
    }
    default:
      return never(mode);
  }
}
