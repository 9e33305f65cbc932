/** Checkers of the fencing token: generations, grants, and who may be continued. */
import { epochOf, floorOfEpoch } from '../../base/epoch.ts';
import type { DiskId, Generation, HostName, StorageName, VmId } from '../../base/ids.ts';
import type { VmRecord } from '../model/vm.ts';
import type { Change } from '../ports/store.ts';
import { currentGeneration, mayBeGranted, namedIncarnations } from './records.ts';
import type { Checker } from './trace.ts';

/** G1, G2: a VM's generation only grows, by one at a time, and no incarnation in a record is above it. */
export function generationsGrow(): Checker {
  const highest = new Map<VmId, number>();
  const recorded = new Set<VmId>();
  return (entry) => {
    if (entry.kind === 'restored') {
      recorded.clear();
      for (const { kind, id, value } of entry.changes) if (kind === 'vm' && value !== null) recorded.add(id);
      return riseAboveAll(entry.changes, highest);
    }
    if (entry.kind !== 'commit') return null;
    for (const change of entry.changes) {
      if (change.kind !== 'vm') continue;
      const isNew = !recorded.has(change.id);
      if (change.value === null) recorded.delete(change.id);
      else recorded.add(change.id);
      if (change.value === null) continue;
      const { generation, name } = change.value;
      // One that was unknown is a record again: as if it had been restored.
      if (isNew && change.value.restored !== undefined) {
        const again = riseAboveAll([change], highest);
        if (again !== null) return again;
        continue;
      }
      // A VM begins at the floor of its epoch.
      const before = highest.get(change.id) ?? floorOfEpoch(epochOf(generation));
      if (generation < before || generation > before + 1) return `${name}: generation ${before} became ${generation}`;
      highest.set(change.id, generation);
      const beyond = namedIncarnations(change.value).find((incarnation) => incarnation.generation > generation);
      if (beyond !== undefined) return `${name} names generation ${beyond.generation}, above its own ${generation}`;
    }
    return null;
  };
}

/** G7: a restored record's generation is above all that were ever given to its VM. */
function riseAboveAll(changes: readonly Change[], highest: Map<VmId, number>): string | null {
  let again: string | null = null;
  for (const change of changes) {
    if (change.kind !== 'vm' || change.value === null) continue;
    const { name, generation } = change.value;
    const before = highest.get(change.id) ?? 0;
    if (generation < before || (generation === before && before > floorOfEpoch(epochOf(before))))
      again = `${name} was restored at generation ${generation}; ${before} was given`;
    highest.set(change.id, generation);
  }
  return again;
}

/** G3: which generation is current never goes back, and an incarnation never changes its host or slot. */
export function oneCurrentIncarnation(): Checker {
  const current = new Map<VmId, number>();
  const places = new Map<string, string>();
  return (entry) => {
    // After this it is unknown which generation was current.
    if (entry.kind === 'restored') current.clear();
    if (entry.kind !== 'commit' && entry.kind !== 'restored') return null;
    for (const change of entry.changes) {
      if (change.kind !== 'vm' || change.value === null) continue;
      const { name } = change.value;
      const now = currentGeneration(change.value);
      const before = current.get(change.id) ?? 0;
      if (now !== null && now < before) return `${name}: current went back from ${before} to ${now}`;
      if (now !== null) current.set(change.id, now);
      for (const { generation, host, slot } of namedIncarnations(change.value)) {
        const place = `${host}:${slot}`;
        const known = places.get(`${change.id}:${generation}`) ?? place;
        if (known !== place) return `${name}: generation ${generation} moved from ${known} to ${place}`;
        places.set(`${change.id}:${generation}`, place);
      }
    }
    return null;
  };
}

/**
 * G4: storage grants only what the record in etcd admits, or admitted when the order was sent or etcd was read, and
 * never again what it has acknowledged to be fenced or revoked.
 */
