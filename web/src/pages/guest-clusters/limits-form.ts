/** The limits of a guest cluster as a form, and the request and command made from it. Pure. */
import type { components } from '../../../../src/client/generated/schema.d.ts';
import type { GuestCluster } from '../../api/types.ts';
import { gpCommand } from '../../ui/gp-commands.ts';

export type PatchGuestCluster = components['schemas']['PatchGuestCluster'];

/** Fields as texts, as somebody typed them; times in seconds, a window in each line. */
export interface LimitsForm {
  readonly maxDisturbed: string;
  readonly toleratesS: string;
  /** Empty: guests get no notice. */
  readonly noticeS: string;
  readonly quiet: string;
  /** Empty: nothing is run in guests. */
  readonly readyCommand: string;
  /** Empty: as long as `gp` waits. */
  readonly readyS: string;
}

/** As `gp` has it where nothing is said. */
const READY_MS = 300_000;

const seconds = (ms: number | null): string => (ms === null ? '' : String(ms / 1_000));
const msOf = (text: string): number => Math.round(Number(text) * 1_000);
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

/** The form of a cluster as it is. */
export function limitsOf({ maxDisturbed, toleratesMs, noticeMs, quiet, readyCheck }: GuestCluster): LimitsForm {
  return {
    maxDisturbed: String(maxDisturbed ?? ''),
    toleratesS: seconds(toleratesMs),
    noticeS: seconds(noticeMs),
    quiet: quiet.join('\n'),
    readyCommand: readyCheck?.command ?? '',
    readyS: seconds(readyCheck?.withinMs ?? null),
  };
}

function readyCheckOf({ readyCommand, readyS }: LimitsForm): Required<PatchGuestCluster>['readyCheck'] {
  const command = readyCommand.trim();
  return command === '' ? null : { command, withinMs: readyS.trim() === '' ? READY_MS : msOf(readyS) };
}

/** Only the differences between two states of the form. */
export function limitsPatch(before: LimitsForm, after: LimitsForm): PatchGuestCluster {
  const changed = (field: keyof LimitsForm): boolean => before[field].trim() !== after[field].trim();
  return {
    ...(changed('maxDisturbed') ? { maxDisturbed: Number(after.maxDisturbed) } : {}),
    ...(changed('toleratesS') ? { toleratesMs: msOf(after.toleratesS) } : {}),
    ...(changed('noticeS') ? { noticeMs: after.noticeS.trim() === '' ? null : msOf(after.noticeS) } : {}),
    ...(changed('quiet') ? { quiet: linesOf(after.quiet) } : {}),
    ...(changed('readyCommand') || changed('readyS') ? { readyCheck: readyCheckOf(after) } : {}),
  };
}

/** The command that does the same. */
export function limitsCommand(
  name: string,
  { maxDisturbed, toleratesMs, noticeMs, quiet, readyCheck }: PatchGuestCluster,
): string {
  return gpCommand(['guest-cluster', 'set', name], {
    'max-disturbed': maxDisturbed ?? null,
    tolerates: toleratesMs === undefined ? null : `${toleratesMs}ms`,
    notice: noticeMs === undefined || noticeMs === null ? null : `${noticeMs}ms`,
    'no-notice': noticeMs === null,
    'ready-check': readyCheck?.command ?? null,
    'ready-within': readyCheck === undefined || readyCheck === null ? null : `${readyCheck.withinMs}ms`,
    'no-ready-check': readyCheck === null,
    quiet: quiet ?? null,
    'no-quiet': quiet?.length === 0,
  });
}
