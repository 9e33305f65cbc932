/** A plan for maintenance of many hosts as people read it. */
import type { MaintenancePlan } from '../../api/maintenance-views.ts';
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import { formatTable } from '../table.ts';
import { formatBytes, formatSpan } from '../units.ts';

/** Describes the whole plan, then each wave with its moves. */
export function describeMaintenancePlan(plan: MaintenancePlan): string {
  const { waves, hash, movedBytes, durationMs } = plan;
  const hosts = waves.reduce((sum, wave) => sum + wave.hosts.length, 0);
  const moves = waves.reduce((sum, wave) => sum + wave.moves.length, 0);
  const perRack = plan.perRack === null ? '' : `, ${plan.perRack} of a rack`;
  const lines = [
    `${counted(hosts, 'host')} in ${counted(waves.length, 'wave')}: ${counted(moves, 'move')}, ${formatBytes(movedBytes)}, about ${formatSpan(durationMs)}`,
    `At most ${counted(plan.maxUnavailable, 'host is', 'hosts are')} away at once${perRack}; ${counted(plan.parallel, 'move')} at once of each host.`,
    `Hash ${hash}`,
  ];
  return `${lines.join('\n')}\n${waves.map(describeWave).join('')}`;
}

function describeWave({ hosts, moves, durationMs }: MaintenancePlan['waves'][number], index: number): string {
  const title = `\nWave ${index + 1}: ${hosts.join(', ')}: ${counted(moves.length, 'move')}, about ${formatSpan(durationMs)}\n`;
  if (moves.length === 0) return title;
  return (
    title +
    formatTable(
      ['VM', 'FROM', 'TO', 'MEMORY', 'BEGINS', 'TAKES', 'PAUSE', 'NOTE'],
      moves.map((move) => [
        move.vm,
        move.from,
        move.to,
        formatBytes(move.memoryBytes),
        formatSpan(move.startsAtMs),
        formatSpan(move.foretoldMs),
        `${Math.round(move.foretoldPauseMs)} ms`,
        move.converges ? NOTE[move.why] : 'its guest writes faster than its memory can be copied',
      ]),
    )
  );
}

const NOTE: Readonly<Record<MaintenancePlan['waves'][number]['moves'][number]['why'], string>> = {
  evacuate: '-',
  'make-room': 'makes room',
  'by-way': 'by way of this host',
  return: 'brought back',
};

/** The plan in a file that `gp maintenance plan -o json` wrote. CodedError 'bad-input'. */
export function parsePlanFile(text: string): MaintenancePlan {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw notAPlan('it is not JSON');
  }
  if (!isPlan(value)) throw notAPlan('it is not in the format of "gp maintenance plan -o json"');
  return value;
}

/** Whether a value has all parts that enter the hash; the cluster checks their content. */
function isPlan(value: unknown): value is MaintenancePlan {
  const { hash, waves, maxUnavailable, perRack, parallel } = (value ?? {}) as Partial<MaintenancePlan>;
  const isNumber = (number: unknown): boolean => typeof number === 'number';
  if (typeof hash !== 'string' || !Array.isArray(waves) || !isNumber(maxUnavailable) || !isNumber(parallel))
    return false;
  if (perRack !== null && !isNumber(perRack)) return false;
  return waves.every(
    (wave) =>
      Array.isArray(wave?.hosts) &&
      wave.hosts.every((host: unknown) => typeof host === 'string') &&
      isNumber(wave.durationMs) &&
      Array.isArray(wave.moves) &&
      wave.moves.every(
        (move: MaintenancePlan['waves'][number]['moves'][number]) =>
          [move?.vmId, move?.from, move?.to].every((name) => typeof name === 'string') &&
          isNumber(move.foretoldPauseMs),
      ),
  );
}

function notAPlan(why: string): CodedError {
  return new CodedError('bad-input', `The file is no plan: ${why}.`, {
    advice: 'Nothing was changed. Make one with: gp maintenance plan --hosts … -o json > plan.json',
  });
}
