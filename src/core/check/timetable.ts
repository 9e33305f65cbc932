/**
 * Replays the timetable of a wave: when moves begin and end, and what every host holds after each step. Shares nothing
 * with the planner.
 */
import type { HostName } from '../../base/ids.ts';
import type { PlannedMove, PlannedWave } from '../maintenance/plan.ts';
import type { MaintenanceWorld } from './maintenance-world.ts';

/** Returns what is wrong with the predicted times and peaks of a wave. */
export function checkTimetable(world: MaintenanceWorld, wave: PlannedWave): string[] {
  const moves = new Map(wave.moves.map((move) => [move.id, move]));
  const findings = wave.moves.flatMap((move) => timesOf(move, moves));
  const held = new Map<HostName, number>();
  const heldOn = (name: HostName): number => {
    const { memoryMib, claimedMib } = world.host(name);
    return held.get(name) ?? memoryMib - claimedMib - world.free(name).mib;
  };
  const add = (host: HostName, mib: number): void => void held.set(host, heldOn(host) + mib);
  const seen = { begins: new Set<number>(), ends: new Set<number>() };
  let before = -1;
  for (const { atMs, begins, ends, memory } of wave.steps) {
    if (atMs <= before) findings.push(`the step at ${atMs} ms is out of order`);
    before = atMs;
    for (const id of ends) {
      const move = moves.get(id);
      if (move === undefined || endOf(move) !== atMs) findings.push(`move ${id} does not end at ${atMs} ms`);
      else add(move.from, -move.memoryMib);
      seen.ends.add(id);
    }
    for (const id of begins) {
      const move = moves.get(id);
      if (move === undefined || move.startsAtMs !== atMs) findings.push(`move ${id} does not begin at ${atMs} ms`);
      else add(move.to, move.memoryMib);
      seen.begins.add(id);
    }
    const touched = [...begins, ...ends].flatMap((id) => [moves.get(id)?.from, moves.get(id)?.to]);
    const foretold = new Map(memory.map(({ host, heldMib }) => [host, heldMib]));
    for (const host of new Set(touched))
      if (host !== undefined && foretold.get(host) !== heldOn(host))
        findings.push(`${host} holds ${heldOn(host)} MiB at ${atMs} ms, not ${foretold.get(host)}`);
  }
  for (const id of moves.keys())
    if (!seen.begins.has(id) || !seen.ends.has(id)) findings.push(`no step says that move ${id} begins and ends`);
  const longest = Math.max(0, ...wave.moves.map(endOf));
  if (wave.durationMs !== longest) findings.push(`the wave takes ${longest} ms, not ${wave.durationMs}`);
  return findings;
}

function endOf({ startsAtMs, durationMs }: PlannedMove): number {
  return startsAtMs + durationMs;
}

function timesOf(move: PlannedMove, moves: ReadonlyMap<number, PlannedMove>): string[] {
  if (!(move.durationMs > 0) || !(move.startsAtMs >= 0)) return [`move ${move.id} takes no time`];
  const early = move.after.filter((id) => {
    const other = moves.get(id);
    return other !== undefined && endOf(other) > move.startsAtMs;
  });
  return early.map((id) => `move ${move.id} is foretold to begin before move ${id} has ended`);
}
