/**
 * The target of a storage node: every VM with shared disks has an iSCSI target of its own, with its numbers for the
 * disks, and one account for each generation that is admitted. Guarantees: only the last state is served; when `apply`
 * has resolved, no command outside that state runs any more; a VM logs in when all of its disks are open, not before;
 * unit attentions are reported to the oldest admitted generation only: it runs the guest until only others are left; a
 * generation that is admitted beside one that wrote logs in when it is in the disks' records of cached writes.
 */
import { CodedError, messageOf } from '../base/errors.ts';
import type { DiskId, Generation, VmId } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import type { InitiatorPolicy, LoggedIn } from '../core/iscsi/login.ts';
import {
  accountName,
  initiatorName,
  parseAccountName,
  targetName,
  vmOfInitiator,
} from '../core/model/shared-disk-identity.ts';
import type { VmSharedDisk } from '../core/model/vm.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { Log } from '../core/ports/log.ts';
import type { TargetSession, TargetState, TargetUnit, TargetVm } from '../core/ports/target-backend.ts';
import type { LogicalUnit } from '../core/scsi/logical-unit.ts';
import { DeviceServer } from '../core/scsi/target.ts';
import type { ScsiTarget } from '../core/scsi/target-port.ts';
import { IscsiServer } from './server.ts';

/** A disk that is open. */
export interface OpenUnit {
  readonly unit: LogicalUnit;
  /** Takes note that the disk was enlarged. */
  grow(sizeBytes: number): Promise<void>;
  /** Everything acknowledged is written out. Its commands have ended. */
  close(): Promise<void>;
}

/** The parts of a target. */
export interface SharedTargetOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Opens a disk with its reservations; rejects when either cannot be read: it is tried again. */
  readonly open: (unit: TargetUnit) => Promise<OpenUnit>;
  /** The secret of an account; null while the cluster's key is not known: nobody can log in. */
  readonly secretOf: (account: string) => string | null;
}

interface UnitSlot {
  unit: TargetUnit;
  open: OpenUnit | null;
  problem: string;
  isDropped: boolean;
}

interface VmSlot {
  generations: readonly Generation[];
  luns: readonly VmSharedDisk[];
  floor: number;
  /** Records of its disks that are being saved, and why one could not be. */
  recording: number;
  recordProblem: string | null;
  readonly server: DeviceServer;
  /** The units that the device server has. */
  readonly mapped: Map<number, DiskId>;
}

const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 4_000;

/** See above. */
export class SharedTarget {
  readonly #options: SharedTargetOptions;
  readonly #vms = new Map<VmId, VmSlot>();
  readonly #units = new Map<DiskId, UnitSlot>();
  /** Disks that are being closed: they are not opened in the meantime. */
  readonly #closing = new Map<DiskId, Promise<void>>();
  readonly #waiters = new Set<() => void>();
  #state: TargetState = { units: [], vms: [] };
  #server: IscsiServer | undefined;
  #isClosed = false;

  private constructor(options: SharedTargetOptions) {
    this.#options = options;
  }

