/**
 * Names in documents and comments that belong to other projects, and placeholders: the code of the clone need not use
 * them.
 */

/** Sorted by their origin. */
export const FOREIGN_NAMES: readonly string[] = [
  // systemd.exec(5), systemd.service(5), systemd.kill(5)
  'KillMode',
  'RuntimeDirectoryPreserve',
  'WatchdogSec',
  // Linux and POSIX
  'CLOCK_MONOTONIC',
  'RWF_NOWAIT',
  'SEEK_HOLE',
  'USER_HZ',
  // sbd(8)
  'SBD_DELAY_START',
  // ocf:heartbeat:azure-events-az
  'eventTypes',
  // SPC-4, NBD, RFC 5280
  'LU_SCOPE',
  'NO_FLUSH',
  'keyEncipherment',
  // PowerShell's CLIXML, RVTools
  '_x000A_',
  'vInfoVMName',
  // Placeholders: generation N, slot N, any SCSI disk, VXLAN number, tap device of a slot
  'gN',
  'gpbVNI',
  'gptSLOTnN',
  'gpxVNI',
  'sN',
  'sdX',
];
