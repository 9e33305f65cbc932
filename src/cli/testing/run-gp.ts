/**
 * The command `gp` run in this process: the whole program but for its start, which takes a third of a second of
 * processor time each time.
 */
import { tmpdir } from 'node:os';
import { PassThrough } from 'node:stream';
import type { Io } from '../io.ts';
import { runCli } from '../run-cli.ts';

/** The result of one run of the command. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Standard output and error are terminals. */
  readonly tty?: boolean;
  readonly signal?: AbortSignal;
  readonly stdin?: PassThrough & { isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly onOut?: (content: string) => void;
}

/** Runs the command in this process. */
export async function runGp(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { io, ran } = fakeIo(options);
  const code = await runCli(words, io, '1.2.3');
  return { ...ran, code: code === 0 ? ran.code : code };
}

/** Streams that remember; `ran` fills as the command goes on. */
export function fakeIo(options: RunOptions = {}): { readonly io: Io; readonly ran: Ran } {
  const ran = { code: 0, out: '', err: '' };
  const io: Io = {
    out: (content) => {
      const text = typeof content === 'string' ? content : Buffer.from(content).toString();
      ran.out += text;
      options.onOut?.(text);
    },
    err: (text) => {
      ran.err += text;
    },
    setExitCode: (code) => {
      ran.code = code;
    },
    stdin: options.stdin ?? new PassThrough(),
    outIsTty: options.tty === true,
    errIsTty: options.tty === true,
    env: options.env ?? {},
    cwd: options.cwd ?? tmpdir(),
    signal: options.signal ?? new AbortController().signal,
    killSignal: new AbortController().signal,
  };
  return { io, ran };
}
