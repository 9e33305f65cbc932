/**
 * Judges a plan for maintenance against the snapshot: every wave, every move, in any order in which the moves may be
 * carried out. Written anew from docs/specs/maintenance-plan.md: it shares no line with the planner. A plan without
 * findings keeps every constraint at every step.
 */
import { counted } from '../../base/counted.ts';
import type { HostName, VmId } from '../../base/ids.ts';
import type { Estate, EstateVm } from '../maintenance/estate.ts';
import type { MaintenancePlan, PlannedMove, PlannedWave } from '../maintenance/plan.ts';
import { checkLoss } from './loss-witness.ts';
import { MaintenanceWorld } from './maintenance-world.ts';
import { type Amount, PartialOrder } from './partial-order.ts';
import { checkTimetable } from './timetable.ts';

/**
 * How far a plan was carried out. The snapshot shows the present: VMs of moves that have ended are at their
 * destination, VMs of moves that have begun are moving.
 */
export interface Progress {
  readonly ended: ReadonlySet<number>;
  readonly begun: ReadonlySet<number>;
  /** The plan is the remainder of another one: its timetable lies in the past, and is not judged. */
  readonly isRest?: true;
}

const NOTHING_DONE: Progress = { ended: new Set(), begun: new Set() };

/** Returns the faults of a plan, or of the remainder of one; if there are none, it may be carried out. */
export function checkPlan(estate: Estate, plan: MaintenancePlan, progress: Progress = NOTHING_DONE): string[] {
  const checking = checkPlanInTurns(estate, plan, progress);
  for (;;) {
    const piece = checking.next();
    if (piece.done === true) return piece.value;
  }
}

/** As `checkPlan`, in pieces: the estate is plain data that nobody changes meanwhile. */
export function* checkPlanInTurns(
  estate: Estate,
  plan: MaintenancePlan,
  progress: Progress = NOTHING_DONE,
): Generator<void, string[]> {
  const world = yield* MaintenanceWorld.of(estate);
  const findings: string[] = [];
  let nextId = 0;
  for (const [number, wave] of plan.waves.entries()) {
    const say = (what: string): void => void findings.push(`wave ${number + 1}: ${what}`);
    for (const { id } of wave.moves) if (id !== nextId++) say(`move ${id} is out of order`);
    const unknown = wave.hosts.filter((host) => !world.hosts.has(host));
    for (const host of unknown) say(`there is no host ${host}`);
    if (unknown.length > 0 || findings.length > 0) return findings;
    const states = wave.hosts.map((name) => [name, world.host(name).state] as const);
    const isOver = wave.moves.length > 0 && wave.moves.every(({ id }) => progress.ended.has(id));
    if (!isOver || progress.ended.size === 0) yield* new WaveCheck(world, { wave, progress, say }).run();
    if (findings.length > 0) return findings;
    world.endArrivals();
    for (const [name, before] of states) {
      const host = world.host(name);
      const release = Math.max(host.release, plan.releaseAfter ?? host.release);
      world.hosts.set(name, plan.after === 'back' ? { ...host, release, state: before } : host);
    }
    yield;
  }
  return findings;
}

interface WaveInput {
  readonly wave: PlannedWave;
  readonly progress: Progress;
  readonly say: (what: string) => void;
}

class WaveCheck {
  readonly #world: MaintenanceWorld;
  readonly #wave: PlannedWave;
  readonly #progress: Progress;
  readonly #say: (what: string) => void;
  /** The moves that have not ended; `#order` numbers them from 0. */
  readonly #moves: readonly PlannedMove[];
  #order = new PartialOrder([]);

  constructor(world: MaintenanceWorld, { wave, progress, say }: WaveInput) {
    this.#world = world;
    this.#wave = wave;
    this.#progress = progress;
    this.#say = say;
    this.#moves = wave.moves.filter(({ id }) => !progress.ended.has(id));
  }

