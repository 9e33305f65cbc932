/**
 * Says for each host whether it can be drained now and whether it can be lost, each with a witness or the reasons
 * against it. Kept up to date as the estate changes: a witness is checked again only when a host or a rule that it uses
 * has changed, and planned anew only when it no longer holds; a refusal is tried again when its obstacle may be gone.
 * Pure; the caller says how much is done in one turn.
 * Guarantee: once settled, a host with a witness can be drained, or lost, as the witness says, in the estate as it is
 * now. These plans keep no room for a further loss: that is proven when a plan is made for execution.
 */
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate, EstatePolicy } from './estate.ts';
import { applyTo, type EstateChange, inverseOf } from './estate-change.ts';
import { Layout } from './layout.ts';
import { loseHost } from './loss.ts';
import { Model } from './model.ts';
import type { LossWitness, PlannedWave, Refusal } from './plan.ts';
import type { Proof } from './proof.ts';
import { type Question, reasonsOf } from './reasons.ts';
import { tryWave } from './wave.ts';
import { drainHolds, lossHolds } from './witness.ts';

/** Whether a host can be drained now. */
export type DrainVerdict =
  | { readonly kind: 'can'; readonly wave: PlannedWave }
  | {
      readonly kind: 'cannot';
      readonly vms: readonly VmId[];
      readonly obstacle: Refusal['obstacle'];
      readonly proof: Proof | null;
      /** For people: a line for each of a few VMs. */
      readonly because: readonly string[];
    };

/** Whether a host can be lost: every VM of it that is not tied to it restarts elsewhere. */
export type LossVerdict =
  | { readonly kind: 'can'; readonly witness: LossWitness }
  | { readonly kind: 'cannot'; readonly vms: readonly VmId[]; readonly because: readonly string[] };

/** The verdict on one host. */
export interface HostVerdict {
  readonly drain: DrainVerdict;
  readonly loss: LossVerdict;
}

/** One question about one host. */
export interface Asked {
  readonly host: HostName;
  readonly question: Question;
}

/** A verdict that a change would turn from yes to no. */
export interface Broken extends Asked {
  readonly vms: readonly VmId[];
  readonly because: readonly string[];
}

/** Hosts that a witness uses before all others. */
const NEAR_HOSTS = 24;
/**
 * Attempts at displacing VMs for one verdict. Where one is found it takes some ten; this many take about as long as a
 * turn of the leader may.
 */
const VERDICT_STEPS = 200;

/** See the module's comment. */
export class Evacuability {
  readonly #model: Model;
  readonly #drains = new Map<number, DrainVerdict>();
  readonly #losses = new Map<number, LossVerdict>();
  /** Hosts whose witness uses a host. */
  readonly #users: Readonly<Record<Question, Set<number>[]>> = { drain: [], loss: [] };
  #dirty: Readonly<Record<Question, Set<number>>> = { drain: new Set(), loss: new Set() };
  /** Made when first needed after a change. */
  #layout: Layout | null = null;

  /** An index of an empty estate: its maker applies all objects. No room for a further loss is kept. */
  constructor(policy: EstatePolicy) {
    this.#model = Model.empty({ ...policy, keepRoomForLoss: false });
  }

  /** The estate as it is. Only `apply` changes it. */
  get model(): Model {
    return this.#model;
  }

  /** True when every verdict is that of the estate as it is. */
  get isSettled(): boolean {
    return this.unsettled === 0;
  }

  /** The number of verdicts that are to be worked out. */
  get unsettled(): number {
    return this.#dirty.drain.size + this.#dirty.loss.size;
  }

  /** The verdict on a host; null: not settled yet, or no such host. */
  verdict(name: HostName): HostVerdict | null {
    const host = this.#model.host(name);
    const isKnown = !this.#dirty.drain.has(host) && !this.#dirty.loss.has(host);
    return isKnown ? this.lastVerdict(name) : null;
  }

  /** The last verdict on a host, perhaps about the estate before its last changes; null: none yet. */
  lastVerdict(name: HostName): HostVerdict | null {
    const host = this.#model.host(name);
    const drain = this.#drains.get(host);
    const loss = this.#losses.get(host);
    return drain === undefined || loss === undefined ? null : { drain, loss };
  }

  /** Takes a change in. `settle` works out its consequences for verdicts. */
  apply(change: EstateChange): void {
    this.#layout = null;
    this.#make(change);
  }