  /** Listens, and serves no initiator yet. Throws CodedError 'conflict' (the port is in use) or 'bad-input'. */
  static async listen(options: SharedTargetOptions): Promise<SharedTarget> {
    const target = new SharedTarget(options);
    const { host, port, clock, log } = options;
    target.#server = await IscsiServer.listen({
      host,
      port,
      clock,
      targetsOf: (initiator) => target.#targetsOf(initiator),
      targetNamed: (name) => target.#targetNamed(name),
      policyFor: (initiator) => target.#policyFor(initiator),
      isStandby: (who) => target.#isStandby(who),
      onClosed: (initiator, reason) => log.info('a connection ended', { initiator, reason }),
    });
    return target;
  }

  /** The port it listens at. */
  get port(): number {
    return this.#listening.port;
  }

  /** The state it was given last. */
  get state(): TargetState {
    return this.#state;
  }

  /** The initiators that are logged in. */
  sessions(): readonly TargetSession[] {
    return this.#listening.sessions().flatMap(({ account, address }) => {
      const who = parseAccountName(account ?? '');
      return who === undefined ? [] : [{ ...who, address }];
    });
  }

  /** Makes this the whole state; see TargetDaemon. New disks are opened afterwards: `ready` reports when. */
  async apply(state: TargetState): Promise<void> {
    this.#state = state;
    // Before any wait: an initiator that is admitted now must not be taken for an earlier one.
    const cuts = this.#applyVms(state.vms);
    for (const [vm, slot] of this.#vms) this.#record(vm, slot);
    const dropped = this.#applyUnits(state.units);
    for (const slot of this.#vms.values()) cuts.push(...this.#unmap(slot));
    const ended = Promise.all(cuts);
    for (const slot of dropped) this.#close(slot, ended);
    await ended;
    for (const [vm, slot] of this.#vms) this.#map(vm, slot);
    this.#changed();
  }

  /**
   * Resolves when every disk of the VM is open and it may log in; CodedError 'unavailable' with the reason after the
   * deadline.
   */
  async ready(vm: VmId, deadlineMs: number): Promise<void> {
    const { clock } = this.#options;
    const endsAtMs = clock.monotonicMs() + deadlineMs;
    const slot = this.#vms.get(vm);
    if (slot !== undefined && slot.recordProblem !== null) this.#record(vm, slot);
    for (let missing = this.#missing(vm); missing !== null; missing = this.#missing(vm)) {
      const leftMs = endsAtMs - clock.monotonicMs();
      if (leftMs <= 0)
        throw new CodedError('unavailable', `${vm} cannot log in yet: ${missing}`, {
          advice: 'It is tried again by itself.',
        });
      await this.#change(leftMs);
    }
  }

  /** Call this when `secretOf` may return another secret. */
  secretsKnown(): void {
    this.#changed();
  }

  /** Tells the initiators, and resolves when no command runs and every acknowledged write is on disk. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#changed();
    await this.#listening.close();
    for (const slot of this.#units.values()) this.#close(slot, Promise.resolve());
    await Promise.all(this.#closing.values());
  }

  get #listening(): IscsiServer {
    if (this.#server === undefined) throw new TypeError('a target that does not listen');
    return this.#server;
  }

  /** Admits exactly these generations; answers what has to end. Connections are cut when it returns. */
  #applyVms(vms: readonly TargetVm[]): Promise<unknown>[] {
    const cuts: Promise<unknown>[] = [];
    const wanted = new Map(vms.map((each) => [each.vm, each]));
    for (const [vm, slot] of this.#vms) {
      const { generations, luns, floor }: Omit<TargetVm, 'vm'> = wanted.get(vm) ?? { generations: [], luns: [] };
      const gone = slot.generations.filter((generation) => !generations.includes(generation));
      slot.generations = generations;
      slot.luns = luns;
      slot.floor = Math.max(slot.floor, floor ?? 1);
      const initiator = initiatorName(vm);
      for (const generation of gone)
        cuts.push(this.#listening.fence(initiator, { account: accountName(vm, generation) }));
      if (generations.length > 0) this.#listening.reconsider(initiator);
      else this.#vms.delete(vm);
    }
    for (const { vm, generations, luns, floor = 1 } of vms) {
      if (this.#vms.has(vm) || generations.length === 0) continue;
      const server = new DeviceServer(new Map(), { initiator: initiatorName(vm) });
      const fresh = { mapped: new Map(), recording: 0, recordProblem: null };
      this.#vms.set(vm, { generations, luns, floor, server, ...fresh });
    }
    return cuts;
  }

  /** Begins to open what is new; answers what is to be closed. */
  #applyUnits(units: readonly TargetUnit[]): UnitSlot[] {
    const dropped: UnitSlot[] = [];
    const wanted = new Set(units.map(({ disk }) => disk));
    for (const [disk, slot] of this.#units) {
      if (wanted.has(disk)) continue;
      this.#units.delete(disk);
      slot.isDropped = true;
      dropped.push(slot);
    }
    for (const unit of units) {
      const slot = this.#units.get(unit.disk);
      if (slot === undefined) this.#begin(unit);
      else if (unit.sizeBytes > slot.unit.sizeBytes) this.#grow(slot, unit);
    }
    return dropped;
  }

  #begin(unit: TargetUnit): void {
    const slot: UnitSlot = { unit, open: null, problem: 'it is being opened', isDropped: false };
    this.#units.set(unit.disk, slot);
    void this.#open(slot);
  }

  async #open(slot: UnitSlot): Promise<void> {
    const { log, open } = this.#options;
    await this.#closing.get(slot.unit.disk);
    let retryMs = RETRY_MS_MIN;
    while (!slot.isDropped && !this.#isClosed) {
      try {
        const { sizeBytes } = slot.unit;
        const opened = await open(slot.unit);
        // The disk may have grown while it was opened.
        if (slot.unit.sizeBytes > sizeBytes) await opened.grow(slot.unit.sizeBytes);
        slot.open = opened;
        break;
      } catch (error) {
        slot.problem = messageOf(error);
        log.warn('a shared disk cannot be opened yet', { disk: slot.unit.disk, reason: slot.problem });
        await sleep(this.#options.clock, retryMs);
        retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
      }
    }
    if (slot.isDropped || this.#isClosed) this.#close(slot, Promise.resolve());
    else for (const [vm, each] of this.#vms) this.#map(vm, each);
    this.#changed();
  }

  #grow(slot: UnitSlot, unit: TargetUnit): void {
    slot.unit = unit;
    slot.open
      ?.grow(unit.sizeBytes)
      .then(() => slot.open?.unit.capacityChanged())
      .catch((error: unknown) => {
        this.#options.log.warn('a shared disk did not grow', { disk: unit.disk, reason: messageOf(error) });
      });
  }

  /** Closes a disk after its commands have ended; a later opening waits for that. */
  #close(slot: UnitSlot, ended: Promise<unknown>): void {
    const { open, unit } = slot;
    slot.open = null;
    if (open === null) return;
    const closing = ended
      .then(() => open.close())
      .catch((error: unknown) =>
        this.#options.log.warn('a shared disk could not be closed', { reason: messageOf(error) }),
      )
      .then(() => {
        if (this.#closing.get(unit.disk) === closing) this.#closing.delete(unit.disk);
      });
    this.#closing.set(unit.disk, closing);
  }

  /** Removes disks from a VM's target that it no longer has, or not under that number. */
  #unmap({ luns, server, mapped }: VmSlot): Promise<void>[] {
    const wanted = new Map(luns.map(({ disk, lun }) => [lun, disk]));
    const gone = [...mapped].filter(([lun, disk]) => wanted.get(lun) !== disk);
    return gone.map(([lun]) => {
      mapped.delete(lun);
      return server.remove(lun);
    });
  }

  /** Adds open disks to a VM's target that it lacks. */
  #map(vm: VmId, slot: VmSlot): void {
    const { luns, server, mapped } = slot;
    for (const { disk, lun } of luns) {
      const open = this.#units.get(disk)?.open ?? null;
      if (open === null || mapped.has(lun)) continue;
      mapped.set(lun, disk);
      this.#admit(vm, slot, open.unit);
      server.add(lun, open.unit);
    }
  }

  /** Tells the VM's disks which generations of it may exist. */
  #record(vm: VmId, slot: VmSlot): void {
    slot.recordProblem = null;
    for (const disk of slot.mapped.values()) {
      const open = this.#units.get(disk)?.open ?? null;
      if (open !== null) this.#admit(vm, slot, open.unit);
    }
  }

  /**
   * A generation that may have taken over another's memory is in the record before it runs: the next loss of power is
   * then its own.
   */
  #admit(vm: VmId, slot: VmSlot, unit: LogicalUnit): void {
    const { floor, generations } = slot;
    if (generations.length === 0) return;
    const saving = unit.admit(initiatorName(vm), { floor, generations });
    if (saving === undefined) return;
    slot.recording += 1;
    const ended = (problem: string | null): void => {
      slot.recording -= 1;
      slot.recordProblem = problem ?? slot.recordProblem;
      this.#changed();
    };
    saving.then(
      () => ended(null),
      (error: unknown) => {
        this.#options.log.warn("a VM's cached writes cannot be recorded yet", { vm, reason: messageOf(error) });
        ended(messageOf(error));
      },
    );
  }

  /** Why the VM cannot log in; null: it can. */
  #missing(vm: VmId): string | null {
    const slot = this.#vms.get(vm);
    if (slot === undefined) return 'nothing is granted to it';
    if (this.#secretOf(vm, slot.generations[0]) === null) return `the key of the targets' accounts is not in etcd yet`;
    if (slot.recording > 0) return 'its cached writes are being recorded';
    if (slot.recordProblem !== null) return `its cached writes cannot be recorded: ${slot.recordProblem}`;
    const closed = slot.luns.find(({ lun, disk }) => slot.mapped.get(lun) !== disk);
    return closed === undefined
      ? null
      : `${closed.disk}: ${this.#units.get(closed.disk)?.problem ?? 'it is not there'}`;
  }

  #secretOf(vm: VmId, generation: Generation | undefined): string | null {
    return generation === undefined ? null : this.#options.secretOf(accountName(vm, generation));
  }

  #policyFor(initiator: string): InitiatorPolicy | null {
    const vm = vmOfInitiator(initiator);
    const slot = vm === undefined ? undefined : this.#vms.get(vm);
    if (vm === undefined || slot === undefined || this.#isClosed || this.#missing(vm) !== null) return null;
    const accounts = slot.generations.flatMap((generation) => {
      const secret = this.#secretOf(vm, generation);
      return secret === null ? [] : [{ name: accountName(vm, generation), secret }];
    });
    // QEMU's driver cannot check our identity; no initiator is told a secret by which we could prove it.
    return { kind: 'chap', accounts, mutual: null };
  }

  #targetsOf(initiator: string): readonly string[] {
    const vm = vmOfInitiator(initiator);
    return vm !== undefined && this.#vms.has(vm) ? [targetName(vm)] : [];
  }

  #targetNamed(name: string): ScsiTarget {
    for (const [vm, { server }] of this.#vms) if (targetName(vm) === name) return server;
    // The VM was deleted between its admission and the end of its log-in: a target without units.
    return new DeviceServer(new Map());
  }

  #isStandby({ account }: LoggedIn): boolean {
    const who = parseAccountName(account ?? '');
    const generations = (who === undefined ? undefined : this.#vms.get(who.vm)?.generations) ?? [];
    return who !== undefined && generations.some((generation) => generation < who.generation);
  }

  #changed(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Resolves at the next change, at the latest after `delayMs`. */
  #change(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiters.delete(done);
        cancel();
        resolve();
      };
      const cancel = this.#options.clock.after(delayMs, done);
      this.#waiters.add(done);
    });
  }
}
