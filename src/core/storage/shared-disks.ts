/**
 * The node's shared disks and the one target that serves them: grants to incarnations are given, revoked, and kept in
 * force. Guarantees: work on the target is serialized, and a revocation goes before everything that has not begun; when
 * `revoke` has answered, no command of a revoked generation runs any more, whatever its holder does; grants are served
 * again after the target died. The target always gets its whole state, so that the last order counts, whatever came
 * before.
 */
import { CodedError, messageOf } from '../../base/errors.ts';
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import type { VmSharedDisk } from '../model/vm.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { SharedDiskReport } from '../ports/storage-link.ts';
import type { TargetBackend, TargetDaemon, TargetSession, TargetState, TargetUnit } from '../ports/target-backend.ts';
import { Restarts } from './restarts.ts';
import { SerialQueue } from './serial-queue.ts';

/** The surroundings that the shared disks of a node need. */
export interface SharedDiskSurroundings {
  readonly clock: Clock;
  readonly log: Log;
  readonly target: TargetBackend;
  /** The lowest generation of a VM that is not known to be fenced for ever; 1 if none is. */
  readonly floorOf: (vm: VmId) => number;
  /** Called when the target ended although a grant exists. */
  readonly onLost: () => void;
}

/** One incarnation's permission to use shared disks. */
export interface SharedGrant {
  readonly vm: VmId;
  readonly generation: Generation;
}

interface Held {
  readonly generations: ReadonlySet<Generation>;
  readonly luns: readonly VmSharedDisk[];
}

const WAITING_MAX = 256;
/** How long a target without connections is kept, in ms: a stop is often followed by a start. */
const UNUSED_MS = 30_000;

/** See above. */
export class SharedDisks {
  readonly #around: SharedDiskSurroundings;
  readonly #queue = new SerialQueue({ waitingMax: WAITING_MAX, what: 'The iSCSI target' });
  readonly #held = new Map<VmId, Held>();
  readonly #units = new Map<DiskId, TargetUnit>();
  #daemon: TargetDaemon | undefined;
  /** These are not granted, but may still be served until it is known that the target stopped: grants and disks. */
  readonly #uncut = new Map<string, SharedGrant & { readonly disks: readonly DiskId[] }>();
  /** Grants that are under way: a revocation that concerns them has to come after them. */
  readonly #granting = new Set<SharedGrant>();
  #unusedSinceMs: number | undefined;
  readonly #restarts: Restarts;
  #isReleased = false;

  constructor(around: SharedDiskSurroundings) {
    this.#around = around;
    this.#restarts = new Restarts(around.clock);
  }

  /** The grants at present. */
  get grants(): readonly SharedGrant[] {
    return [...this.#held].flatMap(([vm, { generations }]) =>
      Array.from(generations, (generation) => ({ vm, generation })),
    );
  }

