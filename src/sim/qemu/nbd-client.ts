/**
 * A simulated QEMU's side of one disk: QEMU 7.2's NBD driver with `reconnect-delay`, under a device with `werror=stop`;
 * or its iSCSI driver, which tries for ever to get its session back, with a shared disk.
 *
 * Guarantees: at most one request at a time; a request whose connection ended is sent again on the next one; one that
 * found no connection for `patienceMs` fails and is kept, to be sent again when the guest is continued.
 */
import type { DiskId } from '../../base/ids.ts';
import type { LaunchDisk, LaunchOrder, LaunchSharedDisk } from '../../core/ports/host-link.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import type { SimNetwork } from '../network/network.ts';
import type { NbdConnection } from '../storage/sim-daemon.ts';
import type { SimStorageNode } from '../storage/sim-storage-node.ts';
import type { SharedClient } from '../storage/sim-target.ts';

/** What a guest asks of its disk. */
export type DiskRequest = { readonly kind: 'read' } | { readonly kind: 'write'; readonly sequence: number };

export interface NbdSurroundings {
  readonly process: SimProcess;
  readonly network: SimNetwork;
  /** The storage node with this address on the storage network. */
  readonly storageAt: (address: string) => SimStorageNode | undefined;
  /** The host's own address there. */
  readonly address: string;
  readonly onDone: (request: DiskRequest, found: number) => void;
  readonly onFailed: (why: 'broken' | 'no-space') => void;
  /** No request is under way any more, because it is done or failed. */
  readonly onIdle: () => void;
}

/** What a disk is reached by. */
export interface ClientDisk {
  readonly disk: DiskId;
  readonly readOnly: boolean;
  readonly address: string;
  /** How long a request waits for a connection; null: for ever. */
  readonly patienceMs: number | null;
  /** By a log-in at the node's target, not at a daemon of its own. */
  readonly isShared: boolean;
}

/** A disk of the VM's own. */
export function ownDisk({ disk, readOnly, export: { address }, patienceMs }: LaunchDisk): ClientDisk {
  return { disk, readOnly, address, patienceMs, isShared: false };
}

/** A disk that the VM shares. */
export function sharedDisk({ disk, address }: Pick<LaunchSharedDisk, 'disk' | 'address'>): ClientDisk {
  return { disk, readOnly: false, address, patienceMs: null, isShared: true };
}

/** A connection attempt takes no longer; the next one follows after RETRY_MS. */
const CONNECT_MS = 500;
const RETRY_MS = 250;
/** How often a request under way is looked after. */
const STALL_MS = 1_000;

/** One disk of one QEMU. */
export class NbdClient {
  readonly disk: ClientDisk;
  readonly #order: Pick<LaunchOrder, 'vm' | 'generation'>;
  readonly #around: NbdSurroundings;
  #connection: NbdConnection | null = null;
  #pending: DiskRequest | null = null;
  #hasFailed = false;
  #isEnded = false;
  /** Since when there is no connection, by the process's clock. */
  #lostAt: number | null = null;
  /** Counts attempts to carry the pending request out: an answer to an older one says nothing. */
  #attempt = 0;

  constructor(disk: ClientDisk, order: Pick<LaunchOrder, 'vm' | 'generation'>, around: NbdSurroundings) {
    this.disk = disk;
    this.#order = order;
    this.#around = around;
  }

  /** A request is under way: it may still reach the disk. */
  get isBusy(): boolean {
    return this.#pending !== null && !this.#hasFailed;
  }

  /** A request is not done. */
  get hasRequest(): boolean {
    return this.#pending !== null;
  }

