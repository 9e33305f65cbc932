/**
 * One disk and its daemon: grants are given, revoked, and kept in force. Guarantees: work on a disk is serialized, and
 * a fence goes before everything that has not begun; when `revoke` has answered, no connection of a revoked generation
 * can write, whatever its holder does; grants are served again after the daemon died, on the same port under the same
 * names.
 */

import { CodedError, messageOf } from '../../base/errors.ts';
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import type { Clock } from '../ports/clock.ts';
import type { Connection, Daemon, DaemonProcess, DiskBackend, Grant } from '../ports/disk-backend.ts';
import type { Log } from '../ports/log.ts';
import { Restarts } from './restarts.ts';
import { mayBeRevoked } from './revoked-connections.ts';
import { SerialQueue } from './serial-queue.ts';

/** The surroundings that a disk server needs. */
export interface DiskSurroundings {
  readonly disk: DiskId;
  readonly clock: Clock;
  readonly log: Log;
  readonly disks: DiskBackend;
  /** Called when the daemon ended although grants exist. */
  readonly onLost: () => void;
}

type Connections = ReadonlyMap<string, Connection>;

interface Held {
  readonly grant: Grant;
  /** Connections that existed before the grant, by their keys: none of them can belong to it. */
  readonly older: Connections;
}

const WAITING_MAX = 64;
/** How long a daemon without connections is kept, in ms: a stop is often followed by a start. */
const UNUSED_MS = 30_000;
/** How often, and how many times, to check whether a new generation is connected. */
const CONNECTED_LOOK_MS = 250;
const CONNECTED_LOOKS_MAX = 240;
/**
 * The time after a fence until the remaining generations may connect anew, in ms: by then a guest that waited for the
 * fence runs again.
 */
const READMIT_MS = 100;

/** One disk of the pool: what is granted on it, and the daemon that serves it. */
export class DiskServer {
  readonly #around: DiskSurroundings;
  readonly #queue: SerialQueue;
  readonly #held = new Map<Generation, Held>();
  #vm: VmId | undefined;
  #port: number | undefined;
  #daemon: Daemon | undefined;
  /**
   * These generations are not granted, but may still be served until no process of this disk is left: a daemon could
   * not be ended.
   */
  readonly #uncut = new Set<Generation>();
  #unusedSinceMs: number | undefined;
  readonly #restarts: Restarts;
  #isReleased = false;

  constructor(around: DiskSurroundings) {
    this.#around = around;
    this.#restarts = new Restarts(around.clock);
    this.#queue = new SerialQueue({ waitingMax: WAITING_MAX, what: around.disk });
  }

  get disk(): DiskId {
    return this.#around.disk;
  }

  /** The VM that owns the disk: known from the first grant on, even one that has not begun. */
  get vm(): VmId | undefined {
    return this.#vm;
  }

  /** The port it serves on; undefined before its first grant. */
  get port(): number | undefined {
    return this.#port;
  }