  /**
   * Reads the pool, and takes over a target that runs since before this service: its state becomes the grants, and is
   * given to it again, so that a revocation in the middle of which the last service died is complete. One that does not
   * answer is ended.
   */
  adopt(): Promise<void> {
    return this.#queue.run(async () => {
      const { target, log } = this.#around;
      for (const unit of await target.listUnits()) this.#units.set(unit.disk, unit);
      for (const running of target.findTargets()) {
        if (this.#daemon !== undefined) {
          await target.killTarget(running);
          continue;
        }
        try {
          const daemon = await target.adoptTarget(running);
          const { vms } = await daemon.state();
          for (const { vm, generations, luns } of vms) this.#held.set(vm, { generations: new Set(generations), luns });
          this.#take(daemon);
          await this.#cut();
        } catch (error) {
          log.warn('a target that does not answer is ended', { reason: messageOf(error) });
          this.#daemon = undefined;
          await target.killTarget(running);
        }
      }
    });
  }

  /**
   * Grants a generation the VM's shared disks here, exactly; idempotent, and a repetition with another list changes the
   * VM's disks while it runs. `check` throws if the generation was fenced in the meantime. Resolves when the VM may log
   * in.
   */
  async grant(
    { vm, generation, luns }: SharedGrant & { readonly luns: readonly VmSharedDisk[] },
    check: () => void,
  ): Promise<void> {
    const under = { vm, generation };
    this.#granting.add(under);
    try {
      await this.#queue.run(async () => {
        check();
        const before = this.#held.get(vm);
        this.#checkLuns(luns);
        if (luns.length === 0) await this.#detach(vm, before);
        else if (before?.generations.has(generation) !== true || !isSame(before.luns, luns) || !this.#isServed())
          await this.#admit({ vm, generation, luns }, before);
        check();
      });
    } finally {
      this.#granting.delete(under);
    }
    // Not in the queue: a fence must not wait for etcd, which is needed to open a disk.
    if (luns.length > 0) await this.#daemon?.ready(vm);
    check();
  }

  /**
   * Revokes the grants that `isRevoked` names and answers which; urgent. Where the target does not stop serving them in
   * time it is killed; CodedError only when even that fails: then they may still write, and every further revocation
   * fails as well until that is over.
   */
  revoke(
    isRevoked: (grant: SharedGrant) => boolean,
  ): Promise<readonly { readonly disk: DiskId; readonly generation: Generation }[]> {
    // A VM without shared disks does not wait for the target.
    const concerned = [...this.grants, ...this.#granting, ...this.#uncut.values()];
    if (!concerned.some(isRevoked)) return Promise.resolve([]);
    return this.#queue.run(
      async () => {
        for (const grant of this.grants.filter(isRevoked)) this.#remove(grant);
        const meant = [...this.#uncut.values()].filter(isRevoked);
        if (meant.length > 0) await this.#cut();
        return meant.flatMap(({ disks, generation }) => disks.map((disk) => ({ disk, generation })));
      },
      { urgent: true },
    );
  }

  /**
   * Makes a disk, or makes it larger while it is used; idempotent. CodedError 'conflict' for another block size or less
   * room.
   */
  create(unit: TargetUnit): Promise<void> {
    return this.#queue.run(async () => {
      const { disk, sizeBytes, blockBytes } = unit;
      const present = this.#units.get(disk);
      if (present === undefined) await this.#around.target.createUnit(unit);
      else if (present.blockBytes !== blockBytes || present.sizeBytes > sizeBytes)
        throw new CodedError('conflict', `${disk} has ${present.sizeBytes} bytes in blocks of ${present.blockBytes}.`, {
          advice: 'Nothing was changed: a disk is never made smaller, and its block size stays.',
        });
      else if (present.sizeBytes < sizeBytes) await this.#around.target.growUnit(unit);
      else return;
      this.#units.set(disk, unit);
      if (present !== undefined && this.#daemon !== undefined) await this.#serve();
    });
  }

  /** Idempotent; CodedError 'conflict' while it is granted to anybody. */
  delete(disk: DiskId): Promise<void> {
    return this.#queue.run(async () => {
      for (const [vm, { luns }] of this.#held) {
        if (luns.some((each) => each.disk === disk))
          throw new CodedError('conflict', `${disk} is granted to ${vm}; nothing was deleted.`);
      }
      // A target that still has the disk open closes it first.
      if (this.#uncut.size > 0) await this.#cut();
      await this.#around.target.deleteUnit(disk);
      this.#units.delete(disk);
    });
  }

  /** Starts the target again if it is gone though something is granted; ends it when nothing has been for a while. */
  keepUp(): Promise<void> {
    return this.#queue.run(async () => {
      const { clock, log } = this.#around;
      if (this.#held.size > 0) {
        this.#unusedSinceMs = undefined;
        if (this.#isServed() || !this.#restarts.isDue) return;
        await this.#start();
        log.warn('the target had died and was started again');
        return;
      }
      if (this.#daemon === undefined) return;
      this.#unusedSinceMs ??= clock.monotonicMs();
      if (clock.monotonicMs() - this.#unusedSinceMs >= UNUSED_MS) await this.#end();
    });
  }

  /** The disks with their grants and connections: `idleMs` says how long nothing came from an address. */
  async report(idleMs: (address: string) => number | null): Promise<readonly SharedDiskReport[]> {
    let sessions: readonly TargetSession[] = [];
    if (this.#daemon?.isRunning === true) sessions = await this.#daemon.sessions().catch(() => []);
    return Array.from(this.#units.values(), ({ disk, sizeBytes }) => {
      const held = [...this.#held].filter(([, { luns }]) => luns.some((each) => each.disk === disk));
      const grants = held.flatMap(([vm, { generations }]) =>
        Array.from(generations, (generation) => ({
          vm,
          generation,
          connections: sessions
            .filter((session) => session.vm === vm && session.generation === generation)
            .map(({ address }) => ({ address, idleMs: idleMs(address) })),
        })),
      );
      return { disk, sizeBytes, grants };
    });
  }

  /** Closes the session with the target, which runs on. */
  release(): void {
    this.#isReleased = true;
    this.#daemon?.release();
  }

  #isServed(): boolean {
    return this.#daemon?.isRunning === true;
  }

  #checkLuns(luns: readonly VmSharedDisk[]): void {
    for (const { disk } of luns)
      if (!this.#units.has(disk)) throw new CodedError('not-found', `There is no shared disk ${disk} here.`);
    if (new Set(luns.map(({ lun }) => lun)).size < luns.length)
      throw new CodedError('bad-input', 'Two shared disks of a VM have one number.', {
        advice: 'Nothing was granted.',
      });
  }

  async #admit(
    { vm, generation, luns }: SharedGrant & { readonly luns: readonly VmSharedDisk[] },
    before: Held | undefined,
  ): Promise<void> {
    this.#held.set(vm, { generations: new Set([...(before?.generations ?? []), generation]), luns });
    try {
      await this.#serve();
    } catch (error) {
      // The target may have taken it: until it is known to be gone, no revocation may be acknowledged.
      if (before?.generations.has(generation) !== true) this.#remove({ vm, generation });
      if (before !== undefined) this.#held.set(vm, before);
      throw error;
    }
  }

  async #detach(vm: VmId, before: Held | undefined): Promise<void> {
    if (before === undefined) return;
    for (const generation of before.generations) this.#remove({ vm, generation });
    await this.#cut();
  }

  #remove({ vm, generation }: SharedGrant): void {
    const held = this.#held.get(vm);
    if (held === undefined) return;
    this.#uncut.set(`${vm}:${generation}`, { vm, generation, disks: held.luns.map(({ disk }) => disk) });
    const left = new Set([...held.generations].filter((each) => each !== generation));
    if (left.size === 0) this.#held.delete(vm);
    else this.#held.set(vm, { ...held, generations: left });
  }

  /** Makes everything that is not granted stop, if necessary by killing the target. */
  async #cut(): Promise<void> {
    const { onLost } = this.#around;
    const daemon = this.#daemon;
    if (daemon?.isRunning !== true) {
      await this.#endStrangers();
      if (this.#held.size > 0) onLost();
      return;
    }
    try {
      await daemon.apply(this.#state());
      this.#uncut.clear();
    } catch (error) {
      await this.#restart(messageOf(error));
    }
  }

  /** Makes the target serve what is granted. */
  async #serve(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon?.isRunning !== true) return this.#start();
    try {
      await daemon.apply(this.#state());
      this.#uncut.clear();
    } catch (error) {
      this.#around.log.warn('the target did not take its state: it is started anew', { reason: messageOf(error) });
      await this.#start();
    }
  }

  /** The last resort of a fence, and certain: a process that is gone writes nothing. The other VMs connect again. */
  async #restart(reason: string): Promise<void> {
    const { log, onLost } = this.#around;
    log.warn('the target is started anew to cut connections', { reason });
    await this.#end();
    this.#uncut.clear();
    if (this.#held.size === 0) return;
    // A short interruption for the other VMs is no failure of the fence: their grants are kept in force from here on.
    await this.#start().catch((error: unknown) => {
      log.warn('the target could not be started', { reason: messageOf(error) });
      onLost();
    });
  }

  async #start(): Promise<void> {
    await this.#end();
    await this.#endStrangers();
    const starting = this.#around.target.startTarget();
    starting.catch(() => this.#restarts.ended());
    const daemon = await starting;
    try {
      await daemon.apply(this.#state());
    } catch (error) {
      this.#restarts.ended();
      await daemon.kill();
      throw error;
    }
    this.#take(daemon);
  }

  #take(daemon: TargetDaemon): void {
    this.#daemon = daemon;
    this.#restarts.started();
    void daemon.closed.then(() => {
      if (this.#daemon !== daemon || this.#isReleased) return;
      this.#restarts.ended();
      if (this.#held.size > 0) this.#around.onLost();
    });
  }

  /** A target that is not ours to talk to would have the disks open, and might serve what is revoked. */
  async #endStrangers(): Promise<void> {
    const { target } = this.#around;
    for (const running of target.findTargets()) await target.killTarget(running);
    this.#uncut.clear();
  }

  async #end(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    this.#unusedSinceMs = undefined;
    await daemon?.kill();
  }

  #state(): TargetState {
    const { floorOf } = this.#around;
    const vms = Array.from(this.#held, ([vm, { generations, luns }]) => ({
      vm,
      generations: [...generations],
      luns,
      floor: floorOf(vm),
    }));
    const used = new Set(vms.flatMap(({ luns }) => luns.map(({ disk }) => disk)));
    return { units: [...this.#units.values()].filter(({ disk }) => used.has(disk)), vms };
  }
}

function isSame(a: readonly VmSharedDisk[], b: readonly VmSharedDisk[]): boolean {
  const key = (luns: readonly VmSharedDisk[]): string =>
    luns
      .map(({ disk, lun }) => `${lun}:${disk}`)
      .sort()
      .join();
  return key(a) === key(b);
}
