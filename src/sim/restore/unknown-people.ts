/**
 * People who look after VMs that a restored cluster has forgotten: they adopt some, with what QEMU tells and what they
 * remember, and delete others, through the leader, as the API does it.
 */
import { change } from '../../control/backend/changes.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import type { Controller } from '../../core/loop/controller.ts';
import type { UnknownVm } from '../../core/plan/restore/unknown.ts';
import type { MachineFacts } from '../../core/ports/qmp-link.ts';
import type { Admitted, Basis } from '../../core/request/basis.ts';
import type { Adoption, deleteUnknown } from '../../core/request/unknown-vms.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** How an unknown VM becomes a record. */
export type Adopt = (
  basis: Basis,
  unknown: UnknownVm,
  facts: MachineFacts | null,
  said: Adoption & { readonly by: string },
) => Admitted<unknown>;

/** What people do with unknown VMs. */
export interface Deeds {
  readonly adopt: Adopt;
  readonly remove: typeof deleteUnknown;
  /** Of a hundred so many are adopted; the others are deleted. */
  readonly adoptPercent: number;
}

const EVERY_MS = 1_500;
const REMEMBERED = { vcpus: 1, memoryBytes: 256 * 1024 ** 2, by: 'ann' } as const;

/** Looks every so often, from `start` to `stop`. */
export class UnknownPeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #deeds: Deeds;
  #cancel: (() => void) | null = null;

  constructor(cluster: SimCluster, deeds: Deeds) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('unknown');
    this.#deeds = deeds;
  }

  start(): void {
    this.#cancel = this.#cluster.clock.after(this.#random.wait(EVERY_MS), () => {
      this.#look();
      this.start();
    });
  }

  stop(): void {
    this.#cancel?.();
  }

  #look(): void {
    const node = this.#cluster.leader;
    const controller = node?.controller ?? null;
    const context = node?.context ?? null;
    if (controller === null || context === null) return;
    const unknown = controller.unknown.list();
    if (unknown.length === 0) return;
    const one = this.#random.pick(unknown);
    const adopts = this.#random.chance(this.#deeds.adoptPercent);
    this.#decide(context, controller, one, adopts).catch((error: unknown) =>
      this.#cluster.say(() => `people: ${one.vm} was not decided upon: ${String(error)}`),
    );
  }

  async #decide(context: BackendContext, controller: Controller, one: UnknownVm, adopts: boolean): Promise<void> {
    this.#cluster.say(() => `people: ${one.vm}, which no record knows, is to be ${adopts ? 'adopted' : 'deleted'}`);
    if (!adopts) {
      await change(context, (basis) => this.#deeds.remove(basis, one, REMEMBERED.by));
      return;
    }
    const facts = one.processes.length === 0 ? null : await controller.machineFacts(one);
    const name = `again-${one.vm.slice(-6)}`;
    await change(context, (basis) => this.#deeds.adopt(basis, one, facts, { ...REMEMBERED, name }));
  }
}
