/**
 * The control nodes that a service knew last, in its own directory: so that it finds etcd when it starts again,
 * although nodes may have joined or left since it was installed. The truth is in etcd.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readJsonFile, writeFileAtomic } from '../os/files.ts';
import { arrayOf, object, text } from './parse.ts';

/** A control node, and where it is reached. */
export interface KnownControl {
  readonly name: string;
  readonly address: string;
}

const CONTROLS_MAX = 16;

const parseKnownControl = object({
  name: text({ charsMax: 40 }),
  address: text({ charsMax: 15, pattern: /^\d+\.\d+\.\d+\.\d+$/ }),
});
/** Parses a list of them. */
export const parseKnownControls = arrayOf(parseKnownControl, { itemsMax: CONTROLS_MAX });
const parseFile = object({ controls: parseKnownControls });

function fileIn(stateDir: string): string {
  return join(stateDir, 'controls.json');
}

/** Returns the control nodes in `stateDir`; undefined if none were written. CodedError 'bad-input'. */
export async function readKnownControls(stateDir: string): Promise<readonly KnownControl[] | undefined> {
  const value = await readJsonFile(fileIn(stateDir));
  return value === undefined ? undefined : parseFile(value, fileIn(stateDir)).controls;
}

/**
 * Returns the list that was written last in any of these directories; undefined if there is none. The list of a service
 * that may not read etcd any more is old.
 */
export async function latestKnownControls(stateDirs: readonly string[]): Promise<readonly KnownControl[] | undefined> {
  const found = await Promise.all(
    stateDirs.map(async (dir) => ({
      controls: await readKnownControls(dir),
      at: (await stat(fileIn(dir)).catch(() => undefined))?.mtimeMs ?? 0,
    })),
  );
  return found.filter(({ controls }) => controls !== undefined).sort((a, b) => b.at - a.at)[0]?.controls;
}

/** Keeps the newest list in `stateDir`, one write after the other; an empty list is not written. */
export class KnownControls {
  readonly #stateDir: string;
  readonly #onFailure: (reason: unknown) => void;
  #written = '';
  #last: Promise<void> = Promise.resolve();

  constructor(stateDir: string, onFailure: (reason: unknown) => void) {
    this.#stateDir = stateDir;
    this.#onFailure = onFailure;
  }

  /** Writes the list unless it is the one that was written last. Never rejects. */
  put(controls: readonly KnownControl[]): Promise<void> {
    const sorted = controls.map(({ name, address }) => ({ name, address })).sort((a, b) => (a.name < b.name ? -1 : 1));
    const content = `${JSON.stringify({ controls: sorted.slice(0, CONTROLS_MAX) }, null, 2)}\n`;
    if (sorted.length === 0 || content === this.#written) return this.#last;
    this.#written = content;
    this.#last = this.#last.then(() => writeFileAtomic(fileIn(this.#stateDir), content)).catch(this.#onFailure);
    return this.#last;
  }
}
