/**
 * For each host: can it be drained now, can it be lost, each with a witness or a refusal. Kept as the estate changes: a
 * witness is looked at again only when a host or a rule that it uses has changed, and planned anew only when it does
 * not hold any more; a refusal is tried again when what stood in the way may be gone. Pure; the caller says how much is
 * done in one turn.
 *
 * Guarantee: once settled, a host with a witness can be drained, or lost, as the witness says, in the estate as it is
 * now. Plans are made without room for a further loss: that is proven when a plan is made to be run.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate, EstateGuestCluster, EstateHost, EstateRule, EstateVm } from './estate.ts';
import { Layout } from './layout.ts';
import { loseHost } from './loss.ts';
import { type Model, modelOf } from './model.ts';
import type { LossWitness, PlannedWave, Refusal } from './plan.ts';
import { WAVE_STEPS } from './planner.ts';
import type { Proof } from './proof.ts';
import { tryWave } from './wave.ts';
import { drainHolds, lossHolds } from './witness.ts';

/** One change of the estate. */
export type EstateChange =
  | { readonly kind: 'vm'; readonly vm: EstateVm }
  | { readonly kind: 'vm-gone'; readonly vm: VmId }
  | { readonly kind: 'host'; readonly host: EstateHost }
  | {
      readonly kind: 'rules';
      readonly rules: readonly EstateRule[];
      readonly guestClusters: readonly EstateGuestCluster[];
    };

/** What is known of one host. */
export interface HostVerdict {
  readonly drain:
    | { readonly kind: 'can'; readonly wave: PlannedWave }
    | {
        readonly kind: 'cannot';
        readonly vms: readonly VmId[];
        readonly obstacle: Refusal['obstacle'];
        readonly proof: Proof | null;
      };
  readonly loss:
    | { readonly kind: 'can'; readonly witness: LossWitness }
    | { readonly kind: 'cannot'; readonly vms: readonly VmId[] };
}

type Question = 'drain' | 'loss';

/** Hosts that a witness uses before all others. */
const NEAR_HOSTS = 24;

/** See the module. */
export class Evacuability {
  readonly #model: Model;
  readonly #drains = new Map<number, HostVerdict['drain']>();
  readonly #losses = new Map<number, HostVerdict['loss']>();
  /** Hosts whose witness uses a host. */
  readonly #drainUsers: Set<number>[] = [];
  readonly #lossUsers: Set<number>[] = [];
  readonly #dirty: Readonly<Record<Question, Set<number>>> = { drain: new Set(), loss: new Set() };
  /** Made when first needed after a change. */
  #layout: Layout | null = null;

  constructor(estate: Estate) {
    this.#model = modelOf({ ...estate, policy: { ...estate.policy, keepRoomForLoss: false } });
    this.#everything();
  }

  /** True when every verdict is that of the estate as it is. */
  get isSettled(): boolean {
    return this.#dirty.drain.size + this.#dirty.loss.size === 0;
  }

  /** What is known of a host; null: not settled yet, or no such host. */
  verdict(name: HostName): HostVerdict | null {
    const host = this.#model.host(name);
    const drain = this.#drains.get(host);
    const loss = this.#losses.get(host);
    const isKnown = !this.#dirty.drain.has(host) && !this.#dirty.loss.has(host);
    return drain === undefined || loss === undefined || !isKnown ? null : { drain, loss };
  }

  /** Takes a change in. What it may mean for verdicts is looked at by `settle`. */
  apply(change: EstateChange): void {
    this.#layout = null;
    switch (change.kind) {
      case 'vm':
        this.#changeVm(change.vm.id, () => this.#model.setVm(change.vm));
        break;
      case 'vm-gone':
        this.#changeVm(change.vm, () => this.#model.removeVm(change.vm));
        break;
      case 'host':
        this.#model.setHost(change.host);
        this.#touch([this.#model.host(change.host.name)]);
        this.#retryRefused('host');
        break;
      case 'rules':
        this.#model.setRules(change.rules, change.guestClusters);
        this.#drains.clear();
        this.#losses.clear();
        this.#everything();
    }
  }

  /** Settles at most `most` verdicts; returns the hosts whose verdicts were looked at. */
  settle(most: number): HostName[] {
    const done: HostName[] = [];
    for (const question of ['drain', 'loss'] as const) {
      for (const host of this.#dirty[question]) {
        if (done.length >= most) return done;
        this.#dirty[question].delete(host);
        if (question === 'drain') this.#settleDrain(host);
        else this.#settleLoss(host);
        done.push(this.#model.hostAt(host).name);
      }
    }
    return done;
  }

  #everything(): void {
    for (const host of this.#model.hosts.keys()) this.#mark(host);
  }

  #mark(host: number): void {
    this.#dirty.drain.add(host);
    this.#dirty.loss.add(host);
  }

