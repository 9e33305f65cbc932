/**
 * The approved content of a roll, and the one text from which its hash is made. Pure, and without the planner: browsers
 * write it too.
 */
import { type HostName, parseHostName, parseVmId, type VmId } from '../../base/ids.ts';
import type { RollLimits } from '../model/roll.ts';

/** The host to which a wave brings a VM, by way of any other host. */
export interface ApprovedMove {
  readonly vm: VmId;
  readonly from: HostName;
  readonly to: HostName;
}

export interface ApprovedWave {
  readonly hosts: readonly HostName[];
  readonly moves: readonly ApprovedMove[];
  /** Foretold for all moves together. */
  readonly durationMs: number;
  /** The longest pause predicted for a VM. */
  readonly pauseMs: number;
}

export interface ApprovedPlan extends RollLimits {
  readonly waves: readonly ApprovedWave[];
}

/** Names the form, and its version. */
export const APPROVED_FORMAT = 'groundplane-roll-1';

/** The part of a wave that is approved. */
export function approvedWave({
  hosts,
  moves,
  durationMs,
}: {
  readonly hosts: readonly string[];
  readonly durationMs: number;
  readonly moves: readonly {
    readonly vm: string;
    readonly from: string;
    readonly to: string;
    readonly pauseMs: number;
  }[];
}): ApprovedWave {
  const ways = new Map<VmId, ApprovedMove>();
  for (const move of moves) {
    const vm = parseVmId(move.vm);
    ways.set(vm, { vm, from: ways.get(vm)?.from ?? parseHostName(move.from), to: parseHostName(move.to) });
  }
  return {
    hosts: hosts.map(parseHostName),
    moves: [...ways.values()],
    durationMs: Math.round(durationMs),
    pauseMs: Math.round(Math.max(0, ...moves.map(({ pauseMs }) => pauseMs))),
  };
}

/** The plan in the one form that is hashed, sent and kept. */
export function approvedText({ maxUnavailable, perRack, parallel, waves }: ApprovedPlan): string {
  return JSON.stringify({
    format: APPROVED_FORMAT,
    maxUnavailable,
    perRack,
    parallel,
    waves: waves.map(({ hosts, durationMs, pauseMs, moves }) => ({
      hosts,
      durationMs,
      pauseMs,
      moves: moves.map(({ vm, from, to }) => `${vm} ${from} ${to}`),
    })),
  });
}
