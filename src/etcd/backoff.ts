/** `baseMs` doubled for each failure before this one, at most `limitMs`; none for the first. */
export function backoffMs(failures: number, baseMs: number, limitMs: number): number {
  return failures === 0 ? 0 : Math.min(limitMs, baseMs * 2 ** Math.min(failures - 1, 16));
}