  #changeVm(id: VmId, change: () => void): void {
    const before = this.#roomsOf(id);
    change();
    const touched = new Map([...before, ...this.#roomsOf(id)]);
    const hosts = [...touched.keys()];
    const isRoomGained = hosts.some(
      (host) => (this.#model.freeMib[host] ?? 0) > (before.get(host) ?? Number.POSITIVE_INFINITY),
    );
    this.#touch(hosts);
    this.#touchRules(this.#model.vm(id));
    if (isRoomGained) this.#retryRefused('room');
  }

  /** The hosts that a VM takes room on, each with what is free there. */
  #roomsOf(id: VmId): Map<number, number> {
    const vm = this.#model.vms[this.#model.vm(id)] ?? null;
    if (vm === null) return new Map();
    const hosts = [this.#model.host(vm.host), this.#model.destination(vm)].filter((host) => host >= 0);
    return new Map(hosts.map((host) => [host, this.#model.freeMib[host] ?? 0]));
  }

  /** Marks every host whose witness uses one of these. */
  #touch(hosts: readonly number[]): void {
    for (const host of hosts) {
      this.#mark(host);
      for (const user of this.#drainUsers[host] ?? []) this.#dirty.drain.add(user);
      for (const user of this.#lossUsers[host] ?? []) this.#dirty.loss.add(user);
    }
  }

  /** Marks the hosts of VMs that a rule names together with this one: their witnesses place them by where it is. */
  #touchRules(index: number): void {
    const { groups, atOf } = this.#model;
    const named = [
      ...(groups.apartOf.get(index) ?? []).flatMap((number) => groups.apart[number]?.vms ?? []),
      ...(groups.togetherOf.get(index) ?? []).flatMap((number) => groups.together[number]?.vms ?? []),
    ];
    this.#touch([...new Set(named.map((vm) => atOf[vm] ?? -1))].filter((host) => host >= 0));
  }

  /**
   * Room was gained somewhere: what was refused for want of it is tried again. A new host may suit those that are
   * stuck.
   */
  #retryRefused(change: 'room' | 'host'): void {
    for (const [host, drain] of this.#drains)
      if (drain.kind === 'cannot' && (change === 'host' || drain.proof !== 'stuck')) this.#dirty.drain.add(host);
    for (const [host, loss] of this.#losses) if (loss.kind === 'cannot') this.#dirty.loss.add(host);
  }

  /**
   * Plans with the next hosts by number first. Witnesses are spread over the estate so: were the tightest fit of all
   * taken, the same few hosts would be in most witnesses, and a change of one of them would touch all of these.
   */
  #near<T>(host: number, plan: (layout: Layout) => T): T {
    this.#layout ??= new Layout(this.#model);
    const layout = this.#layout;
    const count = layout.model.hosts.length;
    const near = Array.from({ length: Math.min(NEAR_HOSTS, count) }, (_, offset) => (host + offset) % count).filter(
      (one) => layout.isOpen(one),
    );
    for (const one of near) layout.reopen(one, { tier: 0, kind: layout.kind[one] ?? 0 });
    const outcome = plan(layout);
    for (const one of near) layout.reopen(one, { tier: 1, kind: layout.kind[one] ?? 0 });
    return outcome;
  }

  #settleDrain(host: number): void {
    const before = this.#drains.get(host);
    if (before?.kind === 'can' && drainHolds(this.#model, host, before.wave)) return;
    if (before?.kind === 'can') this.#use(this.#drainUsers, host, usedBy(before.wave), false);
    const outcome = this.#near(host, (layout) =>
      tryWave(layout, [host], { firstId: 0, budget: { steps: WAVE_STEPS } }),
    );
    if (outcome.kind === 'wave') {
      this.#drains.set(host, { kind: 'can', wave: outcome.wave });
      this.#use(this.#drainUsers, host, usedBy(outcome.wave), true);
      return;
    }
    const vms = outcome.vms.map((vm) => this.#model.vmAt(vm).id);
    this.#drains.set(host, { kind: 'cannot', vms, obstacle: outcome.obstacle, proof: outcome.proof });
  }

  #settleLoss(host: number): void {
    const before = this.#losses.get(host);
    if (before?.kind === 'can' && lossHolds(this.#model, host, before.witness)) return;
    if (before?.kind === 'can') this.#use(this.#lossUsers, host, restartHosts(before.witness), false);
    const options = { budget: { steps: WAVE_STEPS }, inSequence: false, mayMove: () => false };
    const outcome = this.#near(host, (layout) => loseHost(layout, host, options));
    if (outcome.kind === 'witness') {
      this.#losses.set(host, { kind: 'can', witness: outcome.witness });
      this.#use(this.#lossUsers, host, restartHosts(outcome.witness), true);
      return;
    }
    this.#losses.set(host, { kind: 'cannot', vms: outcome.unplaced.map((vm) => this.#model.vmAt(vm).id) });
  }

  #use(users: Set<number>[], host: number, names: ReadonlySet<HostName>, isUsed: boolean): void {
    for (const name of names) {
      const used = this.#model.host(name);
      const known = users[used] ?? new Set<number>();
      users[used] = known;
      if (isUsed) known.add(host);
      else known.delete(host);
    }
  }
}

function usedBy({ moves }: PlannedWave): Set<HostName> {
  return new Set(moves.flatMap(({ from, to }) => [from, to]));
}

function restartHosts({ restarts }: LossWitness): Set<HostName> {
  return new Set(restarts.map(({ to }) => to));
}
