/** Sizes of text in UTF-8, for code without Node's types. */

/**
 * The bytes of a text in UTF-8; half of a surrogate pair counts as the replacement character that is written for it.
 */
export function utf8Bytes(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x1_0000 ? 3 : 4;
  }
  return bytes;
}
