/**
 * Maintenance of many hosts, wave after wave, each onto hosts that are done already, so that a VM moves once. Hosts of
 * one kind follow each other, the emptiest first: VMs of the first wave of a kind find room on the other hosts, and VMs
 * of each later wave on the hosts of the wave before. A wave that has no plan is tried with fewer hosts, then with
 * others first.
 */
import type { HostName } from '../../base/ids.ts';
import { atOnce } from './in-turns.ts';
import { Layout } from './layout.ts';
import type { Model } from './model.ts';
import type { MaintenancePlan, PlannedWave, Refusal } from './plan.ts';
import { indexesOf, planOf, refusalOf, WAVE_STEPS } from './planner.ts';
import { planWave, type WaveOutcome } from './wave.ts';

/** The hosts of a roll and its limits. */
export interface RollOptions {
  readonly hosts: readonly HostName[];
  /** Hosts that may be away at once, at least 1. */
  readonly maxUnavailable: number;
  /** Hosts of one rack that may be away at once; null: as many as may be away. */
  readonly perRack: number | null;
  /** The release that hosts come back with, unless theirs is newer; null: they come back as they were. */
  readonly releaseAfter: number | null;
}

/**
 * Plans a roll over the hosts; each is back in service before the next wave. Attempts at displacing VMs are counted by
 * wave.
 */
export function planRoll(model: Model, options: RollOptions, waveSteps = WAVE_STEPS): MaintenancePlan | Refusal {
  return atOnce(planRollInTurns(model, options, waveSteps));
}

/** As `planRoll`, in pieces. Nothing may change the model before the end. */
export function* planRollInTurns(
  model: Model,
  options: RollOptions,
  waveSteps = WAVE_STEPS,
): Generator<void, MaintenancePlan | Refusal> {
  const roll = new Roll(model, options, waveSteps);
  const refusal = yield* roll.run();
  if (refusal !== null) return refusalOf(model, refusal, roll.waves.length);
  return planOf(roll.waves, { after: 'back', releaseAfter: options.releaseAfter });
}

type NoWave = Extract<WaveOutcome, { kind: 'none' }>;

class Roll {
  readonly waves: PlannedWave[] = [];
  readonly #layout: Layout;
  readonly #options: RollOptions;
  readonly #waveSteps: number;
  #left: readonly number[];
  #nextId = 0;

  constructor(model: Model, options: RollOptions, waveSteps: number) {
    this.#layout = new Layout(model);
    this.#options = options;
    this.#waveSteps = waveSteps;
    this.#left = this.#inOrder(indexesOf(model, options.hosts));
  }

  /** Plans wave after wave; returns the obstacle for the first host that no wave could take, or null. */
  *run(): Generator<void, NoWave | null> {
    while (this.#left.length > 0) {
      const refusal = yield* this.#next();
      if (refusal !== null) return refusal;
    }
    return null;
  }

  *#next(): Generator<void, NoWave | null> {
    let first: NoWave | null = null;
    for (const begin of this.#left.keys()) {
      const chosen = this.#choose(begin);
      // If a wave fails with one host more, not each number of hosts is tried: half as many, then one.
      for (const count of new Set([chosen.length, Math.ceil(chosen.length / 2), 1])) {
        const refusal = yield* this.#attempt(chosen.slice(0, count));
        yield;
        if (refusal === null) return null;
        first ??= count === 1 ? refusal : null;
      }
    }
    return first;
  }

  *#attempt(hosts: readonly number[]): Generator<void, NoWave | null> {
    const layout = this.#layout;
    const { releaseAfter } = this.#options;
    const wereOpen = new Set(hosts.filter((host) => layout.isOpen(host)));
    const outcome = yield* planWave(layout, hosts, { firstId: this.#nextId, budget: { steps: this.#waveSteps } });
    if (outcome.kind === 'none') return outcome;
    this.waves.push(outcome.wave);
    this.#nextId += outcome.wave.moves.length;
    this.#left = this.#left.filter((host) => !hosts.includes(host));
    for (const host of wereOpen) {
      const record = layout.model.hostAt(host);
      const release = Math.max(record.release, releaseAfter ?? record.release);
      layout.reopen(host, { tier: 0, kind: layout.model.kinds.host({ ...record, release }) });
    }
    return null;
  }

  /** As many hosts as may be away at once, beginning with the one at `begin`. */
  #choose(begin: number): number[] {
    const { maxUnavailable, perRack } = this.#options;
    const chosen: number[] = [];
    const inRack = new Map<number, number>();
    for (const host of [...this.#left.slice(begin), ...this.#left.slice(0, begin)]) {
      if (chosen.length >= maxUnavailable) break;
      const rack = this.#layout.model.rackOf[host] ?? -1;
      const there = inRack.get(rack) ?? 0;
      if (perRack !== null && there >= perRack) continue;
      inRack.set(rack, there + 1);
      chosen.push(host);
    }
    return chosen;
  }

  #inOrder(hosts: readonly number[]): number[] {
    const { kind } = this.#layout;
    const held = new Map(hosts.map((host) => [host, this.#heldOn(host)]));
    return hosts.toSorted(
      (a, b) => (kind[a] ?? 0) - (kind[b] ?? 0) || (held.get(a) ?? 0) - (held.get(b) ?? 0) || a - b,
    );
  }

  #heldOn(host: number): number {
    let held = 0;
    for (const lead of this.#layout.residents(host)) held += this.#layout.mib[lead] ?? 0;
    return held;
  }
}
