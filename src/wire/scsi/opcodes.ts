/**
 * The commands of the device server (SPC-4, SBC-3) by name: operation code, service action, and which bits of the CDB
 * are used, as REPORT SUPPORTED OPERATION CODES reports them. Operation codes are defined in this table only.
 */
import { fromHex } from './bytes.ts';

/**
 * name -> the CDB usage data: the operation code, the service action's value in its place, a one for every other bit
 * that is evaluated.
 */
const USAGE = {
  'test-unit-ready': '00 00 00 00 00 04',
  'request-sense': '03 01 00 00 ff 04',
  'read-6': '08 1f ff ff ff 04',
  'write-6': '0a 1f ff ff ff 04',
  inquiry: '12 01 ff ff ff 04',
  'mode-select-6': '15 11 00 00 ff 04',
  'reserve-6': '16 00 00 00 00 04',
  'release-6': '17 00 00 00 00 04',
  'mode-sense-6': '1a 08 ff ff ff 04',
  'start-stop-unit': '1b 01 00 0f f7 04',
  'read-capacity-10': '25 00 ff ff ff ff 00 00 01 04',
  'read-10': '28 f8 ff ff ff ff 00 ff ff 04',
  'write-10': '2a f8 ff ff ff ff 00 ff ff 04',
  'write-and-verify-10': '2e f6 ff ff ff ff 00 ff ff 04',
  'verify-10': '2f f6 ff ff ff ff 00 ff ff 04',
  'pre-fetch-10': '34 02 ff ff ff ff 00 ff ff 04',
  'synchronize-cache-10': '35 02 ff ff ff ff 00 ff ff 04',
  'read-defect-data-10': '37 00 1f 00 00 00 00 ff ff 04',
  'write-same-10': '41 e0 ff ff ff ff 00 ff ff 04',
  unmap: '42 01 00 00 00 00 00 ff ff 04',
  'mode-select-10': '55 11 00 00 00 00 00 ff ff 04',
  'reserve-10': '56 12 00 00 00 00 00 00 00 04',
  'release-10': '57 12 00 00 00 00 00 00 00 04',
  'mode-sense-10': '5a 18 ff ff 00 00 00 ff ff 04',
  'read-keys': '5e 00 00 00 00 00 00 ff ff 04',
  'read-reservation': '5e 01 00 00 00 00 00 ff ff 04',
  'report-capabilities': '5e 02 00 00 00 00 00 ff ff 04',
  'read-full-status': '5e 03 00 00 00 00 00 ff ff 04',
  register: '5f 00 ff 00 00 ff ff ff ff 04',
  reserve: '5f 01 ff 00 00 ff ff ff ff 04',
  release: '5f 02 ff 00 00 ff ff ff ff 04',
  clear: '5f 03 ff 00 00 ff ff ff ff 04',
  preempt: '5f 04 ff 00 00 ff ff ff ff 04',
  'preempt-and-abort': '5f 05 ff 00 00 ff ff ff ff 04',
  'register-and-ignore-existing-key': '5f 06 ff 00 00 ff ff ff ff 04',
  'register-and-move': '5f 07 ff 00 00 ff ff ff ff 04',
  'read-16': '88 f8 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'compare-and-write': '89 f8 ff ff ff ff ff ff ff ff 00 00 00 ff 00 04',
  'write-16': '8a f8 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'or-write-16': '8b f8 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'write-and-verify-16': '8e f6 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'verify-16': '8f f6 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'pre-fetch-16': '90 02 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'synchronize-cache-16': '91 02 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'write-same-16': '93 e9 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'read-capacity-16': '9e 10 ff ff ff ff ff ff ff ff ff ff ff ff 01 04',
  'get-lba-status': '9e 12 ff ff ff ff ff ff ff ff ff ff ff ff 00 04',
  'report-luns': 'a0 00 ff 00 00 00 ff ff ff ff 00 04',
  'report-supported-operation-codes': 'a3 0c 87 ff ff ff ff ff ff ff 00 04',
  'report-supported-task-management-functions': 'a3 0d 80 00 00 00 ff ff ff ff 00 04',
  'read-12': 'a8 f8 ff ff ff ff ff ff ff ff 00 04',
  'write-12': 'aa f8 ff ff ff ff ff ff ff ff 00 04',
  'write-and-verify-12': 'ae f6 ff ff ff ff ff ff ff ff 00 04',
  'verify-12': 'af f6 ff ff ff ff ff ff ff ff 00 04',
  'read-defect-data-12': 'b7 1f 00 00 00 00 ff ff ff ff 00 04',
} as const;

export type CommandName = keyof typeof USAGE;

/** Operation codes whose byte 1 names a service action in its low five bits. */
const WITH_SERVICE_ACTION = new Set([0x5e, 0x5f, 0x9e, 0xa3]);

/** The layout of a command on the wire. */
export interface CommandLayout {
  readonly name: CommandName;
  readonly opcode: number;
  /** Null for operation codes without service actions. */
  readonly serviceAction: number | null;
  /** One byte per byte of the CDB; the last is the control byte, of which NACA is evaluated. */
  readonly usage: Uint8Array;
}

function layoutOf(name: CommandName): CommandLayout {
  const usage = fromHex(USAGE[name]);
  const opcode = usage[0] ?? 0;
  return { name, opcode, serviceAction: WITH_SERVICE_ACTION.has(opcode) ? (usage[1] ?? 0) & 0x1f : null, usage };
}

/** Every command, by operation code. */
export const COMMAND_LAYOUTS: readonly CommandLayout[] = (Object.keys(USAGE) as CommandName[]).map(layoutOf);

/** Whether `opcode` is one of several commands, told apart by a service action. */
export function hasServiceActions(opcode: number): boolean {
  return WITH_SERVICE_ACTION.has(opcode);
}

const DESCRIPTOR_BYTES = 8;
const TIMEOUTS = Uint8Array.of(0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/** The answer to REPORT SUPPORTED OPERATION CODES for all commands; `withTimeouts`: the RCTD bit. */
export function encodeAllCommands(withTimeouts: boolean): Uint8Array {
  const size = DESCRIPTOR_BYTES + (withTimeouts ? TIMEOUTS.length : 0);
  const bytes = new Uint8Array(4 + COMMAND_LAYOUTS.length * size);
  bytes[2] = (bytes.length - 4) >> 8;
  bytes[3] = (bytes.length - 4) & 0xff;
  COMMAND_LAYOUTS.forEach((layout, index) => {
    const at = 4 + index * size;
    bytes[at] = layout.opcode;
    bytes[at + 3] = layout.serviceAction ?? 0;
    bytes[at + 5] = (withTimeouts ? 0x02 : 0) | (layout.serviceAction === null ? 0 : 0x01);
    bytes[at + 7] = layout.usage.length;
    if (withTimeouts) bytes.set(TIMEOUTS, at + DESCRIPTOR_BYTES);
  });
  return bytes;
}

/** The answer for one command; null: it is not supported. */
export function encodeOneCommand(layout: CommandLayout | null, withTimeouts: boolean): Uint8Array {
  if (layout === null) return Uint8Array.of(0, 0x01, 0, 0);
  const bytes = new Uint8Array(4 + layout.usage.length + (withTimeouts ? TIMEOUTS.length : 0));
  bytes[1] = 0x03 | (withTimeouts ? 0x80 : 0);
  bytes[3] = layout.usage.length;
  bytes.set(layout.usage, 4);
  if (withTimeouts) bytes.set(TIMEOUTS, 4 + layout.usage.length);
  return bytes;
}