  /** The first connection; `false` when it was not to be had within `deadlineMs`. */
  open(deadlineMs: number, then: (isOpen: boolean) => void): void {
    let isOver = false;
    const finish = (isOpen: boolean): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      then(isOpen);
    };
    const cancel = this.#around.process.after(deadlineMs, () => finish(false));
    this.#connect(finish);
  }

  submit(request: DiskRequest): void {
    this.#pending = request;
    this.#hasFailed = false;
    this.#begin();
  }

  /** The guest goes on: a request that failed is tried again. */
  retry(): void {
    if (this.#pending === null || !this.#hasFailed) return;
    this.#hasFailed = false;
    this.#begin();
  }

  /** The guest is reset: what has failed is no longer wanted. */
  drop(): void {
    if (this.#hasFailed) this.#pending = null;
    this.#hasFailed = false;
  }

  /** The disk is taken from the guest: whatever was under way is nobody's any more. */
  end(): void {
    this.#pending = null;
    this.#hasFailed = false;
    this.#attempt++;
    this.#isEnded = true;
    this.close();
  }

  /** The process is gone. */
  close(): void {
    this.#connection?.close();
    this.#connection = null;
  }

  #begin(): void {
    if (this.#connection !== null) this.#send(this.#connection);
    else this.#startPatience();
  }

  #startPatience(): void {
    const { process } = this.#around;
    this.#lostAt ??= process.monotonicMs();
    const attempt = ++this.#attempt;
    if (this.disk.patienceMs === null) return;
    const left = this.#lostAt + this.disk.patienceMs - process.monotonicMs();
    process.after(Math.max(1, left), () => {
      if (attempt === this.#attempt && this.#connection === null && this.isBusy) this.#fail('broken');
    });
  }

  #fail(why: 'broken' | 'no-space'): void {
    this.#hasFailed = true;
    this.#attempt++;
    this.#around.onFailed(why);
    this.#around.onIdle();
  }

  #send(connection: NbdConnection): void {
    const { network, process } = this.#around;
    const storage = this.#around.storageAt(this.disk.address);
    const request = this.#pending;
    if (storage === undefined || request === null) return;
    const attempt = ++this.#attempt;
    const isWanted = (): boolean => this.#connection === connection && this.#attempt === attempt && process.isAlive;
    network.stream({ network: 'disks', to: storage.machine }, process.machine, isWanted, () => {
      const carriedOut =
        request.kind === 'write'
          ? connection.write(request.sequence)
          : Promise.resolve(storage.pool.highestOn(this.disk.disk, this.#order.vm));
      void carriedOut.then((result) => {
        if (result === 'broken' && connection.isOpen) {
          // The target has not got the disk for this VM now: the guest's driver tries again.
          process.after(RETRY_MS, () => (isWanted() ? this.#send(connection) : undefined));
          return;
        }
        if (result === 'broken' || !connection.isOpen) return;
        network.stream({ network: 'disks', to: process.machine }, storage.machine, isWanted, () =>
          process.run(() => {
            if (!isWanted()) return;
            if (result === 'enospc') this.#fail('no-space');
            else this.#done(request, result === 'ok' ? 0 : result);
          }),
        );
      });
    });
    this.#watch(connection, attempt, storage.machine);
  }

  #done(request: DiskRequest, found: number): void {
    this.#pending = null;
    this.#attempt++;
    this.#around.onDone(request, found);
    this.#around.onIdle();
  }

  /**
   * A kernel notices when a peer does not acknowledge any more, also when it has nothing to send (keepalive); it waits
   * as long as it likes for one that does.
   */
  #watch(connection: NbdConnection, attempt: number, peer: SimMachine): void {
    const { network, process } = this.#around;
    process.after(STALL_MS, () => {
      if (this.#connection !== connection || this.#attempt !== attempt) return;
      // A machine that was started anew knows no such connection and says so.
      const acknowledges =
        connection.isOpen &&
        network.isOpen('disks', process.machine, peer) &&
        network.isOpen('disks', peer, process.machine);
      if (acknowledges) this.#watch(connection, attempt, peer);
      else this.#lost(connection);
    });
  }

  #lost(connection: NbdConnection): void {
    if (this.#connection !== connection) return;
    connection.close();
    this.#connection = null;
    this.#lostAt = this.#around.process.monotonicMs();
    if (this.isBusy) this.#startPatience();
    this.#reconnect();
  }

  #reconnect(): void {
    if (this.#isEnded) return;
    this.#connect((isOpen) => {
      if (!isOpen) this.#around.process.after(RETRY_MS, () => this.#reconnect());
    });
  }

  /** One attempt. A connection that comes too late is used all the same, as long as there is no other. */
  #connect(then: (isOpen: boolean) => void): void {
    const { network, process, address } = this.#around;
    const storage = this.#around.storageAt(this.disk.address);
    let isOver = false;
    const finish = (isOpen: boolean): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      then(isOpen);
    };
    const cancel = process.after(CONNECT_MS, () => finish(false));
    if (storage === undefined) return;
    const { vm, generation } = this.#order;
    network.send('disks', process.machine, storage.machine, () => {
      void reach(storage, this.disk, { vm, generation, address }).then((connection) =>
        network.send('disks', storage.machine, process.machine, () => {
          if (connection === 'refused') {
            process.run(() => finish(false));
          } else if (process.isAlive && !isOver) {
            process.run(() => this.#connected(connection, () => finish(true)));
          } else {
            connection.close();
          }
        }),
      );
    });
  }

  #connected(connection: NbdConnection, then: () => void): void {
    const { network, process } = this.#around;
    const storage = this.#around.storageAt(this.disk.address);
    if (this.#connection !== null || storage === undefined || this.#isEnded) {
      connection.close();
      return;
    }
    this.#connection = connection;
    this.#lostAt = null;
    connection.onCut(() =>
      network.stream(
        { network: 'disks', to: process.machine },
        storage.machine,
        () => this.#connection === connection && process.isAlive,
        () => process.run(() => this.#lost(connection)),
      ),
    );
    then();
    if (this.isBusy) this.#send(connection);
  }
}

async function reach(
  storage: SimStorageNode,
  { disk, isShared }: ClientDisk,
  who: SharedClient,
): Promise<NbdConnection | 'refused'> {
  if (!isShared) return storage.connect(disk, who);
  const session = await storage.logIn(who);
  if (session === 'refused') return session;
  return {
    get isOpen() {
      return session.isOpen;
    },
    write: (sequence) => session.write(disk, sequence),
    touch: () => undefined,
    close: () => session.close(),
    onCut: (listener) => session.onCut(listener),
  };
}
