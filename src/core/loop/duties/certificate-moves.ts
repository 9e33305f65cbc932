/**
 * A leader's care for the certificates of incarnations. A QEMU keeps the certificate that it was started with, and the
 * VM gets another one when it moves or starts: a VM that nobody has moved for long is moved before its certificate ends.
 *
 * Guarantees: one VM at a time is moved, and none in the quiet hours of its guest cluster; a move that did not succeed
 * is tried again after a day, and its reason is in the findings; a VM that is pinned to its host is never moved, and is
 * a finding instead; a look takes turns of the event loop, however many VMs there are; nothing begins after `stop`.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { Generation, TaskId, VmId } from '../../../base/ids.ts';
import { inTurns } from '../../maintenance/in-turns.ts';
import { incarnationFinding, isMoveDue } from '../../model/certificate.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { VmRecord } from '../../model/vm.ts';
import { quietObstacles } from '../../plan/guest-clusters/quiet-hours.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { QmpLink } from '../../ports/qmp-link.ts';
import type { RandomHex } from '../../ports/random.ts';
import type { LeaderStore } from '../../ports/store.ts';
import { migrateVm, wishBasisOf } from '../../request/vm-wishes.ts';

export interface CertificateMovesPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Pick<LeaderStore, 'snapshot' | 'commit' | 'leads'>;
  readonly index: ClusterIndex;
  readonly qmp: Pick<QmpLink, 'certificateEndsAt'>;
  readonly randomHex: RandomHex;
}

/** Between two looks, in ms: a term begins with many sessions to open. */
const LOOK_MS = 60_000;
/** After a move that did not succeed, in ms. */
const AGAIN_MS = 86_400_000;
const VMS_PER_TURN = 500;

/** A VM whose certificate ends. */
interface Ending {
  /** Unix ms. */
  readonly endsAt: number;
  readonly name: string;
}

/** A move that the leader asked for, or what came of it. */
interface Tried {
  readonly task: TaskId | null;
  /** The reason why it did not succeed; null while it is under way. */
  readonly why: string | null;
  /** Monotonic ms. */
  readonly at: number;
}

/** See the module. One for each term, from `start` to `stop`. */
export class CertificateMoves {
  readonly #ports: CertificateMovesPorts;
  #ending: ReadonlyMap<VmId, Ending> = new Map();
  readonly #tried = new Map<VmId, Tried>();
  #cancel: (() => void) | null = null;
  #isStopped = false;

  constructor(ports: CertificateMovesPorts) {
    this.#ports = ports;
  }

  start(): void {
    if (!this.#isStopped) this.#cancel = this.#ports.clock.after(LOOK_MS, () => void this.#look());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  /** The findings about the certificates of VMs that run, each with the VM's name. */
  findings(): readonly { readonly about: string; readonly message: string }[] {
    const now = this.#ports.clock.wallMs();
    return [...this.#ending].flatMap(([vm, { endsAt, name }]) => {
      const message = incarnationFinding(name, { endsAt, why: this.#whyNot(vm) }, now);
      return message === null ? [] : [{ about: name, message }];
    });
  }

  /** The end of an incarnation's certificate, in Unix ms; null: not seen yet. */
  endsAt(vm: VmId, generation: Generation): number | null {
    return this.#ports.qmp.certificateEndsAt(vm, generation);
  }

  async #look(): Promise<void> {
    const { clock, log, store } = this.#ports;
    try {
      const found = await inTurns(this.#search(), clock, () => this.#isStopped);
      if (found !== null) {
        this.#ending = new Map([...found].sort(([, a], [, b]) => a.endsAt - b.endsAt));
        this.#settle();
        // A VM that is on its way is not among those that run: its move is under way all the same.
        for (const [vm, { task }] of this.#tried) if (task === null && !this.#ending.has(vm)) this.#tried.delete(vm);
        if (store.leads() && !this.#isMoving()) await this.#moveNext();
      }
    } catch (error) {
      log.warn('the certificates of VMs could not be looked after', { error: messageOf(error) });
    }
    this.start();
  }

  *#search(): Generator<void, ReadonlyMap<VmId, Ending>> {
    const { clock, store, qmp } = this.#ports;
    const found = new Map<VmId, Ending>();
    let looked = 0;
    for (const id of [...store.snapshot.vms.keys()]) {
      if (++looked % VMS_PER_TURN === 0) yield;
      const vm = store.snapshot.vms.get(id)?.value;
      if (vm?.phase.kind !== 'running') continue;
      const endsAt = qmp.certificateEndsAt(vm.id, vm.phase.incarnation.generation);
      if (endsAt !== null && isMoveDue(endsAt, clock.wallMs())) found.set(vm.id, { endsAt, name: vm.name });
    }
    return found;
  }

  /** Notes how moves ended. A VM that moved has another certificate, and is not among those that end. */
  #settle(): void {
    const { store, clock } = this.#ports;
    for (const [vm, { task }] of this.#tried) {
      const record = task === null ? undefined : store.snapshot.tasks.get(task)?.value;
      if (task === null || record?.state === 'running') continue;
      const why = record?.message ?? 'how it ended is not known any more.';
      this.#tried.set(vm, { task: null, why, at: clock.monotonicMs() });
    }
  }

  #isMoving(): boolean {
    return [...this.#tried.values()].some(({ task }) => task !== null);
  }

  /** VMs that were not tried yet come first: those that cannot be moved do not keep them waiting day after day. */
  #inOrder(): readonly (readonly [VmId, Ending])[] {
    const tried = [...this.#ending].filter(([vm]) => this.#tried.has(vm));
    return [...[...this.#ending].filter(([vm]) => !this.#tried.has(vm)), ...tried];
  }

  async #moveNext(): Promise<void> {
    const { clock, log, store, index, randomHex } = this.#ports;
    for (const [id, { endsAt }] of this.#inOrder()) {
      const entry = store.snapshot.vms.get(id);
      const last = this.#tried.get(id);
      if (entry === undefined || (last !== undefined && clock.monotonicMs() < last.at + AGAIN_MS)) continue;
      if (!this.#mayMove(entry.value)) continue;
      const at = clock.monotonicMs();
      try {
        const note = `Its certificate ends on ${new Date(endsAt).toISOString().slice(0, 10)}.`;
        const basis = wishBasisOf(store.snapshot, { index, now: clock.wallMs(), randomHex });
        const { changes, result } = migrateVm(basis, id, {}, note);
        if ((await store.commit({ changes, events: [] })) !== 'committed') return;
        this.#tried.set(id, { task: result, why: null, at });
        log.info('a VM is moved because its certificate ends', { vm: entry.value.name });
        return;
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        this.#tried.set(id, { task: null, why: error.message, at });
      }
    }
  }

  /** Returns true if a move may begin now. A reason that passes by itself is no finding. */
  #mayMove(vm: VmRecord): boolean {
    const { index, clock } = this.#ports;
    if (vm.phase.kind !== 'running' || vm.intent === 'stopped' || vm.deleting || pinOf(vm) !== null) return false;
    if (vm.migrationRequest !== null || vm.stopRequest !== null || vm.resetRequest !== null) return false;
    return quietObstacles([vm.id], index, clock.wallMs()).length === 0;
  }

  #whyNot(id: VmId): string | null {
    const vm = this.#ports.index.vm(id);
    const pin = vm === null ? null : pinOf(vm);
    return pin === null ? (this.#tried.get(id)?.why ?? null) : `it is pinned to ${pin}.`;
  }
}

function pinOf({ spec }: VmRecord): string | null {
  return spec.pin ?? null;
}
