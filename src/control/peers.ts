/**
 * The control nodes of the cluster as this server knows them: those of its configuration until etcd says otherwise.
 * Guarantees: a node that joined is among them as soon as its record is here, one that was removed is not; the order is
 * the same on every control node.
 */
import type { ControlName } from '../base/ids.ts';
import { PREFIX } from '../core/model/keys.ts';
import type { ClusterStore } from './store/cluster-store.ts';

/** A control node. */
export interface Peer {
  readonly name: ControlName;
  readonly address: string;
}

/** See the module's comment. */
export class Peers {
  readonly #configured: readonly Peer[];
  readonly #store: ClusterStore;
  readonly #removed = new Set<string>();

  constructor(configured: readonly Peer[], store: ClusterStore) {
    this.#configured = configured;
    this.#store = store;
    store.onChange((changes) => {
      for (const { key, deleted } of changes) {
        if (!key.startsWith(PREFIX.control)) continue;
        if (deleted) this.#removed.add(key.slice(PREFIX.control.length));
        else this.#removed.delete(key.slice(PREFIX.control.length));
      }
    });
  }

  /** All of them, this node included, by name. */
  list(): readonly Peer[] {
    const byName = new Map(this.#configured.map((peer) => [peer.name as string, peer]));
    for (const { value } of this.#store.controls.values())
      byName.set(value.name, { name: value.name as ControlName, address: value.address });
    for (const name of this.#removed) byName.delete(name);
    return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Calls `listener` after each change of a control node's record. */
  onChange(listener: () => void): void {
    this.#store.onChange((changes) => {
      if (changes.some(({ key }) => key.startsWith(PREFIX.control))) listener();
    });
  }
}
