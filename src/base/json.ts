/** The value of a JSON text from outside; undefined where it is none, which no JSON text means. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
