/**
 * Backups of the cluster's records through the API: which there are, at which control node, and one of now as a stream.
 * Guarantees: only a token that may is handed one, because it holds hashes of tokens and the secret of the targets'
 * accounts; one at a time through a control node, and a reader that stands still is cut off.
 */
import { Readable } from 'node:stream';
import type { Backup, BackupState } from '../../api/backup-views.ts';
import { CodedError } from '../../base/errors.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { BackupPlaceList, BackupPlaceState } from '../../core/model/backup.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Call } from '../api/call.ts';
import { type Page, type PageQuery, pageOf } from '../api/pages.ts';
import type { BackendContext } from './context.ts';

/** How long a reader may take nothing, in ms. */
const IDLE_MS = 60_000;

/** See the module. */
export class BackupsBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Every backup that control nodes which answer keep, by control node, place and time. */
  async list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Backup>> {
    const { store, name, backups } = this.#context;
    const lists = await Promise.all(
      [...store.controls.values()].map(async ({ value: control }) => {
        const places = control.name === name ? backups.places() : await backups.ask(control);
        return backupsAt(control.name, places ?? []);
      }),
    );
    const byPlace = new Map(
      lists.flat().map((backup) => [`${backup.controlNode} ${backup.place} ${backup.file}`, backup]),
    );
    return pageOf({ order: new KeyOrder(byPlace.keys()), view: (place) => byPlace.get(place) ?? null }, query, signal);
  }

  /**
   * A backup of now. CodedError 'forbidden' for a token without the right, and for sessions of browsers; 'unavailable'
   * while another one is read through this control node.
   */
  async read({ principal, signal }: Call): Promise<Readable> {
    if (principal.mayBackUp !== true || principal.session !== null)
      throw new CodedError('forbidden', `The token ${principal.name} may not read backups of the cluster.`, {
        advice: 'Nothing was made. Use the administrator’s token, or one made with `gp token create NAME --backup`.',
      });
    const ending = new AbortController();
    const pieces = this.#context.backups.read(AbortSignal.any([signal, ending.signal]));
    // What is refused is refused before the answer begins.
    const first = await pieces.next();
    const stall = (): void =>
      ending.abort(new CodedError('deadline', `The reader of a backup took nothing for ${IDLE_MS / 1_000} s.`));
    const content = paced(first.done === true ? '' : first.value, pieces, { clock: this.#context.clock, stall });
    const stream = Readable.from(content, { objectMode: false });
    const end = (): void => void stream.destroy();
    for (const each of [signal, ending.signal]) each.addEventListener('abort', end, { once: true });
    stream.once('close', () => {
      signal.removeEventListener('abort', end);
      // A stream that nobody has read has not begun what it is made of, which would end the pieces.
      void pieces.return();
    });
    if (signal.aborted) end();
    return stream;
  }
}

/** How the backups of every control node are, as far as this one knows; its own first. */
export function backupStates(context: BackendContext): ReadonlyMap<string, readonly BackupPlaceState[]> {
  const { name, store, backups } = context;
  const states = new Map<string, readonly BackupPlaceState[]>([[name, backups.places()]]);
  if (context.leading() === null) return states;
  for (const { value } of store.controls.values())
    if (value.name !== name) states.set(value.name, backups.lastKnown(value.name) ?? []);
  return states;
}

/** The same, as the API tells it. */
export function backupStateViews(context: BackendContext): BackupState[] {
  return [...backupStates(context)].flatMap(([controlNode, states]) =>
    states.map(({ place, where, lastAt, failure }) => ({
      ...{ controlNode, place, where },
      lastAt: lastAt === null ? null : new Date(lastAt).toISOString(),
      failure: failure === null ? null : { at: new Date(failure.at).toISOString(), message: failure.message },
    })),
  );
}

function backupsAt(controlNode: string, places: readonly BackupPlaceList[]): readonly Backup[] {
  return places.flatMap(({ place, where, backups }) =>
    backups.map(({ file, takenAt, sizeBytes, revision }) => ({
      ...{ controlNode, place, where, file, sizeBytes, revision },
      takenAt: new Date(takenAt).toISOString(),
    })),
  );
}

async function* paced(
  first: string,
  rest: AsyncGenerator<string, void>,
  { clock, stall }: { readonly clock: Clock; readonly stall: () => void },
): AsyncGenerator<string, void> {
  let piece: IteratorResult<string, void> = { value: first, done: false };
  try {
    while (piece.done !== true) {
      const cancel = clock.after(IDLE_MS, stall);
      try {
        yield piece.value;
      } finally {
        cancel();
      }
      piece = await rest.next();
    }
  } finally {
    await rest.return();
  }
}
