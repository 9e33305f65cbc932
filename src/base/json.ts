/** JSON texts from outside. No I/O. */

/** The value of a JSON text from outside; undefined where it is none, which no JSON text means. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What a JSON text may be made of. */
export interface JsonLimits {
  /** Values of any depth, an object's keys not counted. */
  readonly valuesMax: number;
  /** Lists and objects around the innermost value. */
  readonly depthMax: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const [LIST, LIST_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d] as const;

/**
 * What a JSON text has too much of, or null. It is read without being parsed, some milliseconds per megabyte: a million of small values
 * takes `JSON.parse` ten times as long, and whoever looks at them afterwards longer still. Says nothing about whether the text is JSON.
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

/** The place of the quote that ends the string which begins at `start`; the text's end where none does. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const char = text.charCodeAt(at);
    if (char === BACKSLASH) at += 1;
    else if (char === QUOTE) return at;
  }
  return text.length;
}
