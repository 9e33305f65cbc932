/**
 * What guests wrote, what they were told, and what their disks hold: followed from outside of the cluster, write by
 * write, as a person would follow serial consoles and read disks (test/stories/guests.ts,
 * src/images/sequence-check.ts).
 */
import type { DiskId, VmId } from '../../base/ids.ts';
import type { TraceEntry } from '../../core/check/trace.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';

interface DiskHistory {
  /** The generation that wrote each block last. */
  readonly writtenBy: Map<number, number>;
  /** The generation that was told that each block is on the disk. */
  readonly acknowledgedTo: Map<number, number>;
}

interface GuestHistory {
  readonly disks: Map<DiskId, DiskHistory>;
  highest: number;
  /** Simulated time, in ms. */
  saidAt: number;
  readonly troubles: string[];
}

const TROUBLES_MAX = 20;

/** All guests of one simulated cluster. */
export class Guests {
  readonly #of = new Map<VmId, GuestHistory>();
  readonly #watched = new WeakSet<QemuProcess>();

  /** Takes what happens in the cluster. */
  note(entry: TraceEntry): void {
    if (entry.kind !== 'write' && entry.kind !== 'acknowledged') return;
    const { vm, disk, generation, sequence } = entry;
    const guest = this.#guest(vm);
    const history = guest.disks.get(disk) ?? { writtenBy: new Map(), acknowledgedTo: new Map() };
    guest.disks.set(disk, history);
    if (entry.kind === 'write') {
      history.writtenBy.set(sequence, generation);
      return;
    }
    history.acknowledgedTo.set(sequence, generation);
    guest.highest = Math.max(guest.highest, sequence);
    guest.saidAt = entry.at;
  }

  /** Keeps an eye on a QEMU: a guest whose disk fails is paused (werror=stop), which no guest sees but its clock. */
  watch(qemu: QemuProcess): void {
    if (this.#watched.has(qemu)) return;
    this.#watched.add(qemu);
    const look = (): void => {
      const { troubles } = this.#guest(qemu.order.vm);
      if (qemu.status === 'io-error' && troubles.length < TROUBLES_MAX)
        troubles.push(`${qemu.key} on ${qemu.process.machine.name} was paused by a disk error`);
    };
    qemu.watch(look);
    look();
  }

  /** The highest sequence number that any incarnation of the VM acknowledged; 0 for none. */
  acknowledged(vm: VmId): number {
    return this.#of.get(vm)?.highest ?? 0;
  }

  /** For how long no guest of the VM has acknowledged anything, in ms, at the time `nowMs`. */
  silentMs(vm: VmId, nowMs: number): number {
    return nowMs - (this.#of.get(vm)?.saidAt ?? 0);
  }

  /** Disk errors that paused a guest of the VM, the first ones. */
  troubles(vm: VmId): readonly string[] {
    return this.#of.get(vm)?.troubles ?? [];
  }

  /**
   * What is wrong with a disk that holds `content`; empty when it is as acknowledged: no gap, every acknowledged line
   * is there as it was written, and none of an older generation after one of a newer.
   */
  wrongWith(vm: VmId, disk: DiskId, content: ReadonlySet<number>): string[] {
    const history = this.#of.get(vm)?.disks.get(disk);
    if (history === undefined || history.acknowledgedTo.size === 0) return ['no guest ever wrote to it'];
    const wrong: string[] = [];
    let newest = 0;
    for (let sequence = 1; sequence <= content.size; sequence++) {
      const generation = history.writtenBy.get(sequence);
      if (!content.has(sequence) || generation === undefined) {
        wrong.push(`line ${sequence} of ${content.size} is not there`);
        break;
      }
      if (generation < newest) wrong.push(`line ${sequence} is of generation ${generation}, after one of ${newest}`);
      newest = Math.max(newest, generation);
    }
    for (const [sequence, generation] of history.acknowledgedTo) {
      const found = content.has(sequence) ? history.writtenBy.get(sequence) : undefined;
      if (found !== generation)
        wrong.push(`line ${sequence} was acknowledged to generation ${generation}; the disk has ${found ?? 'nothing'}`);
    }
    return wrong;
  }

  #guest(vm: VmId): GuestHistory {
    let guest = this.#of.get(vm);
    if (guest === undefined) {
      guest = { disks: new Map(), highest: 0, saidAt: 0, troubles: [] };
      this.#of.set(vm, guest);
    }
    return guest;
  }
}
