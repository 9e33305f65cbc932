/**
 * Tries whether hosts reach the disks of a VM that a disk error has paused: each host's own agent tries the disks' own
 * ports. Another open port of the storage node, or a host that the storage node reaches, does not prove that the disk
 * protocol's path works.
 *
 * Guarantees: only VMs with a disk error cost anything; at most VMS_AT_ONCE VMs are tried at a time, each from its own
 * host and, if that host is cut off, from up to CANDIDATES others; every attempt has a deadline. An agent that does not
 * answer, or is too old, gives no result.
 */
import type { HostName, StorageName, VmId } from '../../../base/ids.ts';
import type { DiskRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { DiskPath } from '../../plan/vm/decision.ts';
import type { HostLink } from '../../ports/host-link.ts';
import type { Snapshot } from '../../ports/store.ts';
import type { HostObserver } from './host-observer.ts';

export interface DiskPathsPorts {
  readonly hosts: Pick<HostLink, 'probe'>;
  readonly snapshot: Pick<Snapshot, 'storage' | 'disks' | 'disksOf'>;
  readonly index: ClusterIndex;
  readonly observer: Pick<HostObserver, 'see'>;
}

const PROBE_MS = 700;
/** Time that the agent gets beyond the deadline of its attempts, in ms. */
const ANSWER_MS = 300;
const VMS_AT_ONCE = 32;
/** Other hosts that are tried for one VM, those with most free memory first. */
const CANDIDATES = 8;
/** Disks of one silent storage node that are tried in a round. */
const SERVED_TRIES = 3;

/** The tried disk paths of one leader. */
export class DiskPaths {
  readonly #ports: DiskPathsPorts;
  readonly #known = new Map<VmId, Map<HostName, DiskPath>>();
  #busy = 0;

  constructor(ports: DiskPathsPorts) {
    this.#ports = ports;
  }

  /** Returns the result of the last attempt from `host`. */
  see(vm: VmId, host: HostName): DiskPath {
    return this.#known.get(vm)?.get(host) ?? 'unknown';
  }

  /** Tries from the VM's host and, if a disk cannot be reached from there, from others. */
  async tryFor(vm: VmId, host: HostName): Promise<void> {
    if (this.#busy >= VMS_AT_ONCE) return;
    this.#busy++;
    try {
      const disks = this.#ports.snapshot.disksOf(vm);
      const paths = new Map<HostName, DiskPath>([[host, await this.#pathFrom(host, disks)]]);
      if (paths.get(host) === 'closed') {
        const { index, observer } = this.#ports;
        const others = index
          .byFreeMemory()
          .map((ranked) => ranked.host)
          .filter((other) => other !== host && observer.see(other).agent === 'alive');
        const tried = others
          .slice(0, CANDIDATES)
          .map(async (other) => paths.set(other, await this.#pathFrom(other, disks)));
        await Promise.all(tried);
      }
      this.#known.set(vm, paths);
    } finally {
      this.#busy--;
    }
  }

  /** Forgets a VM that no longer has a disk error. */
  forget(vm: VmId): void {
    this.#known.delete(vm);
  }

  /**
   * Returns whether some host can connect to a disk of a VM that runs there, tried once for each of up to SERVED_TRIES
   * disks; null if no agent can tell. Never rejects.
   */
  async isServed(node: StorageName): Promise<boolean | null> {
    const { snapshot, index, observer } = this.#ports;
    let seen: boolean | null = null;
    let tries = 0;
    for (const { value: disk } of snapshot.disks.values()) {
      if (disk.node !== node || disk.phase !== 'ready') continue;
      const phase = index.vm(disk.vm)?.phase;
      if (phase?.kind !== 'running' || observer.see(phase.incarnation.host).agent !== 'alive') continue;
      const path = await this.#portFrom(phase.incarnation.host, disk);
      if (path === 'open') return true;
      if (path === 'closed') seen = false;
      if (++tries === SERVED_TRIES) break;
    }
    return seen;
  }

  /** Returns `open` if every disk's port accepts. */
  async #pathFrom(host: HostName, disks: readonly DiskRecord[]): Promise<DiskPath> {
    const met = await Promise.all(disks.map((disk) => this.#portFrom(host, disk)));
    if (met.includes('closed')) return 'closed';
    return met.includes('unknown') ? 'unknown' : 'open';
  }

  async #portFrom(host: HostName, { node, port }: DiskRecord): Promise<DiskPath> {
    const { hosts, snapshot } = this.#ports;
    const address = snapshot.storage.get(node)?.value.addresses.storage;
    if (address === undefined) return 'unknown';
    try {
      const order = { address, port, deadlineMs: PROBE_MS };
      const { outcome } = await hosts.probe(host, order, { deadlineMs: PROBE_MS + ANSWER_MS });
      if (outcome === 'void') return 'unknown';
      return outcome === 'accepted' ? 'open' : 'closed';
    } catch {
      // The host's agent does not answer, or is too old for the request.
      return 'unknown';
    }
  }
}
