/**
 * Rules about requests of people: however requests overlap, a name, a disk's port and an address each belong to one
 * object.
 */
import type { Change } from '../ports/store.ts';
import type { Checker } from './trace.ts';

/**
 * The resources that one object takes for itself, each as a text that is the same for every other object that would
 * take it.
 */
type Taken = (change: Change) => readonly string[];

/** R1: no two VMs have one name. */
export const namesOnce = (): Checker =>
  takenOnce('vm', (change) => (change.kind === 'vm' && change.value !== null ? [`the name ${change.value.name}`] : []));

/** R2: no two disks of a storage node have one port. */
export const portsOnce = (): Checker =>
  takenOnce('disk', (change) =>
    change.kind === 'disk' && change.value !== null ? [`port ${change.value.port} of ${change.value.node}`] : [],
  );

/** R3: no two cards in one network have one address, or one MAC address. */
export const addressesOnce = (): Checker =>
  takenOnce('vm', (change) =>
    change.kind !== 'vm' || change.value === null
      ? []
      : change.value.spec.nics.flatMap(({ network, mac, address }) => [
          `MAC address ${mac} in ${network}`,
          ...(address === null ? [] : [`address ${address} in ${network}`]),
        ]),
  );

function takenOnce(kind: Change['kind'], takenBy: Taken): Checker {
  const owners = new Map<string, string>();
  const takes = new Map<string, readonly string[]>();
  return (entry) => {
    if (entry.kind !== 'commit') return null;
    const changes = entry.changes.filter((change) => change.kind === kind);
    // A resource that a transaction gives up may be taken in the same transaction.
    for (const { id } of changes)
      for (const what of takes.get(id) ?? []) if (owners.get(what) === id) owners.delete(what);
    for (const change of changes) {
      const taken = takenBy(change);
      if (taken.length === 0) takes.delete(change.id);
      else takes.set(change.id, taken);
      for (const what of taken) {
        const other = owners.get(what);
        if (other !== undefined && other !== change.id) return `${other} and ${change.id} both have ${what}`;
        if (other === change.id) return `${change.id} has ${what} twice`;
        owners.set(what, change.id);
      }
    }
    return null;
  };
}
