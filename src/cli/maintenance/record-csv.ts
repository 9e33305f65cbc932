/** The moves of drains as CSV (RFC 4180), one a line, for spreadsheets and change systems. Pure. */
import type { Drain } from '../../api/maintenance-views.ts';

const HEADER = [
  ...['drain', 'hosts', 'who', 'change', 'vm', 'from', 'to', 'why', 'state', 'started', 'ended'],
  ...['foretold_ms', 'foretold_pause_ms', 'measured_pause_ms', 'memory_bytes', 'note'],
];

/** A field: quoted where it must be, and never read as a formula. */
function field(value: string | number | null): string {
  const text = value === null ? '' : String(value);
  const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Every move of the drains, the drains in order. */
export function movesCsv(drains: readonly Drain[]): string {
  const rows = drains.flatMap((drain) =>
    drain.moves.map((move) => [
      ...[drain.id, drain.hosts.join(' '), drain.who, drain.change, move.vm, move.from, move.to, move.why, move.state],
      ...[move.startedAt, move.endedAt, Math.round(move.foretoldMs), Math.round(move.foretoldPauseMs)],
      ...[move.measuredPauseMs === null ? null : Math.round(move.measuredPauseMs), move.memoryBytes, move.note],
    ]),
  );
  return [HEADER, ...rows].map((row) => `${row.map(field).join(',')}\r\n`).join('');
}
