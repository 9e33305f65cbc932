/**
 * The control nodes of the cluster as this server knows them: those of its configuration until etcd says otherwise.
 * Guarantees: a node that joined is among them as soon as its record is here; one that was removed is not, also where
 * this server was off at that time and its configuration still names it; the order is the same on every control node.
 */
import { commonName } from '../base/identity.ts';
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
  readonly #store: Pick<ClusterStore, 'controls' | 'certificates' | 'onChange'>;

  constructor(configured: readonly Peer[], store: Pick<ClusterStore, 'controls' | 'certificates' | 'onChange'>) {
    this.#configured = configured;
    this.#store = store;
  }

  /** All of them, this node included, by name. */
  list(): readonly Peer[] {
    const { controls, certificates } = this.#store;
    const byName = new Map(this.#configured.map((peer) => [peer.name as string, peer]));
    for (const name of byName.keys())
      if (certificates.get(commonName({ kind: 'control', name: name as ControlName }))?.value.removed != null)
        byName.delete(name);
    for (const { value } of controls.values())
      byName.set(value.name, { name: value.name as ControlName, address: value.address });
    return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Calls `listener` after each change of a control node's record. */
  onChange(listener: () => void): void {
    this.#store.onChange((changes) => {
      if (changes.some(({ key }) => key.startsWith(PREFIX.control) || key.startsWith(PREFIX.certificate))) listener();
    });
  }
}
