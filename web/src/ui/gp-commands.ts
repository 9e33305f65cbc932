/** The `gp` commands that do what forms and buttons do. Pure. Guarantee: each word reaches the command as it is. */

/** A word as a POSIX shell reads it. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

type Options = Readonly<Record<string, string | number | boolean | null | readonly string[]>>;

/** Options as words; what is null or an empty list is left out, `true` is an option without a value. */
export function gpOptions(options: Options): readonly string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (value === null || value === false || value === '') return [];
    if (value === true) return [`--${name}`];
    return (Array.isArray(value) ? value : [value]).flatMap((each) => [`--${name}`, shellWord(String(each))]);
  });
}

/** A command with its options. */
export function gpCommand(words: readonly string[], options: Options = {}): string {
  return ['gp', ...words.map(shellWord), ...gpOptions(options)].join(' ');
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** A size as `gp` takes it: `2G`, `512M`, or bytes. */
export function sizeWord(bytes: number): string {
  if (bytes % GIB === 0) return `${bytes / GIB}G`;
  return bytes % MIB === 0 ? `${bytes / MIB}M` : String(bytes);
}
