/**
 * The version of the QEMU that a launch gets now. Guarantees: a package that is upgraded under a running agent is
 * noticed at the next look; one that cannot be asked keeps what is known.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../os/child-process.ts';
import { monotonicMs } from '../../os/monotonic.ts';

const PROGRAM = 'qemu-system-x86_64';
const DEADLINE_MS = 10_000;
/** The file is read again at most once in this time. */
const LOOK_MS = 10_000;

/** See the module's comment. */
export class InstalledVersion {
  #version: string | null = null;
  /** The program file whose version was asked for: its path, size and time of last change. */
  #asked: string | null = null;
  #isLooking = false;
  #lookedMs = Number.NEGATIVE_INFINITY;
  readonly #nowMs: () => number;

  constructor({ nowMs }: { readonly nowMs: () => number } = { nowMs: monotonicMs }) {
    this.#nowMs = nowMs;
  }

  get version(): string | null {
    return this.#version;
  }

  /** Asks the program for its version if the file differs from last time. Never rejects; one check at a time. */
  async look(): Promise<void> {
    if (this.#isLooking || this.#nowMs() - this.#lookedMs < LOOK_MS) return;
    this.#isLooking = true;
    this.#lookedMs = this.#nowMs();
    try {
      const program = await identify();
      if (program === null || program === this.#asked) return;
      const { stdout } = await run([PROGRAM, '--version'], { deadlineMs: DEADLINE_MS });
      this.#version = parseQemuVersion(stdout) ?? this.#version;
      this.#asked = program;
    } catch {
      // The next check is the next attempt.
    } finally {
      this.#isLooking = false;
    }
  }
}

async function identify(): Promise<string | null> {
  for (const directory of (process.env['PATH'] ?? '').split(':').filter(Boolean)) {
    const file = join(directory, PROGRAM);
    const found = await stat(file).catch(() => null);
    if (found?.isFile() === true) return `${file} ${found.ino} ${found.size} ${found.mtimeMs}`;
  }
  return null;
}

/** The version in the output of `--version`; null: there is none. */
export function parseQemuVersion(printed: string): string | null {
  return /^QEMU emulator version (\d+\.\d+(?:\.\d+)?)/m.exec(printed)?.[1] ?? null;
}
