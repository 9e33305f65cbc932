/** "1 move", "2 moves"; `many`: the plural that is not `one` and an s. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
