/**
 * Checks from outside whether the leader reaches its machines (rule L2): no leader stays leader for longer than
 * BLIND_MS_MAX while other control nodes reach more, nor one that may have given the lead away often enough to keep it
 * for longer than that time beyond KEPT_LONG_MS.
 */
import type { Term } from '../../base/ids.ts';
import { DIRECT } from '../../core/model/paths.ts';
import { GIVEN_OFTEN, KEPT_LONG_MS } from '../../core/plan/lead/lead-decision.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { SimMachine } from '../machines/sim-machine.ts';
import { isOpenPath, type Topology } from '../machines/topology.ts';

/**
 * Time for a leader to see for some rounds that others reach more, and for the minimum term of one that gave the lead
 * away just before, in ms.
 */
const BLIND_MS_MAX = 22_000;
/** Interval of the checks, in ms. */
export const SIGHT_LOOK_MS = 500;
/** With more lost or late messages than this, in percent, no node's reach is stable. */
const TROUBLED_PERCENT_MAX = 2;

interface Blind {
  readonly term: Term;
  /** For each control node that reaches more: since when, without interruption. */
  readonly since: Map<string, number>;
}

export interface SightWorld extends Topology {
  readonly now: number;
  readonly controls: ReadonlyMap<string, SimControlNode>;
  readonly machines: ReadonlyMap<string, SimMachine>;
  readonly etcdRepliesLostPercent: number;
  readonly truth: { readonly leader: { readonly term: Term; readonly control: string } | null };
}

/** Checks rule L2; one per run. */
export class Sight {
  readonly #world: SightWorld;
  #blind: Blind | null = null;
  /** The terms of each control node. */
  readonly #terms = new Map<string, Set<Term>>();

  constructor(world: SightWorld) {
    this.#world = world;
  }

  /** Handles a fault of a machine: reach that involves that machine was interrupted. */
  touched(machine: string): void {
    this.#blind?.since.delete(machine);
  }

  /** Call it every SIGHT_LOOK_MS; returns a violation, or null. */
  look(): string | null {
    const { truth, controls, now, network, etcdRepliesLostPercent } = this.#world;
    const { leader } = truth;
    const leading = leader === null ? undefined : controls.get(leader.control);
    const { lossPercent, latePercent } = network.weather.control;
    const isDisturbed = lossPercent + latePercent > TROUBLED_PERCENT_MAX || etcdRepliesLostPercent > 0;
    if (leader !== null)
      this.#terms.set(leader.control, (this.#terms.get(leader.control) ?? new Set()).add(leader.term));
    if (leader === null || leading?.process?.isRunning !== true || isDisturbed) {
      this.#blind = null;
      return null;
    }
    const mayKeep = (this.#terms.get(leader.control)?.size ?? 0) > GIVEN_OFTEN;
    const blindMsMax = BLIND_MS_MAX + (mayKeep ? KEPT_LONG_MS : 0);
    const own = this.#scoreOf(leading);
    const better = [...controls.values()].filter((node) => this.#couldLead(leading, node) && this.#scoreOf(node) > own);
    const before = this.#blind?.term === leader.term ? this.#blind.since : new Map<string, number>();
    const since = new Map(better.map(({ name }) => [name, before.get(name) ?? now]));
    this.#blind = { term: leader.term, since };
    for (const [name, at] of since)
      if (now - at > blindMsMax)
        return `${leading.name} leads on, although ${name} has seen more since ${at.toFixed(0)}`;
    return null;
  }

  #couldLead(leading: SimControlNode, node: SimControlNode): boolean {
    const { network } = this.#world;
    const hears = (from: SimMachine, to: SimMachine): boolean => network.isOpen('control', from, to);
    return (
      node !== leading &&
      node.process?.isRunning === true &&
      node.context !== null &&
      hears(leading.machine, node.machine) &&
      hears(node.machine, leading.machine)
    );
  }

  /** All members that are hosts together count as much as all storage nodes. */
  #scoreOf({ machine }: SimControlNode): number {
    const { hosts, storage } = this.#world;
    const share = (machines: ReadonlyMap<string, { readonly machine: SimMachine }>): number => {
      const targets = [...machines].filter(([name]) => this.#world.isMember(name));
      const reached = targets.filter(([, to]) => isOpenPath(this.#world, machine, DIRECT, to.machine));
      return targets.length === 0 ? 1 : reached.length / targets.length;
    };
    return share(hosts) + share(storage);
  }
}
