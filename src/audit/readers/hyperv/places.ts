/** Maps Windows paths to the storage that holds them, and to the hosts that can reach the storage. */

import { type Evidence, keyOf, type Reach } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';

/** A host's statement about its shared volumes; null: none. */
export type SharedVolumes = ReadonlySet<string> | null;

/** Derives storage from paths, and adds it to the estate. */
export class Places {
  readonly #into: EstateBuilder;
  /** Key of a host -> mount points, in lower case, of volumes that its cluster shares. */
  readonly #shared = new Map<string, SharedVolumes>();

  constructor(into: EstateBuilder) {
    this.#into = into;
  }

  /** Records which volumes of a host its cluster shares. */
  note(host: string, volumes: SharedVolumes): void {
    this.#shared.set(host, volumes);
  }

  /** Returns the storage of a path as seen by a host. */
  of(path: string, host: string | null, place: Evidence): { readonly storage: string | null; readonly reach: Reach } {
    const plain = path.replaceAll('/', '\\');
    if (plain === '') return { storage: null, reach: { kind: 'every' } };
    const share = /^\\\\(?!\?|\.)([^\\]+\\[^\\]+)/.exec(plain)?.[0];
    if (share !== undefined) return this.#storage(share, share, { kind: 'every' }, place);
    const volume = /^[A-Za-z]:\\ClusterStorage\\[^\\]+/i.exec(plain)?.[0];
    if (volume !== undefined) {
      const shared = host === null ? null : (this.#shared.get(host) ?? null);
      // If shared volumes are known, a directory with that name counts only on a volume that the cluster shares.
      if (shared === null) return this.#storage(volume, volume, { kind: 'every' }, place);
      const hosts = [...this.#shared].flatMap(([key, there]) =>
        there?.has(volume.toLowerCase()) === true ? [key] : [],
      );
      if (hosts.length > 0) return this.#storage(volume, volume, { kind: 'hosts', hosts: new Set(hosts) }, place);
    }
    const root = /^(?:[A-Za-z]:|\\\\[?.]\\[^\\]+)/.exec(plain)?.[0] ?? plain;
    return this.#storage(keyOf(host ?? '', root), `${root}\\`, { kind: 'local' }, place);
  }

  #storage(id: string, name: string, reach: Reach, place: Evidence): { storage: string; reach: Reach } {
    const key = keyOf('hyperv', id.toLowerCase());
    const { file, part, row, column } = place;
    this.#into.storage({ key, name, reach, evidence: evidence(file, part, row, column, name) });
    return { storage: key, reach };
  }
}
