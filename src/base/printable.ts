/** Makes text from users and other machines safe for a terminal and a log. No I/O. */

/**
 * Characters that steer a terminal or an editor instead of being seen: C0, DEL, C1, the separators of lines and
 * paragraphs, and marks that reverse or hide what follows.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: this pattern searches for control characters
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const isBreak = (char: string): boolean => char === '\n' || char === '\t';

/** Returns one line of printable text: an invisible character is replaced by its number, `\u{1b}`. */
export function printable(text: string): string {
  return text.replaceAll(UNSEEN, numberOf);
}

/** Returns printable text of several lines: line feeds and tabs are kept. */
export function printableLines(text: string): string {
  return text.replaceAll(UNSEEN, (char) => (isBreak(char) ? char : numberOf(char)));
}

const numberOf = (char: string): string => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
