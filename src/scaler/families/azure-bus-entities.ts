import { XMLParser } from 'fast-xml-parser';
import { Fault } from '../../base/errors.ts';
import { childrenOf, textOf, type XmlElement } from './azure-storage-xml.ts';

/** What is known of a queue or subscription. */
export interface BusEntity {
  /** Without the topic, for a subscription. */
  name: string;
  /** Messages that can be received now, or are locked by who receives them. */
  active: number | undefined;
  /** Whether its messages are handed out session by session. */
  sessions: boolean;
}

/** One page of a list of queues or subscriptions. */
export interface EntityPage {
  entities: readonly BusEntity[];
  /** Whether the server says that there are more. */
  more: boolean;
}

const parser = new XMLParser({
  ignoreAttributes: false,
  ignoreDeclaration: true,
  // The same namespace has another prefix in each version of the API.
  removeNSPrefix: true,
  parseTagValue: false,
  trimValues: false,
  processEntities: false,
  maxNestedTags: 32,
});

/**
 * Reads the description of one queue or subscription. For one that does not exist Service Bus gives a feed with
 * nothing in it, and says that all is well.
 *
 * @returns undefined for one that does not exist
 * @throws Fault SOURCE_ANSWER_INVALID
 */
export function readEntity(body: Buffer, what: string): BusEntity | undefined {
  const root = parse(body, what);
  const [entry] = childrenOf(root, 'entry');
  if (entry !== undefined) return entityOf(entry, what);
  const [feed] = childrenOf(root, 'feed');
  if (feed !== undefined && childrenOf(feed, 'entry').length === 0) return undefined;
  throw strange(what);
}

/**
 * Reads a page of a list.
 *
 * @returns undefined for a list that does not exist, since its topic does not
 * @throws Fault SOURCE_ANSWER_INVALID
 */
export function readPage(body: Buffer, what: string): EntityPage | undefined {
  const [feed] = childrenOf(parse(body, what), 'feed');
  if (feed === undefined) throw strange(what);
  if (titleOf(feed) === 'Publicly Listed Services') return undefined;
  const more = childrenOf(feed, 'link').some(link => textOf(link, '@_rel') === 'next');
  return { entities: childrenOf(feed, 'entry').map(entry => entityOf(entry, what)), more };
}

/** What an error of Service Bus says, without what differs each time; nothing where it cannot be read. */
export function readDetail(body: Buffer): string {
  try {
    const [error] = childrenOf(parse(body, ''), 'Error');
    const [detail = ''] = (textOf(error, 'Detail') ?? '').split(/\n|[.,]? ?(?:To know more|TrackingId)/);
    return detail.trim().slice(0, 300);
  } catch {
    return '';
  }
}

/** What to tell a person whose queue came without its counts. */
export const withoutCounts = (what: string) =>
  new Fault(
    'SOURCE_ANSWER_INVALID',
    `${what} was described without the count of its messages, as Azure does when it is asked too often`,
  );

function parse(body: Buffer, what: string): XmlElement {
  const text = body.toString('utf8').replace(/^\uFEFF/, '');
  const whole = /<\/(?:[\w-]+:)?(?:entry|feed|Error)>\s*$|<(?:entry|feed)\b[^<>]*\/>\s*$/.test(
    text.slice(-2_000),
  );
  if (!whole || text.includes('<!DOCTYPE')) throw strange(what);
  try {
    return parser.parse(text) as XmlElement;
  } catch (cause) {
    throw new Fault('SOURCE_ANSWER_INVALID', `${what} answered with broken XML`, { cause });
  }
}

const strange = (what: string) =>
  new Fault('SOURCE_ANSWER_INVALID', `${what} answered with something else than a description`);

function entityOf(entry: XmlElement, what: string): BusEntity {
  const name = titleOf(entry);
  const [content] = childrenOf(entry, 'content');
  const [description] = [
    ...childrenOf(content, 'QueueDescription'),
    ...childrenOf(content, 'SubscriptionDescription'),
  ];
  if (name === '' || description === undefined) throw strange(what);
  const [counts] = childrenOf(description, 'CountDetails');
  const active = textOf(counts, 'ActiveMessageCount');
  const sessions = textOf(description, 'RequiresSession')?.trim().toLowerCase() === 'true';
  return { name, active: active === undefined ? undefined : countOf(active.trim(), what), sessions };
}

/** With its attribute `type`, a title is an element of its own. */
function titleOf(entry: XmlElement): string {
  const [title] = childrenOf(entry, 'title');
  return (typeof title === 'string' ? textOf(entry, 'title') : textOf(title, '#text'))?.trim() ?? '';
}

function countOf(text: string, what: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new Fault('SOURCE_ANSWER_INVALID', `${what} answered with a count of messages that is none`);
}