  *run(): Generator<void> {
    const world = this.#world;
    const closed = new Set(this.#wave.hosts);
    for (const name of closed) world.hosts.set(name, { ...world.host(name), state: 'maintenance' });
    const begun = this.#moves.filter(({ id }) => this.#progress.begun.has(id)).map(({ vm }) => vm);
    world.awaitArrivals(closed, new Set(begun));
    if (!this.#isOrdered() || !this.#isEachMovePossible()) return;
    yield;
    const isWhole =
      this.#progress.isRest !== true &&
      this.#moves.length === this.#wave.moves.length &&
      this.#progress.begun.size === 0;
    if (isWhole) for (const finding of checkTimetable(world, this.#wave)) this.#say(finding);
    yield* this.#checkAmounts();
    yield* this.#checkApart();
    yield* this.#checkAtOnce();
    const together = world.together(this.#moves.map(({ vm }) => vm));
    for (const { vm, to } of this.#moves) world.arrive(vm, to);
    for (const rule of together) if (!world.isTogether(rule)) this.#say(`the VMs of rule ${rule.name} end apart`);
    for (const { name, host } of this.#left(closed)) this.#say(`${name} is left on ${host}`);
    if (world.estate.policy.keepRoomForLoss)
      for (const finding of checkLoss(world, this.#wave.room)) this.#say(finding);
  }

  /** VMs that are on a host of the wave after it, or on their way there. */
  #left(closed: ReadonlySet<HostName>): { readonly name: string; readonly host: HostName }[] {
    const world = this.#world;
    const isComing = ({ id, movingTo }: EstateVm): boolean =>
      movingTo !== null && closed.has(movingTo) && !world.countsAsArrived(id);
    const isLeaving = ({ id, movingTo }: EstateVm): boolean => movingTo !== null && !world.countsAsArrived(id);
    const there = [...closed].flatMap((host) => [...world.on(host)].flatMap((id) => world.vms.get(id) ?? []));
    return [...world.moving.filter(isComing), ...there.filter((vm) => !isLeaving(vm))].map((vm) => ({
      name: vm.name,
      host: vm.movingTo ?? world.hostOf(vm.id) ?? vm.host,
    }));
  }

  /** Dependencies name earlier moves of this wave, and the moves of one VM follow each other. */
  #isOrdered(): boolean {
    const numbers = new Map(this.#moves.map(({ id }, number) => [id, number]));
    const ids = new Set(this.#wave.moves.map(({ id }) => id));
    for (const { id, after } of this.#moves)
      for (const other of after)
        if (other >= id || !ids.has(other)) {
          this.#say(`move ${id} comes after move ${other}, which is not before it in this wave`);
          return false;
        }
    this.#order = new PartialOrder(this.#moves.map(({ after }) => after.flatMap((other) => numbers.get(other) ?? [])));
    const last = new Map<VmId, number>();
    for (const [number, { vm, id }] of this.#moves.entries()) {
      const before = last.get(vm);
      if (before !== undefined && !this.#order.isBefore(before, number)) {
        this.#say(`move ${id} of ${vm} does not wait for its move before`);
        return false;
      }
      last.set(vm, number);
    }
    return true;
  }

  #isEachMovePossible(): boolean {
    const at = new Map<VmId, HostName>();
    let isPossible = true;
    for (const move of this.#moves) {
      const why = this.#whyNot(move, at.get(move.vm) ?? this.#world.hostOf(move.vm));
      if (why !== null) {
        this.#say(`move ${move.id}: ${why}`);
        isPossible = false;
      }
      at.set(move.vm, move.to);
    }
    return isPossible;
  }

  #whyNot(move: PlannedMove, at: HostName | undefined): string | null {
    const world = this.#world;
    const vm = world.vms.get(move.vm);
    const to = world.hosts.get(move.to);
    if (vm === undefined || at === undefined) return `there is no VM ${move.vm}`;
    if (to === undefined) return `there is no host ${move.to}`;
    if (at !== move.from) return `${vm.name} is on ${at}, not on ${move.from}`;
    if (move.to === move.from) return `${vm.name} stays on ${move.to}`;
    if (move.memoryMib !== vm.memoryMib) return `${vm.name} has ${vm.memoryMib} MiB, not ${move.memoryMib}`;
    const hasBegun = this.#progress.begun.has(move.id);
    const isAsExpected = hasBegun ? vm.movingTo === move.to : vm.movingTo === null || world.countsAsArrived(vm.id);
    if (!isAsExpected) return `${vm.name} is moving to ${vm.movingTo ?? 'no host'}`;
    if (hasBegun) return null;
    if (vm.unsettled !== null) return vm.unsettled;
    const from = world.host(move.from);
    if (to.accelerator !== from.accelerator)
      return `${vm.name} cannot go from ${from.accelerator} to ${to.accelerator}`;
    if (to.release !== 0 && to.release < from.release) return `${vm.name} would go to an older release on ${to.name}`;
    const cluster = world.clusterOf.get(vm.id);
    if (cluster !== undefined && Math.max(vm.pauseMs, move.pauseMs) > cluster.toleratesMs)
      return `${vm.name} would pause for longer than guest cluster ${cluster.name} tolerates`;
    return world.misfit(vm, to);
  }

  /** Memory and vCPUs of every destination, in every order. */
  *#checkAmounts(): Generator<void> {
    for (const host of new Set(this.#moves.map(({ to }) => to))) {
      yield;
      const room = this.#world.free(host);
      for (const [what, have, amount] of [
        ['memory', room.mib, (vm: VmId) => this.#world.vms.get(vm)?.memoryMib ?? 0],
        ['vCPUs', room.cpu, (vm: VmId) => this.#world.vms.get(vm)?.vcpus ?? 0],
      ] as const) {
        const { takes, gives } = this.#flows(
          (move) => move.to === host,
          (move) => move.from === host,
          amount,
        );
        if (!this.#order.isAlwaysThere(have, takes, gives)) this.#say(`${host} may be short of ${what} at some step`);
      }
    }
  }

  #flows(
    isIn: (move: PlannedMove) => boolean,
    isOut: (move: PlannedMove) => boolean,
    amount: (vm: VmId) => number,
  ): { takes: Amount[]; gives: Amount[] } {
    const takes: Amount[] = [];
    const gives: Amount[] = [];
    for (const [move, planned] of this.#moves.entries()) {
      // A move that has begun holds its room at the destination already: the snapshot counts it.
      if (isIn(planned) && !this.#progress.begun.has(planned.id)) takes.push({ move, amount: amount(planned.vm) });
      if (isOut(planned)) gives.push({ move, amount: amount(planned.vm) });
    }
    return { takes, gives };
  }

  *#checkApart(): Generator<void> {
    const world = this.#world;
    for (const rule of new Set(this.#moves.flatMap(({ vm }) => world.apartOf.get(vm) ?? []))) {
      yield;
      const place = (host: HostName): string => world.placeOf(host, rule.by);
      for (const there of new Set(this.#moves.filter(({ vm }) => rule.vms.has(vm)).map(({ to }) => place(to)))) {
        const goes = ({ vm, from, to }: PlannedMove): boolean => rule.vms.has(vm) && place(from) !== place(to);
        const { takes, gives } = this.#flows(
          (move) => goes(move) && place(move.to) === there,
          (move) => goes(move) && place(move.from) === there,
          () => 1,
        );
        const left = rule.most - world.count(rule, there);
        if (!this.#order.isAlwaysThere(left, takes, gives))
          this.#say(`${rule.name} is broken on ${there} at some step`);
      }
    }
  }

  /** Moves at once: of a host, of a link, of the members of a guest cluster. */
  *#checkAtOnce(): Generator<void> {
    const { policy } = this.#world.estate;
    const touch = new Map<HostName, number[]>();
    for (const [number, { from, to }] of this.#moves.entries())
      for (const host of [from, to]) touch.set(host, [...(touch.get(host) ?? []), number]);
    yield;
    for (const [host, numbers] of touch)
      if (numbers.length > policy.movesPerHost && this.#order.widest(numbers) > policy.movesPerHost)
        this.#say(`${host} may have more than ${counted(policy.movesPerHost, 'move')} at once`);
    const all = [...this.#moves.entries()];
    for (const { name, movesMax } of policy.links) {
      const isOn = ({ from, to }: PlannedMove): boolean =>
        [from, to].some((host) => this.#world.host(host).link === name);
      const numbers = all.filter(([, move]) => isOn(move)).map(([number]) => number);
      if (numbers.length > movesMax && this.#order.widest(numbers) > movesMax)
        this.#say(`link ${name} may have more than ${counted(movesMax, 'move')} at once`);
    }
    const clusters = new Set(this.#moves.flatMap(({ vm }) => this.#world.clusterOf.get(vm) ?? []));
    for (const { name, members, maxDisturbed, disturbed } of clusters) {
      yield;
      const numbers = all
        .filter(([, { vm }]) => members.includes(vm) && !disturbed.includes(vm))
        .map(([number]) => number);
      if (numbers.length > 0 && this.#order.widest(numbers) + disturbed.length > maxDisturbed)
        this.#say(`guest cluster ${name} may have more than ${maxDisturbed} disturbed members at some step`);
    }
  }
}