  /** Settles at most `most` verdicts; returns the hosts whose verdicts were looked at. */
  settle(most: number): HostName[] {
    const done: HostName[] = [];
    for (const question of ['drain', 'loss'] as const) {
      for (const host of this.#dirty[question]) {
        if (done.length >= most) return done;
        const { name } = this.#model.hostAt(host);
        this.settleOne({ host: name, question });
        done.push(name);
      }
    }
    return done;
  }

  /** Settles one verdict; false if it is settled already. */
  settleOne({ host: name, question }: Asked): boolean {
    const host = this.#model.host(name);
    if (!this.#dirty[question].delete(host)) return false;
    if (question === 'drain') this.#settleDrain(host);
    else this.#settleLoss(host);
    return true;
  }

  /**
   * The questions whose answers changes might turn from yes to no; all of these questions are settled. A host that is
   * alone in service has no such question.
   */
  mayBreak(changes: readonly EstateChange[]): readonly Asked[] {
    const marked = this.#meanwhile(changes, () => ({ drain: [...this.#dirty.drain], loss: [...this.#dirty.loss] }));
    return (['drain', 'loss'] as const).flatMap((question) =>
      marked[question]
        .filter((host) => host < this.#model.hosts.length && this.#hasOthers(host))
        .filter((host) => this.#isYes(question, host))
        .map((host) => ({ host: this.#model.hostAt(host).name, question })),
    );
  }

  /**
   * Answers questions as if changes were made; nothing is changed. `isEnough` ends it early. Only settled answers can
   * be broken. Returns how many questions were looked at, and what the changes would break.
   */
  judge(
    changes: readonly EstateChange[],
    asked: readonly Asked[],
    isEnough: () => boolean,
  ): { readonly looked: number; readonly broken: readonly Broken[] } {
    return this.#meanwhile(changes, () => {
      const broken: Broken[] = [];
      let looked = 0;
      for (const one of asked) {
        if (looked > 0 && isEnough()) break;
        looked += 1;
        const found = this.#breaks(one);
        if (found !== null) broken.push(found);
      }
      return { looked, broken };
    });
  }

  #make(change: EstateChange): void {
    switch (change.kind) {
      case 'vm':
        this.#changeVm(change.vm.id, () => applyTo(this.#model, change));
        break;
      case 'vm-gone':
        this.#changeVm(change.vm, () => applyTo(this.#model, change));
        break;
      case 'host':
        applyTo(this.#model, change);
        this.#touch([this.#model.host(change.host.name)]);
        this.#retryRefused(() => true);
        break;
      case 'rule':
        this.#changeRule([...(this.#model.rule(change.name)?.vms ?? []), ...(change.rule?.vms ?? [])], () =>
          applyTo(this.#model, change),
        );
        break;
      case 'guest-cluster':
        this.#changeRule(
          [...(this.#model.cluster(change.name)?.members ?? []), ...(change.cluster?.members ?? [])],
          () => applyTo(this.#model, change),
        );
    }
  }

  /** Makes changes, does `work`, and takes the changes back. What they mark is not kept. */
  #meanwhile<T>(changes: readonly EstateChange[], work: () => T): T {
    const [layout, dirty] = [this.#layout, this.#dirty];
    this.#layout = null;
    this.#dirty = { drain: new Set(), loss: new Set() };
    const make = (): (() => void) => {
      const back = changes.map((change) => {
        const inverse = inverseOf(this.#model, change);
        this.#make(change);
        return inverse;
      });
      return () => {
        for (const change of back.toReversed()) this.#make(change);
      };
    };
    try {
      return this.#model.meanwhile(make, work);
    } finally {
      this.#layout = layout;
      this.#dirty = dirty;
    }
  }

  #isYes(question: Question, host: number): boolean {
    return (question === 'drain' ? this.#drains : this.#losses).get(host)?.kind === 'can';
  }

  /** Returns true if another host is in service: without one, VMs can go nowhere whatever is admitted. */
  #hasOthers(host: number): boolean {
    return this.#model.hosts.some(({ state }, other) => other !== host && state === 'in-service');
  }

  #breaks({ host: name, question }: Asked): Broken | null {
    const host = this.#model.host(name);
    if (!this.#isYes(question, host)) return null;
    const fresh = question === 'drain' ? this.#freshDrain(host) : this.#freshLoss(host);
    return fresh.kind === 'can' ? null : { host: name, question, vms: fresh.vms, because: fresh.because };
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
    this.#touch([...hosts, ...this.#hostsOf(this.#model.dependentOn(id))]);
    // More room does not help a VM that is stuck.
    if (isRoomGained) this.#retryRefused(({ proof }) => proof !== 'stuck');
  }

  /** A rule has changed: who is refused because of memory alone stays refused. */
  #changeRule(named: readonly VmId[], change: () => void): void {
    change();
    this.#touch(this.#hostsOf(named));
    this.#retryRefused(({ proof }) => proof === null);
  }

  /** The hosts of VMs, and those that they are moving to. */
  #hostsOf(vms: Iterable<VmId>): number[] {
    const hosts = new Set<number>();
    for (const id of vms) for (const host of this.#roomsOf(id).keys()) hosts.add(host);
    return [...hosts];
  }

  /** The hosts on which a VM takes room, each with its free room. */
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
      for (const question of ['drain', 'loss'] as const)
        for (const user of this.#users[question][host] ?? []) this.#dirty[question].add(user);
    }
  }

  /** Marks the hosts with a refusal that may be none any more. A loss is refused without a proof. */
  #retryRefused(mayHelp: (refusal: { readonly proof: Proof | null }) => boolean): void {
    for (const [host, drain] of this.#drains)
      if (drain.kind === 'cannot' && mayHelp(drain)) this.#dirty.drain.add(host);
    if (!mayHelp({ proof: null })) return;
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
    const after = this.#freshDrain(host);
    if (after === before) return;
    if (before?.kind === 'can') this.#use('drain', host, usedBy(before.wave), false);
    if (after.kind === 'can') this.#use('drain', host, usedBy(after.wave), true);
    this.#drains.set(host, after);
  }

  #settleLoss(host: number): void {
    const before = this.#losses.get(host);
    const after = this.#freshLoss(host);
    if (after === before) return;
    if (before?.kind === 'can') this.#use('loss', host, restartHosts(before.witness), false);
    if (after.kind === 'can') this.#use('loss', host, restartHosts(after.witness), true);
    this.#losses.set(host, after);
  }

  /** The verdict as it is now: the one of before where its witness holds. */
  #freshDrain(host: number): DrainVerdict {
    const before = this.#drains.get(host);
    if (before?.kind === 'can' && drainHolds(this.#model, host, before.wave)) return before;
    return this.#near(host, (layout) => {
      const outcome = tryWave(layout, [host], { firstId: 0, budget: { steps: VERDICT_STEPS } });
      if (outcome.kind === 'wave') return { kind: 'can', wave: outcome.wave };
      const { obstacle, proof } = outcome;
      const because = reasonsOf(layout, { emptied: host, vms: outcome.vms, question: 'drain', obstacle });
      return { kind: 'cannot', vms: outcome.vms.map((vm) => this.#model.vmAt(vm).id), obstacle, proof, because };
    });
  }

  #freshLoss(host: number): LossVerdict {
    const before = this.#losses.get(host);
    if (before?.kind === 'can' && lossHolds(this.#model, host, before.witness)) return before;
    const options = { budget: { steps: VERDICT_STEPS }, inSequence: false, mayMove: () => false };
    return this.#near(host, (layout) => {
      const outcome = loseHost(layout, host, options);
      if (outcome.kind === 'witness') return { kind: 'can', witness: outcome.witness };
      const vms = outcome.unplaced;
      const because = reasonsOf(layout, { emptied: host, vms, question: 'loss', obstacle: 'no-place' });
      return { kind: 'cannot', vms: vms.map((vm) => this.#model.vmAt(vm).id), because };
    });
  }

  #use(question: Question, host: number, names: ReadonlySet<HostName>, isUsed: boolean): void {
    const users = this.#users[question];
    for (const name of names) {
      const used = this.#model.host(name);
      const known = users[used] ?? new Set<number>();
      users[used] = known;
      if (isUsed) known.add(host);
      else known.delete(host);
    }
  }
}

/** The index of a whole snapshot. */
export function evacuabilityOf(estate: Estate): Evacuability {
  const index = new Evacuability(estate.policy);
  for (const host of estate.hosts) index.apply({ kind: 'host', host });
  for (const vm of estate.vms) index.apply({ kind: 'vm', vm });
  for (const rule of estate.rules) index.apply({ kind: 'rule', name: rule.name, rule });
  for (const cluster of estate.guestClusters) index.apply({ kind: 'guest-cluster', name: cluster.name, cluster });
  return index;
}

function usedBy({ moves }: PlannedWave): Set<HostName> {
  return new Set(moves.flatMap(({ from, to }) => [from, to]));
}

function restartHosts({ restarts }: LossWitness): Set<HostName> {
  return new Set(restarts.map(({ to }) => to));
}
