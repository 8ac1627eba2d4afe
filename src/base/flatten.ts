/**
 * The same text in one piece. V8 keeps a text that was put together as its many pieces until somebody looks into
 * it; for what is kept ten thousand times that is several times its size.
 */
export function flatten(text: string): string {
  // Looking at a character makes it one piece. Number() would, too, but reads as if the value mattered.
  text.charCodeAt(0);
  return text;
}
