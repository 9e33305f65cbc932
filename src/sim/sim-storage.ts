/** Simulated storage services: grants, floors, terms, disks, and what reaches them. */
import { CodedError } from '../base/errors.ts';
import type { DiskId, Generation, StorageName, VmId } from '../base/ids.ts';
import type { DiskRecord } from '../core/model/cluster.ts';
import type { VmRecord } from '../core/model/vm.ts';
import type {
  DiskOrder,
  FenceOrder,
  FenceResult,
  GrantOrder,
  GrantResult,
  RevokeOrder,
  StorageReport,
} from '../core/ports/storage-link.ts';
import type { Note, SimStore } from './sim-store.ts';

/** One storage node. While it is down nothing of it answers; its disks' content stays. */
export class SimStorage {
  readonly name: StorageName;
  readonly #store: SimStore;
  readonly #note: Note;
  readonly disks = new Set<DiskId>();
  readonly grants = new Map<DiskId, Map<Generation, VmId>>();
  readonly #floors = new Map<VmId, number>();
  #term = 0;
  up = true;

  constructor(name: StorageName, store: SimStore, note: Note) {
    this.name = name;
    this.#store = store;
    this.#note = note;
  }

  crash(): void {
    this.up = false;
  }

  /** Comes back knowing nothing, reads the records, and grants exactly what they admit (DESIGN.md, section 5). */
  restart(): void {
    if (this.up) return;
    this.up = true;
    this.#term = 0;
    this.#floors.clear();
    this.grants.clear();
    this.#note({ kind: 'restarted', node: this.name });
    for (const disk of this.#store.all<DiskRecord>('disk')) {
      if (disk.node !== this.name || disk.phase !== 'ready') continue;
      const vm = this.#store.get<VmRecord>('vm', disk.vm);
      if (vm === undefined) continue;
      const admitted = admittedByRecord(vm);
      this.#floors.set(vm.id, Math.min(vm.generation + 1, ...admitted));
      for (const generation of admitted) this.#grantOne(vm.id, disk.id, generation);
    }
  }

  /** Whether a write of this incarnation reaches the disk now. */
  serves(disk: DiskId, generation: Generation): boolean {
    return this.up && this.grants.get(disk)?.has(generation) === true;
  }

  report(): StorageReport {
    const disks = [...this.disks].map((disk) => ({
      disk,
      grants: [...(this.grants.get(disk) ?? [])].map(([generation, vm]) => ({ vm, generation, connections: [] })),
    }));
    return { node: this.name, pool: { totalBytes: 2 ** 40, freeBytes: 2 ** 39 }, artifacts: [], disks };
  }

  fence({ term, vm, below, disks }: FenceOrder): FenceResult {
    this.#accept(term);
    this.#floors.set(vm, Math.max(this.#floors.get(vm) ?? 1, below));
    const revoked = disks.flatMap((disk) =>
      [...(this.grants.get(disk)?.keys() ?? [])]
        .filter((generation) => generation < below)
        .map((generation) => ({ disk, generation })),
    );
    for (const { disk, generation } of revoked) this.grants.get(disk)?.delete(generation);
    this.#note({ kind: 'fenced', node: this.name, vm, below });
    return { revoked };
  }

  grant({ term, vm, generation, disks }: GrantOrder): GrantResult {
    this.#accept(term);
    if (generation < (this.#floors.get(vm) ?? 1))
      throw new CodedError('stale-order', `Generation ${generation} is fenced.`);
    for (const { disk } of disks) {
      if (!this.disks.has(disk)) throw new CodedError('not-found', `There is no disk ${disk}.`);
      this.#grantOne(vm, disk, generation);
    }
    return { exports: disks.map(({ disk, port }) => ({ disk, port, name: `g${generation}` })) };
  }

  revoke({ term, vm, generation, disks }: RevokeOrder): void {
    this.#accept(term);
    for (const disk of disks) this.grants.get(disk)?.delete(generation);
    this.#note({ kind: 'revoked', node: this.name, vm, generation });
  }

  createDisk(disk: DiskId, { term }: DiskOrder): void {
    this.#accept(term);
    this.disks.add(disk);
  }

  deleteDisk(disk: DiskId, term: number): void {
    this.#accept(term);
    if ((this.grants.get(disk)?.size ?? 0) > 0) throw new CodedError('conflict', `${disk} is granted.`);
    this.disks.delete(disk);
    this.grants.delete(disk);
  }

  #grantOne(vm: VmId, disk: DiskId, generation: Generation): void {
    const grants = this.grants.get(disk) ?? new Map<Generation, VmId>();
    this.grants.set(disk, grants.set(generation, vm));
    this.#note({ kind: 'granted', node: this.name, vm, generation });
  }

  #accept(term: number): void {
    if (term < this.#term) throw new CodedError('stale-order', `A leader of term ${this.#term} was heard.`);
    this.#term = term;
  }
}

/** Written from the protocol, not from model/vm.ts. */
function admittedByRecord({ phase }: VmRecord): Generation[] {
  if (phase.kind === 'stopping' && phase.mode === 'hard') return [];
  if ('incarnation' in phase) return [phase.incarnation.generation];
  if (!('source' in phase)) return [];
  if (phase.kind === 'switching') return [phase.destination.generation];
  return phase.kind === 'migrating'
    ? [phase.source.generation, phase.destination.generation]
    : [phase.source.generation];
}
