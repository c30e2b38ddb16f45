/** Lengths in UTF-8. Keys and ids are short and ASCII nearly always: asking the binding for theirs costs more than looking at them. */

const SHORT = 64;

export function utf8Length(text: string): number {
  if (text.length > SHORT) return Buffer.byteLength(text);
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) >= 0x80) return Buffer.byteLength(text);
  return text.length;
}
