/** Bounds for JSON texts from other processes and users. No I/O. */

/** The value of a JSON text from outside; undefined if it is not valid JSON (no JSON text has that value). */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Bounds of a JSON text. */
export interface JsonLimits {
  /** Most values at any depth; the keys of objects do not count. */
  readonly valuesMax: number;
  /** Most lists and objects around the innermost value. */
  readonly depthMax: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const [LIST, LIST_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d] as const;

/**
 * Returns which bound a JSON text exceeds, or null. The text is scanned without being parsed, in some milliseconds per
 * megabyte: `JSON.parse` needs ten times as long for a million small values, and code that walks those values needs
 * longer still. Does not check that the text is valid JSON.
 */
export function excessOf(text: string, { valuesMax, depthMax }: JsonLimits): 'values' | 'depth' | null {
  let values = 1;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) at = endOfString(text, at);
    else if (char === COMMA || char === LIST || char === OBJECT) {
      values += 1;
      if (values > valuesMax) return 'values';
      if (char !== COMMA) depth += 1;
      if (depth > depthMax) return 'depth';
    } else if (char === LIST_END || char === OBJECT_END) depth -= 1;
  }
  return null;
}

/**
 * Returns the index of the closing quote of the string that begins at `start`, or the length of the text if there is
 * none.
 */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const char = text.charCodeAt(at);
    if (char === BACKSLASH) at += 1;
    else if (char === QUOTE) return at;
  }
  return text.length;
}