  /** The present grants. */
  get grants(): readonly Grant[] {
    return [...this.#held.values()].map(({ grant }) => grant);
  }

  /** Runs `task` in this disk's turn. */
  run<T>(task: () => Promise<T>): Promise<T> {
    return this.#queue.run(task);
  }

  /**
   * Takes over a daemon that runs since before this service; its exports become the grants. A daemon that is in the
   * middle of a fence, or does not answer, is started anew, which cuts its connections.
   */
  adopt(running: DaemonProcess, vm: VmId): Promise<void> {
    this.#vm = vm;
    return this.#queue.run(async () => {
      this.#port = running.port;
      let daemon: Daemon;
      try {
        daemon = await this.#around.disks.adoptDaemon(running);
      } catch (error) {
        this.#around.log.warn('a daemon that does not answer is ended', { disk: this.disk, reason: messageOf(error) });
        await this.#around.disks.killDaemon(running);
        return;
      }
      this.#take(daemon);
      for (const grant of await daemon.grants(vm)) this.#held.set(grant.generation, { grant, older: new Map() });
      if (await daemon.isFencing()) await this.#restart('a fence was not finished');
      else await daemon.admit(this.grants);
    });
  }

  /**
   * Serves a grant; idempotent. `check` throws if the generation was fenced in the meantime: it is called at the
   * beginning and, because a fence may have been ordered since, at the end; the fence itself then undoes the grant.
   */
  grant(grant: Grant, { port, check }: { readonly port: number; readonly check: () => void }): Promise<void> {
    this.#vm = grant.vm;
    return this.#queue.run(async () => {
      check();
      if (this.#port !== undefined && this.#port !== port && this.#held.size > 0)
        throw new CodedError('conflict', `${this.disk} is served on port ${this.#port}; nothing was granted.`);
      if (this.#port !== port) await this.#end();
      this.#port = port;
      this.#unusedSinceMs = undefined;
      const existing = this.#held.get(grant.generation);
      if (existing !== undefined && existing.grant.readOnly !== grant.readOnly)
        throw new CodedError(
          'conflict',
          `${this.disk} is granted to generation ${grant.generation} with other access rights.`,
        );
      if (existing === undefined) await this.#add(grant);
      else await this.#keepUp();
      check();
      if (existing === undefined && this.#held.size > 1) void this.#untilConnected(grant.generation);
    });
  }

  /**
   * Revokes the grants that `isRevoked` selects and returns them; urgent. After it they have no connection. If the
   * gentle way fails, the daemon is killed instead; CodedError only if even that fails: then they may still write, and
   * every further revocation fails as well until no process is left that could.
   */
  revoke(isRevoked: (grant: Grant) => boolean): Promise<readonly Generation[]> {
    return this.#queue.run(
      async () => {
        const revoked = this.grants.filter(isRevoked);
        if (revoked.length === 0 && this.#uncut.size === 0) return [];
        const older = this.#olderThanAll(revoked.map(({ generation }) => generation));
        const mustRestart = this.#uncut.size > 0;
        for (const { generation } of revoked) {
          this.#held.delete(generation);
          this.#uncut.add(generation);
        }
        const answer = [...this.#uncut];
        await this.#cut({ revoked, older, mustRestart });
        this.#uncut.clear();
        return answer;
      },
      { urgent: true },
    );
  }

  /** Starts the daemon again if it is gone though something is granted; ends it when nothing has been for a while. */
  keepUp(): Promise<void> {
    return this.#queue.run(async () => {
      if (this.#held.size > 0) {
        if (this.#daemon?.isRunning === true || this.#restarts.isDue) await this.#keepUp();
        await this.#daemon?.boundLog();
        return;
      }
      if (this.#daemon === undefined) return;
      this.#unusedSinceMs ??= this.#around.clock.monotonicMs();
      if (this.#around.clock.monotonicMs() - this.#unusedSinceMs >= UNUSED_MS) await this.#end();
    });
  }

  /**
   * Ends the daemon so that the image can be deleted; CodedError 'conflict' while a grant exists. In the disk's turn.
   */
  async endUnused(): Promise<void> {
    if (this.#held.size > 0) throw new CodedError('conflict', `${this.disk} is granted to a VM; nothing was deleted.`);
    await this.#end();
  }

  /**
   * Runs `change` on the image while no daemon has it open, in the disk's turn; guests stall and reconnect. For
   * growing: an NBD export of QEMU 7.2 does not let its image be resized ("unshared" permission).
   */
  async whileClosed(change: () => Promise<void>): Promise<void> {
    await this.#end();
    await this.#endStrangers();
    try {
      await change();
    } finally {
      if (this.#held.size > 0) await this.#start();
    }
  }

  /** Closes the session with the daemon, which runs on. */
  release(): void {
    this.#isReleased = true;
    this.#daemon?.release();
  }

  async #cut(options: {
    readonly revoked: readonly Grant[];
    readonly older: Connections;
    readonly mustRestart: boolean;
  }): Promise<void> {
    const daemon = this.#daemon;
    if (daemon?.isRunning !== true) {
      await this.#endStrangers();
      if (this.#held.size > 0) this.#around.onLost();
      return;
    }
    if (options.mustRestart) return this.#restart('an earlier revocation was not finished');
    try {
      const clean = await this.#revokeGently(daemon, options);
      if (!clean) await this.#restart('connections could not be told apart');
    } catch (error) {
      await this.#restart(messageOf(error));
    }
  }

  async #add(grant: Grant): Promise<void> {
    const held = { grant, older: await this.#connected() };
    this.#held.set(grant.generation, held);
    try {
      const daemon = this.#daemon;
      const mayAdd = daemon?.isRunning === true && this.#uncut.size === 0;
      if (mayAdd && (await this.#tryAdd(daemon, grant))) return;
      await this.#start();
    } catch (error) {
      this.#held.delete(grant.generation);
      this.#uncut.add(grant.generation);
      throw error;
    }
  }

  /** False if the daemon refused: then a restarted one gets all grants at once. */
  async #tryAdd(daemon: Daemon, grant: Grant): Promise<boolean> {
    try {
      await Promise.all([daemon.addExport(grant), daemon.admit(this.grants)]);
      return true;
    } catch (error) {
      this.#around.log.warn('an export could not be added: the storage daemon is started anew', {
        disk: this.disk,
        error,
      });
      return false;
    }
  }

  /**
   * Polls the connections until the new generation is connected, outside the disk's turns: the node quickly recognises
   * connections that it has seen before, and when the other generation is fenced, the new one's guest is paused for
   * that time.
   */
  async #untilConnected(generation: Generation): Promise<void> {
    const held = this.#held.get(generation);
    for (let looks = 0; looks < CONNECTED_LOOKS_MAX; looks++) {
      await sleep(this.#around.clock, CONNECTED_LOOK_MS);
      if (held === undefined || this.#held.get(generation) !== held || this.#held.size < 2 || this.#isReleased) return;
      const connected = await this.#connections().catch(() => []);
      if (connected.some(({ key }) => !held.older.has(key))) return;
    }
  }

  async #connected(): Promise<Connections> {
    return new Map((await this.#connections()).map((connection) => [connection.key, connection]));
  }

  #connections(): Promise<readonly Connection[]> {
    return this.#around.disks.connectionsTo(this.#port ?? 0);
  }

  /** Connections that were there before any of these was granted. */
  #olderThanAll(generations: readonly Generation[]): Connections {
    const [first = new Map<string, Connection>(), ...rest] = generations.map((one) => this.#held.get(one)?.older);
    return new Map([...first].filter(([key]) => rest.every((older) => older?.has(key) === true)));
  }

  /**
   * Hosts that were connected before any survivor was granted: the revoked ones', where those had been granted by then.
   */
  #strangersTo(survivors: readonly Generation[], revoked: readonly Grant[]): ReadonlySet<string> {
    const youngest = Math.max(...revoked.map(({ generation }) => generation));
    if (survivors.some((generation) => generation < youngest)) return new Set();
    return new Set(Array.from(this.#olderThanAll(survivors).values(), ({ address }) => address));
  }

  /** False if a connection is left that may belong to a revoked generation. */
  async #revokeGently(
    daemon: Daemon,
    { revoked, older }: { readonly revoked: readonly Grant[]; readonly older: Connections },
  ): Promise<boolean> {
    // All commands are sent at once, to keep the pause of a migration short: QMP carries commands out in the order they
    // were sent.
    await Promise.all([daemon.admitNobody(), ...revoked.map((grant) => daemon.removeExport(grant))]);
    const left = await this.#connections();
    const strangers = this.#strangersTo([...this.#held.keys()], revoked);
    const survivors = this.#held.size;
    if (mayBeRevoked({ left, older: new Set(older.keys()), strangers, survivors })) return false;
    this.#readmitLater(daemon);
    return true;
  }

  /**
   * The fence is complete: remaining generations may connect anew once the answer has had its effect, since a migrating
   * guest is paused in the meantime and readmission costs the daemon processor time. If this service ends in between, a
   * service that takes the daemon over starts it anew, which is safe. After a later fence that failed no generation may
   * connect.
   */
  #readmitLater(daemon: Daemon): void {
    const readmit = async (): Promise<void> => {
      if (this.#uncut.size > 0 || this.#daemon !== daemon || this.#isReleased) return;
      try {
        await daemon.admit(this.grants);
      } catch (error) {
        if (daemon.isRunning) await this.#restart(messageOf(error));
      }
    };
    const warn = (error: unknown): void =>
      this.#around.log.warn('a storage daemon admits no new connection', { disk: this.disk, reason: messageOf(error) });
    this.#around.clock.after(READMIT_MS, () => void this.#queue.run(readmit, { urgent: true }).catch(warn));
  }

  /**
   * The last resort of a fence, and certain: a process that is gone writes nothing. The remaining generations
   * reconnect.
   */
  async #restart(reason: string): Promise<void> {
    this.#around.log.warn('a storage daemon is started anew to cut its connections', { disk: this.disk, reason });
    const daemon = this.#daemon;
    this.#daemon = undefined;
    await daemon?.kill();
    if (this.#held.size === 0) return;
    // A short interruption for the remaining generations is no failure of the fence: their grants are kept in force
    // from here on.
    await this.#start().catch((error: unknown) => {
      this.#around.log.warn('a storage daemon could not be started', { disk: this.disk, reason: messageOf(error) });
      this.#around.onLost();
    });
  }

  async #keepUp(): Promise<void> {
    if (this.#daemon?.isRunning === true) return;
    await this.#start();
    this.#around.log.warn('a storage daemon that had died was started again', { disk: this.disk, port: this.#port });
  }

  async #start(): Promise<void> {
    const port = this.#port;
    if (port === undefined) throw new CodedError('failed', `${this.disk} has no port.`);
    await this.#endStrangers();
    const starting = this.#around.disks.startDaemon(this.disk, { port, grants: this.grants });
    starting.catch(() => this.#restarts.ended());
    this.#take(await starting);
  }

  #take(daemon: Daemon): void {
    this.#daemon = daemon;
    this.#restarts.started();
    void daemon.closed.then(() => {
      if (this.#daemon !== daemon || this.#isReleased) return;
      this.#restarts.ended();
      if (this.#held.size > 0) this.#around.onLost();
    });
  }

  /** A daemon of this disk that is not ours to talk to would hold the image's lock, and might serve what is revoked. */
  async #endStrangers(): Promise<void> {
    const { disks } = this.#around;
    for (const daemon of disks.findDaemons()) if (daemon.disk === this.disk) await disks.killDaemon(daemon);
    this.#uncut.clear();
  }

  async #end(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    this.#unusedSinceMs = undefined;
    await daemon?.kill();
  }
}
