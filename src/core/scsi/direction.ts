/**
 * Determines the data direction of a command from its CDB, and compares it with the direction that the initiator told
 * the transport (RFC 7143 11.3.1: the flags R and W). Pure.
 * Guarantees: every command has its direction; no command of this device server moves data both ways.
 */
import type { CommandName } from '../../wire/scsi/opcodes.ts';
import type { ScsiCommand } from './target-port.ts';

export type Direction = 'none' | 'in' | 'out';

const NONE: ReadonlySet<CommandName> = new Set([
  'test-unit-ready',
  'reserve-6',
  'release-6',
  'start-stop-unit',
  'pre-fetch-10',
  'synchronize-cache-10',
  'reserve-10',
  'release-10',
  'pre-fetch-16',
  'synchronize-cache-16',
]);
const OUT: ReadonlySet<CommandName> = new Set([
  'write-6',
  'mode-select-6',
  'write-10',
  'write-and-verify-10',
  'write-same-10',
  'unmap',
  'mode-select-10',
  'register',
  'reserve',
  'release',
  'clear',
  'preempt',
  'preempt-and-abort',
  'register-and-ignore-existing-key',
  'register-and-move',
  'compare-and-write',
  'write-16',
  'or-write-16',
  'write-and-verify-16',
  'write-12',
  'write-and-verify-12',
]);
const VERIFY: ReadonlySet<CommandName> = new Set(['verify-10', 'verify-12', 'verify-16']);
const BYTCHK = 0x06;
const NO_DATA_OUT = 0x01;

/** Returns the data direction of a command; VERIFY and WRITE SAME(16) have data or not, depending on a field. */
export function directionOf(name: CommandName): (cdb: Uint8Array) => Direction {
  if (VERIFY.has(name)) return (cdb) => (((cdb[1] ?? 0) & BYTCHK) === 0 ? 'none' : 'out');
  if (name === 'write-same-16') return (cdb) => (((cdb[1] ?? 0) & NO_DATA_OUT) === 0 ? 'out' : 'none');
  const direction = NONE.has(name) ? 'none' : OUT.has(name) ? 'out' : 'in';
  return () => direction;
}

/**
 * Returns true if a command must not be executed because the initiator expects a data direction that contradicts the
 * CDB. A read without room for its data is executed and reported as overflow (libiscsi's conformance suite expects
 * that, and nothing is lost); a write whose initiator sends nothing finds no data (block-commands.ts).
 */
export function isWrongWay(direction: Direction, { transfer }: ScsiCommand): boolean {
  return transfer === 'both' || (direction === 'out' && transfer === 'in');
}