export function grantsAreAdmitted(): Checker {
  const records = new Map<VmId, VmRecord>();
  /** When a generation that is no longer admitted was last admitted. */
  const admittedUntil = new Map<string, number>();
  const floors = new Map<string, number>();
  const revoked = new Set<string>();
  const commit = (vm: VmId, next: VmRecord | null, at: number): void => {
    const before = records.get(vm);
    for (const generation of before === undefined ? [] : namedIncarnations(before).map((named) => named.generation))
      if (before !== undefined && mayBeGranted(before, generation)) admittedUntil.set(`${vm}:${generation}`, at);
    if (next !== null) records.set(vm, next);
  };
  return (entry) => {
    if (entry.kind === 'restored') {
      // Orders from before may be under way.
      for (const vm of records.keys()) commit(vm, null, entry.at);
      records.clear();
    }
    if (entry.kind === 'commit' || entry.kind === 'restored')
      for (const change of entry.changes) if (change.kind === 'vm') commit(change.id, change.value, entry.at);
    if (entry.kind === 'fenced') {
      const key = `${entry.node}:${entry.vm}`;
      floors.set(key, Math.max(floors.get(key) ?? 0, entry.below));
    }
    if (entry.kind === 'revoked') revoked.add(`${entry.node}:${entry.vm}:${entry.generation}`);
    if (entry.kind !== 'granted') return null;
    const { node, vm, generation, knownAt } = entry;
    const record = records.get(vm);
    const floor = floors.get(`${node}:${vm}`) ?? 0;
    if (generation < floor) return `${node} granted ${vm} ${generation}, below its fence ${floor}`;
    if (revoked.has(`${node}:${vm}:${generation}`)) return `${node} granted ${vm} ${generation}, which it had revoked`;
    if (record === undefined || mayBeGranted(record, generation)) return null;
    if (knownAt <= (admittedUntil.get(`${vm}:${generation}`) ?? Number.NEGATIVE_INFINITY)) return null;
    return `${node} granted ${record.name} generation ${generation} in phase ${record.phase.kind}`;
  };
}

/**
 * G5: a leader continues an incarnation only while it is current, everything below it is fenced on every storage node
 * of the VM, and no other incarnation holds a grant.
 */
export function contOnlyCurrentAndFenced(): Checker {
  const records = new Map<VmId, VmRecord>();
  const nodes = new DiskNodes();
  const fences = new Map<string, number>();
  const grants = new Grants();
  return (entry) => {
    grants.note(entry);
    nodes.note(entry);
    if (entry.kind === 'restored') records.clear();
    if (entry.kind === 'commit' || entry.kind === 'restored')
      for (const change of entry.changes)
        if (change.kind === 'vm' && change.value !== null) records.set(change.id, change.value);
    if (entry.kind === 'fenced') {
      const key = `${entry.node}:${entry.vm}`;
      fences.set(key, Math.max(fences.get(key) ?? 0, entry.below));
    }
    if (entry.kind !== 'cont' || entry.stale) return null;
    const record = records.get(entry.vm);
    if (record === undefined) return `${entry.vm} was continued without a record`;
    const who = `${record.name} generation ${entry.generation}`;
    if (currentGeneration(record) !== entry.generation)
      return `${who} was continued; current is ${currentGeneration(record)} (${record.phase.kind})`;
    const { vm } = entry;
    const settled = nodes.of(record, 'settled');
    for (const node of nodes.of(record, 'all')) {
      if (settled.has(node) && (fences.get(`${node}:${vm}`) ?? 0) < entry.generation)
        return `${who} was continued before ${node} was fenced`;
      const other = grants.holders(node, vm).find((generation) => generation !== entry.generation);
      if (other !== undefined) return `${who} was continued while ${node} still granted ${other}`;
    }
    return null;
  };
}

/** G6: once a VM is recorded as running only its current generation is granted, and once it is stopped none is. */
export function nothingElseGranted(): Checker {
  const grants = new Grants();
  const nodes = new DiskNodes();
  return (entry) => {
    grants.note(entry);
    nodes.note(entry);
    if (entry.kind !== 'commit' || entry.by === 'people') return null;
    for (const change of entry.changes) {
      if (change.kind !== 'vm' || change.value === null) continue;
      const record = change.value;
      const { name, phase, restored } = record;
      if (restored !== undefined) continue;
      if (phase.kind !== 'running' && phase.kind !== 'stopped') continue;
      const held = [...nodes.of(record, 'all')].flatMap((node) => grants.holders(node, change.id));
      const other = held.find((generation) => generation !== currentGeneration(record));
      if (other !== undefined) return `${name} is ${phase.kind} and generation ${other} is still granted`;
    }
    return null;
  };
}

/**
 * G10: a host leaves the records only when no VM's record names it, and when nothing that was ever placed there is
 * granted: what may still run there reaches no disk.
 */
