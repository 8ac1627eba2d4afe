import { Composer, type CST, type Document, Parser } from 'yaml';

const mostErrors = 50;
const mostOpenBrackets = 2000;

/** Why a text that goes down too far is refused. */
export const tooDeep = 'it is nested too deeply';

/**
 * The YAML documents of a text, one by one, with their errors inside. JSON is YAML.
 *
 * @throws Error where the text is not worth reading on: nested too deeply, or one error after the other
 */
export function* yamlDocuments(text: string): Generator<Document.Parsed> {
  refuseDeep(text);
  // Keys are compared when values are made: the parser's own comparison takes quadratic time.
  const composer = new Composer({ prettyErrors: false, uniqueKeys: false, logLevel: 'silent' });
  giveUpEarly(composer);
  yield* composer.compose(tokens(text), true) as Generator<Document.Parsed>;
}

function* tokens(text: string): Generator<CST.Token> {
  let errors = 0;
  for (const token of new Parser().parse(text)) {
    if (token.type === 'error') errors += 1;
    if (token.type === 'error' && errors === mostErrors) throw new Error(token.message.slice(0, 200));
    yield token;
  }
}

/** The parser needs seconds and gigabytes for a text that is little but opening brackets. */
function refuseDeep(text: string): void {
  let open = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x5b || code === 0x7b) open += 1;
    else if (code === 0x5d || code === 0x7d) open = Math.max(0, open - 1);
    else if (code === 0x0a && text.startsWith('---', at + 1)) open = 0;
    if (open > mostOpenBrackets) throw new Error(tooDeep);
  }
}

/** The composer keeps every error of a document with a stack trace: a million of them for a hostile text. */
function giveUpEarly(composer: Composer): void {
  const inner = composer as unknown as { onError: (...args: unknown[]) => void };
  const collect = inner.onError;
  let errors = 0;
  inner.onError = (...args) => {
    errors += 1;
    collect(...args);
    if (errors === mostErrors) throw new Error(String(args[2]).slice(0, 200));
  };
}
