/**
 * Keeps the host's port filter (core/plan/hosts/port-filter.ts) in the kernel. Guarantees: the filter is replaced as a
 * whole, one change after the other; a slot's disks are in the filter before its QEMU starts and for as long as that
 * QEMU runs. A filter that cannot be installed is logged, and the filter before it stays in the kernel: no running VM
 * is touched, but a QEMU that is started then may find its disks' ports closed until a filter can be installed again.
 */
import { hostPortFilter, type Members, type SlotNeeds } from '../../core/plan/hosts/port-filter.ts';
import type { NetworkPlan } from '../../core/ports/host-link.ts';
import type { Log } from '../../os/log.ts';
import { PacketFilter } from '../../os/packet-filter.ts';

export interface HostPortsOptions {
  readonly slotUsers: { readonly first: number; readonly last: number } | null;
  /** Returns the ports that running QEMUs need; called for each change. */
  readonly running: () => readonly SlotNeeds[];
  readonly log: Log;
  /** For tests: replaces the way a script is given to nft. */
  readonly load?: (script: string) => Promise<unknown>;
}

/** The host's port filter; see the module. The last filter stays in the kernel when the agent ends. */
export class HostPorts {
  readonly #options: HostPortsOptions;
  readonly #filter: PacketFilter;
  /** The needs of each start that is under way, by its name. */
  readonly #starting = new Map<string, SlotNeeds>();
  #known: { readonly revision: number; readonly members: Members } | null = null;

  constructor(options: HostPortsOptions) {
    this.#options = options;
    const told = (reason: string): void =>
      options.log.warn('the filter of ports could not be set up; everybody reaches monitors and the agent', { reason });
    this.#filter = new PacketFilter(told, options.load);
  }

  /** Adds the needs of a QEMU that is about to start in its user's slot, from the next `put` until `over`. */
  starting(name: string, needs: SlotNeeds): void {
    this.#starting.set(name, needs);
  }

  /** Removes the needs of a start that has ended: a running QEMU is counted by `running`. */
  over(name: string): void {
    this.#starting.delete(name);
  }

  /** Sets the cluster's members, unless a newer plan has already done so; resolves when the filter is in force. */
  async put({ revision, members }: NetworkPlan): Promise<void> {
    if (members !== undefined && members !== null && revision >= (this.#known?.revision ?? 0))
      this.#known = { revision, members };
    const { slotUsers, running } = this.#options;
    await this.#filter.put(() => {
      const slots = [...running(), ...this.#starting.values()];
      return hostPortFilter({ members: this.#known?.members ?? null, slots, slotUsers });
    });
  }
}
