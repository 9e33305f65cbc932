/**
 * The last `count` lines (1 or more) of a text. Text after its last line feed is a line as well: one that is still
 * being written.
 */
export function lastLines(text: string, count: number): string {
  const lines = text.split('\n');
  const isOpen = lines.at(-1) !== '';
  return lines.slice(isOpen ? -count : -count - 1).join('\n');
}