export function removedHostsAreFenced(): Checker {
  const grants = new Grants();
  const records = new Map<VmId, VmRecord>();
  /** What was placed on each host, by VM. */
  const placed = new Map<HostName, Map<VmId, Set<Generation>>>();
  return (entry) => {
    grants.note(entry);
    if (entry.kind === 'restored') {
      records.clear();
      placed.clear();
    }
    if (entry.kind !== 'commit' && entry.kind !== 'restored') return null;
    const removed: HostName[] = [];
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'host' && value === null) removed.push(id);
      if (kind !== 'vm') continue;
      if (value === null) records.delete(id);
      else records.set(id, value);
      for (const { host, generation } of value === null ? [] : namedIncarnations(value)) {
        const there = placed.get(host) ?? new Map<VmId, Set<Generation>>();
        placed.set(host, there.set(id, (there.get(id) ?? new Set()).add(generation)));
      }
    }
    for (const host of removed) {
      const there = placed.get(host) ?? new Map<VmId, Set<Generation>>();
      placed.delete(host);
      for (const [vm, generations] of there) {
        const record = records.get(vm);
        if (record !== undefined && namedIncarnations(record).some((named) => named.host === host))
          return `${host} was removed, and the record of ${record.name} names it`;
        const held = grants.of(vm).find((generation) => generations.has(generation));
        if (held !== undefined) return `${host} was removed, and generation ${held} of ${vm}, placed there, is granted`;
      }
    }
    return null;
  };
}

/** The storage nodes that have disks of a VM, those that were declared lost left out. */
class DiskNodes {
  readonly #own = new Map<VmId, Map<DiskId, StorageName>>();
  readonly #shared = new Map<DiskId, StorageName>();
  readonly #lost = new Set<StorageName>();

  note(entry: Parameters<Checker>[0]): void {
    if (entry.kind !== 'commit' && entry.kind !== 'restored') return;
    for (const { kind, id, value } of entry.changes) {
      if (kind === 'shared-disk' && value !== null) this.#shared.set(id, value.node);
      if (kind === 'storage' && value?.lost !== undefined) this.#lost.add(id);
      if (kind !== 'disk' || value === null) continue;
      const disks = this.#own.get(value.vm) ?? new Map<DiskId, StorageName>();
      this.#own.set(value.vm, disks.set(id, value.node));
    }
  }

  /**
   * The storage nodes of a VM. `settled`: without those of disks that come and go while the VM runs. Such a disk was
   * either fenced when the VM began to have it, or is granted to nobody yet; so for it the only question is whether
   * somebody else is granted access.
   */
  of({ id, spec }: VmRecord, which: 'all' | 'settled'): ReadonlySet<StorageName> {
    const shared = (spec.sharedDisks ?? []).filter(
      ({ joining, leaving }) => which === 'all' || (joining !== true && leaving !== true),
    );
    const nodes = [
      ...(this.#own.get(id)?.values() ?? []),
      ...shared.flatMap(({ disk }) => this.#shared.get(disk) ?? []),
    ];
    return new Set(nodes.filter((node) => !this.#lost.has(node)));
  }
}

/** What storage nodes serve, those that were declared lost left out: nothing there is anything to anybody any more. */
class Grants {
  readonly #held = new Map<string, Set<Generation>>();
  readonly #lost = new Set<StorageName>();

  note(entry: Parameters<Checker>[0]): void {
    if (entry.kind === 'commit')
      for (const { kind, id, value } of entry.changes)
        if (kind === 'storage' && value?.lost !== undefined) {
          this.#lost.add(id);
          this.#forget(id);
        }
    if ('node' in entry && this.#lost.has(entry.node)) return;
    if (entry.kind === 'restarted') {
      this.#forget(entry.node);
      return;
    }
    if (entry.kind === 'let-go') this.#held.delete(`${entry.node}:${entry.vm}`);
    if (entry.kind !== 'granted' && entry.kind !== 'revoked' && entry.kind !== 'fenced') return;
    const key = `${entry.node}:${entry.vm}`;
    const held = this.#held.get(key) ?? new Set<Generation>();
    this.#held.set(key, held);
    if (entry.kind === 'granted') held.add(entry.generation);
    if (entry.kind === 'revoked') held.delete(entry.generation);
    if (entry.kind === 'fenced') for (const generation of held) if (generation < entry.below) held.delete(generation);
  }

  holders(node: StorageName, vm: VmId): readonly Generation[] {
    return [...(this.#held.get(`${node}:${vm}`) ?? [])];
  }

  /** What any node serves of a VM. */
  of(vm: VmId): readonly Generation[] {
    return [...this.#held].flatMap(([key, held]) => (key.endsWith(`:${vm}`) ? [...held] : []));
  }

  #forget(node: StorageName): void {
    for (const key of this.#held.keys()) if (key.startsWith(`${node}:`)) this.#held.delete(key);
  }
}
