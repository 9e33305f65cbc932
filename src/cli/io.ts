/** The parts of its process that the command may touch, so that a test can replace them. */
import pico from 'picocolors';

/** Streams and surroundings of one run of the command. */
export interface Io {
  out(content: string | Uint8Array): void;
  err(text: string): void;
  /** Sets the exit code of a command that itself succeeded in running something that failed. */
  setExitCode(code: number): void;
  readonly stdin: TerminalInput;
  readonly outIsTty: boolean;
  readonly errIsTty: boolean;
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly cwd: string;
  /** Fires at Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  /** Fires at the second Ctrl-C. */
  readonly killSignal: AbortSignal;
}

/** Standard input; `setRawMode` if it is a terminal. */
export type TerminalInput = NodeJS.ReadableStream & {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
};

export type Colours = ReturnType<typeof pico.createColors>;

/** Colours for standard output: only on a terminal, and not where NO_COLOR is set. */
export function coloursFor(io: Io): Colours {
  return pico.createColors(io.outIsTty && (io.env['NO_COLOR'] ?? '') === '');
}
