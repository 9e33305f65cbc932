/**
 * People who drain hosts of a cluster that is nearly full, while others create VMs, start them and move them to the very
 * hosts that a drain was promised room on; who pause drains and go on at once; who halt guests and have them moved twice.
 */
import type { OperationId } from '../../api/operations.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import { type DrainRecord, isDrainOver } from '../../core/model/drain.ts';
import { expectedIncarnations } from '../../core/model/vm.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import { VM_BYTES } from '../faults/swarm.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { SimRandom } from '../time/sim-random.ts';

type Store = BackendContext['store'];

/** What others of the people do for these. */
export interface OtherPeople {
  readonly create: (node: SimControlNode, store: Store) => Promise<void>;
  readonly takeBack: (host: HostName) => void;
}

/** What a QEMU takes beside its guest's memory (docs/operating/limits.md), in bytes. */
const QEMU_BYTES = 96 * 2 ** 20;
/** How long a host stays drained. */
const AWAY_MS = [3_000, 12_000] as const;
/** Until a drain that was paused goes on. */
const PAUSED_MS = [100, 1_500] as const;
/** Between two moves of a guest that is halted. */
const AGAIN_MS = [1_500, 4_000] as const;
const COMPETE_PERCENT = 75;
const HALT_PERCENT = 40;

/** See the module's comment. */
export class MaintenancePeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #others: OtherPeople;

  constructor(cluster: SimCluster, others: OtherPeople) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('maintenance');
    this.#others = others;
  }

  /** VMs with which one host can be emptied, and one more that competes for the room. */
  get #vmsMax(): number {
    const { hosts, hostMemoryBytes } = this.#cluster.swarm;
    return (hosts - 1) * Math.floor(hostMemoryBytes / (VM_BYTES + QEMU_BYTES)) + 1;
  }

  /** Somebody begins a drain, or gets in the way of one. */
  async act(asked: SimControlNode, { store }: BackendContext): Promise<void> {
    const node = this.#cluster.leader ?? asked;
    if (store.vms.size > this.#vmsMax) {
      // Where no host can be emptied, nothing is to be seen.
      const vms = [...store.vms.values()].map(({ value }) => value.name);
      await this.#ask(node, 'deleteVm', { params: { vm: this.#random.pick(vms) }, query: {} });
      return;
    }
    const open = [...store.drains.values()].map(({ value }) => value).filter((drain) => !isDrainOver(drain));
    const isBusy = open.length > 0 && this.#random.chance(COMPETE_PERCENT);
    if (isBusy) await this.#compete(node, store, this.#random.pick(open));
    else await this.#begin(node, store);
  }

  async #begin(node: SimControlNode, store: Store): Promise<void> {
    const there = new Map<HostName, string[]>();
    for (const { value } of store.vms.values())
      for (const { host } of expectedIncarnations(value.phase))
        there.set(host, [...(there.get(host) ?? []), value.name]);
    const hosts = [...store.hosts.values()]
      .map(({ value }) => value)
      .filter(({ maintenance = null }) => maintenance === null);
    if (hosts.length === 0) return;
    const names = hosts.map(({ name }) => name);
    const count = (name: HostName): number => there.get(name)?.length ?? 0;
    const fullest = names.reduce((best, name) => (count(name) > count(best) ? name : best));
    const vms = there.get(fullest) ?? [];
    if (vms.length > 0 && this.#random.chance(HALT_PERCENT)) await this.#halt(node, this.#random.pick(vms));
    this.#cluster.clock.after(this.#random.between(...AWAY_MS), () => this.#others.takeBack(fullest));
    await this.#ask(node, 'drainHost', { params: { host: fullest }, body: { parallel: 1 } });
  }

  /** A guest is halted and moved, and moved again before anybody has continued it. */
  async #halt(node: SimControlNode, vm: string): Promise<void> {
    const { clock } = this.#cluster;
    await this.#ask(node, 'suspendVm', { params: { vm } });
    const move = (): void => void this.#ask(node, 'migrateVm', { params: { vm }, body: {} }).catch(() => undefined);
    const first = this.#random.between(200, 1_000);
    const second = first + this.#random.between(...AGAIN_MS);
    clock.after(first, move);
    clock.after(second, move);
    clock.after(
      second + this.#random.between(...AGAIN_MS),
      () => void this.#ask(node, 'resumeVm', { params: { vm } }).catch(() => undefined),
    );
  }

  async #compete(node: SimControlNode, store: Store, drain: DrainRecord): Promise<void> {
    const waiting = drain.moves.filter(({ state }) => state === 'waiting');
    const wanted = waiting.length === 0 ? null : this.#random.pick(waiting);
    const moved = new Set(drain.moves.map(({ vm }) => vm));
    const others = [...store.vms.values()]
      .map(({ value }) => value)
      .filter(({ id, phase }) => !moved.has(id) && phase.kind === 'running');
    const chance = this.#random.below(100);
    const isMidway = drain.moves.some(({ state }) => state === 'moved');
    if (chance < (isMidway ? 60 : 15)) return this.#resume(node, drain);
    if (chance < 70 && wanted !== null && others.length > 0) {
      const params = { vm: this.#random.pick(others).name };
      await this.#ask(node, 'migrateVm', { params, body: { to: wanted.to } });
      return;
    }
    const stopped = [...store.vms.values()].map(({ value }) => value).filter(({ phase }) => phase.kind === 'stopped');
    if (chance < 80 && stopped.length > 0) {
      await this.#ask(node, 'startVm', { params: { vm: this.#random.pick(stopped).name } });
      return;
    }
    await this.#others.create(node, store);
  }

  /** Pauses a drain in the middle, and goes on. */
  async #resume(node: SimControlNode, { id }: DrainRecord): Promise<void> {
    const params = { drain: id };
    await this.#ask(node, 'pauseDrain', { params });
    this.#cluster.clock.after(
      this.#random.between(...PAUSED_MS),
      () => void this.#ask(node, 'resumeDrain', { params }).catch(() => undefined),
    );
  }

  /** What is refused was not wished. */
  async #ask(node: SimControlNode, id: OperationId, request: SimRequest): Promise<void> {
    this.#cluster.say(() => `people: ${id} ${JSON.stringify(request)}`);
    try {
      await askNode(this.#cluster, node, id, request);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#cluster.say(() => `people: ${id} is refused: ${error.message}`);
    }
  }
}
