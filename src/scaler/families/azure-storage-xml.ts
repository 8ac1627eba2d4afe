import { XMLParser } from 'fast-xml-parser';
import { Fault } from '../../base/errors.ts';

/** An element: a text, or its children by name; a name that occurs more than once holds a list. */
export type XmlElement = string | { readonly [name: string]: XmlElement | readonly XmlElement[] };

/**
 * Entities are left as they are and decoded here, once per text that is used: the parser's own limits on them
 * would refuse an honest message made of angle brackets, and nothing else needs a limit where none nests.
 */
const parser = new XMLParser({
  ignoreAttributes: true,
  ignoreDeclaration: true,
  parseTagValue: false,
  trimValues: false,
  processEntities: false,
  maxNestedTags: 16,
  // Most of a list of blobs, of no use here: skipped without being taken apart.
  stopNodes: ['*.Properties'],
});

/**
 * Reads an answer of Azure Storage.
 *
 * @param root the name the outermost element must have
 * @param what names the source in the sentence
 * @throws Fault SOURCE_ANSWER_INVALID
 */
export function parseStorageXml(body: Buffer, root: string, what: string): XmlElement {
  const text = body.toString('utf8').replace(/^\uFEFF/, '');
  const whole =
    text.trimEnd().endsWith(`</${root}>`) ||
    new RegExp(`<${root}(\\s[^<>]*)?/>\\s*$`).test(text.slice(-2_000));
  if (!whole || text.includes('<!DOCTYPE')) throw invalid(what, root);
  let parsed: { readonly [name: string]: XmlElement };
  try {
    parsed = parser.parse(text);
  } catch (cause) {
    throw new Fault('SOURCE_ANSWER_INVALID', `${what} answered with broken XML`, { cause });
  }
  const element = parsed[root];
  if (element === undefined) throw invalid(what, root);
  return element;
}

const invalid = (what: string, root: string) =>
  new Fault('SOURCE_ANSWER_INVALID', `${what} answered with something that is not a whole <${root}>`);

/** The children of that name, in order; none where the element has no such child. */
export function childrenOf(element: XmlElement | undefined, name: string): readonly XmlElement[] {
  if (element === undefined || typeof element === 'string' || !Object.hasOwn(element, name)) return [];
  const child = element[name];
  if (child === undefined) return [];
  return Array.isArray(child) ? child : [child as XmlElement];
}

/** The text of the first child of that name, decoded; undefined where there is no such child. */
export function textOf(element: XmlElement | undefined, name: string): string | undefined {
  const [child] = childrenOf(element, name);
  return typeof child === 'string' ? decodeText(child) : child === undefined ? undefined : '';
}

const named: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function decodeText(text: string): string {
  return text.replace(
    /&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(lt|gt|amp|quot|apos));/g,
    (whole, decimal, hex, name) => {
      if (name !== undefined) return named[name] ?? whole;
      const point = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
      return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
    },
  );
}

/** Escapes a text for an element; a carriage return is written as a reference, or reading would lose it. */
export function encodeText(text: string): string {
  return text.replace(/[&<>\r]/g, sign => escapes[sign] ?? sign);
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' };
